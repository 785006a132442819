import type { Examples } from './examples.ts';
import { inputs, outputs } from './window.ts';

/**
 * Ridge regression on the inputs that the network sees, one direct target a horizon, pooled over all series of the panel: the
 * strongest model that has no randomness in it, and the bar for the network. Weighted least squares by Cholesky; the penalty is
 * chosen by absolute error on every fifth block of examples, then all are refitted. Cost: examples x inputs^2 / 2, about a second
 * for 30,000. (One ridge a series was tried: on short, shifting series it lost even to the last value.)
 */
export interface Ridge {
  readonly penalty: number;
  /** outputs x (inputs + 1), the constant last. */
  readonly coefficients: Float64Array;
}

const penalties = [10, 100, 1_000, 10_000, 100_000] as const;
const wide = inputs + 1;

/** Null where there is too little to learn from. */
export function fitRidge(examples: Examples): Ridge | null {
  if (examples.count < 100) return null;
  const kept = emptySums();
  const heldOut: number[] = [];
  const block = Math.max(24, Math.floor(examples.count / 100));
  for (let i = 0; i < examples.count; i += 1) {
    if (Math.floor(i / block) % 5 === 4) heldOut.push(i);
    else addExample(kept, examples, i);
  }
  let best: { penalty: number; error: number } = { penalty: penalties[2], error: Number.POSITIVE_INFINITY };
  const point = new Float64Array(outputs);
  for (const penalty of penalties) {
    const candidate: Ridge = { penalty, coefficients: solve(kept, penalty) };
    let error = 0;
    for (const i of heldOut) {
      predictRidge(candidate, examples.x, i * inputs, point);
      for (let h = 0; h < outputs; h += 1)
        error += Math.abs((examples.y[i * outputs + h] ?? 0) - (point[h] ?? 0)) * (examples.weight[i] ?? 0);
    }
    if (error < best.error) best = { penalty, error };
  }
  for (const i of heldOut) addExample(kept, examples, i);
  return { penalty: best.penalty, coefficients: solve(kept, best.penalty) };
}

/** Writes the point forecast, in spreads from the level, for the window at `x[offset ..]`. */
export function predictRidge(ridge: Ridge, x: Float32Array, offset: number, out: Float64Array): void {
  const { coefficients } = ridge;
  for (let h = 0; h < outputs; h += 1) {
    const base = h * wide;
    let sum = coefficients[base + inputs] ?? 0;
    for (let i = 0; i < inputs; i += 1) sum += (coefficients[base + i] ?? 0) * (x[offset + i] ?? 0);
    out[h] = sum;
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

function addExample({ gram, cross }: Sums, examples: Examples, example: number): void {
  const x = examples.x.subarray(example * inputs, (example + 1) * inputs);
  const weight = examples.weight[example] ?? 0;
  for (let i = 0; i < wide; i += 1) {
    const xi = weight * (i < inputs ? (x[i] as number) : 1);
    if (xi === 0) continue;
    const row = i * wide;
    for (let j = i; j < inputs; j += 1) gram[row + j] = (gram[row + j] as number) + xi * (x[j] as number);
    gram[row + inputs] = (gram[row + inputs] as number) + xi;
    for (let h = 0; h < outputs; h += 1)
      cross[h * wide + i] = (cross[h * wide + i] as number) + xi * (examples.y[example * outputs + h] as number);
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
