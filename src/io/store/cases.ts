import type { Case, CaseOrigin } from '../../domain/case.ts';
import type { Queryable } from './database.ts';
import { type Page, pageBounds, type PageRequest, toPage } from './page.ts';

export interface StoredCase extends Case {
  readonly closedAtMs: number | null;
  /** `repaired`, `gone`, or null while it is open. */
  readonly closedAs: string | null;
  /** How often proposing was tried since it opened. */
  readonly attempts: number;
  /** Why there is no proposal, in a sentence, where there is none. */
  readonly note: string | null;
}

export interface CaseFilter {
  readonly domain?: string | undefined;
  readonly collection?: string | undefined;
  readonly state?: string | undefined;
}

interface CaseRow {
  seq: number;
  id: string;
  domain: string;
  collection: string;
  fingerprint: string;
  title: string;
  rows: number;
  state: Case['state'];
  cause: string | null;
  origin: CaseOrigin | null;
  returns: number;
  opened_at_ms: number;
  updated_at_ms: number;
  closed_at_ms: number | null;
  closed_as: string | null;
  attempts: number;
  note: string | null;
}

const parseCase = (row: CaseRow): StoredCase => ({
  id: row.id,
  domain: row.domain,
  collection: row.collection,
  fingerprint: row.fingerprint,
  title: row.title,
  rows: row.rows,
  state: row.state,
  cause: row.cause,
  origin: row.origin,
  returns: row.returns,
  openedAtMs: row.opened_at_ms,
  updatedAtMs: row.updated_at_ms,
  closedAtMs: row.closed_at_ms,
  closedAs: row.closed_as,
  attempts: row.attempts,
  note: row.note,
});

/** The open case with this fingerprint, opened if there is none; locked until the transaction ends. */
export async function openCase(
  tx: Queryable,
  wanted: { readonly domain: string; readonly collection: string; readonly fingerprint: string; readonly title: string },
  nowMs: number,
): Promise<{ readonly case: StoredCase; readonly isNew: boolean }> {
  // Two scans at once must not both open it: the loser of the unique index reads the winner's.
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const existing = await tx.query<CaseRow>(`select * from cases where fingerprint = $1 and state <> 'closed' for update`, [
      wanted.fingerprint,
    ]);
    if (existing.rows[0] !== undefined) return { case: parseCase(existing.rows[0]), isNew: false };
    const { rows } = await tx.query<CaseRow>(
      `with numbered as (select nextval('case_numbers') as n)
       insert into cases (seq, id, domain, collection, fingerprint, title, rows, state, opened_at_ms, updated_at_ms)
       select n, 'C' || n, $1, $2, $3, $4, 0, 'open', $5, $5 from numbered
       on conflict (fingerprint) where state <> 'closed' do nothing
       returning *`,
      [wanted.domain, wanted.collection, wanted.fingerprint, wanted.title, nowMs],
    );
    if (rows[0] !== undefined) return { case: parseCase(rows[0]), isNew: true };
  }
  throw new Error(`case ${wanted.fingerprint} could be neither read nor opened`);
}

export async function getCase(db: Queryable, id: string): Promise<StoredCase | null> {
  const { rows } = await db.query<CaseRow>('select * from cases where id = $1', [id]);
  return rows[0] === undefined ? null : parseCase(rows[0]);
}

/** Reads a case and keeps others from changing it until the transaction ends. */
export async function lockCase(tx: Queryable, id: string): Promise<StoredCase | null> {
  const { rows } = await tx.query<CaseRow>('select * from cases where id = $1 for update', [id]);
  return rows[0] === undefined ? null : parseCase(rows[0]);
}

export async function listCases(db: Queryable, filter: CaseFilter, request: PageRequest): Promise<Page<StoredCase>> {
  const { before, limit, fetch } = pageBounds(request);
  const { rows } = await db.query<CaseRow>(
    `select * from cases
      where ($1::text is null or domain = $1) and ($2::text is null or collection = $2) and ($3::text is null or state = $3) and seq < $4
      order by seq desc limit $5`,
    [filter.domain, filter.collection, filter.state, before, fetch],
  );
  return toPage(rows, limit, parseCase);
}

/**
 * Sets the title, the number of rows from the members, and how often one of them has come back: the same key, kind and columns
 * repaired since `returnsSinceMs`. Returns the rows.
 */
export async function refreshCase(tx: Queryable, id: string, title: string, returnsSinceMs: number, nowMs: number): Promise<number> {
  const { rows } = await tx.query<{ rows: number }>(
    `update cases set title = $2, updated_at_ms = $4,
            rows = (select count(*) from divergences where case_id = $1 and status <> 'resolved'),
            returns = greatest(returns, (select coalesce(max(times), 0) from (
              select count(*) as times from divergences d
                join divergences r on r.collection = d.collection and r.key_text = d.key_text and r.is_kind = d.is_kind and r.columns = d.columns
                     and r.status = 'resolved' and r.resolved_as = 'repaired' and r.resolved_at_ms > $3
               where d.case_id = $1 and d.status <> 'resolved' group by d.key_text) as returned))
      where id = $1 returning rows`,
    [id, title, returnsSinceMs, nowMs],
  );
  return rows[0]?.rows ?? 0;
}

/** Moves a case on; false where it was in none of the states `from`. */
export async function moveCase(
  tx: Queryable,
  id: string,
  from: readonly Case['state'][],
  to: Exclude<Case['state'], 'closed'>,
  nowMs: number,
): Promise<boolean> {
  const { rowCount } = await tx.query(`update cases set state = $3, updated_at_ms = $4 where id = $1 and state = any($2::text[])`, [
    id,
    from,
    to,
    nowMs,
  ]);
  return rowCount === 1;
}

/** Puts a case back to `open`, to be proposed again not before `retryAtMs`. */
export async function reopenCase(tx: Queryable, id: string, note: string | null, retryAtMs: number, nowMs: number): Promise<void> {
  await tx.query(
    `update cases set state = 'open', note = $2, retry_at_ms = $3, attempts = attempts + 1, updated_at_ms = $4 where id = $1 and state <> 'closed'`,
    [id, note, retryAtMs, nowMs],
  );
}

/** Says in a sentence why a case waits, or nothing. */
export async function noteCase(tx: Queryable, id: string, note: string | null): Promise<void> {
  await tx.query('update cases set note = $2, attempts = case when $2::text is null then 0 else attempts end where id = $1', [id, note]);
}

export async function closeCase(tx: Queryable, id: string, as: 'repaired' | 'gone', nowMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update cases set state = 'closed', closed_as = $2, closed_at_ms = $3, updated_at_ms = $3, note = null where id = $1 and state <> 'closed'`,
    [id, as, nowMs],
  );
  return rowCount === 1;
}

export async function setCaseOrigin(tx: Queryable, id: string, origin: CaseOrigin): Promise<void> {
  await tx.query('update cases set origin = $2 where id = $1 and origin is null', [id, JSON.stringify(origin)]);
}

export async function setCaseCause(tx: Queryable, id: string, anomalyFingerprint: string): Promise<void> {
  await tx.query('update cases set cause = $2 where id = $1 and cause is null', [id, anomalyFingerprint]);
}

/**
 * Open cases whose time to be proposed has come and that nothing has touched since `quietSinceMs`: what the sweeper rings for. Times
 * further ahead than any wait, `latestMs`, come from a clock that was set back since, and are due.
 */
export async function listCasesToPropose(
  db: Queryable,
  nowMs: number,
  quietSinceMs: number,
  latestMs: number,
  limit: number,
): Promise<readonly string[]> {
  const { rows } = await db.query<{ id: string }>(
    `select id from cases
      where state = 'open' and (retry_at_ms <= $1 or retry_at_ms > $3) and (updated_at_ms <= $2 or updated_at_ms > $1) order by seq limit $4`,
    [nowMs, quietSinceMs, latestMs, limit],
  );
  return rows.map((row) => row.id);
}

/** Open cases of a domain that wait to be proposed again, made due now. */
export async function makeCasesDue(tx: Queryable, domain: string): Promise<readonly string[]> {
  const { rows } = await tx.query<{ id: string }>(
    `update cases set retry_at_ms = 0 where domain = $1 and state = 'open' and retry_at_ms > 0 returning id`,
    [domain],
  );
  return rows.map((row) => row.id);
}

/** Open cases without a cause: those that the detect loop still tries to explain. */
export async function listUnexplainedCases(db: Queryable, limit: number): Promise<readonly StoredCase[]> {
  const { rows } = await db.query<CaseRow>(`select * from cases where state <> 'closed' and cause is null order by seq desc limit $1`, [
    limit,
  ]);
  return rows.map(parseCase);
}
