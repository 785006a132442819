import type { LearnedFact } from '../../domain/learned-fact.ts';
import type { Queryable } from './database.ts';

interface LearnedRow {
  body: LearnedFact;
  first_seen_ms: number;
  updated_at_ms: number;
}

export interface StoredFact extends LearnedFact {
  readonly firstSeenMs: number;
  readonly updatedAtMs: number;
}

/** Facts at most; a fleet has hundreds. */
const factsMax = 5_000;

/** Keeps what is known now; what was learned and is no longer held is forgotten. */
export async function saveLearned(db: Queryable, facts: readonly LearnedFact[], nowMs: number): Promise<void> {
  const kept = facts.toSorted((a, b) => b.support - a.support).slice(0, factsMax);
  const batch = [
    ...new Map(kept.map((fact) => [`${fact.is} ${fact.name}`, { kind: fact.is, name: fact.name, body: JSON.stringify(fact) }])).values(),
  ];
  await db.query(
    `with given as (select kind, name, body from json_to_recordset($1::json) as g(kind text, name text, body text)),
          gone as (delete from learned_structure l where not exists (select from given g where g.kind = l.kind and g.name = l.name))
     insert into learned_structure (kind, name, body, first_seen_ms, updated_at_ms)
     select kind, name, body::json, $2, $2 from given
     on conflict (kind, name) do update set body = excluded.body, updated_at_ms = excluded.updated_at_ms`,
    [JSON.stringify(batch), nowMs],
  );
}

/** Best supported first. */
export async function listLearned(db: Queryable): Promise<readonly StoredFact[]> {
  const { rows } = await db.query<LearnedRow>(
    `select body, first_seen_ms, updated_at_ms from learned_structure order by kind, (body ->> 'support')::float8 desc, name limit ${factsMax}`,
  );
  return rows.map((row) => ({ ...row.body, firstSeenMs: row.first_seen_ms, updatedAtMs: row.updated_at_ms }));
}
