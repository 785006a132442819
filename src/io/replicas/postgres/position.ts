/**
 * How far a PostgreSQL server has come, and whether it has passed where another one was. An LSN says something about another server in
 * two cases: a physical standby has its leader's history; a logical subscriber applies the transactions of its publisher one by one,
 * and tells which of the publisher's LSNs it has come to. Everything else has only time in common.
 */
import pg from 'pg';
import { systemClock } from '../../../base/clock.ts';
import type { Replica } from '../../../domain/collection.ts';
import type { Position } from '../../../domain/divergence.ts';
import { literal, type Session } from './session.ts';

interface ServerPosition {
  readonly stream: string;
  readonly lsn: bigint;
  readonly follows: boolean;
  /** Logical slots of the database: what subscribers read. */
  readonly slots: readonly string[];
  /** Slots elsewhere that this database's subscriptions to the table read, with the LSN there before which all is applied here. */
  readonly reads: ReadonlyMap<string, bigint>;
}

/**
 * The leader's LSN is where it inserts: with synchronous_commit = off a commit is seen by others before its log is written.
 * `received_lsn` is set when a transaction's end is received, before it is applied: everything before it is. `latest_end_lsn` is set by
 * keepalives, which come in turn: everything up to it is applied, hence + 1. A table that is still being copied has come nowhere.
 */
const readServer = (table: string | undefined): string => `
  SELECT pg_is_in_recovery() AS follows, current_database() AS name, (SELECT system_identifier::text FROM pg_control_system()) AS system,
         (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END - '0/0'::pg_lsn)::text AS lsn,
         (SELECT coalesce(json_agg(slot_name), '[]')::text FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()) AS slots,
         ${
           table === undefined
             ? `'{}'`
             : `(SELECT coalesce(json_object_agg(s.subslotname, CASE WHEN r.srsubstate = 'r' THEN
                  (SELECT coalesce(greatest(max(w.received_lsn - '0/0'::pg_lsn), max(w.latest_end_lsn - '0/0'::pg_lsn) + 1), 0)
                     FROM pg_stat_subscription w WHERE w.subid = s.oid AND w.relid IS NULL) ELSE 0 END::text), '{}')::text
                FROM pg_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.oid AND r.srrelid = ${literal(table)}::regclass
               WHERE s.subslotname IS NOT NULL AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()))`
         } AS reads`;

/** `table`: quoted `schema.table`; undefined: subscriptions are not looked for. */
export async function readPosition(session: Session, table: string | undefined): Promise<Position> {
  let row: Readonly<Record<string, unknown>> | undefined;
  try {
    [row] = await session.query(readServer(table));
  } catch (error) {
    // Who may not ask which server this is has only time; anything else that is wrong is said.
    if (!(error instanceof pg.DatabaseError && error.code === '42501')) throw error;
  }
  const atMs = systemClock.nowMs();
  if (row === undefined) return { is: 'wall-clock', text: new Date(atMs).toISOString(), atMs };
  const facts: readonly string[] = [String(row['slots']), String(row['reads'])];
  return {
    is: 'lsn',
    // `system/database:lsn:role`, and where logical replication is set up what is read from whom.
    text: `${String(row['system'])}/${String(row['name'])}:${String(row['lsn'])}:${row['follows'] === true ? 'follower' : 'leader'}${facts.join(' ') === '[] {}' ? '' : ` ${facts.join(' ')}`}`,
    atMs,
  };
}

/** Whether the server that `own` was read from has passed `position`, read on another one. */
export function hasPassedPosition(own: Position, position: Position, replica: Replica, stalenessMs: number, nowMs: number): boolean {
  const mine = own.is === 'lsn' ? parse(own.text) : undefined;
  const other = position.is === 'lsn' ? parse(position.text) : undefined;
  if (mine !== undefined && other !== undefined) {
    // Two tables of one server that are kept equal by an application share the stream, and it says nothing about them: hence the role.
    if (other.stream === mine.stream && (other.follows || mine.follows)) return mine.lsn >= other.lsn;
    const reads = other.slots.flatMap((slot) => mine.reads.get(slot) ?? []);
    if (reads.length > 0) return reads.every((appliedBefore) => appliedBefore > other.lsn);
    // What a subscriber holds came from here; a leader waits for nobody.
    if (replica.role === 'leader' && mine.slots.some((slot) => other.reads.has(slot))) return true;
  }
  return nowMs - position.atMs >= stalenessMs;
}

function parse(text: string): ServerPosition | undefined {
  const match = /^(.*):(\d+):(leader|follower)(?: (\[[^\]]*\]) (\{.*\}))?$/s.exec(text);
  if (match === null) return undefined;
  const slots: unknown = JSON.parse(match[4] ?? '[]');
  const reads: unknown = JSON.parse(match[5] ?? '{}');
  return {
    stream: match[1] ?? '',
    lsn: BigInt(match[2] ?? 0),
    follows: match[3] === 'follower',
    slots: Array.isArray(slots) ? slots.map(String) : [],
    reads: new Map(
      typeof reads === 'object' && reads !== null
        ? Object.entries(reads).flatMap(([slot, lsn]) => (typeof lsn === 'string' && /^\d+$/.test(lsn) ? [[slot, BigInt(lsn)]] : []))
        : [],
    ),
  };
}
