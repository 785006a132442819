import type { Anomaly } from '../../domain/anomaly.ts';
import type { Queryable } from './database.ts';
import { type Page, pageBounds, type PageRequest, toPage } from './page.ts';

export interface StoredAnomaly extends Anomaly {
  readonly caseId: string | null;
  readonly recordedAtMs: number;
}

export interface AnomalyFilter {
  readonly kind?: string | undefined;
  readonly grade?: string | undefined;
  readonly domain?: string | undefined;
  readonly collection?: string | undefined;
  readonly objectKey?: string | undefined;
  readonly service?: string | undefined;
  readonly caseId?: string | undefined;
}

interface AnomalyRow {
  seq: number;
  count: number;
  first_seen_us: number;
  last_seen_us: number;
  body: Anomaly;
  case_id: string | null;
  recorded_at_ms: number;
}

const parseAnomaly = (row: AnomalyRow): StoredAnomaly => ({
  ...row.body,
  count: row.count,
  firstSeenUs: row.first_seen_us,
  lastSeenUs: row.last_seen_us,
  caseId: row.case_id,
  recordedAtMs: row.recorded_at_ms,
});

/** An anomaly is known by its fingerprint: a replay raises nothing. The last report of a finding carries its full count. Returns the fingerprints that were new. */
export async function saveAnomalies(db: Queryable, anomalies: readonly Anomaly[], atMs: number): Promise<readonly string[]> {
  // One finding can be in a batch twice, and one insert cannot touch a row twice: the later report wins.
  const latest = new Map(anomalies.map((anomaly) => [anomaly.fingerprint, anomaly]));
  const batch = [...latest.values()].map((anomaly) => ({ ...anomaly, body: JSON.stringify(anomaly) }));
  if (batch.length === 0) return [];
  const { rows } = await db.query<{ fingerprint: string; is_new: boolean }>(
    `insert into anomalies (fingerprint, kind, grade, domain, collection, object_key, service, count, first_seen_us, last_seen_us, body, recorded_at_ms)
     select a.fingerprint, a.kind, a.grade, a.domain, a.collection, a."objectKey", a.service, a.count, a."firstSeenUs", a."lastSeenUs", a.body::json, $2
       from json_to_recordset($1::json) as a(fingerprint text, kind text, grade text, domain text, collection text, "objectKey" text, service text,
              count bigint, "firstSeenUs" bigint, "lastSeenUs" bigint, body text)
     on conflict (fingerprint) do update set
       count = greatest(anomalies.count, excluded.count),
       first_seen_us = least(anomalies.first_seen_us, excluded.first_seen_us),
       last_seen_us = greatest(anomalies.last_seen_us, excluded.last_seen_us),
       body = excluded.body
     returning fingerprint, (xmax = 0) as is_new`,
    [JSON.stringify(batch), atMs],
  );
  return rows.filter((row) => row.is_new).map((row) => row.fingerprint);
}

export async function getAnomaly(db: Queryable, fingerprint: string): Promise<StoredAnomaly | null> {
  const { rows } = await db.query<AnomalyRow>('select * from anomalies where fingerprint = $1', [fingerprint]);
  return rows[0] === undefined ? null : parseAnomaly(rows[0]);
}

export async function listAnomalies(db: Queryable, filter: AnomalyFilter, request: PageRequest): Promise<Page<StoredAnomaly>> {
  const { before, limit, fetch } = pageBounds(request);
  const { rows } = await db.query<AnomalyRow>(
    `select * from anomalies
      where ($1::text is null or kind = $1) and ($2::text is null or grade = $2) and ($3::text is null or domain = $3)
        and ($4::text is null or collection = $4) and ($5::text is null or object_key = $5) and ($6::text is null or service = $6)
        and ($7::text is null or case_id = $7) and seq < $8
      order by seq desc limit $9`,
    [filter.kind, filter.grade, filter.domain, filter.collection, filter.objectKey, filter.service, filter.caseId, before, fetch],
  );
  return toPage(rows, limit, parseAnomaly);
}

/** Findings whose counts go on after a restart: the latest ones; an older one that returns is counted from one again, and the store keeps the larger count. */
const toldMax = 20_000;

/** What was told so far, for the detectors of a new process. */
export async function listToldFindings(db: Queryable): Promise<
  readonly {
    readonly fingerprint: string;
    readonly count: number;
    readonly realised: number;
    readonly firstSeenUs: number;
    readonly lastSeenUs: number;
  }[]
> {
  const { rows } = await db.query<{ fingerprint: string; count: number; realised: number; first_seen_us: number; last_seen_us: number }>(
    `select fingerprint, count, coalesce((body ->> 'realised')::bigint, 0) as realised, first_seen_us, last_seen_us
       from anomalies order by last_seen_us desc limit ${toldMax}`,
  );
  return rows.map((row) => ({
    fingerprint: row.fingerprint,
    count: row.count,
    realised: row.realised,
    firstSeenUs: row.first_seen_us,
    lastSeenUs: row.last_seen_us,
  }));
}

/** Anomalies on these objects, the latest first: what may explain a divergence. */
export async function listAnomaliesOnObjects(
  db: Queryable,
  collection: string,
  objectKeys: readonly string[],
  sinceUs: number,
): Promise<readonly StoredAnomaly[]> {
  const { rows } = await db.query<AnomalyRow>(
    `select * from anomalies where collection = $1 and object_key = any($2::text[]) and last_seen_us >= $3 order by last_seen_us desc limit 200`,
    [collection, objectKeys, sinceUs],
  );
  return rows.map(parseAnomaly);
}

export async function listAnomaliesByFingerprint(db: Queryable, fingerprints: readonly string[]): Promise<readonly StoredAnomaly[]> {
  const { rows } = await db.query<AnomalyRow>('select * from anomalies where fingerprint = any($1::text[])', [fingerprints]);
  return rows.map(parseAnomaly);
}

/** Anomalies that one of these traces is a witness of. */
export async function listAnomaliesOfTraces(
  db: Queryable,
  traceIds: readonly string[],
  sinceUs: number,
): Promise<readonly StoredAnomaly[]> {
  const { rows } = await db.query<AnomalyRow>(
    `select a.* from anomalies a
      where a.last_seen_us >= $2
        and exists (select 1 from json_array_elements(a.body -> 'spans') as span where span ->> 'traceId' = any($1::text[]))
      order by a.last_seen_us desc limit 200`,
    [traceIds, sinceUs],
  );
  return rows.map(parseAnomaly);
}

/** Per collection, how often stale reads were proven since then: by version, or against the session's own write. */
export async function countStaleReads(db: Queryable, sinceUs: number): Promise<ReadonlyMap<string, number>> {
  const { rows } = await db.query<{ collection: string; count: string | number }>(
    `select collection, sum(count) as count from anomalies
      where kind in ('stale-read', 'read-your-writes', 'non-monotonic-read') and collection is not null and last_seen_us >= $1
      group by collection`,
    [sinceUs],
  );
  return new Map(rows.map((row) => [row.collection, Number(row.count)]));
}

export async function linkAnomaly(db: Queryable, fingerprint: string, caseId: string): Promise<void> {
  await db.query('update anomalies set case_id = $2 where fingerprint = $1 and case_id is distinct from $2', [fingerprint, caseId]);
}
