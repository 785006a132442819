import type { Outcome } from '../../domain/outcome.ts';
import type { Queryable } from './database.ts';
import { type Page, pageBounds, type PageRequest, toPage } from './page.ts';

export interface OutcomeFilter {
  readonly domain?: string | undefined;
  readonly collection?: string | undefined;
  readonly strategy?: string | undefined;
  readonly is?: string | undefined;
}

interface OutcomeRow {
  seq: number;
  proposal_id: string;
  case_id: string;
  domain: string;
  collection: string;
  strategy: string;
  chosen_by: Outcome['chosenBy'];
  is_kind: Outcome['is'];
  confidence: number;
  rows: number;
  reason: string | null;
  at_ms: number;
}

const parseOutcome = (row: OutcomeRow): Outcome => ({
  proposalId: row.proposal_id,
  caseId: row.case_id,
  domain: row.domain,
  collection: row.collection,
  strategy: row.strategy,
  chosenBy: row.chosen_by,
  is: row.is_kind,
  confidence: row.confidence,
  rows: row.rows,
  atMs: row.at_ms,
  ...(row.reason === null ? {} : { reason: row.reason }),
});

/** One outcome a proposal; a later one (undone after verified) takes its place. */
export async function saveOutcome(tx: Queryable, outcome: Outcome): Promise<void> {
  await tx.query(
    `insert into outcomes (proposal_id, case_id, domain, collection, strategy, chosen_by, is_kind, confidence, rows, reason, at_ms)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
     on conflict (proposal_id) do update set is_kind = $7, reason = $10, at_ms = $11`,
    [
      outcome.proposalId,
      outcome.caseId,
      outcome.domain,
      outcome.collection,
      outcome.strategy,
      outcome.chosenBy,
      outcome.is,
      outcome.confidence,
      outcome.rows,
      outcome.reason,
      outcome.atMs,
    ],
  );
}

export async function getOutcome(db: Queryable, proposalId: string): Promise<Outcome | null> {
  const { rows } = await db.query<OutcomeRow>('select * from outcomes where proposal_id = $1', [proposalId]);
  return rows[0] === undefined ? null : parseOutcome(rows[0]);
}

export async function listOutcomes(db: Queryable, filter: OutcomeFilter, request: PageRequest): Promise<Page<Outcome>> {
  const { before, limit, fetch } = pageBounds(request);
  const { rows } = await db.query<OutcomeRow>(
    `select * from outcomes
      where ($1::text is null or domain = $1) and ($2::text is null or collection = $2) and ($3::text is null or strategy = $3)
        and ($4::text is null or is_kind = $4) and seq < $5
      order by seq desc limit $6`,
    [filter.domain, filter.collection, filter.strategy, filter.is, before, fetch],
  );
  return toPage(rows, limit, parseOutcome);
}

/** The latest outcomes of a domain, newest first: what calibration learns from. */
export async function listRecentOutcomes(db: Queryable, domain: string, limit: number): Promise<readonly Outcome[]> {
  const { rows } = await db.query<OutcomeRow>('select * from outcomes where domain = $1 order by seq desc limit $2', [domain, limit]);
  return rows.map(parseOutcome);
}
