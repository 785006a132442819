import type { Queryable } from './database.ts';

/** Tokens that a domain has spent on a day (UTC, `2026-11-22`). */
export async function getTokensSpent(db: Queryable, domain: string, day: string): Promise<number> {
  const { rows } = await db.query<{ tokens: number }>('select tokens from llm_spend where domain = $1 and day = $2', [domain, day]);
  return rows[0]?.tokens ?? 0;
}

export async function addTokensSpent(db: Queryable, domain: string, day: string, tokens: number): Promise<void> {
  await db.query(
    `insert into llm_spend (domain, day, tokens, calls) values ($1, $2, $3, 1)
     on conflict (domain, day) do update set tokens = llm_spend.tokens + $3, calls = llm_spend.calls + 1`,
    [domain, day, tokens],
  );
}
