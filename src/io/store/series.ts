import type { SeriesId } from '../../domain/forecast.ts';
import type { Queryable } from './database.ts';

/** One step of one series. */
export interface SeriesPoint {
  readonly series: SeriesId;
  readonly stepMs: number;
  readonly atMs: number;
  readonly value: number;
}

interface PointRow {
  collection: string;
  bucket: number;
  region: string;
  metric: SeriesId['metric'];
  step_ms: number;
  at_ms: number;
  value: number;
}

/** Upsert by (series, step, at): a step that is told again is corrected. */
export async function saveSeriesPoints(db: Queryable, points: readonly SeriesPoint[]): Promise<void> {
  const batchRows = 5_000;
  for (let start = 0; start < points.length; start += batchRows) {
    const batch = points.slice(start, start + batchRows);
    await db.query(
      `insert into series_points (collection, bucket, region, metric, step_ms, at_ms, value)
       select * from unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::float8[])
       on conflict (step_ms, at_ms, collection, bucket, region, metric) do update set value = excluded.value`,
      [
        batch.map((point) => point.series.collection),
        batch.map((point) => point.series.bucket),
        batch.map((point) => point.series.region),
        batch.map((point) => point.series.metric),
        batch.map((point) => point.stepMs),
        batch.map((point) => point.atMs),
        batch.map((point) => point.value),
      ],
    );
  }
}

/** Points of one step width since then, in time order. */
export async function loadSeriesPoints(db: Queryable, stepMs: number, sinceMs: number): Promise<readonly SeriesPoint[]> {
  const { rows } = await db.query<PointRow>('select * from series_points where step_ms = $1 and at_ms >= $2 order by at_ms', [
    stepMs,
    sinceMs,
  ]);
  return rows.map((row) => ({
    series: { collection: row.collection, bucket: row.bucket, region: row.region, metric: row.metric },
    stepMs: row.step_ms,
    atMs: row.at_ms,
    value: row.value,
  }));
}

/** The last points of one series, in time order: what its chart shows. */
export async function loadLatestSeries(db: Queryable, series: SeriesId, stepMs: number, limit: number): Promise<readonly SeriesPoint[]> {
  const { rows } = await db.query<{ at_ms: number; value: number }>(
    `select at_ms, value from series_points
      where step_ms = $1 and collection = $2 and bucket = $3 and region = $4 and metric = $5
        and at_ms > (select coalesce(max(at_ms), 0) from series_points where step_ms = $1) - $1::bigint * $6::bigint
      order by at_ms`,
    [stepMs, series.collection, series.bucket, series.region, series.metric, limit],
  );
  return rows.map((row) => ({ series, stepMs, atMs: row.at_ms, value: row.value }));
}

export async function pruneSeriesPoints(db: Queryable, stepMs: number, beforeMs: number): Promise<void> {
  await db.query('delete from series_points where step_ms = $1 and at_ms < $2', [stepMs, beforeMs]);
}
