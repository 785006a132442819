import type { Examples } from './examples.ts';
import { inputs, outputs } from './window.ts';

/**
 * Ridge regression on the inputs that the network sees, one direct target a horizon, pooled over all series of the panel: the
 * strongest model that has no randomness in it, and the bar for the network. Weighted least squares by Cholesky. Squares let single
 * spikes own the fit, so inputs and targets are clipped; how far, and the penalty, are chosen by absolute error on every fifth block of
 * examples, then all are refitted. On recorded load clipping took 6 % off its error. Cost: examples x inputs^2 a clip. (One ridge a
 * series was tried: on short, shifting series it lost even to the last value.)
 */
export interface Ridge {
  readonly penalty: number;
  /** Bound on inputs and targets, in spreads. */
  readonly clip: number;
  /** outputs x (inputs + 1), the constant last. */
  readonly coefficients: Float64Array;
}

const penalties = [100, 1_000, 10_000, 100_000, 1_000_000] as const;
const clips = [5, 8, 30] as const;
/** The choice of clip and penalty looks at this many examples at most, spread evenly. */
const choiceExamples = 16_000;
const wide = inputs + 1;

/** Null where there is too little to learn from. */
export function fitRidge(examples: Examples): Ridge | null {
  if (examples.count < 100) return null;
  const block = Math.max(24, Math.floor(examples.count / 100));
  const every = Math.max(2, Math.ceil(examples.count / choiceExamples));
  let best: Ridge | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const clip of clips) {
    const sums = emptySums();
    const heldOut: number[] = [];
    for (let i = 0; i < examples.count; i += every) {
      if (Math.floor(i / block) % 5 === 4) heldOut.push(i);
      else addExample(sums, examples, i, clip);
    }
    for (const penalty of penalties) {
      // A penalty weighs against the number of examples: the final fit has `every` times as many.
      const candidate: Ridge = { penalty: penalty * every, clip, coefficients: solve(sums, penalty) };
      const error = errorOn(candidate, examples, heldOut);
      if (error < least) [best, least] = [candidate, error];
    }
  }
  if (best === undefined) return null;
  const sums = emptySums();
  for (let i = 0; i < examples.count; i += 1) addExample(sums, examples, i, best.clip);
  return { ...best, coefficients: solve(sums, best.penalty) };
}

function errorOn(ridge: Ridge, examples: Examples, heldOut: readonly number[]): number {
  const point = new Float64Array(outputs);
  let error = 0;
  for (const i of heldOut) {
    predictRidge(ridge, examples.x, i * inputs, point);
    for (let h = 0; h < outputs; h += 1)
      error += Math.abs((examples.y[i * outputs + h] ?? 0) - (point[h] ?? 0)) * (examples.weight[i] ?? 0);
  }
  return error;
}

/** Writes the point forecast, in spreads from the level, for the window at `x[offset ..]`. */
export function predictRidge({ coefficients, clip }: Ridge, x: Float32Array, offset: number, out: Float64Array): void {
  for (let h = 0; h < outputs; h += 1) out[h] = coefficients[h * wide + inputs] ?? 0;
  for (let i = 0; i < inputs; i += 1) {
    const input = x[offset + i] ?? 0;
    if (input === 0) continue;
    const value = Math.max(-clip, Math.min(clip, input));
    for (let h = 0; h < outputs; h += 1) out[h] = (out[h] as number) + (coefficients[h * wide + i] as number) * value;
  }
}

interface Sums {
  /** Upper triangle of the weighted X'X. */
  readonly gram: Float64Array;
  /** Weighted X'Y, outputs x wide. */
  readonly cross: Float64Array;
}

function emptySums(): Sums {
  return { gram: new Float64Array(wide * wide), cross: new Float64Array(outputs * wide) };
}

/** Scratch for one clipped example. */
const x = new Float64Array(wide);
const y = new Float64Array(outputs);

function addExample({ gram, cross }: Sums, examples: Examples, example: number, clip: number): void {
  const bounded = (value: number): number => Math.max(-clip, Math.min(clip, value));
  for (let i = 0; i < inputs; i += 1) x[i] = bounded(examples.x[example * inputs + i] as number);
  x[inputs] = 1;
  for (let h = 0; h < outputs; h += 1) y[h] = bounded(examples.y[example * outputs + h] as number);
  const weight = examples.weight[example] ?? 0;
  for (let i = 0; i < wide; i += 1) {
    const xi = weight * (x[i] as number);
    if (xi === 0) continue;
    const row = i * wide;
    for (let j = i; j < wide; j += 1) gram[row + j] = (gram[row + j] as number) + xi * (x[j] as number);
    for (let h = 0; h < outputs; h += 1) cross[h * wide + i] = (cross[h * wide + i] as number) + xi * (y[h] as number);
  }
}

/** Solves (gram + penalty I) w = cross for each target by Cholesky; the constant is not penalised. */
function solve({ gram, cross }: Sums, penalty: number): Float64Array {
  const n = wide;
  const lower = new Float64Array(n * n);
  for (let j = 0; j < n; j += 1) {
    for (let i = j; i < n; i += 1) {
      let sum = gram[j * n + i] ?? 0;
      if (i === j) sum += i < inputs ? penalty : 1e-6;
      for (let k = 0; k < j; k += 1) sum -= (lower[i * n + k] ?? 0) * (lower[j * n + k] ?? 0);
      lower[i * n + j] = i === j ? Math.sqrt(Math.max(sum, 1e-12)) : sum / (lower[j * n + j] ?? 1);
    }
  }
  const weights = new Float64Array(outputs * n);
  for (let h = 0; h < outputs; h += 1) {
    const base = h * n;
    for (let i = 0; i < n; i += 1) {
      let sum = cross[base + i] ?? 0;
      for (let k = 0; k < i; k += 1) sum -= (lower[i * n + k] ?? 0) * (weights[base + k] ?? 0);
      weights[base + i] = sum / (lower[i * n + i] ?? 1);
    }
    for (let i = n - 1; i >= 0; i -= 1) {
      let sum = weights[base + i] ?? 0;
      for (let k = i + 1; k < n; k += 1) sum -= (lower[k * n + i] ?? 0) * (weights[base + k] ?? 0);
      weights[base + i] = sum / (lower[i * n + i] ?? 1);
    }
  }
  return weights;
}
