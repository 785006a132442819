import type { Suggestion } from '../../domain/suggestion.ts';
import type { Queryable } from './database.ts';
import { type Page, pageBounds, type PageRequest, toPage } from './page.ts';

export interface StoredSuggestion extends Suggestion {
  readonly decidedBy: string | null;
  readonly decidedReason: string | null;
  readonly updatedAtMs: number;
}

export interface SuggestionFilter {
  readonly domain?: string | undefined;
  readonly collection?: string | undefined;
  readonly kind?: string | undefined;
  readonly state?: string | undefined;
}

interface SuggestionRow {
  seq: number;
  state: Suggestion['state'];
  body: Suggestion;
  decided_by: string | null;
  decided_reason: string | null;
  created_at_ms: number;
  updated_at_ms: number;
}

const parseSuggestion = (row: SuggestionRow): StoredSuggestion => ({
  ...row.body,
  state: row.state,
  createdAtMs: row.created_at_ms,
  decidedBy: row.decided_by,
  decidedReason: row.decided_reason,
  updatedAtMs: row.updated_at_ms,
});

/**
 * What a round of forecasting suggests now. A suggestion that a person decided keeps its state; open ones of these collections
 * that are not suggested any more become `expired`.
 */
export async function saveSuggestions(
  tx: Queryable,
  suggestions: readonly Suggestion[],
  collections: readonly string[],
  nowMs: number,
): Promise<void> {
  const latest = [...new Map(suggestions.map((suggestion) => [suggestion.id, suggestion])).values()];
  const batch = latest.map((suggestion) => ({ ...suggestion, body: JSON.stringify(suggestion) }));
  await tx.query(
    `insert into suggestions (id, kind, domain, collection, state, body, created_at_ms, updated_at_ms)
     select id, kind, domain, collection, state, body::json, "createdAtMs", $2
       from json_to_recordset($1::json) as s(id text, kind text, domain text, collection text, state text, body text, "createdAtMs" bigint)
     on conflict (id) do update set body = excluded.body, updated_at_ms = $2,
       state = case when suggestions.state in ('open', 'expired') then excluded.state else suggestions.state end
     where suggestions.state in ('open', 'expired')`,
    [JSON.stringify(batch), nowMs],
  );
  await tx.query(
    `update suggestions set state = 'expired', updated_at_ms = $3 where state = 'open' and collection = any($1::text[]) and not id = any($2::text[])`,
    [collections, latest.map((suggestion) => suggestion.id), nowMs],
  );
}

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

/** Moves a suggestion on; false where it was in none of the states `from`. */
export async function setSuggestionState(
  tx: Queryable,
  id: string,
  from: readonly Suggestion['state'][],
  to: Suggestion['state'],
  by: string,
  reason: string,
  nowMs: number,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update suggestions set state = $3, decided_by = $4, decided_reason = $5, updated_at_ms = $6 where id = $1 and state = any($2::text[])`,
    [id, from, to, by, reason, nowMs],
  );
  return rowCount === 1;
}
