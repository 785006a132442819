import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { createRng } from '../../../src/base/rng.ts';
import type { Examples } from '../../../src/forecast/examples.ts';
import { openBackend } from '../../../src/io/model/backend.ts';
import { initialWeights, lossAndGradients, openPredictor, trainNetwork } from '../../../src/io/model/network.ts';
import { type NetworkShape, weightNames, type Weights } from '../../../src/io/model/network-shape.ts';

const shape: NetworkShape = { inputs: 5, hidden: [7, 6], outputs: 3, levels: [0.1, 0.5, 0.9] };

function someExamples(count: number): Examples {
  const rng = createRng('examples');
  const draw = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.normal());
  return { count, x: draw(count * shape.inputs), y: draw(count * shape.outputs), weight: draw(count).map(Math.abs) };
}

function someWeights(): Weights {
  const rng = createRng('weights');
  const weights = initialWeights(shape, rng);
  const noisy = (values: Float32Array): Float32Array => values.map((value) => value + 0.3 * rng.normal());
  return { first: noisy(weights.first), second: noisy(weights.second), head: noisy(weights.head), skip: noisy(weights.skip) };
}

describe('the network', () => {
  beforeAll(async () => {
    await openBackend('cpu');
  });

  it('has the gradients that finite differences give', () => {
    const examples = someExamples(16);
    const weights = someWeights();
    const { gradients } = lossAndGradients(shape, weights, examples);
    const step = 1e-3;
    weightNames.forEach((name, i) => {
      let off = 0;
      weights[name].forEach((_, k) => {
        const moved = (by: number): number =>
          lossAndGradients(shape, { ...weights, [name]: weights[name].with(k, (weights[name][k] ?? 0) + by) }, examples).loss;
        const slope = (moved(step) - moved(-step)) / (2 * step);
        if (Math.abs(slope - (gradients[i]?.[k] ?? 0)) > 1e-3) off += 1;
      });
      // ReLU and pinball loss have kinks: a coordinate whose step crosses one is off by right, and few do.
      expect(off).toBeLessThanOrEqual(weights[name].length / 8);
      expect(gradients[i]?.some((value) => Math.abs(value) > 0.01)).toBe(true);
    });
  });

  it('is the naive forecast before it has learned: head and skip start at zero', () => {
    const predictor = openPredictor(shape, initialWeights(shape, createRng(1)));
    expect(predictor.predict(someExamples(4).x, 4).every((value) => value === 0)).toBe(true);
    predictor.dispose();
  });

  it('gives the same weights for the same seed, and others for another', () => {
    const train = (seed: number): Weights => {
      const rng = createRng(seed);
      const options = { epochs: 2, batch: 8, learningRate: 0.01, weightDecay: 0, inputNoise: 0.01 };
      return trainNetwork(shape, initialWeights(shape, rng.fork('init')), someExamples(40), options, rng.fork('train'));
    };
    expect(train(3)).toEqual(train(3));
    expect(train(3).first).not.toEqual(train(4).first);
  });

  it('learns quantiles: of noise around a line it finds the line and the band', () => {
    const rng = createRng('line');
    const count = 2_000;
    const x = Float32Array.from({ length: count * shape.inputs }, () => rng.normal());
    const y = Float32Array.from(
      { length: count * shape.outputs },
      (_, i) => 2 * (x[Math.floor(i / shape.outputs) * shape.inputs] ?? 0) + rng.normal(),
    );
    const options = { epochs: 30, batch: 100, learningRate: 0.02, weightDecay: 0, inputNoise: 0 };
    const seeded = createRng(1);
    const weights = trainNetwork(
      shape,
      initialWeights(shape, seeded),
      { count, x, y, weight: new Float32Array(count).fill(1) },
      options,
      seeded,
    );
    const predictor = openPredictor(shape, weights);
    const [low = 0, middle = 0, high = 0] = predictor.predict(Float32Array.from([1, 0, 0, 0, 0]), 1);
    predictor.dispose();
    expect(middle).toBeCloseTo(2, 0);
    expect(low).toBeCloseTo(2 - 1.28, 0);
    expect(high).toBeCloseTo(2 + 1.28, 0);
  });

  it('leaves no tensors behind', () => {
    const before = tf.memory().numTensors;
    const rng = createRng(1);
    trainNetwork(
      shape,
      initialWeights(shape, rng),
      someExamples(40),
      { epochs: 2, batch: 8, learningRate: 0.01, weightDecay: 0, inputNoise: 0 },
      rng,
    );
    const predictor = openPredictor(shape, initialWeights(shape, rng));
    predictor.predict(someExamples(4).x, 4);
    predictor.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
