import type { Baseline } from './baseline.ts';
import type { Member } from './examples.ts';
import { predictRidge, type Ridge } from './ridge.ts';
import { fillWindow, type Frame, horizons, inputs, isScorable, outputs } from './window.ts';

/**
 * Whoever forecasts quantiles for a series: a baseline, the ridge or the network. All are asked the same way and scored on the
 * same windows, so that the one that is served has earned it.
 */
export interface Contender {
  readonly id: string;
  readonly title: string;
  /** The first origin at which it has an answer of its own that it was not fitted to. */
  knowsFrom(member: Member): number;
  /** origins x outputs x levels, in the series' own unit, ascending over the levels. May read the grid up to each origin only. */
  quantiles(member: Member, origins: readonly number[]): Float64Array;
  /** The medians alone, origins x outputs: a fraction of the work, as no band is made. */
  points(member: Member, origins: readonly number[]): Float64Array;
  /** The band alone, by its errors on the steps before `upTo`: how far from the median each level lies, outputs x levels. */
  reaches(member: Member): Float64Array;
}

/** 80, 90 and 95 % bands, quartiles and the median. */
export const levels = [0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975] as const;
export const medianIndex = 4;

/** Residuals are learned from at most this many origins before `upTo`, evenly spread: enough for a 2.5 % tail with 30 points in it. */
const residualOrigins = 1_200;

/** A point forecaster with a band from its own past errors: per horizon, the quantiles of its residuals on the known part. */
export function withResidualBand(
  id: string,
  title: string,
  knowsFrom: (member: Member) => number,
  fit: (member: Member) => (at: number, out: Float64Array) => void,
): Contender {
  const points = (member: Member, origins: readonly number[]): Float64Array => {
    const predict = fit(member);
    const all = new Float64Array(origins.length * outputs);
    origins.forEach((at, i) => predict(at, all.subarray(i * outputs, (i + 1) * outputs)));
    return all;
  };
  const reaches = (member: Member): Float64Array => reachesOf(member, fit(member));
  return {
    id,
    title,
    knowsFrom,
    points,
    reaches,
    quantiles: (member, origins) => quantilesAround(points(member, origins), reaches(member)),
  };
}

function reachesOf(member: Member, predict: (at: number, out: Float64Array) => void): Float64Array {
  const point = new Float64Array(outputs);
  const past: number[] = [];
  for (let at = 0; at + horizons < member.upTo; at += 1) if (isScorable(member.grid, at)) past.push(at);
  const used = Math.min(past.length, residualOrigins);
  const residuals = Array.from({ length: outputs }, (): number[] => []);
  const { values, missing } = member.grid;
  for (let k = 0; k < used; k += 1) {
    const at = past[Math.floor(((k + 0.5) * past.length) / used)] ?? 0;
    predict(at, point);
    let most = Number.NEGATIVE_INFINITY;
    for (let h = 0; h < horizons; h += 1) {
      const value = values[at + h + 1] ?? 0;
      most = Math.max(most, value);
      if (missing[at + h + 1] !== 1) residuals[h]?.push(value - (point[h] ?? 0));
    }
    residuals[horizons]?.push(most - (point[horizons] ?? 0));
  }
  const reaches = new Float64Array(outputs * levels.length);
  residuals.forEach((list, h) => {
    const sorted = Float64Array.from(list).sort();
    levels.forEach((level, q) => {
      const offset = quantileOfSorted(sorted, level);
      // The median stays the forecaster's own: it is scored as the method that it is named after.
      reaches[h * levels.length + q] = q === medianIndex ? 0 : q < medianIndex ? Math.min(0, offset) : Math.max(0, offset);
    });
  });
  return reaches;
}

/** Origins x outputs x levels, of points and of how far from them each level lies. */
export function quantilesAround(points: Float64Array, reaches: Float64Array): Float64Array {
  const q = levels.length;
  return Float64Array.from({ length: points.length * q }, (_, i) => (points[Math.floor(i / q)] ?? 0) + (reaches[i % reaches.length] ?? 0));
}

export function baselineContender(baseline: Baseline): Contender {
  return withResidualBand(
    baseline.id,
    baseline.title,
    ({ grid }) => baseline.knowsFrom?.(grid) ?? 0,
    ({ grid, upTo }) => baseline.fit(grid, upTo).predict,
  );
}

export function ridgeContender(ridge: Ridge): Contender {
  return withResidualBand(
    'ridge',
    'ridge regression on the same inputs as the model',
    ({ upTo }) => upTo - 1,
    (member) => {
      const window = new Float32Array(inputs);
      return (at, out) => {
        const frame = fillWindow(member.grid, at, member.unit, window, 0);
        predictRidge(ridge, window, 0, out);
        for (let h = 0; h < outputs; h += 1) out[h] = frame.level + frame.spread * (out[h] ?? 0);
      };
    },
  );
}

/** count x inputs in; count x outputs x levels out, in spreads from the level, ascending over the levels. */
export type Predict = (x: Float32Array, count: number) => Float32Array;

/** The network that forecasts, and what it was trained from, which has seen none of the series; null where there is no such. */
export interface Networks {
  readonly predict: Predict;
  readonly standIn: Predict | null;
}

export interface QuantileRequest {
  readonly member: Member;
  readonly origins: readonly number[];
}

/** Windows of many requests, one after the other, and what puts their numbers back into each series' unit. */
export interface Windows {
  readonly x: Float32Array;
  readonly frames: readonly Frame[];
}

export function windowsOf(requests: readonly QuantileRequest[]): Windows {
  const count = requests.reduce((sum, request) => sum + request.origins.length, 0);
  const x = new Float32Array(count * inputs);
  const frames: Frame[] = [];
  for (const { member, origins } of requests) {
    for (const at of origins) frames.push(fillWindow(member.grid, at, member.unit, x, frames.length * inputs));
  }
  return { x, frames };
}

/** The network asked about many series in one product: ten thousand small calls would cost more than their sums. */
export function modelQuantiles(
  predict: Predict,
  requests: readonly QuantileRequest[],
  { x, frames }: Windows = windowsOf(requests),
): readonly Float64Array[] {
  const scaled = predict(x, frames.length);
  const width = outputs * levels.length;
  let row = 0;
  return requests.map(({ origins }) => {
    const out = new Float64Array(origins.length * width);
    for (let i = 0; i < origins.length; i += 1, row += 1) {
      const { level, spread } = frames[row] ?? { level: 0, spread: 0 };
      for (let k = 0; k < width; k += 1) out[i * width + k] = level + spread * (scaled[row * width + k] ?? 0);
    }
    return out;
  });
}

/** Linear interpolation between order statistics (type 7, as R and NumPy do); 0 of nothing. */
export function quantileOfSorted(sorted: ArrayLike<number>, level: number): number {
  if (sorted.length === 0) return 0;
  const position = level * (sorted.length - 1);
  const low = Math.floor(position);
  const a = sorted[low] ?? 0;
  const b = sorted[Math.min(sorted.length - 1, low + 1)] ?? a;
  return a + (b - a) * (position - low);
}
