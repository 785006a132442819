import { type Grid, stepsPerDay } from './time-grid.ts';

/**
 * What the global model sees of a series at one moment: 72 lags, the same hour of the days before, the time of day, and how the
 * level has moved; all relative to the window's own level and spread, so that one network serves series of any unit and a series
 * that it never saw (instance normalisation, as in RevIN, Kim et al. 2022).
 *
 * Anything that history does not reach is 0 with a flag beside it: a series with five points gets an answer, a careful one.
 */
export const lags = 72;
export const horizons = 12;
/** Outputs: one a horizon, then the maximum over all of them. */
export const outputs = horizons + 1;
/** How many earlier days are averaged for the usual value at a time of day. */
const seasonDays = 7;
const extras = 19;
/**
 * Quantiles of the last steps, over short and long spans: [steps, every]. In noise the best guess is a recent median, which a small
 * network does not find among lags by itself (measured on the calibration part of recorded load: 1.5 % less error with them).
 */
const spans = [
  [6, 1],
  [12, 1],
  [36, 1],
  [72, 1],
  [144, 2],
  [288, 4],
] as const;
const spanLevels = [0.1, 0.3, 0.5, 0.7, 0.9] as const;
export const inputs = lags + 3 * horizons + extras + spans.length * spanLevels.length;

/** The longest look back, in steps of a series with `perDay` steps a day. */
export function reach(perDay: number): number {
  return Math.max(lags, 288, seasonDays * perDay);
}

/** What puts a window's numbers back into the series' unit: value = level + spread * number. */
export interface Frame {
  readonly level: number;
  readonly spread: number;
}

/** Bound on a normalised input: a spike of thirty spreads says as much as one of three hundred, and cannot blow up the weights. */
const clip = 30;

/**
 * Writes the inputs of the window that ends at index `at` (the last known value) to `out[offset ..]`.
 * `unit` is the typical step-to-step change of the whole known series, for the model to tell a quiet hour from a quiet series.
 * Nothing before index `start` is looked at: training cuts some windows short, so that the model has met series that just began.
 */
export function fillWindow(grid: Grid, at: number, unit: number, out: Float32Array, offset: number, start = 0): Frame {
  const { values } = grid;
  const perDay = stepsPerDay(grid.stepMs);
  const known = Math.min(lags, at + 1 - start);
  const from = at + 1 - known;
  let sum = 0;
  let change = 0;
  for (let i = from; i <= at; i += 1) {
    sum += values[i] ?? 0;
    if (i > from) change += Math.abs((values[i] ?? 0) - (values[i - 1] ?? 0));
  }
  const level = values[at] ?? 0;
  const mean = sum / known;
  let deviation = 0;
  for (let i = from; i <= at; i += 1) deviation += Math.abs((values[i] ?? 0) - mean);
  deviation /= known;
  change /= Math.max(1, known - 1);
  // The floor keeps a window that happens to be flat from turning the next small step into an enormous number.
  const spread = Math.max(0.5 * (deviation + change), 0.1 * unit, 1e-9 * Math.abs(level), 1e-12);
  const scaled = (value: number): number => Math.max(-clip, Math.min(clip, (value - level) / spread));

  let o = offset;
  for (let k = 0; k < lags; k += 1, o += 1) out[o] = k < known ? scaled(values[at - k] ?? 0) : 0;
  const dayReach = perDay > horizons && at + 1 - start >= perDay;
  // Day-ago values are read relative to the day-ago level as well as to today's: the second set says what today's level is worth.
  for (let h = 1; h <= horizons; h += 1, o += 1) out[o] = dayReach ? scaled(values[at + h - perDay] ?? 0) : 0;
  for (let h = 1; h <= horizons; h += 1, o += 1) {
    let total = 0;
    let days = 0;
    for (let day = 1; dayReach && day <= seasonDays; day += 1) {
      if (at + 1 - day * perDay < start) break;
      total += values[at + h - day * perDay] ?? 0;
      days += 1;
    }
    out[o] = days > 0 ? scaled(total / days) : 0;
  }
  for (let k = 0; k < horizons; k += 1, o += 1) out[o] = dayReach && at - perDay - k >= start ? scaled(values[at - perDay - k] ?? 0) : 0;
  let dayLevel = 0;
  if (dayReach) {
    let count = 0;
    for (let k = 0; k < 6 && at - perDay - k >= start; k += 1, count += 1) dayLevel += values[at - perDay - k] ?? 0;
    dayLevel = count > 0 ? scaled(dayLevel / count) : 0;
  }
  const turn = 2 * Math.PI * (((grid.startMs + at * grid.stepMs) % 86_400_000) / 86_400_000);
  let missing = 0;
  for (let i = from; i <= at; i += 1) missing += grid.missing[i] ?? 0;
  out[o] = dayLevel;
  out[o + 1] = dayReach ? 1 : 0;
  out[o + 2] = perDay > 0 ? Math.sin(turn) : 0;
  out[o + 3] = perDay > 0 ? Math.cos(turn) : 0;
  out[o + 4] = perDay > 0 ? Math.sin(2 * turn) : 0;
  out[o + 5] = perDay > 0 ? Math.cos(2 * turn) : 0;
  out[o + 6] = scaled(meanOf(values, Math.max(start, at - 5), at));
  out[o + 7] = scaled(meanOf(values, Math.max(start, at - 23), at));
  out[o + 8] = scaled(mean);
  out[o + 9] = scaled(meanOf(values, Math.max(start, at - 287), at));
  out[o + 10] = Math.max(-5, Math.min(5, Math.log((spread + 1e-12) / (unit + 1e-12))));
  out[o + 11] = Math.max(-5, Math.min(5, Math.log((change + 1e-12) / (deviation + 1e-12))));
  let [high, low, recent, swing] = [level, level, 0, 0];
  for (let i = from; i <= at; i += 1) {
    const value = values[i] ?? 0;
    high = Math.max(high, value);
    low = Math.min(low, value);
    if (i > at - horizons && i > from) {
      recent += Math.abs(value - (values[i - 1] ?? 0));
      swing += 1;
    }
  }
  out[o + 14] = scaled(high);
  out[o + 15] = scaled(low);
  out[o + 16] = Math.min(clip, recent / Math.max(1, swing) / spread);
  out[o + 17] = Math.max(-5, Math.min(5, Math.log((Math.abs(level) + 1e-9) / (spread + 1e-12)) / 2));
  out[o + 18] = low === 0 ? 1 : 0;
  out[o + 12] = known / lags;
  out[o + 13] = missing / known;
  o += extras;
  let count = 0;
  let stride = 0;
  for (const [steps, every] of spans) {
    // Spans of one stride grow into each other: what was sorted for the shorter is kept for the longer.
    if (every !== stride) count = 0;
    stride = every;
    for (let i = at - count * every; i >= Math.max(start, at + 1 - steps); i -= every) insert(ordered, count++, values[i] as number);
    for (const quantile of spanLevels) out[o++] = scaled(quantileOfRecent(quantile, count));
  }
  return { level, spread };
}

/** Scratch for the values of one span: windows are filled by the hundred thousand. */
const ordered = new Float64Array(Math.max(...spans.map(([steps, every]) => Math.ceil(steps / every))));

/** Puts a value into the first `count` of an ascending list. */
export function insert(list: Float64Array, count: number, value: number): void {
  let place = count;
  for (; place > 0 && (list[place - 1] as number) > value; place -= 1) list[place] = list[place - 1] as number;
  list[place] = value;
}

function quantileOfRecent(quantile: number, count: number): number {
  const position = quantile * (count - 1);
  const low = Math.floor(position);
  const below = ordered[low] ?? 0;
  return below + ((ordered[Math.min(count - 1, low + 1)] ?? 0) - below) * (position - low);
}

function meanOf(values: Float64Array, from: number, to: number): number {
  let sum = 0;
  for (let i = from; i <= to; i += 1) sum += values[i] ?? 0;
  return sum / (to - from + 1);
}

/** Mean absolute change from step to step over [0, upTo): the denominator of MASE and the unit of a series. At least a hair above 0. */
export function stepChange(values: Float64Array, upTo: number): number {
  let sum = 0;
  const end = Math.min(upTo, values.length);
  for (let i = 1; i < end; i += 1) sum += Math.abs((values[i] ?? 0) - (values[i - 1] ?? 0));
  const mean = end > 1 ? sum / (end - 1) : 0;
  return mean > 0 ? mean : 1e-9 * Math.max(1, Math.abs(values[0] ?? 0));
}

/** Steps of the hour that may be missing: what is left says who forecast well, and what lies between neighbours is no bad lesson. */
const mostMissing = 4;

/**
 * Whether a forecast made at `at` can be scored and learned from: the steps after it are over and most were observed, and so was `at` itself,
 * whose value would otherwise lie on a line towards what came after it.
 */
export function isScorable({ missing }: Grid, at: number): boolean {
  if (at + horizons >= missing.length || missing[at] === 1) return false;
  let count = 0;
  for (let h = 1; h <= horizons; h += 1) count += missing[at + h] as number;
  return count <= mostMissing;
}

/** How many steps from `from` on can be scored by what lies before `upTo`, and the last of them; -1 where there is none. */
export function countScorable(grid: Grid, from: number, upTo: number): { readonly count: number; readonly last: number } {
  let count = 0;
  let last = -1;
  for (let at = Math.max(0, from); at + horizons < upTo; at += 1) {
    if (!isScorable(grid, at)) continue;
    count += 1;
    last = at;
  }
  return { count, last };
}
