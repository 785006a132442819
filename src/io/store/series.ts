import type { SeriesId } from '../../domain/forecast.ts';
import type { Queryable } from './database.ts';

/**
 * History of series. New steps are rows of `series_points`, which can be told again; once a block of 72 steps is over it is packed
 * into one row of `series_blocks` a series, and its mean or peak an hour (12 steps) is kept for longer. At 10,000 series of five-minute
 * steps that is some 15 MB a day instead of 300.
 */
export interface SeriesPoint {
  readonly series: SeriesId;
  readonly stepMs: number;
  readonly atMs: number;
  readonly value: number;
}

/** Consecutive steps of one series; null where a step had no point. */
export interface SeriesSpan {
  readonly series: SeriesId;
  readonly fromMs: number;
  readonly values: readonly (number | null)[];
}

export const blockSteps = 72;
/** Steps that are joined into one for the long history: five minutes become an hour. */
export const coarseSteps = 12;

interface PointRow {
  collection: string;
  bucket: number;
  region: string;
  metric: SeriesId['metric'];
  at_ms: number;
  value: number;
}

interface BlockRow {
  collection: string;
  bucket: number;
  region: string;
  metric: SeriesId['metric'];
  block: number;
  points: (number | null)[];
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

/**
 * All series in the block of time that begins at `fromMs` (a multiple of 72 steps), packed and unpacked. One block of time a call:
 * the whole history of 10,000 series would be twenty million numbers in one answer.
 */
export async function loadSeriesBlock(db: Queryable, stepMs: number, fromMs: number): Promise<readonly SeriesSpan[]> {
  const spanMs = blockSteps * stepMs;
  const packed = await db.query<BlockRow>(
    `select n.collection, n.bucket, n.region, n.metric, b.block, b.points
       from series_blocks b join series_names n on n.id = b.series
      where b.step_ms = $1 and b.block = $2`,
    [stepMs, Math.floor(fromMs / spanMs)],
  );
  const spans: SeriesSpan[] = packed.rows.map((row) => ({ series: seriesOf(row), fromMs: row.block * spanMs, values: row.points }));
  const fresh = await db.query<PointRow>(
    `select collection, bucket, region, metric, at_ms, value from series_points
      where step_ms = $1 and at_ms >= $2 and at_ms < $3
      order by collection, bucket, region, metric, at_ms`,
    [stepMs, fromMs, fromMs + spanMs],
  );
  let open: { readonly key: string; readonly values: (number | null)[] } | undefined;
  for (const row of fresh.rows) {
    const key = JSON.stringify([row.collection, row.bucket, row.region, row.metric]);
    if (open?.key !== key) {
      open = { key, values: [] };
      spans.push({ series: seriesOf(row), fromMs, values: open.values });
    }
    const step = Math.floor((row.at_ms - fromMs) / stepMs);
    while (open.values.length < step) open.values.push(null);
    open.values[step] = row.value;
  }
  return spans;
}

/** The last steps of one series, in time order: what its chart shows. */
export async function loadLatestSeries(db: Queryable, series: SeriesId, stepMs: number, limit: number): Promise<readonly SeriesPoint[]> {
  const { rows } = await db.query<{ at_ms: number; value: number }>(
    `with newest as (
       select greatest(
         coalesce((select max(at_ms) from series_points where step_ms = $1), 0),
         coalesce((select (max(block) + 1) * $7::bigint * $1::bigint - 1 from series_blocks where step_ms = $1), 0)) as at_ms),
     known as (
       select at_ms, value from series_points
        where step_ms = $1 and collection = $2 and bucket = $3 and region = $4 and metric = $5
          and at_ms > (select at_ms from newest) - $1::bigint * $6::bigint
       union all
       select (b.block * $7::bigint + i - 1) * $1::bigint, v
         from series_blocks b
         join series_names n on n.id = b.series
        cross join unnest(b.points) with ordinality as u(v, i)
        where b.step_ms = $1 and n.collection = $2 and n.bucket = $3 and n.region = $4 and n.metric = $5
          and b.block >= ((select at_ms from newest) - $1::bigint * $6::bigint) / ($1::bigint * $7::bigint) and v is not null)
     select at_ms, value from known where at_ms > (select at_ms from newest) - $1::bigint * $6::bigint order by at_ms`,
    [stepMs, series.collection, series.bucket, series.region, series.metric, limit, blockSteps],
  );
  return rows.map((row) => ({ series, stepMs, atMs: row.at_ms, value: row.value }));
}

/**
 * Packs the blocks that ended by `beforeMs`, and writes their coarse steps (a rate's mean over the steps that were watched, the peak
 * of anything else). Points that were told for a packed block since are merged into it. Takes a transaction: points that left one
 * table must be in the other.
 */
async function packSeriesPoints(tx: Queryable, stepMs: number, beforeMs: number, isCoarse: boolean): Promise<void> {
  const spanMs = blockSteps * stepMs;
  const endMs = Math.floor(beforeMs / spanMs) * spanMs;
  await tx.query(
    `insert into series_names (collection, bucket, region, metric)
     select distinct collection, bucket, region, metric from series_points where step_ms = $1 and at_ms < $2
     on conflict do nothing`,
    [stepMs, endMs],
  );
  if (!isCoarse) {
    await tx.query(
      `with watched as (
         select at_ms / $3::bigint as cell, count(distinct at_ms) as steps from series_points where step_ms = $1 and at_ms < $2 group by 1)
       insert into series_points (collection, bucket, region, metric, step_ms, at_ms, value)
       select p.collection, p.bucket, p.region, p.metric, $3::bigint, p.at_ms / $3::bigint * $3::bigint,
              case when p.metric in ('latency-p95-ms', 'hottest-key-share') then max(p.value)
                   when p.metric = 'read-trip-ms' then min(p.value) else sum(p.value) / max(w.steps) end
         from series_points p join watched w on w.cell = p.at_ms / $3::bigint
        where p.step_ms = $1 and p.at_ms < $2
        group by p.collection, p.bucket, p.region, p.metric, p.at_ms / $3::bigint
       on conflict do nothing`,
      [stepMs, endMs, stepMs * coarseSteps],
    );
  }
  await tx.query(
    `with closed as (
       select n.id as series, p.at_ms / $3::bigint as block, ((p.at_ms % $3::bigint) / $1::bigint)::int as i, p.value
         from series_points p join series_names n using (collection, bucket, region, metric)
        where p.step_ms = $1 and p.at_ms < $2),
     spans as (select distinct series, block from closed)
     insert into series_blocks (step_ms, block, series, points)
     select $1::bigint, s.block, s.series, array_agg(c.value::real order by g.i)
       from spans s cross join generate_series(0, $4::int - 1) as g(i)
       left join closed c on c.series = s.series and c.block = s.block and c.i = g.i
      group by s.block, s.series
     on conflict (step_ms, block, series) do update set points = (
       select array_agg(coalesce(fresh, kept) order by i)
         from unnest(excluded.points, series_blocks.points) with ordinality as u(fresh, kept, i))`,
    [stepMs, endMs, spanMs, blockSteps],
  );
  await tx.query('delete from series_points where step_ms = $1 and at_ms < $2', [stepMs, endMs]);
}

/** Five-minute steps are kept for four weeks, for replays; their hours for thirteen months. */
const keptSteps = 8_064;
const keptCoarseSteps = 9_490;

/** Packs both step widths up to then and forgets what is older than is kept. */
export async function packSeries(tx: Queryable, stepMs: number, beforeMs: number): Promise<void> {
  const coarseMs = stepMs * coarseSteps;
  await packSeriesPoints(tx, stepMs, beforeMs, false);
  await packSeriesPoints(tx, coarseMs, beforeMs, true);
  await pruneSeriesPoints(tx, stepMs, beforeMs - keptSteps * stepMs);
  await pruneSeriesPoints(tx, coarseMs, beforeMs - keptCoarseSteps * coarseMs);
}

/** Forgets blocks and points of one step width that lie wholly before then, and series of which nothing is left. */
async function pruneSeriesPoints(db: Queryable, stepMs: number, beforeMs: number): Promise<void> {
  await db.query('delete from series_points where step_ms = $1 and at_ms < $2', [stepMs, beforeMs]);
  await db.query('delete from series_blocks where step_ms = $1 and block < $2', [stepMs, Math.floor(beforeMs / (blockSteps * stepMs))]);
  await db.query('delete from series_names n where not exists (select from series_blocks b where b.series = n.id)');
}

function seriesOf(row: Pick<PointRow, 'collection' | 'bucket' | 'region' | 'metric'>): SeriesId {
  return { collection: row.collection, bucket: row.bucket, region: row.region, metric: row.metric };
}

/** What each key range of a collection did in the last steps, all regions together; ranges that did nothing are left out. */
export async function loadRangeHeat(
  db: Queryable,
  collection: string,
  metric: SeriesId['metric'],
  stepMs: number,
  steps: number,
): Promise<{ readonly fromMs: number; readonly ranges: readonly { readonly bucket: number; readonly values: readonly number[] }[] }> {
  const { rows } = await db.query<{ bucket: number; at_ms: number; value: number }>(
    `with known as (
       select bucket, at_ms, value from series_points
        where step_ms = $1 and collection = $2 and metric = $3 and bucket >= 0
       union all
       select n.bucket, (b.block * $5::bigint + i - 1) * $1::bigint, v
         from series_blocks b join series_names n on n.id = b.series cross join unnest(b.points) with ordinality as u(v, i)
        where b.step_ms = $1 and n.collection = $2 and n.metric = $3 and n.bucket >= 0 and v is not null
          and b.block >= coalesce(
            (select max(at_ms) / ($1::bigint * $5::bigint) from series_points where step_ms = $1),
            (select max(block) from series_blocks where step_ms = $1)) - $4::bigint / $5::bigint - 1),
     newest as (select max(at_ms) as at_ms from known)
     select bucket, at_ms, case when $3 in ('latency-p95-ms', 'hottest-key-share') then max(value) else sum(value) end as value
       from known where at_ms > (select at_ms from newest) - $4::bigint * $1::bigint
      group by bucket, at_ms order by bucket, at_ms`,
    [stepMs, collection, metric, steps, blockSteps],
  );
  const lastMs = rows.reduce((last, row) => Math.max(last, row.at_ms), 0);
  const fromMs = lastMs - (steps - 1) * stepMs;
  const ranges = new Map<number, number[]>();
  for (const { bucket, at_ms: atMs, value } of rows) {
    const values = ranges.get(bucket) ?? Array.from({ length: steps }, () => 0);
    values[Math.round((atMs - fromMs) / stepMs)] = value;
    ranges.set(bucket, values);
  }
  return { fromMs, ranges: [...ranges].map(([bucket, values]) => ({ bucket, values })) };
}
