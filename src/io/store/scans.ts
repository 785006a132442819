import type { Position } from '../../domain/divergence.ts';
import type { Key } from '../../domain/row.ts';
import type { Queryable } from './database.ts';

/** How the last comparison of a collection went. */
export interface CollectionState {
  readonly collection: string;
  readonly lastScanStartedMs: number | null;
  readonly lastScanEndedMs: number | null;
  readonly lastScanEqual: boolean | null;
  readonly rowsScanned: number;
  readonly bytesMoved: number;
  readonly rowsFetched: number;
  readonly rounds: number;
  readonly scans: number;
  /** One sentence, or null where the last comparison worked. */
  readonly error: string | null;
  readonly scanAskedAtMs: number | null;
  /** Of the comparison that runs, or that ended early; null after one that went through, and for tables of one chunk. */
  readonly progress: ScanProgress | null;
}

/** All keys up to `after` have been compared and what differs is on record. */
export interface ScanProgress {
  readonly key: readonly string[];
  readonly replicas: readonly string[];
  readonly after: Key;
  readonly rowsDone: number;
  /** By the engines' statistics; 0 where there are none. */
  readonly rowsOf: number;
  readonly differing: number;
}

export interface ReplicaState {
  readonly collection: string;
  readonly replica: string;
  readonly isUp: boolean;
  /** What is wrong, or `answers`. */
  readonly says: string;
  readonly position: Position | null;
  readonly atMs: number;
}

interface CollectionRow {
  collection: string;
  last_scan_started_ms: number | null;
  last_scan_ended_ms: number | null;
  last_scan_equal: boolean | null;
  rows_scanned: number;
  bytes_moved: number;
  rows_fetched: number;
  rounds: number;
  scans: number;
  error: string | null;
  scan_asked_at_ms: number | null;
  progress: ScanProgress | null;
}

const parseCollectionState = (row: CollectionRow): CollectionState => ({
  collection: row.collection,
  lastScanStartedMs: row.last_scan_started_ms,
  lastScanEndedMs: row.last_scan_ended_ms,
  lastScanEqual: row.last_scan_equal,
  rowsScanned: row.rows_scanned,
  bytesMoved: row.bytes_moved,
  rowsFetched: row.rows_fetched,
  rounds: row.rounds,
  scans: row.scans,
  error: row.error,
  scanAskedAtMs: row.scan_asked_at_ms,
  progress: row.progress,
});

export async function listCollectionStates(db: Queryable): Promise<readonly CollectionState[]> {
  const { rows } = await db.query<CollectionRow>('select * from collection_state order by collection');
  return rows.map(parseCollectionState);
}

export async function getCollectionState(db: Queryable, collection: string): Promise<CollectionState | null> {
  const { rows } = await db.query<CollectionRow>('select * from collection_state where collection = $1', [collection]);
  return rows[0] === undefined ? null : parseCollectionState(rows[0]);
}

/** A person or an API call asks for a comparison now. */
export async function askForScan(tx: Queryable, collection: string, nowMs: number): Promise<void> {
  await tx.query(
    `insert into collection_state (collection, scan_asked_at_ms) values ($1, $2) on conflict (collection) do update set scan_asked_at_ms = $2`,
    [collection, nowMs],
  );
}

/** A comparison that failed found nothing of what may differ: it is made again after this, however rarely the collection is compared. */
const afterFailureMs = 60_000;

/** A worker that has not said for this long that it still scans is gone. */
export const scanLeaseMs = 30_000;

/**
 * Takes a collection for one comparison, for this worker alone, if it is due: `everyMs` after the last start, give or take a tenth, sooner
 * where that one failed, or asked for; and if nobody scans it. The take is a compare-and-set on the start and the lease, so of two workers
 * one scans. Clocks of workers may differ by as much as a lease; what is further ahead was made before the clock was set back, and does not
 * count. Which tenth follows from the last start: all workers agree on it, and collections that were started together drift apart.
 */
export async function takeScan(db: Queryable, collection: string, everyMs: number, owner: string, nowMs: number): Promise<boolean> {
  const { rowCount } = await db.query(
    `insert into collection_state as c (collection, last_scan_started_ms, scan_owner, scan_lease_until_ms) values ($1, $2, $4, $2::bigint + $5::bigint)
     on conflict (collection) do update set last_scan_started_ms = $2, scan_asked_at_ms = null, scan_owner = $4, scan_lease_until_ms = $2::bigint + $5::bigint
       where (c.last_scan_started_ms is null
          or c.last_scan_started_ms + ($3::bigint * (900 + abs(hashtext(c.collection || c.last_scan_started_ms)::bigint) % 201) / 1000) <= $2
          or c.last_scan_started_ms > $2::bigint + $5::bigint
          or (c.error is not null and c.last_scan_ended_ms + $6::bigint <= $2)
          or c.scan_asked_at_ms is not null)
         and not (c.scan_lease_until_ms > $2 and c.scan_lease_until_ms <= $2::bigint + 2 * $5::bigint)`,
    [collection, nowMs, everyMs, owner, scanLeaseMs, afterFailureMs],
  );
  return rowCount === 1;
}

/** Says that the comparison goes on; false where another worker has taken the collection over. */
export async function renewScan(db: Queryable, collection: string, owner: string, nowMs: number): Promise<boolean> {
  const { rowCount } = await db.query(
    'update collection_state set scan_lease_until_ms = $3::bigint + $4::bigint where collection = $1 and scan_owner = $2',
    [collection, owner, nowMs, scanLeaseMs],
  );
  return rowCount === 1;
}

/** Whoever held a collection is gone. */
export async function freeScans(db: Queryable): Promise<void> {
  await db.query(`update collection_state set scan_owner = '', scan_lease_until_ms = 0`);
}

/** The comparison has ended, however it did. */
export async function releaseScan(db: Queryable, collection: string, owner: string): Promise<void> {
  await db.query(`update collection_state set scan_owner = '', scan_lease_until_ms = 0 where collection = $1 and scan_owner = $2`, [
    collection,
    owner,
  ]);
}

export async function saveScanResult(
  db: Queryable,
  collection: string,
  result: {
    readonly equal: boolean | null;
    readonly rowsScanned: number;
    readonly bytesMoved: number;
    readonly rowsFetched: number;
    readonly rounds: number;
    readonly error: string | null;
  },
  nowMs: number,
): Promise<void> {
  await db.query(
    `update collection_state set last_scan_ended_ms = $2, last_scan_equal = $3, rows_scanned = rows_scanned + $4, bytes_moved = bytes_moved + $5,
            rows_fetched = rows_fetched + $6, rounds = rounds + $7, error = $8, scans = scans + 1
      where collection = $1`,
    [collection, nowMs, result.equal, result.rowsScanned, result.bytesMoved, result.rowsFetched, result.rounds, result.error],
  );
}

export async function saveScanProgress(db: Queryable, collection: string, progress: ScanProgress | null): Promise<void> {
  await db.query('update collection_state set progress = $2::json where collection = $1', [
    collection,
    progress === null ? null : JSON.stringify(progress),
  ]);
}

interface ReplicaRow {
  collection: string;
  replica: string;
  is_up: boolean;
  says: string;
  position: Position | null;
  at_ms: number;
}

export async function saveReplicaState(db: Queryable, state: ReplicaState): Promise<void> {
  await db.query(
    `insert into replica_state (collection, replica, is_up, says, position, at_ms) values ($1, $2, $3, $4, $5::json, $6)
     on conflict (collection, replica) do update set is_up = $3, says = $4, position = coalesce($5::json, replica_state.position), at_ms = $6`,
    [state.collection, state.replica, state.isUp, state.says, state.position === null ? null : JSON.stringify(state.position), state.atMs],
  );
}

export async function listReplicaStates(db: Queryable): Promise<readonly ReplicaState[]> {
  const { rows } = await db.query<ReplicaRow>('select * from replica_state order by collection, replica');
  return rows.map((row) => ({
    collection: row.collection,
    replica: row.replica,
    isUp: row.is_up,
    says: row.says,
    position: row.position,
    atMs: row.at_ms,
  }));
}
