import type { Json } from '../../base/hash.ts';
import {
  parseSuggestionDigest,
  type Suggestion,
  type SuggestionDigest,
  suggestionDigest,
  type SuggestionState,
} from '../../domain/suggestion.ts';
import type { Queryable } from './database.ts';
import { type Page, pageBounds, type PageRequest, toPage } from './page.ts';

export interface StoredSuggestion extends Suggestion {
  readonly digest: SuggestionDigest;
  readonly decidedBy: string | null;
  readonly decidedReason: string | null;
  readonly updatedAtMs: number;
  /** What the target has told so far, or what came of it. */
  readonly outcome: string | null;
  readonly attempts: number;
}

/** How a suggestion is being carried out; `fence` rises with every claim. */
export interface SuggestionWork {
  readonly suggestion: StoredSuggestion;
  readonly fence: number;
  readonly progress: Json | null;
}

export interface SuggestionFilter {
  readonly domain?: string | undefined;
  readonly collection?: string | undefined;
  readonly kind?: string | undefined;
  readonly state?: string | undefined;
}

interface SuggestionRow {
  seq: number;
  state: SuggestionState;
  body: Suggestion;
  digest: string;
  fence: number;
  attempts: number;
  progress: Json | null;
  outcome: string | null;
  decided_by: string | null;
  decided_reason: string | null;
  created_at_ms: number;
  updated_at_ms: number;
}

const parseSuggestion = (row: SuggestionRow): StoredSuggestion => ({
  ...row.body,
  state: row.state,
  digest: row.digest === '' ? suggestionDigest(row.body) : parseSuggestionDigest(row.digest),
  outcome: row.outcome,
  attempts: row.attempts,
  createdAtMs: row.created_at_ms,
  decidedBy: row.decided_by,
  decidedReason: row.decided_reason,
  updatedAtMs: row.updated_at_ms,
});

/**
 * What a round of forecasting suggests now. A suggestion that a person decided keeps its state; open ones of these collections
 * that are not suggested any more become `expired`. What ended more than a day ago may be suggested anew, as a new decision.
 */
export async function saveSuggestions(
  tx: Queryable,
  suggestions: readonly Suggestion[],
  collections: readonly string[],
  nowMs: number,
): Promise<void> {
  const latest = [...new Map(suggestions.map((suggestion) => [suggestion.id, suggestion])).values()];
  const batch = latest.map((suggestion) => ({ ...suggestion, body: JSON.stringify(suggestion), digest: suggestionDigest(suggestion) }));
  await tx.query(
    `insert into suggestions (id, kind, domain, collection, state, body, digest, created_at_ms, updated_at_ms)
     select id, kind, domain, collection, state, body::json, digest, "createdAtMs", $2
       from json_to_recordset($1::json)
         as s(id text, kind text, domain text, collection text, state text, body text, digest text, "createdAtMs" bigint)
     on conflict (id) do update set body = excluded.body, digest = excluded.digest, updated_at_ms = $2, state = excluded.state,
       decided_by = null, decided_reason = null, progress = null, outcome = null, attempts = 0
     where suggestions.state in ('open', 'expired')
        or (suggestions.state in ('rejected', 'applied', 'rolled-back', 'failed') and suggestions.updated_at_ms < $2::bigint - $3::bigint)`,
    [JSON.stringify(batch), nowMs, restMs],
  );
  // An approval is good for a day; what nothing here can carry out was done by hand by then, or not at all.
  await tx.query(
    `update suggestions set state = 'expired', updated_at_ms = $3
      where collection = any($1::text[])
        and ((state = 'open' and not id = any($2::text[])) or (state = 'approved' and updated_at_ms < $3::bigint - $4::bigint))`,
    [collections, latest.map((suggestion) => suggestion.id), nowMs, restMs],
  );
}

/** What a person or a target has said no to, or what was just done, is not suggested again for so long. */
const restMs = 86_400_000;

export async function getSuggestion(db: Queryable, id: string): Promise<StoredSuggestion | null> {
  const { rows } = await db.query<SuggestionRow>('select * from suggestions where id = $1', [id]);
  return rows[0] === undefined ? null : parseSuggestion(rows[0]);
}

export async function listSuggestions(db: Queryable, filter: SuggestionFilter, request: PageRequest): Promise<Page<StoredSuggestion>> {
  const { before, limit, fetch } = pageBounds(request);
  const { rows } = await db.query<SuggestionRow>(
    `select * from suggestions
      where ($1::text is null or domain = $1) and ($2::text is null or collection = $2) and ($3::text is null or kind = $3)
        and ($4::text is null or state = $4) and seq < $5
      order by seq desc limit $6`,
    [filter.domain, filter.collection, filter.kind, filter.state, before, fetch],
  );
  return toPage(rows, limit, parseSuggestion);
}

/** The suggestion, held until the transaction ends. */
export async function lockSuggestion(tx: Queryable, id: string): Promise<StoredSuggestion | null> {
  const { rows } = await tx.query<SuggestionRow>('select * from suggestions where id = $1 for update', [id]);
  return rows[0] === undefined ? null : parseSuggestion(rows[0]);
}

/** Moves a suggestion on; false where it was in none of the states `from`. */
export async function setSuggestionState(
  tx: Queryable,
  id: string,
  from: readonly SuggestionState[],
  to: SuggestionState,
  by: string,
  reason: string,
  nowMs: number,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update suggestions set state = $3, decided_by = $4, decided_reason = $5, updated_at_ms = $6, retry_at_ms = 0, attempts = 0
      where id = $1 and state = any($2::text[])`,
    [id, from, to, by, reason, nowMs],
  );
  return rowCount === 1;
}

/** One approval a person; a second of the same person for the same digest changes nothing and answers false. */
export async function saveSuggestionApproval(
  tx: Queryable,
  approval: { readonly id: string; readonly digest: SuggestionDigest; readonly by: string; readonly comment: string },
  nowMs: number,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `insert into suggestion_approvals (suggestion_id, digest, by_person, comment, at_ms) values ($1, $2, $3, $4, $5)
     on conflict (suggestion_id, by_person) do update set digest = $2, comment = $4, at_ms = $5
     where suggestion_approvals.digest <> $2 or suggestion_approvals.at_ms < $6`,
    [approval.id, approval.digest, approval.by, approval.comment, nowMs, nowMs - restMs],
  );
  return rowCount === 1;
}

/** Who approved exactly this digest in the last day: an approval is for what was seen, not for whatever comes of it later. */
export async function listSuggestionApprovers(
  db: Queryable,
  id: string,
  digest: SuggestionDigest,
  nowMs: number,
): Promise<readonly string[]> {
  const { rows } = await db.query<{ by_person: string }>(
    'select by_person from suggestion_approvals where suggestion_id = $1 and digest = $2 and at_ms > $3 order by by_person',
    [id, digest, nowMs - restMs],
  );
  return rows.map((row) => row.by_person);
}

export async function countMoves(db: Queryable, collection: string, sinceMs: number, exceptId: string): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    `select count(*) as count from suggestions
      where collection = $1 and id <> $3 and updated_at_ms > $2 and state in ('applying', 'applied', 'undoing', 'rolled-back')`,
    [collection, sinceMs, exceptId],
  );
  return rows[0]?.count ?? 0;
}

/** Per collection: when its placement was last changed, and whether a change is approved or in work. */
export async function listMoves(
  db: Queryable,
): Promise<readonly { readonly collection: string; readonly atMs: number | null; readonly isPending: boolean }[]> {
  const { rows } = await db.query<{ collection: string; at_ms: number | null; pending: boolean }>(
    `select collection, max(updated_at_ms) filter (where state in ('applied', 'rolled-back')) as at_ms,
            bool_or(state in ('approved', 'applying', 'undoing')) as pending
       from suggestions where state in ('approved', 'applying', 'undoing', 'applied', 'rolled-back') group by collection`,
  );
  return rows.map((row) => ({ collection: row.collection, atMs: row.at_ms, isPending: row.pending }));
}

/** Another suggestion that is in work on this target. */
export async function findInWork(db: Queryable, target: string, exceptId: string): Promise<string | null> {
  const { rows } = await db.query<{ id: string }>(
    `select id from suggestions where state in ('applying', 'undoing') and id <> $2 and body->'action'->>'target' = $1 limit 1`,
    [target, exceptId],
  );
  return rows[0]?.id ?? null;
}

/** Takes a suggestion that is due and nobody's, for `claimMs`; null where it is not. */
export async function claimSuggestion(db: Queryable, id: string, nowMs: number, claimMs: number): Promise<SuggestionWork | null> {
  const { rows } = await db.query<SuggestionRow>(
    `update suggestions set fence = fence + 1, claimed_until_ms = $2::bigint + $3::bigint, attempts = attempts + 1
      where id = $1 and state in ('applying', 'undoing') and claimed_until_ms <= $2 and retry_at_ms <= $2 returning *`,
    [id, nowMs, claimMs],
  );
  const [row] = rows;
  return row === undefined ? null : { suggestion: parseSuggestion(row), fence: row.fence, progress: row.progress };
}

/** Lengthens a claim; answers the state as it is now, or null where the claim has gone to another worker. */
export async function keepSuggestionClaim(db: Queryable, id: string, fence: number, untilMs: number): Promise<SuggestionState | null> {
  const { rows } = await db.query<{ state: SuggestionState }>(
    'update suggestions set claimed_until_ms = $3 where id = $1 and fence = $2 returning state',
    [id, fence, untilMs],
  );
  return rows[0]?.state ?? null;
}

export async function saveSuggestionProgress(
  db: Queryable,
  id: string,
  fence: number,
  progress: Json,
  says: string,
  nowMs: number,
): Promise<boolean> {
  const { rowCount } = await db.query(
    'update suggestions set progress = $3::json, outcome = $4, updated_at_ms = $5 where id = $1 and fence = $2',
    [id, fence, JSON.stringify(progress), says, nowMs],
  );
  return rowCount === 1;
}

/** Ends a claim in a new state. False where the claim was lost, or a person has asked for something else meanwhile. */
export async function endSuggestionWork(
  tx: Queryable,
  input: {
    readonly id: string;
    readonly fence: number;
    readonly from: SuggestionState;
    readonly to: SuggestionState;
    readonly outcome: string;
  },
  nowMs: number,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update suggestions set state = $4, outcome = $5, retry_at_ms = 0, claimed_until_ms = 0, updated_at_ms = $6
      where id = $1 and fence = $2 and state = $3`,
    [input.id, input.fence, input.from, input.to, input.outcome, nowMs],
  );
  return rowCount === 1;
}

/** Gives a claim up, to be taken again at `retryAtMs`, in whichever state it is by now. */
export async function putBackSuggestion(db: Queryable, id: string, fence: number, outcome: string, retryAtMs: number): Promise<void> {
  await db.query('update suggestions set outcome = $3, retry_at_ms = $4, claimed_until_ms = 0 where id = $1 and fence = $2', [
    id,
    fence,
    outcome,
    retryAtMs,
  ]);
}

/** The same for a claim that did not fail: it does not count among the tries. */
export async function restSuggestion(db: Queryable, id: string, fence: number, outcome: string, retryAtMs: number): Promise<void> {
  await db.query(
    `update suggestions set outcome = $3, retry_at_ms = $4, claimed_until_ms = 0, attempts = greatest(0, attempts - 1)
      where id = $1 and fence = $2`,
    [id, fence, outcome, retryAtMs],
  );
}

/** In work, due, and nobody's: what the sweeper rings for. */
export async function listSuggestionsToContinue(db: Queryable, nowMs: number, limit: number): Promise<readonly string[]> {
  const { rows } = await db.query<{ id: string }>(
    `select id from suggestions where state in ('applying', 'undoing') and claimed_until_ms <= $1 and retry_at_ms <= $1
      order by updated_at_ms limit $2`,
    [nowMs, limit],
  );
  return rows.map((row) => row.id);
}
