import type { Queryable } from './database.ts';

/** `streaming`: writes are told as they happen; `waiting`: lost, tried again soon; `off`: nothing of the store can be told. */
export type FeedState = 'starting' | 'streaming' | 'waiting' | 'off';

/** How one store's feed stands. */
export interface StoredFeed {
  readonly source: string;
  readonly feed: string;
  readonly state: FeedState;
  /** One sentence where something is wrong, else empty. */
  readonly says: string;
  readonly position: string | null;
  readonly keysTold: number;
  /** How often writes went untold, so that a full scan had to look for them. */
  readonly gaps: number;
  readonly lastGap: string | null;
  readonly lastGapAtMs: number | null;
  readonly retainedBytes: number;
  readonly updatedAtMs: number;
}

/** Whether the writes to one replica are told. */
export interface ReplicaChanges {
  readonly collection: string;
  readonly replica: string;
  readonly source: string;
  readonly isTold: boolean;
  readonly says: string;
  readonly updatedAtMs: number;
}

interface FeedRow {
  source: string;
  feed: string;
  state: FeedState;
  says: string;
  position: string | null;
  keys_told: number;
  gaps: number;
  last_gap: string | null;
  last_gap_at_ms: number | null;
  retained_bytes: number;
  updated_at_ms: number;
}

const parseFeed = (row: FeedRow): StoredFeed => ({
  source: row.source,
  feed: row.feed,
  state: row.state,
  says: row.says,
  position: row.position,
  keysTold: row.keys_told,
  gaps: row.gaps,
  lastGap: row.last_gap,
  lastGapAtMs: row.last_gap_at_ms,
  retainedBytes: row.retained_bytes,
  updatedAtMs: row.updated_at_ms,
});

/** Eight hexadecimal digits that name this installation in the stores it watches. */
export async function getInstallation(db: Queryable): Promise<string> {
  const { rows } = await db.query<{ id: string }>('select id from installation');
  return rows[0]?.id ?? '00000000';
}

/**
 * Takes a store's feed for this process, or keeps it: by compare-and-set on the lease, so that of several processes one reads. Returns
 * the feed, or null where another process has it.
 */
export async function leaseFeed(
  db: Queryable,
  source: string,
  feed: string,
  owner: string,
  leaseMs: number,
  nowMs: number,
): Promise<StoredFeed | null> {
  const { rows } = await db.query<FeedRow>(
    `insert into change_feeds (source, feed, owner, lease_until_ms, updated_at_ms) values ($1, $2, $3, $4::bigint + $5::bigint, $4)
     on conflict (source) do update set owner = $3, feed = $2, lease_until_ms = $4::bigint + $5::bigint
       where change_feeds.owner in ($3, '') or change_feeds.lease_until_ms < $4 or change_feeds.lease_until_ms > $4::bigint + 10 * $5::bigint
     returning *`,
    [source, feed, owner, nowMs, leaseMs],
  );
  return rows[0] === undefined ? null : parseFeed(rows[0]);
}

/** Whoever read the feeds is gone. */
export async function freeFeeds(db: Queryable): Promise<void> {
  await db.query(`update change_feeds set owner = '', lease_until_ms = 0`);
}

/** Lets another process have it now. */
export async function releaseFeed(db: Queryable, source: string, owner: string): Promise<void> {
  await db.query(`update change_feeds set owner = '', lease_until_ms = 0 where source = $1 and owner = $2`, [source, owner]);
}

export async function saveFeedState(
  db: Queryable,
  source: string,
  change: { readonly state: FeedState; readonly says: string },
  nowMs: number,
): Promise<void> {
  await db.query('update change_feeds set state = $2, says = $3, updated_at_ms = $4 where source = $1', [
    source,
    change.state,
    change.says,
    nowMs,
  ]);
}

/** Writes went untold: on record before the full scan that looks for them is asked for. */
export async function saveFeedGap(tx: Queryable, source: string, because: string, nowMs: number): Promise<void> {
  await tx.query(
    'update change_feeds set gaps = gaps + 1, last_gap = $2, last_gap_at_ms = $3, position = null, updated_at_ms = $3 where source = $1',
    [source, because, nowMs],
  );
}

/** How far the feed was dealt with. False where another process has taken it over: then the position is not ours to move. */
export async function saveFeedProgress(
  db: Queryable,
  source: string,
  owner: string,
  progress: { readonly position: string | null; readonly keysTold: number; readonly retainedBytes: number; readonly leaseMs: number },
  nowMs: number,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update change_feeds set position = coalesce($3, position), keys_told = keys_told + $4, retained_bytes = $5, lease_until_ms = $6::bigint + $7::bigint,
            updated_at_ms = $6
      where source = $1 and owner = $2`,
    [source, owner, progress.position, progress.keysTold, progress.retainedBytes, nowMs, progress.leaseMs],
  );
  return rowCount === 1;
}

export async function listFeeds(db: Queryable): Promise<readonly StoredFeed[]> {
  const { rows } = await db.query<FeedRow>('select * from change_feeds order by source');
  return rows.map(parseFeed);
}

/** A store that is no longer watched. */
export async function forgetFeed(db: Queryable, source: string): Promise<void> {
  await db.query('delete from replica_changes where source = $1', [source]);
  await db.query('delete from change_feeds where source = $1', [source]);
}

export async function saveReplicaChanges(db: Queryable, one: Omit<ReplicaChanges, 'updatedAtMs'>, nowMs: number): Promise<void> {
  await db.query(
    `insert into replica_changes (collection, replica, source, is_told, says, updated_at_ms) values ($1, $2, $3, $4, $5, $6)
     on conflict (collection, replica) do update set source = $3, is_told = $4, says = $5, updated_at_ms = $6`,
    [one.collection, one.replica, one.source, one.isTold, one.says, nowMs],
  );
}

interface ReplicaChangesRow {
  collection: string;
  replica: string;
  source: string;
  is_told: boolean;
  says: string;
  updated_at_ms: number;
}

export async function listReplicaChanges(db: Queryable): Promise<readonly ReplicaChanges[]> {
  const { rows } = await db.query<ReplicaChangesRow>('select * from replica_changes order by collection, replica');
  return rows.map((row) => ({
    collection: row.collection,
    replica: row.replica,
    source: row.source,
    isTold: row.is_told,
    says: row.says,
    updatedAtMs: row.updated_at_ms,
  }));
}
