import type { Forecast } from '../../domain/forecast.ts';
import type { Queryable } from './database.ts';
import { type Page, pageBounds, type PageRequest, toPage } from './page.ts';

export interface StoredForecast extends Forecast {
  readonly id: string;
}

export interface ForecastFilter {
  readonly collection?: string | undefined;
  readonly metric?: string | undefined;
  readonly region?: string | undefined;
  readonly bucket?: number | undefined;
}

interface ForecastRow {
  seq: number;
  body: Forecast;
}

const parseForecast = (row: ForecastRow): StoredForecast => ({ ...row.body, id: `F${row.seq}` });

/** The latest forecast of each series takes the place of the one before. */
export async function saveForecasts(db: Queryable, forecasts: readonly Forecast[]): Promise<void> {
  if (forecasts.length === 0) return;
  const latest = new Map(forecasts.map((forecast) => [JSON.stringify(forecast.series), forecast]));
  const batch = [...latest.values()].map((forecast) => ({
    collection: forecast.series.collection,
    bucket: forecast.series.bucket,
    region: forecast.series.region,
    metric: forecast.series.metric,
    made_at_ms: forecast.madeAtMs,
    served_by: forecast.servedBy,
    body: JSON.stringify(forecast),
  }));
  await db.query(
    `insert into forecasts (collection, bucket, region, metric, made_at_ms, served_by, body)
     select collection, bucket, region, metric, made_at_ms, served_by, body::json
       from json_to_recordset($1::json) as f(collection text, bucket integer, region text, metric text, made_at_ms bigint, served_by text, body text)
     on conflict (collection, bucket, region, metric) do update set made_at_ms = excluded.made_at_ms, served_by = excluded.served_by, body = excluded.body`,
    [JSON.stringify(batch)],
  );
}

export async function getForecast(db: Queryable, id: string): Promise<StoredForecast | null> {
  const match = /^F(\d{1,15})$/.exec(id);
  if (match === null) return null;
  const { rows } = await db.query<ForecastRow>('select seq, body from forecasts where seq = $1', [Number(match[1])]);
  return rows[0] === undefined ? null : parseForecast(rows[0]);
}

export async function listForecasts(db: Queryable, filter: ForecastFilter, request: PageRequest): Promise<Page<StoredForecast>> {
  const { before, limit, fetch } = pageBounds(request);
  const { rows } = await db.query<ForecastRow>(
    `select seq, body from forecasts
      where ($1::text is null or collection = $1) and ($2::text is null or metric = $2) and ($3::text is null or region = $3)
        and ($4::int is null or bucket = $4) and seq < $5
      order by seq desc limit $6`,
    [filter.collection, filter.metric, filter.region, filter.bucket, before, fetch],
  );
  return toPage(rows, limit, parseForecast);
}
