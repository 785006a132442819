import type { Rng } from '../base/rng.ts';

/**
 * The interval of a replayed gain. Costs of neighbouring steps go together, so whole blocks are drawn (circular block bootstrap,
 * Politis and Romano 1992); a plain bootstrap would call luck certain.
 */
export interface GainInterval {
  readonly gain: number;
  readonly low: number;
  readonly high: number;
}

/** What an operation that breaks a promise is taken to cost, in milliseconds of waiting: a promise is worth more than a little speed. */
export const brokenMs = 1_000;

const draws = 500;

/**
 * 95 % interval of the total of `perStep` gains minus `once` (the price of acting). `block` is in steps: the length over which
 * gains go together. The block is cut where the record holds fewer than eight of them.
 */
export function gainInterval(perStep: readonly number[], once: number, block: number, rng: Rng): GainInterval {
  const n = perStep.length;
  const total = perStep.reduce((sum, gain) => sum + gain, 0) - once;
  if (n < 8) return { gain: total, low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
  const length = Math.max(1, Math.min(block, Math.floor(n / 8)));
  const prefix = new Float64Array(n + 1);
  for (let i = 0; i < n; i += 1) prefix[i + 1] = (prefix[i] ?? 0) + (perStep[i] ?? 0);
  const whole = prefix[n] ?? 0;
  const sumFrom = (start: number, count: number): number =>
    start + count <= n
      ? (prefix[start + count] ?? 0) - (prefix[start] ?? 0)
      : whole - (prefix[start] ?? 0) + (prefix[start + count - n] ?? 0);
  const totals = new Float64Array(draws);
  for (let draw = 0; draw < draws; draw += 1) {
    let sum = 0;
    for (let filled = 0; filled < n; filled += length) sum += sumFrom(rng.int(n), Math.min(length, n - filled));
    totals[draw] = sum - once;
  }
  totals.sort();
  return { gain: total, low: totals[Math.floor(0.025 * draws)] ?? 0, high: totals[Math.ceil(0.975 * draws) - 1] ?? 0 };
}

/** A series thinned to at most `points` means, for a chart that travels. */
export function curveOf(values: readonly number[], points = 96): readonly number[] {
  const width = Math.max(1, Math.ceil(values.length / points));
  const curve: number[] = [];
  for (let from = 0; from < values.length; from += width) {
    const slice = values.slice(from, from + width);
    curve.push(slice.reduce((sum, value) => sum + value, 0) / slice.length);
  }
  return curve;
}
