import { createHash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { createRng } from '../../base/rng.ts';
import { type AnswerSettings, earlyMedians, modelAnswer, momentsOf, voiceOf } from '../../forecast/answer.ts';
import { backtestPanel, type SeriesBacktest } from '../../forecast/backtest-panel.ts';
import { baselines } from '../../forecast/baseline.ts';
import { baselineContender, levels, modelQuantiles, type Networks } from '../../forecast/contender.ts';
import { type Examples, examplesOf, type Member } from '../../forecast/examples.ts';
import { type FarForecast, forecastFar } from '../../forecast/far.ts';
import { createRecall } from '../../forecast/recall.ts';
import { fitRidge } from '../../forecast/ridge.ts';
import { forecastRound, type RoundOptions, type SeriesForecast } from '../../forecast/round.ts';
import { fitRidges, type KeptRidges, olderParts, refitRidges, ridgeExamples } from '../../forecast/round-ridge.ts';
import { inputs, outputs } from '../../forecast/window.ts';
import { type BackendName, openBackend } from './backend.ts';
import { initialWeights, openPredictor, type Predictor, type TrainOptions, trainNetwork } from './network.ts';
import type { NetworkShape, Weights } from './network-shape.ts';
import { trainingFor } from './training.ts';

/**
 * The thread in which numbers are crunched: training and forecasting rounds, so that ingest and the API never wait for them. One
 * request at a time, answered in order; a request that fails answers with its error and the thread goes on.
 */
export type WorkerRequest =
  | { readonly is: 'open'; readonly backend: BackendName | null }
  | {
      readonly is: 'train';
      readonly members: readonly Member[];
      readonly examples: number;
      readonly hidden: readonly [number, number];
      readonly options: TrainOptions | null;
      readonly seed: number;
      readonly start: Weights | null;
    }
  | { readonly is: 'use'; readonly model: Network; readonly trainedFrom: Network | null }
  | { readonly is: 'round'; readonly members: readonly Member[]; readonly options: RoundOptions; readonly refit: boolean }
  | { readonly is: 'far'; readonly members: readonly Member[]; readonly steps: number; readonly isNonNegative: boolean }
  | { readonly is: 'quantiles'; readonly member: Member; readonly from: number; readonly to: number }
  | {
      readonly is: 'backtest';
      readonly members: readonly Member[];
      readonly stride: number;
      readonly settings: AnswerSettings;
    };

/** What a predictor is opened from. */
export interface Network {
  readonly shape: NetworkShape;
  readonly weights: Weights;
}

export interface Trained {
  readonly shape: NetworkShape;
  readonly weights: Weights;
  readonly windows: number;
  readonly seconds: number;
  readonly losses: readonly number[];
  /** sha256 of the windows, targets and weights that were learned from. */
  readonly dataDigest: string;
}

export type WorkerAnswer =
  | { readonly id: number; readonly is: 'opened'; readonly backend: BackendName }
  | ({ readonly id: number; readonly is: 'trained' } & Trained)
  | { readonly id: number; readonly is: 'used' }
  | { readonly id: number; readonly is: 'forecast'; readonly forecasts: readonly SeriesForecast[]; readonly seconds: number }
  | { readonly id: number; readonly is: 'far'; readonly forecasts: readonly FarForecast[] }
  | { readonly id: number; readonly is: 'backtested'; readonly results: readonly SeriesBacktest[] }
  | { readonly id: number; readonly is: 'quantiles'; readonly quantiles: Float64Array }
  | { readonly id: number; readonly is: 'failed'; readonly message: string };

/** In a backtest the ridge learns from as many windows as the network. */
const backtestRidgeExamples = 90_000;

let predictor: Predictor | undefined;
let standIn: Predictor | undefined;
let ridges: KeptRidges | null = null;
const recall = createRecall();

async function answer(id: number, request: WorkerRequest): Promise<WorkerAnswer> {
  switch (request.is) {
    case 'open':
      return { id, is: 'opened', backend: await openBackend(request.backend ?? undefined) };
    case 'train':
      await openBackend();
      return { id, is: 'trained', ...train(request) };
    case 'use':
      await openBackend();
      predictor?.dispose();
      predictor = openPredictor(request.model.shape, request.model.weights);
      standIn?.dispose();
      standIn = request.trainedFrom === null ? undefined : openPredictor(request.trainedFrom.shape, request.trainedFrom.weights);
      return { id, is: 'used' };
    case 'round': {
      if (predictor === undefined) return { id, is: 'failed', message: 'no model is loaded' };
      const startedMs = performance.now();
      const { members, options } = request;
      if (request.refit) ridges = refitRidges(members, options.unseenFromMs, ridges);
      else ridges ??= { of: Number.NaN, settled: null, ridges: fitRidges(members, options.unseenFromMs) };
      const forecasts = forecastRound(members, networksOf(predictor), ridges.ridges, options, recall);
      return { id, is: 'forecast', forecasts, seconds: (performance.now() - startedMs) / 1000 };
    }
    case 'far': {
      if (predictor === undefined) return { id, is: 'failed', message: 'no model is loaded' };
      const { predict } = predictor;
      const older = fitRidge(examplesOf(olderParts(request.members, undefined), ridgeExamples));
      const forecasts = request.members.map((member) => forecastFar(member, request.steps, predict, older, request.isNonNegative));
      return { id, is: 'far', forecasts };
    }
    case 'quantiles': {
      if (predictor === undefined) return { id, is: 'failed', message: 'no model is loaded' };
      const origins = Array.from({ length: request.to - request.from }, (_, i) => request.from + i);
      const raw = modelQuantiles(predictor.predict, [{ member: request.member, origins }])[0] ?? new Float64Array(0);
      const moments = momentsOf(request.member, origins);
      const rivals = baselines.map((baseline) => voiceOf(baselineContender(baseline), request.member, moments));
      const early = earlyMedians(networksOf(predictor), [{ member: request.member, moments }])[0] ?? null;
      return { id, is: 'quantiles', quantiles: modelAnswer(request.member, moments, raw, early, rivals) };
    }
    case 'backtest': {
      if (predictor === undefined) return { id, is: 'failed', message: 'no model is loaded' };
      const pooled = fitRidge(examplesOf(request.members, backtestRidgeExamples));
      const { members, stride, settings } = request;
      return { id, is: 'backtested', results: backtestPanel(members, networksOf(predictor), pooled, stride, settings) };
    }
  }
}

const networksOf = ({ predict }: Predictor): Networks => ({ predict, standIn: standIn?.predict ?? null });

function train({ members, examples: limit, hidden, options, seed, start }: Extract<WorkerRequest, { is: 'train' }>): Trained {
  const shape: NetworkShape = { inputs, hidden, outputs, levels };
  const examples = examplesOf(members, limit);
  const rng = createRng(seed);
  const startedMs = performance.now();
  const losses: number[] = [];
  const weights = trainNetwork(
    shape,
    start ?? initialWeights(shape, rng.fork('init')),
    examples,
    options ?? trainingFor(examples.count),
    rng.fork('train'),
    ({ loss }) => losses.push(loss),
  );
  return {
    shape,
    weights,
    windows: examples.count,
    seconds: (performance.now() - startedMs) / 1000,
    losses,
    dataDigest: digestOf(examples),
  };
}

function digestOf({ x, y, weight }: Examples): string {
  const digest = createHash('sha256');
  for (const { buffer, byteOffset, byteLength } of [x, y, weight]) digest.update(new Uint8Array(buffer, byteOffset, byteLength));
  return digest.digest('hex');
}

const port = parentPort;
if (port !== null) {
  let queue = Promise.resolve();
  port.on('message', ({ id, request }: { readonly id: number; readonly request: WorkerRequest }) => {
    queue = queue.then(async () => {
      let said: WorkerAnswer;
      try {
        said = await answer(id, request);
      } catch (error) {
        said = { id, is: 'failed', message: error instanceof Error ? error.message : String(error) };
      }
      port.postMessage(said);
    });
  });
}
