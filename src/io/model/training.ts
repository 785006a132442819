import type { TrainOptions } from './network.ts';

/** The settings that won on the calibration part of recorded load; `test/bench/forecast.ts` lists those that lost. */
export const defaultTraining: TrainOptions = { epochs: 8, batch: 512, learningRate: 2e-3, weightDecay: 1, inputNoise: 0 };
export const defaultHidden: readonly [number, number] = [128, 64];
/** Windows that are learned from at most: 12 s of training on one core. */
export const defaultExamples = 90_000;

/** A small panel is gone through more often, so that it is learned from at all; never so often that it is learned by heart. */
const leastVisits = 240_000;
const mostEpochs = 20;

export function trainingFor(windows: number): TrainOptions {
  const epochs = Math.min(mostEpochs, Math.max(defaultTraining.epochs, Math.ceil(leastVisits / Math.max(1, windows))));
  return { ...defaultTraining, epochs, batch: Math.max(64, Math.min(defaultTraining.batch, windows >> 5)) };
}
