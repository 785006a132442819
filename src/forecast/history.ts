import type { SeriesId } from '../domain/forecast.ts';
import { type FeaturePoint, seriesName } from './features.ts';
import type { Grid } from './time-grid.ts';

/**
 * The recent past of every series, as much as forecasting reads: a ring of single-precision numbers a series. A step in which some
 * series has a point was observed, so a rate that has none there is 0; a step in which none has was not observed (the service was
 * down), and stays missing. Bounded by `capacity` steps and `maxSeries`; a series beyond that is counted and not kept.
 */
export interface History {
  put(points: readonly FeaturePoint[]): void;
  /** Consecutive steps of one series from `fromMs` on, null where it had no point: how kept history comes back. */
  putSpan(series: SeriesId, fromMs: number, values: readonly (number | null)[]): void;
  /** The steps in [fromStep, toStep] were watched, whether or not anything happened in them. */
  watched(fromStep: number, toStep: number): void;
  /** Series with at least one point in the kept span. */
  series(): readonly SeriesId[];
  /** The series up to `lastStep` inclusive, from its first kept point; null where nothing is kept of it. */
  gridOf(series: SeriesId, lastStep: number): Grid | null;
  readonly refused: number;
}

/** A step without operations has no latency and no hottest key; it has a rate, and that is 0. */
const isRate = (metric: SeriesId['metric']): boolean =>
  metric !== 'latency-p95-ms' && metric !== 'hottest-key-share' && metric !== 'read-trip-ms' && metric !== 'replication-lag-ms';

interface Ring {
  readonly series: SeriesId;
  readonly values: Float32Array;
  firstStep: number;
  lastStep: number;
}

export function createHistory(stepMs: number, capacity: number, maxSeries: number): History {
  const rings = new Map<string, Ring>();
  const observed = new Uint8Array(capacity);
  let newest = Number.NEGATIVE_INFINITY;
  let refused = 0;

  /** Forgets what the ring held for steps that are now new. */
  const advance = (step: number): void => {
    if (step <= newest) return;
    const from = Number.isFinite(newest) ? Math.max(newest + 1, step - capacity + 1) : step - capacity + 1;
    for (let s = from; s <= step; s += 1) {
      const slot = modulo(s, capacity);
      observed[slot] = 0;
      for (const ring of rings.values()) ring.values[slot] = Number.NaN;
    }
    newest = step;
  };

  const ringOf = (series: SeriesId, step: number): Ring | undefined => {
    const name = seriesName(series);
    let ring = rings.get(name);
    if (ring === undefined) {
      if (rings.size >= maxSeries) return undefined;
      ring = { series, values: new Float32Array(capacity).fill(Number.NaN), firstStep: step, lastStep: step };
      rings.set(name, ring);
    }
    return ring;
  };
  const write = (ring: Ring, step: number, value: number): void => {
    const slot = modulo(step, capacity);
    ring.values[slot] = value;
    ring.firstStep = Math.min(ring.firstStep, step);
    ring.lastStep = Math.max(ring.lastStep, step);
    observed[slot] = 1;
  };

  return {
    get refused() {
      return refused;
    },
    put: (points) => {
      for (const { series, atMs, value } of points.toSorted((a, b) => a.atMs - b.atMs)) {
        const step = Math.floor(atMs / stepMs);
        advance(step);
        if (step <= newest - capacity) continue;
        const ring = ringOf(series, step);
        if (ring === undefined) refused += 1;
        else write(ring, step, value);
      }
      for (const [name, ring] of rings) if (ring.lastStep <= newest - capacity) rings.delete(name);
    },
    putSpan: (series, fromMs, values) => {
      const first = Math.floor(fromMs / stepMs);
      const last = values.findLastIndex((value) => value !== null);
      if (last < 0) return;
      advance(first + last);
      let ring: Ring | undefined;
      for (let i = Math.max(0, newest - capacity + 1 - first); i <= last; i += 1) {
        const value = values[i] ?? null;
        if (value === null) continue;
        ring ??= ringOf(series, first + i);
        if (ring === undefined) {
          refused += 1;
          return;
        }
        write(ring, first + i, value);
      }
    },
    watched: (fromStep, toStep) => {
      advance(toStep);
      for (let step = Math.max(fromStep, newest - capacity + 1); step <= toStep; step += 1) observed[modulo(step, capacity)] = 1;
    },
    series: () => [...rings.values()].map((ring) => ring.series),
    gridOf: (series, lastStep) => {
      const ring = rings.get(seriesName(series));
      if (ring === undefined) return null;
      const first = Math.max(ring.firstStep, newest - capacity + 1);
      const cells = lastStep - first + 1;
      if (cells < 1 || lastStep > newest) return null;
      const values = new Float64Array(cells);
      const missing = new Uint8Array(cells);
      let lastKnown = -1;
      for (let i = 0; i < cells; i += 1) {
        const slot = modulo(first + i, capacity);
        const value = ring.values[slot] ?? Number.NaN;
        if (Number.isNaN(value) && !(observed[slot] === 1 && isRate(series.metric))) {
          missing[i] = 1;
          continue;
        }
        values[i] = Number.isNaN(value) ? 0 : value;
        const from = lastKnown < 0 ? (values[i] ?? 0) : (values[lastKnown] ?? 0);
        for (let gap = lastKnown + 1; gap < i; gap += 1) {
          values[gap] = lastKnown < 0 ? from : from + (((values[i] ?? 0) - from) * (gap - lastKnown)) / (i - lastKnown);
        }
        lastKnown = i;
      }
      if (lastKnown < 0) return null;
      for (let i = lastKnown + 1; i < cells; i += 1) values[i] = values[lastKnown] ?? 0;
      return { startMs: first * stepMs, stepMs, values, missing };
    },
  };
}

const modulo = (value: number, by: number): number => ((value % by) + by) % by;
