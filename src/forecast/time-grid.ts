/**
 * From points in time to a regular grid, which is what every forecaster here reads. Real series have gaps, duplicates, points
 * out of order and steps that wander by a second; a forecaster that assumed otherwise would shift its day by hours unseen.
 *
 * The step is the median distance between neighbours; where that wanders, the divisor of the day that is within 2 % of it. Points that
 * fall into one cell are averaged. Empty cells between points are filled along a straight line and marked as missing, so that
 * they are read as history but never scored or trained on. Cost: one sort, one pass.
 */
export interface Point {
  readonly atMs: number;
  readonly value: number;
}

export interface Grid {
  readonly startMs: number;
  readonly stepMs: number;
  /** One value a cell, no NaN: gaps are interpolated. */
  readonly values: Float64Array;
  /** 1 where the cell had no point. */
  readonly missing: Uint8Array;
}

/** Longest grid that is built: twenty years of five-minute steps; a longer gap than that is a wrong clock, not history. */
const maxCells = 2_100_000;
const dayMs = 86_400_000;

/** Whole seconds that divide the day. */
const daySteps = Array.from({ length: 86_400 }, (_, i) => (i + 1) * 1000).filter((stepMs) => dayMs % stepMs === 0);
/** A step that this share of the gaps keeps to the millisecond is meant, and is not snapped. */
const exactShare = 0.8;
const snapShare = 0.02;

/** The usual distance between neighbouring points; where it wanders, the nearest divisor of the day within 2 %. Null under two points. */
export function inferStepMs(points: readonly Point[]): number | null {
  const times = Float64Array.from(points, (point) => point.atMs).sort();
  const gaps: number[] = [];
  for (let i = 1; i < times.length; i += 1) {
    const gap = (times[i] ?? 0) - (times[i - 1] ?? 0);
    if (gap > 0) gaps.push(gap);
  }
  if (gaps.length === 0) return null;
  const step = gaps.toSorted((a, b) => a - b)[gaps.length >> 1] ?? 1;
  if (gaps.filter((gap) => gap === step).length >= exactShare * gaps.length) return step;
  const near = daySteps.reduce((best, one) => (Math.abs(one - step) < Math.abs(best - step) ? one : best), dayMs);
  return Math.abs(near - step) <= snapShare * step ? near : step;
}

/** Lays points on a regular grid. Throws RangeError where there are none or where they span more than {@link maxCells}. */
export function gridOf(points: readonly Point[], stepMs: number): Grid {
  if (points.length === 0) throw new RangeError('a grid needs at least one point');
  if (!(stepMs > 0)) throw new RangeError('the step must be longer than nothing');
  let startMs = Number.POSITIVE_INFINITY;
  let endMs = Number.NEGATIVE_INFINITY;
  for (const point of points) {
    startMs = Math.min(startMs, point.atMs);
    endMs = Math.max(endMs, point.atMs);
  }
  const cells = Math.floor((endMs - startMs) / stepMs + 0.5) + 1;
  if (cells > maxCells)
    throw new RangeError(`the series spans ${cells} steps of ${stepMs} ms, more than ${maxCells}: is one timestamp wrong?`);
  const sums = new Float64Array(cells);
  const counts = new Uint32Array(cells);
  for (const point of points) {
    const cell = Math.min(cells - 1, Math.floor((point.atMs - startMs) / stepMs + 0.5));
    sums[cell] = (sums[cell] ?? 0) + point.value;
    counts[cell] = (counts[cell] ?? 0) + 1;
  }
  const values = new Float64Array(cells);
  const missing = new Uint8Array(cells);
  let last = 0;
  for (let cell = 0; cell < cells; cell += 1) {
    const count = counts[cell] ?? 0;
    if (count === 0) {
      missing[cell] = 1;
      continue;
    }
    const value = (sums[cell] ?? 0) / count;
    values[cell] = value;
    const from = values[last] ?? 0;
    for (let gap = last + 1; gap < cell; gap += 1) values[gap] = from + ((value - from) * (gap - last)) / (cell - last);
    last = cell;
  }
  return { startMs, stepMs, values, missing };
}

/** Steps in a day, or 0 where the step does not divide it or is a day or longer: then there is no daily season to look at. */
export function stepsPerDay(stepMs: number): number {
  const steps = dayMs / stepMs;
  return Number.isInteger(steps) && steps >= 4 && steps <= 8_640 ? steps : 0;
}
