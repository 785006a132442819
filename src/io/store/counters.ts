import type { Queryable } from './database.ts';

/** Counts that outlive a process: `name` as in /metrics, `labels` as its canonical text or ''. */
export interface Counter {
  readonly name: string;
  readonly labels: string;
  readonly value: number;
}

export async function addCounters(db: Queryable, counters: readonly Counter[]): Promise<void> {
  if (counters.length === 0) return;
  await db.query(
    `insert into counters (name, labels, value)
     select name, labels, sum(value) from unnest($1::text[], $2::text[], $3::bigint[]) as c(name, labels, value) group by name, labels
     on conflict (name, labels) do update set value = counters.value + excluded.value`,
    [counters.map((counter) => counter.name), counters.map((counter) => counter.labels), counters.map((counter) => counter.value)],
  );
}

export async function listCounters(db: Queryable): Promise<readonly Counter[]> {
  const { rows } = await db.query<{ name: string; labels: string; value: number }>(
    'select name, labels, value from counters order by name, labels',
  );
  return rows;
}
