/**
 * What a logical feed needs in the server: for each collection a publication, `homeostat_<collection>`, and one slot for all of them,
 * `homeostat_<installation>_<url>_<what it publishes>`, the last two as digests. Made where we may; where not, the refusal is the statement to run.
 */
import { Failure } from '../../../../base/failure.ts';
import { sha256Hex } from '../../../../base/hash.ts';
import { describeTable } from '../../postgres/describe.ts';
import { literal, type Session } from '../../postgres/session.ts';
import type { WatchedReplica } from '../changes.ts';
import { parseLsn } from './replication-stream.ts';
import type { PublishedTable } from './pgoutput.ts';

/** A table that can be published, or why it cannot. */
export type Publishable =
  | {
      readonly is: 'table';
      readonly published: PublishedTable;
      readonly publication: string;
      readonly sql: string;
      readonly database: string;
    }
  | { readonly is: 'refused'; readonly watched: WatchedReplica; readonly because: string };

export interface Slot {
  readonly name: string;
  readonly exists: boolean;
  /** What it kept cannot be read any more. */
  readonly isLost: boolean;
  readonly confirmedLsn: bigint;
  readonly retainedBytes: number;
  readonly activePid: number | null;
}

const oldestServer = 130_000;
const oldestStandby = 160_000;
/** PostgreSQL cuts longer names. */
const nameBytes = 63;

/** Why this server can tell no changes at all; undefined where it can. */
export async function whyNoDecoding(watched: WatchedReplica, session: Session): Promise<string | undefined> {
  const { collection, replica } = watched;
  const who = `Replica ${replica.id} of ${collection.name}`;
  const [row] = await session.query(
    `SELECT current_setting('wal_level') AS wal, current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS follows,
            (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user) AS may, quote_ident(current_user) AS user`,
  );
  if (Number(row?.['version']) < oldestServer) return `${who} is older than PostgreSQL 13: its changes are found by scans.`;
  if (row?.['wal'] !== 'logical')
    return `${who} has wal_level = ${String(row?.['wal'])}: set wal_level = logical and restart it, or its changes are found by scans alone.`;
  if (row['follows'] === true) {
    const leader = collection.replicas.find((other) => other.role === 'leader' && other.engine === 'postgres' && other.id !== replica.id);
    if (leader !== undefined) return `${who} is a standby: its leader ${leader.id} tells its changes.`;
    if (Number(row['version']) < oldestStandby) return `${who} is a standby of a server older than PostgreSQL 16: scans find its changes.`;
  }
  if (row['may'] !== true) return `${who} does not let this user replicate: run ALTER ROLE ${String(row['user'])} REPLICATION.`;
  return undefined;
}

/** `homeostat_<collection>`, with a hash where that is too long. */
export function publicationName(collection: string): string {
  const name = `homeostat_${collection}`;
  return Buffer.byteLength(name) <= nameBytes ? name : `${name.slice(0, nameBytes - 9)}_${sha256Hex(name).slice(0, 8)}`;
}

/** Looks the table up and checks that its changes name their rows. A publication without that would refuse the application's writes. */
export async function findPublishable(watched: WatchedReplica, session: Session): Promise<Publishable> {
  const { collection, replica } = watched;
  const who = `Table of replica ${replica.id} of ${collection.name}`;
  const table = await describeTable(collection, replica, session);
  const [row] = await session.query(
    `SELECT current_database() AS database, n.nspname AS schema, c.relname AS name, c.relkind AS kind, c.relreplident AS identity, c.relpersistence AS persistence,
            (SELECT coalesce(array_agg(a.attname::text), '{}') FROM pg_index i
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
              WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END) AS columns
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ${literal(table.sql)}::regclass`,
  );
  const refuse = (because: string): Publishable => ({ is: 'refused', watched, because: `${who} ${because}` });
  if (row?.['kind'] !== 'r' && row?.['kind'] !== 'p')
    return refuse('is a view or a foreign table, which tells no changes: scans find them.');
  if (row['persistence'] !== 'p') return refuse('is not logged, so that it tells no changes: scans find them.');
  const identity = row['columns'] as readonly string[];
  const key = collection.key.map((name) => replica.columnNames[name] ?? name);
  if (row['identity'] !== 'f' && !key.every((name) => identity.includes(name)))
    return refuse(
      `tells deletes without the key (${key.join(', ')}): run ALTER TABLE ${table.sql} REPLICA IDENTITY USING INDEX with its unique index on that key, or FULL.`,
    );
  const padded = new Set(collection.key.filter((name) => table.columns.get(name)?.base === 'bpchar'));
  return {
    is: 'table',
    published: { watched, schema: String(row['schema']), table: String(row['name']), padded },
    publication: publicationName(collection.name),
    sql: table.sql,
    database: String(row['database']),
  };
}

/** Makes the publication cover the table, and tells how, or returns why not and which statement does. */
export async function publish(
  table: Extract<Publishable, { is: 'table' }>,
  session: Session,
  made: (statement: string) => void,
): Promise<string | undefined> {
  const { published, publication, sql } = table;
  const [row] = await session.query(
    `SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AS complete, quote_ident(p.pubname) AS name,
            EXISTS (SELECT 1 FROM pg_publication_tables t WHERE t.pubname = p.pubname AND t.schemaname = ${literal(published.schema)}
                       AND t.tablename = ${literal(published.table)}) AS covers
       FROM pg_publication p WHERE p.pubname = ${literal(publication)}`,
  );
  if (row?.['covers'] === true && row['complete'] === true) return undefined;
  const [quoted] = await session.query(`SELECT quote_ident(${literal(publication)}) AS name`);
  const name = String(quoted?.['name']);
  const statement =
    row === undefined
      ? `CREATE PUBLICATION ${name} FOR TABLE ${sql} WITH (publish_via_partition_root = true)`
      : row['covers'] === true
        ? `ALTER PUBLICATION ${name} SET (publish = 'insert, update, delete, truncate')`
        : `ALTER PUBLICATION ${name} ADD TABLE ${sql}`;
  try {
    await session.query(statement);
    made(statement);
    return undefined;
  } catch (error) {
    const { collection, replica } = published.watched;
    // 25006: read-only.
    if (sqlStateOf(error) === '25006')
      return `Replica ${replica.id} of ${collection.name} is a standby, where nothing can be made: let the table’s owner run ${statement} on its leader`;
    return `Replica ${replica.id} of ${collection.name} does not let this user publish its table (${sqlStateOf(error)}): let its owner run ${statement}`;
  }
}

/** The slot's name says what it publishes: another set of tables is another slot, which starts anew. Names are the server's, not the database's. */
export function slotName(installation: string, url: string, tables: readonly Extract<Publishable, { is: 'table' }>[]): string {
  const what = tables.map((table) => `${table.database} ${table.publication} ${table.sql}`).toSorted();
  return `${slotPrefix(installation, url)}${sha256Hex(JSON.stringify(what)).slice(0, 8)}`;
}

/** One database can be watched under several URLs, each with a feed of its own: none may take another's slot for a forgotten one. */
const slotPrefix = (installation: string, url: string): string => `homeostat_${installation}_${sha256Hex(url).slice(0, 8)}_`;

/** Whether the server itself limits what a slot that nobody reads makes it keep: by size, or (PostgreSQL 18) by time. */
export async function limitsSlots(session: Session): Promise<boolean> {
  const [row] = await session.query(
    `SELECT current_setting('max_slot_wal_keep_size') <> '-1' OR coalesce(current_setting('idle_replication_slot_timeout', true), '0') NOT IN ('0', '') AS limits`,
  );
  return row?.['limits'] === true;
}

const findSlot = `
  SELECT s.wal_status AS status, s.active_pid AS pid, coalesce(s.confirmed_flush_lsn, '0/0')::text AS confirmed, s.plugin, s.database = current_database() AS ours,
         pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn)::float8 AS retained
    FROM pg_replication_slots s WHERE s.slot_name = `;

export async function readSlot(name: string, session: Session): Promise<Slot> {
  const [row] = await session.query(findSlot + literal(name));
  if (row === undefined) return { name, exists: false, isLost: false, confirmedLsn: 0n, retainedBytes: 0, activePid: null };
  return {
    name,
    exists: true,
    isLost: row['status'] === 'lost' || row['plugin'] !== 'pgoutput' || row['ours'] !== true,
    confirmedLsn: parseLsn(String(row['confirmed'])),
    retainedBytes: Number(row['retained'] ?? 0),
    activePid: row['pid'] === null ? null : Number(row['pid']),
  };
}

/** Waits until the transactions that are open now have ended: what they wrote before the slot was made is not told. */
export async function createSlot(name: string, session: Session): Promise<bigint> {
  const [row] = await session.query(`SELECT lsn::text FROM pg_create_logical_replication_slot(${literal(name)}, 'pgoutput')`);
  return parseLsn(String(row?.['lsn']));
}

/** Ends whoever reads from it first. Does nothing where it is gone. */
export async function dropSlot(name: string, session: Session): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const slot = await readSlot(name, session);
    if (!slot.exists) return;
    try {
      if (slot.activePid !== null) await session.query(`SELECT pg_terminate_backend(${slot.activePid}), pg_sleep(0.05)`);
      await session.query(`SELECT pg_drop_replication_slot(${literal(name)})`);
      return;
    } catch (error) {
      // 55006: its reader has not ended yet.
      if (sqlStateOf(error) !== '55006' || attempt > 100) throw error;
      await session.query('SELECT pg_sleep(0.05)');
    }
  }
}

/** Slots that an earlier configuration of this installation left in this database: nobody reads them, and they fill the disk. */
export async function listOurSlots(installation: string, url: string, session: Session): Promise<readonly string[]> {
  const rows = await session.query(
    `SELECT slot_name::text AS name FROM pg_replication_slots
      WHERE database = current_database() AND starts_with(slot_name::text, ${literal(slotPrefix(installation, url))})`,
  );
  return rows.map((row) => String(row['name']));
}

export function sqlStateOf(error: unknown): string {
  const cause = error instanceof Failure ? error.cause : error;
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
}
