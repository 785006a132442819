/** PostgreSQL 13 and newer as a replica. */
import { systemClock } from '../../../base/clock.ts';
import type { Collection, Replica } from '../../../domain/collection.ts';
import type { Shape } from '../../../domain/row.ts';
import { ChangedSinceRead } from '../changed-since-read.ts';
import { handOver } from '../hand-over.ts';
import { hold } from '../hold.ts';
import type { ReplicaConnection, ReplicaCounters } from '../replica.ts';
import { applyEffects } from './apply.ts';
import { describeTable, type Table } from './describe.ts';
import { hasPassedPosition, readPosition } from './position.ts';
import { readPressure } from './pressure.ts';
import { readMarks, readRows } from './read-rows.ts';
import { hashKeys } from './key-hashes.ts';
import { digestBuckets, digestRange, readBoundary, readEntries } from './scan.ts';
import { nativeFamily } from './native-hash.ts';
import { keySpan, locateKeys, placeOfKeyWord, refine, sketchTable, slicesByKey, summarize } from './sketch.ts';
import { openSessionPool, type Session } from './session.ts';

const READ_ONLY = 'ISOLATION LEVEL REPEATABLE READ READ ONLY';

/** Connects at the first call. */
export function openPostgresReplica(collection: Collection, replica: Replica): ReplicaConnection {
  const counters: ReplicaCounters = { rowsScanned: 0, bytesMoved: 0, rowsFetched: 0 };
  const pool = openSessionPool(collection.name, replica, counters);
  let known: Table | undefined;
  const tableOf = async (session: Session): Promise<Table> => {
    known ??= await describeTable(collection, replica, session);
    return known;
  };
  const who = `Replica ${replica.id} of ${collection.name}`;

  return {
    replica,
    counters,

    describe: (signal) =>
      pool.use(signal, async (session) => {
        known = await describeTable(collection, replica, session);
        return known.shape;
      }),

    position: (signal) => pool.use(signal, (session) => readPosition(session, known?.sql)),

    hasPassed: (position, stalenessMs, signal) =>
      pool.use(signal, async (session) =>
        hasPassedPosition(await readPosition(session, known?.sql), position, replica, stalenessMs, systemClock.nowMs()),
      ),

    digest: (shape, ranges, signal) =>
      pool.transaction(signal, READ_ONLY, async (session) => {
        const table = await tableOf(session);
        const digests = [];
        for (const range of ranges) digests.push(await digestRange(session, table, shape, range));
        for (const digest of digests) counters.rowsScanned += digest.count;
        return digests;
      }),

    digestBuckets: (shape, range, buckets, signal) =>
      pool.use(signal, async (session) => {
        const digests = await digestBuckets(session, await tableOf(session), shape, range, buckets);
        for (const digest of digests) counters.rowsScanned += digest.count;
        return digests;
      }),

    sketching: {
      family: (shape, signal) => pool.use(signal, async (session) => nativeFamily(await tableOf(session), shape)),
      slicesByKey: (shape, signal) => pool.use(signal, async (session) => slicesByKey(await tableOf(session), shape)),
      keySpan: (shape, range, signal) => pool.use(signal, async (session) => keySpan(session, await tableOf(session), shape, range)),
      scan: async (shape, range, hash, slicing, signal) => {
        const held = await hold<Session>((use) => pool.transaction(signal, READ_ONLY, use));
        const table = await held.call(tableOf);
        const scanned = { table, shape, range, hash, slicing };
        const summary = await held.call((session) => summarize(session, scanned));
        counters.rowsScanned += summary.count;
        return {
          summary,
          refine: (buckets, parts) => held.call((session) => refine(session, slicing, buckets, parts)),
          table: (runs, cells) => held.call((session) => sketchTable(session, { ...scanned, runs }, cells)),
          close: () => held.close(),
        };
      },
      placeOf: placeOfKeyWord,
      hashKeys: (shape, hash, keys, signal) =>
        pool.use(signal, async (session) => hashKeys(session, await tableOf(session), shape, hash, keys)),
      locate: (shape, range, hash, words, signal) =>
        pool.use(signal, async (session) => locateKeys(session, await tableOf(session), shape, range, hash, words)),
    },

    async *entries(shape, range, choice, signal) {
      // A generator cannot live inside a callback: batches pass through a hand-over of one.
      yield* handOver(async (give) => {
        await pool.transaction(signal, READ_ONLY, async (session) => {
          for await (const batch of readEntries(session, await tableOf(session), shape, range, choice)) {
            await give(batch);
          }
        });
      });
    },

    entriesInOrder: (shape, range, signal) =>
      handOver((give) =>
        pool.transaction(signal, READ_ONLY, async (session) => {
          for await (const batch of readEntries(session, await tableOf(session), shape, range, 'in-order')) await give(batch);
        }),
      ),

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

    apply: async (shape: Shape, effects, signal) => {
      if (effects.length === 0) return { is: 'already-applied', rows: 0 };
      try {
        return await pool.transaction(signal, 'ISOLATION LEVEL READ COMMITTED READ WRITE', async (session) => {
          const result = await applyEffects(session, await tableOf(session), shape, effects, who);
          return result;
        });
      } catch (error) {
        if (error instanceof ChangedSinceRead) return { is: 'changed-since-read', keys: error.keys };
        throw error;
      }
    },

    close: () => pool.close(),
  };
}
