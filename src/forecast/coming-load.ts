import type { Subject } from './suggester.ts';

/** The forecast of a load for the coming steps, as low, middle and high rates; null where there is none. */
export interface ComingLoad {
  readonly low: readonly number[];
  readonly middle: readonly number[];
  readonly high: readonly number[];
}

/**
 * The coming load of some of a collection's buckets: the sums of their quantiles, all regions. Sums of quantiles are the quantiles of
 * the sum where the parts rise and fall together, as the parts of one collection do; where they do not, the band is too wide, which is
 * the careful side.
 */
export function comingLoad(subject: Subject, buckets: ReadonlySet<number> | null): ComingLoad | null {
  const own = subject.forecasts.filter(
    ({ series }) => series.metric === 'operations' && (buckets === null ? series.bucket === -1 : buckets.has(series.bucket)),
  );
  const [first] = own;
  if (first === undefined) return null;
  const at = (level: number): number => first.levels.findIndex((one) => one >= level - 1e-9);
  const sum = (q: number): number[] =>
    first.values.map((_, h) => own.reduce((total, forecast) => total + (forecast.values[h]?.[q] ?? 0), 0));
  return { low: sum(at(0.1)), middle: sum(at(0.5)), high: sum(at(0.9)) };
}
