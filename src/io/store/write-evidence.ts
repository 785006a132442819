import type { Version } from '../../domain/operation.ts';
import type { Queryable } from './database.ts';

/** One write to an object that a trace told of; `runtime/explain-case.ts` turns it into the noun that strategies read. */
export interface StoredWrite {
  readonly collection: string;
  readonly objectKey: string;
  readonly kind: 'write' | 'append' | 'delete' | 'compensate' | 'publish-failed';
  readonly version: Version | undefined;
  readonly versionBase: Version | undefined;
  readonly hlc: string;
  readonly valueDigest: string;
  readonly replicaId: string;
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly spanIndex: number;
  readonly failed: boolean;
  readonly outcome: 'committed' | 'aborted' | 'unknown';
  readonly atUs: number;
}

interface EvidenceRow {
  collection: string;
  object_key: string;
  kind: StoredWrite['kind'];
  version: string | null;
  version_is_integer: boolean;
  version_base: string | null;
  hlc: string;
  value_digest: string;
  replica_id: string;
  service: string;
  trace_id: string;
  span_id: string;
  span_index: number;
  failed: boolean;
  outcome: StoredWrite['outcome'];
  at_us: number;
}

const parseVersion = (text: string | null, isInteger: boolean): Version | undefined =>
  text === null ? undefined : isInteger && text !== '' ? BigInt(text) : text;

const parseEvidence = (row: EvidenceRow): StoredWrite => ({
  collection: row.collection,
  objectKey: row.object_key,
  kind: row.kind,
  version: parseVersion(row.version, row.version_is_integer),
  versionBase: parseVersion(row.version_base, row.version_is_integer),
  hlc: row.hlc,
  valueDigest: row.value_digest,
  replicaId: row.replica_id,
  service: row.service,
  traceId: row.trace_id,
  spanId: row.span_id,
  spanIndex: row.span_index,
  failed: row.failed,
  outcome: row.outcome,
  atUs: row.at_us,
});

/** Idempotent by (trace, span, index): a replay adds nothing. */
export async function saveWrites(db: Queryable, evidence: readonly StoredWrite[], nowMs: number): Promise<void> {
  if (evidence.length === 0) return;
  const batch = evidence.map((write) => ({
    collection: write.collection,
    object_key: write.objectKey,
    kind: write.kind,
    version: write.version?.toString() ?? null,
    version_is_integer: typeof write.version === 'bigint',
    version_base: write.versionBase?.toString() ?? null,
    hlc: write.hlc,
    value_digest: write.valueDigest,
    replica_id: write.replicaId,
    service: write.service,
    trace_id: write.traceId,
    span_id: write.spanId,
    span_index: write.spanIndex,
    failed: write.failed,
    outcome: write.outcome,
    at_us: Math.trunc(write.atUs),
  }));
  await db.query(
    `insert into write_evidence (collection, object_key, kind, version, version_is_integer, version_base, hlc, value_digest, replica_id, service, trace_id, span_id,
       span_index, failed, outcome, at_us, recorded_at_ms)
     select collection, object_key, kind, version, version_is_integer, version_base, hlc, value_digest, replica_id, service, trace_id, span_id, span_index, failed, outcome, at_us, $2
       from json_to_recordset($1::json) as w(collection text, object_key text, kind text, version text, version_is_integer boolean, version_base text, hlc text,
              value_digest text, replica_id text, service text, trace_id text, span_id text, span_index integer, failed boolean, outcome text, at_us bigint)
     on conflict (trace_id, span_id, span_index) do nothing`,
    [JSON.stringify(batch), nowMs],
  );
}

/** The latest writes to these objects, newest first, at most `perKey` each. */
export async function listWritesToObjects(
  db: Queryable,
  collection: string,
  objectKeys: readonly string[],
  perKey: number,
): Promise<readonly StoredWrite[]> {
  const { rows } = await db.query<EvidenceRow>(
    `select w.* from unnest($2::text[]) as wanted(object_key),
       lateral (select * from write_evidence e where e.collection = $1 and e.object_key = wanted.object_key order by e.at_us desc limit $3) as w`,
    [collection, objectKeys, perKey],
  );
  return rows.map(parseEvidence);
}

/**
 * Takes the keys of a collection that were written since the last take and at least `beforeMs` ago, each once, for one worker: two
 * workers at once take different ones. A worker that dies with them loses a hint, not a divergence: the next scan finds it.
 */
export async function takeTouchedKeys(tx: Queryable, collection: string, beforeMs: number, limit: number): Promise<readonly string[]> {
  await tx.query('insert into collection_state (collection) values ($1) on conflict do nothing', [collection]);
  const state = await tx.query<{ evidence_seq: number }>(
    'select evidence_seq from collection_state where collection = $1 for update skip locked',
    [collection],
  );
  const after = state.rows[0]?.evidence_seq;
  if (after === undefined) return [];
  const { rows } = await tx.query<{ seq: number; object_key: string }>(
    'select seq, object_key from write_evidence where collection = $1 and seq > $2 and recorded_at_ms <= $3 order by seq limit $4',
    [collection, after, beforeMs, limit],
  );
  const last = rows.at(-1);
  if (last === undefined) return [];
  await tx.query('update collection_state set evidence_seq = $2 where collection = $1', [collection, last.seq]);
  return [...new Set(rows.map((row) => row.object_key))];
}

export async function countKeysChecked(db: Queryable, collection: string, keys: number): Promise<void> {
  await db.query('update collection_state set keys_checked = keys_checked + $2 where collection = $1', [collection, keys]);
}

/** Keeps the table within its bounds: not older than `beforeUs`, not more than `maximumRows`; in bounded steps. */
export async function pruneWrites(db: Queryable, beforeUs: number, maximumRows: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from write_evidence where seq in (
       select seq from write_evidence where at_us < $1 or seq <= (select max(seq) from write_evidence) - $2 limit 50000)`,
    [beforeUs, maximumRows],
  );
  return rowCount ?? 0;
}
