import { type EffectDigest, parseEffectDigest } from '../../domain/effect.ts';
import type { Repair, RepairState } from '../../domain/repair-lifecycle.ts';
import type { Queryable } from './database.ts';
import { type Page, pageBounds, type PageRequest, toPage } from './page.ts';

export interface StoredRepair extends Repair {
  readonly digest: EffectDigest;
  readonly claimedBy: string | null;
  readonly claimedUntilMs: number;
  /** Applying: the batch that is next; verifying: the last that went in; undoing: how many are still to be undone. */
  readonly batch: number;
  readonly automatic: boolean;
  readonly undoAskedBy: string | null;
  readonly undoReason: string | null;
  readonly attempts: number;
  readonly retryAtMs: number;
  readonly lastError: string | null;
}

export interface RepairFilter {
  readonly domain?: string | undefined;
  readonly collection?: string | undefined;
  readonly state?: string | undefined;
  readonly caseId?: string | undefined;
  readonly proposalId?: string | undefined;
}

interface RepairRow {
  seq: number;
  id: string;
  proposal_id: string;
  case_id: string;
  domain: string;
  collection: string;
  digest: string;
  state: RepairState;
  fence: number;
  claimed_by: string | null;
  claimed_until_ms: number;
  batch: number;
  rows: number;
  automatic: boolean;
  approved_by: string[];
  undo_asked_by: string | null;
  undo_reason: string | null;
  attempts: number;
  retry_at_ms: number;
  last_error: string | null;
  created_at_ms: number;
  updated_at_ms: number;
  undo_until_ms: number;
}

const parseRepair = (row: RepairRow): StoredRepair => ({
  id: row.id,
  proposalId: row.proposal_id,
  caseId: row.case_id,
  domain: row.domain,
  collection: row.collection,
  digest: parseEffectDigest(row.digest),
  state: row.state,
  fence: row.fence,
  claimedBy: row.claimed_by,
  claimedUntilMs: row.claimed_until_ms,
  batch: row.batch,
  rows: row.rows,
  automatic: row.automatic,
  approvedBy: row.approved_by,
  undoAskedBy: row.undo_asked_by,
  undoReason: row.undo_reason,
  attempts: row.attempts,
  retryAtMs: row.retry_at_ms,
  lastError: row.last_error,
  createdAtMs: row.created_at_ms,
  updatedAtMs: row.updated_at_ms,
  undoUntilMs: row.undo_until_ms,
});

export async function insertRepair(
  tx: Queryable,
  repair: {
    readonly proposalId: string;
    readonly caseId: string;
    readonly domain: string;
    readonly collection: string;
    readonly digest: EffectDigest;
    readonly rows: number;
    readonly automatic: boolean;
    readonly approvedBy: readonly string[];
    readonly undoUntilMs: number;
  },
  nowMs: number,
): Promise<string> {
  const { rows } = await tx.query<{ id: string }>(
    `with numbered as (select nextval('repair_numbers') as n)
     insert into repairs (seq, id, proposal_id, case_id, domain, collection, digest, state, rows, automatic, approved_by, created_at_ms, updated_at_ms, undo_until_ms)
     select n, 'R' || n, $1, $2, $3, $4, $5, 'planned', $6, $7, $8, $9, $9, $10 from numbered
     returning id`,
    [
      repair.proposalId,
      repair.caseId,
      repair.domain,
      repair.collection,
      repair.digest,
      repair.rows,
      repair.automatic,
      repair.approvedBy,
      nowMs,
      repair.undoUntilMs,
    ],
  );
  const id = rows[0]?.id;
  if (id === undefined) throw new Error('the repair was not inserted');
  return id;
}

export async function getRepair(db: Queryable, id: string): Promise<StoredRepair | null> {
  const { rows } = await db.query<RepairRow>('select * from repairs where id = $1', [id]);
  return rows[0] === undefined ? null : parseRepair(rows[0]);
}

export async function listRepairs(db: Queryable, filter: RepairFilter, request: PageRequest): Promise<Page<StoredRepair>> {
  const { before, limit, fetch } = pageBounds(request);
  const { rows } = await db.query<RepairRow>(
    `select * from repairs
      where ($1::text is null or domain = $1) and ($2::text is null or collection = $2) and ($3::text is null or state = $3)
        and ($4::text is null or case_id = $4) and ($5::text is null or proposal_id = $5) and seq < $6
      order by seq desc limit $7`,
    [filter.domain, filter.collection, filter.state, filter.caseId, filter.proposalId, before, fetch],
  );
  return toPage(rows, limit, parseRepair);
}

/**
 * Takes a repair that is free and due, for one worker, until `untilMs`. Compare-and-set: of two workers one gets it, with a
 * fence above every earlier one. null: it is held, not due, or at its end.
 */
export async function claimRepair(db: Queryable, id: string, worker: string, untilMs: number, nowMs: number): Promise<StoredRepair | null> {
  const { rows } = await db.query<RepairRow>(
    `update repairs set fence = fence + 1, claimed_by = $2, claimed_until_ms = $3, updated_at_ms = $4
      where id = $1 and state in ('planned', 'applying', 'verifying', 'undoing') and claimed_until_ms <= $4 and retry_at_ms <= $4
      returning *`,
    [id, worker, untilMs, nowMs],
  );
  return rows[0] === undefined ? null : parseRepair(rows[0]);
}

/**
 * Locks a repair that this worker still holds. While the lock is held no one else can claim it, whatever the clocks say.
 * null: the claim was lost to a higher fence, or the state moved on.
 */
export async function lockClaimedRepair(tx: Queryable, id: string, fence: number): Promise<StoredRepair | null> {
  const { rows } = await tx.query<RepairRow>('select * from repairs where id = $1 and fence = $2 for update', [id, fence]);
  return rows[0] === undefined ? null : parseRepair(rows[0]);
}

export async function lockRepair(tx: Queryable, id: string): Promise<StoredRepair | null> {
  const { rows } = await tx.query<RepairRow>('select * from repairs where id = $1 for update', [id]);
  return rows[0] === undefined ? null : parseRepair(rows[0]);
}

/** Writes progress under the fence; false: the claim was lost. */
export async function saveRepairProgress(
  tx: Queryable,
  id: string,
  fence: number,
  progress: { readonly state: RepairState; readonly batch: number },
  claimedUntilMs: number,
  nowMs: number,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update repairs set state = $3, batch = $4, claimed_until_ms = $5, updated_at_ms = $6, attempts = 0, retry_at_ms = 0 where id = $1 and fence = $2`,
    [id, fence, progress.state, progress.batch, claimedUntilMs, nowMs],
  );
  return rowCount === 1;
}

/** Says in a sentence what stands in the way, or what happened. */
export async function noteRepair(tx: Queryable, id: string, says: string): Promise<void> {
  await tx.query('update repairs set last_error = $2 where id = $1', [id, says]);
}

/** Gives the claim back after a failure of the world, to be tried again at `retryAtMs`. */
export async function releaseRepair(
  db: Queryable,
  id: string,
  fence: number,
  error: string | null,
  retryAtMs: number,
  nowMs: number,
): Promise<void> {
  await db.query(
    `update repairs set claimed_by = null, claimed_until_ms = 0, retry_at_ms = $4, last_error = coalesce($3, last_error),
            attempts = attempts + case when $3::text is null then 0 else 1 end, updated_at_ms = $5
      where id = $1 and fence = $2`,
    [id, fence, error, retryAtMs, nowMs],
  );
}

/** A person asks for undo: sealed -> undoing, under a lock that the caller holds. */
export async function beginUndo(tx: Queryable, id: string, batch: number, by: string, reason: string, nowMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update repairs set state = 'undoing', batch = $2, undo_asked_by = $3, undo_reason = $4, claimed_until_ms = 0, retry_at_ms = 0, updated_at_ms = $5
      where id = $1 and state = 'sealed'`,
    [id, batch, by, reason, nowMs],
  );
  return rowCount === 1;
}

/** Repairs that nobody holds and that are due: what the sweeper rings for. */
export async function listRepairsToContinue(
  db: Queryable,
  nowMs: number,
  updatedBeforeMs: number,
  limit: number,
): Promise<readonly string[]> {
  const { rows } = await db.query<{ id: string }>(
    `select id from repairs
      where state in ('planned', 'applying', 'verifying', 'undoing') and claimed_until_ms <= $1 and retry_at_ms <= $1
        and (updated_at_ms <= $2 or updated_at_ms > $1)
      order by seq limit $3`,
    [nowMs, updatedBeforeMs, limit],
  );
  return rows.map((row) => row.id);
}

/**
 * Claims of workers that are gone: at start, a single service process knows that nothing else runs. Also puts right a claim or a
 * wait that ends implausibly far in the future, after the clock was set back.
 */
export async function freeClaims(db: Queryable, endsAfterMs: number, retriesAfterMs: number): Promise<number> {
  const { rowCount } = await db.query(
    `update repairs set claimed_until_ms = case when claimed_until_ms > $1 then 0 else claimed_until_ms end,
            claimed_by = case when claimed_until_ms > $1 then null else claimed_by end,
            retry_at_ms = case when retry_at_ms > $2 then 0 else retry_at_ms end
      where (claimed_until_ms > $1 or retry_at_ms > $2) and state in ('planned', 'applying', 'verifying', 'undoing')`,
    [endsAfterMs, retriesAfterMs],
  );
  return rowCount ?? 0;
}

/** Repairs of a domain that wait for their next try, made due now. */
export async function makeRepairsDue(tx: Queryable, domain: string): Promise<readonly string[]> {
  const { rows } = await tx.query<{ id: string }>(
    `update repairs set retry_at_ms = 0 where domain = $1 and retry_at_ms > 0 and state in ('planned', 'applying', 'verifying', 'undoing') returning id`,
    [domain],
  );
  return rows.map((row) => row.id);
}

/** Rows that automatic repairs of a domain have taken on since then: what the budget is compared with, one repair left out if it is named. */
export async function countAutomaticRows(db: Queryable, domain: string, sinceMs: number, exceptRepair = ''): Promise<number> {
  const { rows } = await db.query<{ rows: number }>(
    `select coalesce(sum(rows), 0)::bigint as rows from repairs where domain = $1 and automatic and created_at_ms > $2 and state <> 'stale' and id <> $3`,
    [domain, sinceMs, exceptRepair],
  );
  return rows[0]?.rows ?? 0;
}

export async function countRepairs(db: Queryable): Promise<
  readonly {
    readonly domain: string;
    readonly state: RepairState;
    readonly automatic: boolean;
    readonly count: number;
    readonly rows: number;
  }[]
> {
  const { rows } = await db.query<{ domain: string; state: RepairState; automatic: boolean; count: number; rows: number }>(
    'select domain, state, automatic, count(*) as count, sum(rows)::bigint as rows from repairs group by domain, state, automatic',
  );
  return rows;
}
