/** MySQL 8 and MariaDB 10.6 and newer as a replica. */
import { systemClock } from '../../../base/clock.ts';
import type { Collection, Replica } from '../../../domain/collection.ts';
import type { Position } from '../../../domain/divergence.ts';
import { keyText } from '../../../domain/row.ts';
import { ChangedSinceRead } from '../changed-since-read.ts';
import { handOver } from '../hand-over.ts';
import { hold } from '../hold.ts';
import type { ReplicaConnection, ReplicaCounters } from '../replica.ts';
import { canonicalPlace } from '../key-word.ts';
import { applyEffects } from './apply.ts';
import { needsClient } from './canonical-sql.ts';
import { describeTable, type Table } from './describe.ts';
import { readPressure } from './pressure.ts';
import { digestBuckets, readBoundary, readEntries, readMarks, readRows } from './scan.ts';
import { keySpan, locateKeys, refine, sketchTable, slicesByKey, summarize } from './sketch.ts';
import { openSessionPool, type Session } from './session.ts';

const SNAPSHOT = ['SET TRANSACTION ISOLATION LEVEL REPEATABLE READ', 'START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY'];

/** Connects at the first call. */
export function openMysqlReplica(collection: Collection, replica: Replica): ReplicaConnection {
  const counters: ReplicaCounters = { rowsScanned: 0, bytesMoved: 0, rowsFetched: 0 };
  const pool = openSessionPool(collection.name, replica, counters);
  let known: Table | undefined;
  const tableOf = async (session: Session): Promise<Table> => {
    known ??= await describeTable(collection, replica, session);
    return known;
  };

  return {
    replica,
    counters,
    describe: (signal) =>
      pool.use(signal, async (session) => {
        known = await describeTable(collection, replica, session);
        return known.shape;
      }),
    position: (signal) => pool.use(signal, readPosition),
    hasPassed: (position, stalenessMs, signal) =>
      pool.use(signal, async (session) => {
        const own = await readPosition(session);
        return passedByGtid(own, position) ?? systemClock.nowMs() - position.atMs >= stalenessMs;
      }),
    digest: (shape, ranges, signal) =>
      pool.transaction(signal, SNAPSHOT, async (session) => {
        const table = await tableOf(session);
        const digests = [];
        for (const range of ranges) digests.push(...(await digestBuckets(session, table, shape, range, 1)));
        for (const digest of digests) counters.rowsScanned += digest.count;
        return digests;
      }),
    digestBuckets: (shape, range, buckets, signal) =>
      pool.transaction(signal, SNAPSHOT, async (session) => {
        const digests = await digestBuckets(session, await tableOf(session), shape, range, buckets);
        for (const digest of digests) counters.rowsScanned += digest.count;
        return digests;
      }),
    sketching: {
      family: async (shape, signal) => {
        await pool.use(signal, tableOf);
        return needsClient(shape) ? 'none' : `canonical:${replica.id}`;
      },
      slicesByKey: (shape, signal) => pool.use(signal, async (session) => slicesByKey(await tableOf(session), shape)),
      keySpan: (shape, range, signal) => pool.use(signal, async (session) => keySpan(session, await tableOf(session), shape, range)),
      scan: async (shape, range, _hash, slicing, signal) => {
        const held = await hold<Session>((use) => pool.transaction(signal, SNAPSHOT, use));
        const table = await held.call(tableOf);
        const scanned = { table, shape, range, slicing };
        const summary = await held.call((session) => summarize(session, scanned));
        counters.rowsScanned += summary.count;
        return {
          summary,
          refine: (buckets, parts) => held.call((session) => refine(session, slicing, buckets, parts)),
          table: (runs, cells) => held.call((session) => sketchTable(session, { ...scanned, runs }, cells)),
          close: () => held.close(),
        };
      },
      placeOf: canonicalPlace,
      hashKeys: async (shape, _hash, keys, signal) => {
        const marks = await pool.use(signal, async (session) => readMarks(session, await tableOf(session), shape, keys));
        const digests = new Map(marks.map(({ key, digest }) => [keyText(shape.key, key), Buffer.from(digest, 'hex').toString('latin1')]));
        return keys.map((key) => digests.get(keyText(shape.key, key)) ?? null);
      },
      locate: (shape, range, _hash, words, signal) =>
        pool.use(signal, async (session) => locateKeys(session, await tableOf(session), shape, range, words)),
    },
    entries: (shape, range, choice, signal) =>
      handOver(async (give) => {
        await pool.transaction(signal, SNAPSHOT, async (session) => {
          for await (const batch of readEntries(session, await tableOf(session), shape, range, choice)) await give(batch);
        });
      }),
    entriesInOrder: (shape, range, signal) =>
      handOver(async (give) => {
        await pool.transaction(signal, SNAPSHOT, async (session) => {
          for await (const batch of readEntries(session, await tableOf(session), shape, range, 'in-order')) await give(batch);
        });
      }),
    boundary: (shape, range, rows, signal) =>
      pool.use(signal, async (session) => readBoundary(session, await tableOf(session), shape, range, rows)),
    estimatedRows: (signal) => pool.use(signal, async (session) => (await tableOf(session)).estimatedRows),
    pressure: (signal) => pool.use(signal, readPressure),
    readRows: (shape, keys, signal) =>
      keys.length === 0
        ? Promise.resolve([])
        : pool.use(signal, async (session) => {
            const rows = await readRows(session, await tableOf(session), shape, keys);
            counters.rowsFetched += rows.length;
            return rows;
          }),
    readMarks: (shape, keys, signal) =>
      keys.length === 0
        ? Promise.resolve([])
        : pool.use(signal, async (session) => readMarks(session, await tableOf(session), shape, keys)),
    apply: async (shape, effects, signal) => {
      if (effects.length === 0) return { is: 'already-applied', rows: 0 };
      try {
        return await pool.transaction(signal, ['SET TRANSACTION ISOLATION LEVEL READ COMMITTED', 'START TRANSACTION'], async (session) =>
          applyEffects(session, await tableOf(session), shape, effects, `Replica ${replica.id} of ${collection.name}`),
        );
      } catch (error) {
        if (error instanceof ChangedSinceRead) return { is: 'changed-since-read', keys: error.keys };
        throw error;
      }
    },
    close: () => pool.close(),
  };
}

/** `leader|follower:gtid`, MariaDB's `domain-server-sequence` list; without a binary log only the clock is left. */
async function readPosition(session: Session): Promise<Position> {
  const [row] = await session.query('SELECT version() AS v');
  const atMs = systemClock.nowMs();
  if (String(row?.['v']).includes('MariaDB')) {
    const [gtid] = await session.query(`SELECT coalesce(@@gtid_current_pos, '') AS at, coalesce(@@gtid_slave_pos, '') AS followed`);
    const { at, followed } = { at: '', followed: '', ...gtid } as { readonly at: string; readonly followed: string };
    if (at !== '') return { is: 'gtid', text: `${followed === '' ? 'leader' : 'follower'}:${at}`, atMs };
  }
  return { is: 'wall-clock', text: new Date(atMs).toISOString(), atMs };
}

/**
 * Whether `own` includes all of `other`, by MariaDB GTIDs; undefined where they are not comparable: two leaders have numbered their own
 * histories, and so have servers whose events come from different origins.
 */
export function passedByGtid(own: Position, other: Position): boolean | undefined {
  if (own.is !== 'gtid' || other.is !== 'gtid') return undefined;
  const [ownRole = '', ownList = ''] = own.text.split(':');
  const [otherRole = '', otherList = ''] = other.text.split(':');
  if (ownRole !== 'follower' && otherRole !== 'follower') return undefined;
  const mine = new Map(parseGtids(ownList).map((gtid) => [gtid.domain, gtid]));
  let isPassed = true;
  for (const gtid of parseGtids(otherList)) {
    const counterpart = mine.get(gtid.domain);
    if (counterpart === undefined || counterpart.server !== gtid.server) return undefined;
    isPassed &&= counterpart.sequence >= gtid.sequence;
  }
  return isPassed;
}

function parseGtids(list: string): readonly { readonly domain: string; readonly server: string; readonly sequence: bigint }[] {
  return list.split(',').flatMap((text) => {
    const match = /^\s*(\d+)-(\d+)-(\d+)\s*$/.exec(text);
    return match === null ? [] : [{ domain: match[1] ?? '', server: match[2] ?? '', sequence: BigInt(match[3] ?? 0) }];
  });
}
