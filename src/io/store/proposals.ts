import { invariant } from '../../base/assert.ts';
import { type Effect, effectDigest, parseEffectDigest } from '../../domain/effect.ts';
import type { Proposal } from '../../domain/proposal.ts';
import type { Verdict } from '../../domain/verdict.ts';
import type { Queryable } from './database.ts';
import { type Page, pageBounds, type PageRequest, toPage } from './page.ts';

/**
 *   waiting ─► planned ─► done            planned: a repair carries it out; done: the repair ended
 *      ├─► rejected | expired | stale     stale: a row changed since it was read
 *      └─► superseded                     edited: another proposal took its place
 *   denied                                the guard said no; kept for the record
 */
export type ProposalState = 'waiting' | 'planned' | 'done' | 'denied' | 'rejected' | 'expired' | 'stale' | 'superseded';

/** A proposal as the store keeps it, without its rows: what lists show. */
export interface ProposalSummary extends Omit<Proposal, 'effects' | 'inverse'> {
  readonly state: ProposalState;
  readonly verdict: Verdict;
  /** People who must approve; 0 for automatic ones. */
  readonly approvalsNeeded: number;
  readonly rows: number;
  readonly snoozedUntilMs: number | null;
  readonly supersededBy: string | null;
  readonly decidedReason: string | null;
  readonly updatedAtMs: number;
}

export interface StoredProposal extends ProposalSummary {
  /** Empty once they are forgotten. */
  readonly effects: readonly Effect[];
  readonly inverse: readonly Effect[];
  /** The time to undo is over: the rows are gone, the digest stays. */
  readonly rowsForgotten: boolean;
}

export interface ProposalFilter {
  readonly domain?: string | undefined;
  readonly collection?: string | undefined;
  readonly state?: string | undefined;
  readonly caseId?: string | undefined;
  readonly strategy?: string | undefined;
  /** Leaves out those that are snoozed at this time. */
  readonly awakeAtMs?: number | undefined;
}

interface SummaryRow {
  seq: number;
  id: string;
  case_id: string;
  domain: string;
  collection: string;
  strategy: string;
  digest: string;
  state: ProposalState;
  confidence: number;
  rows: number;
  says: string;
  author: string;
  choice: Proposal['choice'];
  simulation: Proposal['simulation'];
  evidence: Proposal['evidence'];
  alternatives: Proposal['alternatives'];
  verdict: Verdict;
  approvals_needed: number;
  snoozed_until_ms: number | null;
  superseded_by: string | null;
  decided_reason: string | null;
  created_at_ms: number;
  expires_at_ms: number;
  updated_at_ms: number;
}

interface FullRow extends SummaryRow {
  effects: Effect[];
  inverse: Effect[];
  rows_forgotten: boolean;
}

const parseSummary = (row: SummaryRow): ProposalSummary => ({
  id: row.id,
  caseId: row.case_id,
  domain: row.domain,
  collection: row.collection,
  strategy: row.strategy,
  digest: parseEffectDigest(row.digest),
  state: row.state,
  confidence: row.confidence,
  rows: row.rows,
  says: row.says,
  author: row.author,
  choice: row.choice,
  simulation: row.simulation,
  evidence: row.evidence,
  alternatives: row.alternatives,
  verdict: row.verdict,
  approvalsNeeded: row.approvals_needed,
  snoozedUntilMs: row.snoozed_until_ms,
  supersededBy: row.superseded_by,
  decidedReason: row.decided_reason,
  createdAtMs: row.created_at_ms,
  expiresAtMs: row.expires_at_ms,
  updatedAtMs: row.updated_at_ms,
});

function parseProposal(row: FullRow): StoredProposal {
  const proposal = { ...parseSummary(row), effects: row.effects, inverse: row.inverse, rowsForgotten: row.rows_forgotten };
  invariant(
    row.rows_forgotten || effectDigest(proposal.effects) === proposal.digest,
    'the effects of a stored proposal have the digest it is known by',
    {
      proposal: row.id,
    },
  );
  return proposal;
}

/** Adds a proposal and gives it its id. null: the case has a live one already. */
export async function insertProposal(
  tx: Queryable,
  proposal: Omit<Proposal, 'id'>,
  verdict: Verdict,
  state: 'waiting' | 'planned' | 'denied',
  approvalsNeeded: number,
): Promise<string | null> {
  invariant(effectDigest(proposal.effects) === proposal.digest, 'a proposal is stored under the digest of its effects', {
    case: proposal.caseId,
  });
  const { rows } = await tx.query<{ id: string }>(
    `with numbered as (select nextval('proposal_numbers') as n)
     insert into proposals (seq, id, case_id, domain, collection, strategy, digest, state, confidence, rows, says, author, choice, simulation, evidence,
       alternatives, effects, inverse, verdict, approvals_needed, created_at_ms, expires_at_ms, updated_at_ms)
     select n, 'P' || n, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::json, $12::json, $13::json, $14::json, $15::json, $16::json, $17::json, $18, $19, $20, $19
       from numbered
     on conflict (case_id) where state in ('waiting', 'planned') do nothing
     returning id`,
    [
      proposal.caseId,
      proposal.domain,
      proposal.collection,
      proposal.strategy,
      proposal.digest,
      state,
      proposal.confidence,
      proposal.effects.length,
      proposal.says,
      proposal.author,
      JSON.stringify(proposal.choice),
      JSON.stringify(proposal.simulation),
      JSON.stringify(proposal.evidence),
      JSON.stringify(proposal.alternatives),
      JSON.stringify(proposal.effects),
      JSON.stringify(proposal.inverse),
      JSON.stringify(verdict),
      approvalsNeeded,
      proposal.createdAtMs,
      proposal.expiresAtMs,
    ],
  );
  return rows[0]?.id ?? null;
}

/** Throws InvariantError if the stored effects are not those of the digest. */
export async function getProposal(db: Queryable, id: string): Promise<StoredProposal | null> {
  const { rows } = await db.query<FullRow>('select * from proposals where id = $1', [id]);
  return rows[0] === undefined ? null : parseProposal(rows[0]);
}

/** Reads a proposal and keeps others from changing it until the transaction ends. */
export async function lockProposal(tx: Queryable, id: string): Promise<StoredProposal | null> {
  const { rows } = await tx.query<FullRow>('select * from proposals where id = $1 for update', [id]);
  return rows[0] === undefined ? null : parseProposal(rows[0]);
}

export async function getLiveProposalOfCase(db: Queryable, caseId: string): Promise<ProposalSummary | null> {
  const { rows } = await db.query<SummaryRow>(`select * from proposals where case_id = $1 and state in ('waiting', 'planned')`, [caseId]);
  return rows[0] === undefined ? null : parseSummary(rows[0]);
}

/** Authors of the versions that a proposal was edited from. */
export async function listEarlierAuthors(db: Queryable, id: string): Promise<readonly string[]> {
  const { rows } = await db.query<{ author: string }>(
    `with recursive earlier as (
       select id, author from proposals where superseded_by = $1
       union select p.id, p.author from proposals p join earlier e on p.superseded_by = e.id
     ) select distinct author from earlier`,
    [id],
  );
  return rows.map((row) => row.author);
}

/** Digests that the guard has denied for a case. */
export async function listDeniedDigests(db: Queryable, caseId: string): Promise<readonly string[]> {
  const { rows } = await db.query<{ digest: string }>(`select distinct digest from proposals where case_id = $1 and state = 'denied'`, [
    caseId,
  ]);
  return rows.map((row) => row.digest);
}

export async function listProposals(db: Queryable, filter: ProposalFilter, request: PageRequest): Promise<Page<ProposalSummary>> {
  const { before, limit, fetch } = pageBounds(request);
  const { rows } = await db.query<SummaryRow>(
    `select seq, id, case_id, domain, collection, strategy, digest, state, confidence, rows, says, author, choice, simulation, evidence, alternatives,
            verdict, approvals_needed, snoozed_until_ms, superseded_by, decided_reason, created_at_ms, expires_at_ms, updated_at_ms
       from proposals
      where ($1::text is null or domain = $1) and ($2::text is null or collection = $2) and ($3::text is null or state = $3)
        and ($4::text is null or case_id = $4) and ($5::text is null or strategy = $5)
        and ($6::bigint is null or coalesce(snoozed_until_ms, 0) <= $6) and seq < $7
      order by seq desc limit $8`,
    [filter.domain, filter.collection, filter.state, filter.caseId, filter.strategy, filter.awakeAtMs, before, fetch],
  );
  return toPage(rows, limit, parseSummary);
}

/** Moves a proposal on; false where it was in none of the states `from`. */
export async function moveProposal(
  tx: Queryable,
  id: string,
  from: readonly ProposalState[],
  to: ProposalState,
  reason: string | null,
  nowMs: number,
  supersededBy: string | null = null,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update proposals set state = $3, decided_reason = coalesce($4, decided_reason), superseded_by = coalesce($6, superseded_by), updated_at_ms = $5
      where id = $1 and state = any($2::text[])`,
    [id, from, to, reason, nowMs, supersededBy],
  );
  return rowCount === 1;
}

export async function snoozeProposal(tx: Queryable, id: string, untilMs: number, nowMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update proposals set snoozed_until_ms = $2, updated_at_ms = $3 where id = $1 and state = 'waiting'`,
    [id, untilMs, nowMs],
  );
  return rowCount === 1;
}

/** Proposals that nobody decided in time. */
export async function listExpiredProposals(db: Queryable, nowMs: number, limit: number): Promise<readonly string[]> {
  const { rows } = await db.query<{ id: string }>(
    `select id from proposals where state = 'waiting' and expires_at_ms <= $1 order by seq limit $2`,
    [nowMs, limit],
  );
  return rows.map((row) => row.id);
}

/**
 * Forgets the rows of proposals whose repair cannot be undone any more, and of those that never ran and ended before `endedBeforeMs`.
 * In bounded steps; returns how many.
 */
export async function forgetRows(db: Queryable, nowMs: number, endedBeforeMs: number): Promise<number> {
  const { rowCount } = await db.query(
    `update proposals set effects = '[]', inverse = '[]', rows_forgotten = true
      where id in (
        select p.id from proposals p left join repairs r on r.proposal_id = p.id
         where not p.rows_forgotten and p.state not in ('waiting', 'planned')
           and case when r.id is null then p.updated_at_ms < $2
                    else r.undo_until_ms < $1 and r.state in ('sealed', 'stale', 'compensated', 'failed') end
         limit 500)`,
    [nowMs, endedBeforeMs],
  );
  return rowCount ?? 0;
}

export async function countProposals(
  db: Queryable,
): Promise<readonly { readonly domain: string; readonly state: ProposalState; readonly count: number }[]> {
  const { rows } = await db.query<{ domain: string; state: ProposalState; count: number }>(
    'select domain, state, count(*) as count from proposals group by domain, state',
  );
  return rows;
}
