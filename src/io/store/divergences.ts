import { canonicalJson, type Json } from '../../base/hash.ts';
import type { Divergence, DivergenceKind, Position } from '../../domain/divergence.ts';
import { type Key, keyText, type Row } from '../../domain/row.ts';
import type { Queryable } from './database.ts';
import { type Page, pageBounds, type PageRequest, toPage } from './page.ts';

export interface StoredDivergence extends Omit<Divergence, 'status'> {
  readonly id: string;
  readonly domain: string;
  readonly status: 'suspected' | 'confirmed' | 'resolved';
  readonly caseId: string | null;
  readonly confirmedAtMs: number | null;
  readonly resolvedAtMs: number | null;
  /** `repaired`, `gone` (it went away by itself), or null while it is open. */
  readonly resolvedAs: string | null;
}

export interface DivergenceFilter {
  readonly domain?: string | undefined;
  readonly collection?: string | undefined;
  readonly status?: string | undefined;
  readonly is?: string | undefined;
  readonly caseId?: string | undefined;
}

interface DivergenceRow {
  seq: number;
  domain: string;
  collection: string;
  key: Key;
  is_kind: DivergenceKind;
  status: 'suspected' | 'confirmed' | 'resolved';
  replicas: Record<string, Row | null>;
  columns: string[];
  seen_at: Record<string, Position>;
  case_id: string | null;
  first_seen_ms: number;
  confirmed_at_ms: number | null;
  resolved_at_ms: number | null;
  resolved_as: string | null;
}

const parseDivergence = (row: DivergenceRow): StoredDivergence => ({
  id: `D${row.seq}`,
  domain: row.domain,
  collection: row.collection,
  key: row.key,
  is: row.is_kind,
  status: row.status,
  replicas: row.replicas,
  columns: row.columns,
  seenAt: row.seen_at,
  caseId: row.case_id,
  firstSeenMs: row.first_seen_ms,
  confirmedAtMs: row.confirmed_at_ms,
  resolvedAtMs: row.resolved_at_ms,
  resolvedAs: row.resolved_as,
});

/**
 * Records what a comparison found, one row a key. Seen again with the same rows, a confirmed one stays confirmed; with other rows
 * it begins again as what was found: it is another difference. Members of a case in repair are left to their repair: a half-applied
 * one looks like another difference. Returns what is now stored of the others.
 */
export async function saveDivergences(
  tx: Queryable,
  domain: string,
  keyColumns: readonly string[],
  found: readonly Divergence[],
  scan: number,
  nowMs: number,
): Promise<readonly StoredDivergence[]> {
  if (found.length === 0) return [];
  const batch = found.map((divergence) => ({
    collection: divergence.collection,
    key_text: keyText(keyColumns, divergence.key),
    key: JSON.stringify(divergence.key),
    is_kind: divergence.is,
    status: divergence.status,
    // Canonical text, so that equal rows are equal texts.
    replicas: canonicalJson(divergence.replicas as Json),
    columns: divergence.columns,
    seen_at: JSON.stringify(divergence.seenAt),
    first_seen_ms: divergence.firstSeenMs,
  }));
  const { rows } = await tx.query<DivergenceRow>(
    `insert into divergences (domain, collection, key_text, key, is_kind, status, replicas, columns, seen_at, first_seen_ms, confirmed_at_ms, seen_in_scan,
       updated_at_ms)
     select $1, d.collection, d.key_text, d.key::json, d.is_kind, d.status, d.replicas::json, d.columns, d.seen_at::json, d.first_seen_ms,
            case when d.status = 'confirmed' then $3::bigint end, $4, $3
       from json_to_recordset($2::json) as d(collection text, key_text text, key text, is_kind text, status text, replicas text, columns text[], seen_at text, first_seen_ms bigint)
     on conflict (collection, key_text) where status <> 'resolved' do update set
       is_kind = excluded.is_kind, columns = excluded.columns, seen_at = excluded.seen_at, replicas = excluded.replicas,
       status = case when divergences.replicas::text = excluded.replicas::text and divergences.status = 'confirmed' then 'confirmed' else excluded.status end,
       first_seen_ms = case when divergences.replicas::text = excluded.replicas::text then divergences.first_seen_ms else excluded.first_seen_ms end,
       confirmed_at_ms = case when divergences.replicas::text = excluded.replicas::text and divergences.status = 'confirmed' then divergences.confirmed_at_ms
                              when excluded.status = 'confirmed' then $3 end,
       seen_in_scan = greatest(divergences.seen_in_scan, $4), updated_at_ms = $3
       where not exists (select 1 from cases c where c.id = divergences.case_id and c.state = 'repairing')
     returning *`,
    [domain, JSON.stringify(batch), nowMs, scan],
  );
  return rows.map(parseDivergence);
}

/** The open divergences of a collection, which a round compares with what it finds. Bounded: beyond it, a round works on the oldest. */
export async function listOpenDivergences(db: Queryable, collection: string, limit = 50_000): Promise<readonly StoredDivergence[]> {
  const { rows } = await db.query<DivergenceRow>(
    `select * from divergences where collection = $1 and status <> 'resolved' order by seq limit $2`,
    [collection, limit],
  );
  return rows.map(parseDivergence);
}

/** The members of a case that are still open. */
export async function listCaseDivergences(db: Queryable, caseId: string, limit = 50_000): Promise<readonly StoredDivergence[]> {
  const { rows } = await db.query<DivergenceRow>(
    `select * from divergences where case_id = $1 and status <> 'resolved' order by seq limit $2`,
    [caseId, limit],
  );
  return rows.map(parseDivergence);
}

/** The number of a comparison that begins; rises, whatever the clocks do. */
export async function nextScanNumber(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ scan: number }>(`select nextval('scan_numbers') as scan`);
  return rows[0]?.scan ?? 0;
}

/** Open divergences that a whole comparison has not seen, but for those of cases in repair: probably gone, to be looked at once more. */
export async function listUnseen(db: Queryable, collection: string, scan: number, limit: number): Promise<readonly StoredDivergence[]> {
  const { rows } = await db.query<DivergenceRow>(
    `select d.* from divergences d
      where d.collection = $1 and d.status <> 'resolved' and d.seen_in_scan < $2
        and not exists (select 1 from cases c where c.id = d.case_id and c.state = 'repairing')
      order by d.seq limit $3`,
    [collection, scan, limit],
  );
  return rows.map(parseDivergence);
}

/** The keys that are suspected and not yet confirmed, the oldest first. */
export async function listSuspectedKeys(db: Queryable, collection: string, limit: number): Promise<readonly Key[]> {
  const { rows } = await db.query<{ key: Key }>(
    `select key from divergences where collection = $1 and status = 'suspected' order by seq limit $2`,
    [collection, limit],
  );
  return rows.map((row) => row.key);
}

export async function hasOpenDivergences(db: Queryable, collection: string): Promise<boolean> {
  const { rows } = await db.query(`select 1 from divergences where collection = $1 and status <> 'resolved' limit 1`, [collection]);
  return rows.length > 0;
}

/** How many of a case's divergences are open. */
export async function countCaseDivergences(db: Queryable, caseId: string): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    `select count(*) as count from divergences where case_id = $1 and status <> 'resolved'`,
    [caseId],
  );
  return rows[0]?.count ?? 0;
}

/** How many of a case's open divergences are not confirmed. */
export async function countUnconfirmed(db: Queryable, caseId: string): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    `select count(*) as count from divergences where case_id = $1 and status = 'suspected'`,
    [caseId],
  );
  return rows[0]?.count ?? 0;
}

/** Closes divergences; those that are closed already stay as they are. */
export async function resolveDivergences(tx: Queryable, ids: readonly string[], as: 'repaired' | 'gone', nowMs: number): Promise<number> {
  const { rowCount } = await tx.query(
    `update divergences set status = 'resolved', resolved_as = $2, resolved_at_ms = $3, updated_at_ms = $3 where seq = any($1::bigint[]) and status <> 'resolved'`,
    [ids.map(parseDivergenceId), as, nowMs],
  );
  return rowCount ?? 0;
}

/** Closes the open divergences of keys that were found equal, but for cases in repair. Returns the cases that lost members. */
export async function resolveKeys(
  tx: Queryable,
  collection: string,
  keyTexts: readonly string[],
  nowMs: number,
): Promise<readonly string[]> {
  if (keyTexts.length === 0) return [];
  const { rows } = await tx.query<{ case_id: string | null }>(
    `update divergences d set status = 'resolved', resolved_as = 'gone', resolved_at_ms = $3, updated_at_ms = $3
      where d.collection = $1 and d.key_text = any($2::text[]) and d.status <> 'resolved'
        and not exists (select 1 from cases c where c.id = d.case_id and c.state = 'repairing')
      returning case_id`,
    [collection, keyTexts, nowMs],
  );
  return [...new Set(rows.flatMap((row) => (row.case_id === null ? [] : [row.case_id])))];
}

/** Closes a case's open divergences on these keys. */
export async function resolveCaseKeys(
  tx: Queryable,
  caseId: string,
  keyTexts: readonly string[],
  as: 'repaired' | 'gone',
  nowMs: number,
): Promise<number> {
  const { rowCount } = await tx.query(
    `update divergences set status = 'resolved', resolved_as = $3, resolved_at_ms = $4, updated_at_ms = $4
      where case_id = $1 and key_text = any($2::text[]) and status <> 'resolved'`,
    [caseId, keyTexts, as, nowMs],
  );
  return rowCount ?? 0;
}

/** Puts divergences into a case. */
export async function assignToCase(tx: Queryable, ids: readonly string[], caseId: string): Promise<void> {
  await tx.query(`update divergences set case_id = $2 where seq = any($1::bigint[]) and status <> 'resolved'`, [
    ids.map(parseDivergenceId),
    caseId,
  ]);
}

/** Takes divergences out of their case: their rows changed, and they wait to be confirmed anew. */
export async function unassignFromCase(tx: Queryable, ids: readonly string[]): Promise<void> {
  await tx.query('update divergences set case_id = null where seq = any($1::bigint[])', [ids.map(parseDivergenceId)]);
}

export async function getDivergence(db: Queryable, id: string): Promise<StoredDivergence | null> {
  if (!/^D\d{1,15}$/.test(id)) return null;
  const { rows } = await db.query<DivergenceRow>('select * from divergences where seq = $1', [parseDivergenceId(id)]);
  return rows[0] === undefined ? null : parseDivergence(rows[0]);
}

export async function listDivergences(db: Queryable, filter: DivergenceFilter, request: PageRequest): Promise<Page<StoredDivergence>> {
  const { before, limit, fetch } = pageBounds(request);
  const { rows } = await db.query<DivergenceRow>(
    `select * from divergences
      where ($1::text is null or domain = $1) and ($2::text is null or collection = $2) and ($3::text is null or status = $3)
        and ($4::text is null or is_kind = $4) and ($5::text is null or case_id = $5) and seq < $6
      order by seq desc limit $7`,
    [filter.domain, filter.collection, filter.status, filter.is, filter.caseId, before, fetch],
  );
  return toPage(rows, limit, parseDivergence);
}

export async function countOpenDivergences(
  db: Queryable,
): Promise<readonly { readonly collection: string; readonly status: string; readonly rows: number }[]> {
  const { rows } = await db.query<{ collection: string; status: string; rows: number }>(
    `select collection, status, count(*) as rows from divergences where status <> 'resolved' group by collection, status`,
  );
  return rows;
}

/** Forgets resolved divergences, whose bodies hold row values, in bounded steps. */
export async function pruneDivergences(db: Queryable, resolvedBeforeMs: number): Promise<number> {
  const { rowCount } = await db.query(
    `delete from divergences where seq in (select seq from divergences where status = 'resolved' and resolved_at_ms < $1 limit 10000)`,
    [resolvedBeforeMs],
  );
  return rowCount ?? 0;
}

function parseDivergenceId(id: string): number {
  const match = /^D(\d{1,15})$/.exec(id);
  if (match === null) throw new RangeError('a divergence id is D and a number');
  return Number(match[1]);
}
