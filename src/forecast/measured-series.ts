import type { SeriesId } from '../domain/forecast.ts';
import type { Measurement } from '../domain/measurement.ts';
import { measuredThing } from '../domain/measurement.ts';
import { type FeaturePoint, seriesName } from './features.ts';

/**
 * What stores measure of themselves, as series beside those from traces. Replication lag is a series of its own (the highest of a step);
 * time waited for locks and deadlocks are counted by the server for all its clients, traced or not, so they raise the trace's own counts of
 * lock wait and conflicts where they are higher. Memory: one number for each counter, one cell for each place and open step, both bounded.
 */
export interface MeasuredSeries {
  /** `placesOf`: the collections and regions that a measurement speaks for; none where it is not clear. */
  fold(measurements: readonly Measurement[], placesOf: (one: Measurement) => readonly Place[]): void;
  /** Points of all steps that were over, lateness included, at `nowMs`; each step leaves once. */
  drain(nowMs: number): readonly FeaturePoint[];
}

export interface Place {
  readonly collection: string;
  readonly region: string;
}

const metrics: Readonly<Partial<Record<Measurement['kind'], SeriesId['metric']>>> = {
  'replication-lag-ms': 'replication-lag-ms',
  'lock-wait-ms': 'lock-wait-ms',
  'lock-waits': 'lock-waits',
  deadlocks: 'conflicts',
};
const isHighest = (metric: SeriesId['metric']): boolean => metric === 'replication-lag-ms';

const countersKept = 20_000;
const cellsKept = 20_000;

export function createMeasuredSeries(options: { readonly stepMs: number; readonly lateSteps: number }): MeasuredSeries {
  const { stepMs, lateSteps } = options;
  const counters = new Map<string, { value: number; atUs: number }>();
  const cells = new Map<string, { readonly series: SeriesId; readonly step: number; value: number }>();
  let drainedUpTo = Number.NEGATIVE_INFINITY;

  /** What a counter gained since it was last heard of; undefined for its first word and for what is older. */
  const gainOf = (one: Measurement): number | undefined => {
    if (!one.isCumulative) return one.value;
    const thing = measuredThing(one);
    const last = counters.get(thing);
    if (last === undefined) {
      if (counters.size < countersKept) counters.set(thing, { value: one.value, atUs: one.atUs });
      return undefined;
    }
    if (one.atUs <= last.atUs) return undefined;
    // A server that started again counts from nothing.
    const gain = one.value >= last.value ? one.value - last.value : one.value;
    last.value = one.value;
    last.atUs = one.atUs;
    return gain;
  };

  return {
    fold: (measurements, placesOf) => {
      for (const one of measurements) {
        const metric = metrics[one.kind];
        if (metric === undefined) continue;
        const gain = gainOf(one);
        const step = Math.floor(one.atUs / 1000 / stepMs);
        if (gain === undefined || gain < 0 || step <= drainedUpTo) continue;
        for (const { collection, region } of placesOf(one)) {
          const series: SeriesId = { collection, bucket: -1, region, metric };
          const name = `${step} ${seriesName(series)}`;
          const cell = cells.get(name);
          if (cell !== undefined) cell.value = isHighest(metric) ? Math.max(cell.value, gain) : cell.value + gain;
          else if (cells.size < cellsKept) cells.set(name, { series, step, value: gain });
        }
      }
    },
    drain: (nowMs) => {
      const upTo = Math.floor(nowMs / stepMs) - 1 - lateSteps;
      const points: FeaturePoint[] = [];
      for (const [name, { series, step, value }] of cells) {
        if (step > upTo) continue;
        points.push({ series, atMs: step * stepMs, value });
        cells.delete(name);
      }
      drainedUpTo = Math.max(drainedUpTo, upTo);
      return points;
    },
  };
}

/** Points from traces and points measured, one for each series and step: the higher, since neither counts more than there was. */
export function joinMeasured(fromTraces: readonly FeaturePoint[], measured: readonly FeaturePoint[]): readonly FeaturePoint[] {
  if (measured.length === 0) return fromTraces;
  const joined = new Map<string, FeaturePoint>();
  for (const point of [...fromTraces, ...measured]) {
    const name = `${point.atMs} ${seriesName(point.series)}`;
    const other = joined.get(name);
    if (other === undefined || other.value < point.value) joined.set(name, point);
  }
  return [...joined.values()];
}
