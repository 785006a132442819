import type { Bell } from '../../domain/bell.ts';
import type { Queryable } from './database.ts';

export interface OutboxEntry {
  readonly id: number;
  readonly bell: Bell;
  readonly subject: string;
}

/** Wakes the relay; nobody hearing it costs a poll interval, nothing else. */
export const outboxChannel = 'homeostat_outbox';

/** Written in the transaction of the change that it tells of: both happen, or neither. */
export async function appendOutbox(tx: Queryable, bell: Bell, subject: string, nowMs: number): Promise<void> {
  await tx.query('insert into outbox (bell, subject, created_at_ms) values ($1, $2, $3)', [bell, subject, nowMs]);
  await tx.query(`select pg_notify('homeostat_outbox', '')`);
}

/** Entries that are still to be rung, oldest first; other relays skip those that this transaction holds. */
export async function takeOutbox(tx: Queryable, limit: number): Promise<readonly OutboxEntry[]> {
  const { rows } = await tx.query<{ id: number; bell: Bell; subject: string }>(
    'select id, bell, subject from outbox where rung_at_ms is null order by id limit $1 for update skip locked',
    [limit],
  );
  return rows;
}

export async function markRung(tx: Queryable, ids: readonly number[], nowMs: number): Promise<void> {
  await tx.query('update outbox set rung_at_ms = $2 where id = any($1::bigint[])', [ids, nowMs]);
}

/** Forgets what rang long ago. The state tables, not the outbox, say what is still to do. */
export async function pruneOutbox(db: Queryable, rungBeforeMs: number): Promise<number> {
  const { rowCount } = await db.query('delete from outbox where id in (select id from outbox where rung_at_ms < $1 limit 10000)', [
    rungBeforeMs,
  ]);
  return rowCount ?? 0;
}

export async function countUnrung(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ count: number }>('select count(*) as count from outbox where rung_at_ms is null');
  return rows[0]?.count ?? 0;
}
