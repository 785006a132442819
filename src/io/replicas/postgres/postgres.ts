/** PostgreSQL 13 and newer as a replica. */
import { systemClock } from '../../../base/clock.ts';
import type { Collection, Replica } from '../../../domain/collection.ts';
import type { Shape } from '../../../domain/row.ts';
import { ChangedSinceRead } from '../changed-since-read.ts';
import { handOver } from '../hand-over.ts';
import type { ReplicaConnection, ReplicaCounters } from '../replica.ts';
import { applyEffects } from './apply.ts';
import { describeTable, type Table } from './describe.ts';
import { hasPassedPosition, readPosition } from './position.ts';
import { readRows } from './read-rows.ts';
import { digestBuckets, digestRange, readEntries } from './scan.ts';
import { nativeFamily } from './native-hash.ts';
import { locateKeys, placeOfKeyWord, sketchTable, summarize } from './sketch.ts';
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
      summarize: (shape, range, hash, signal) =>
        pool.use(signal, async (session) => {
          const summary = await summarize(session, await tableOf(session), shape, range, hash);
          counters.rowsScanned += summary.count;
          return summary;
        }),
      table: (shape, range, hash, buckets, cells, signal) =>
        pool.use(signal, async (session) => sketchTable(session, await tableOf(session), shape, range, hash, buckets, cells)),
      placeOf: placeOfKeyWord,
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

    readRows: (shape, keys, signal) =>
      keys.length === 0
        ? Promise.resolve([])
        : pool.use(signal, async (session) => {
            const rows = await readRows(session, await tableOf(session), shape, keys);
            counters.rowsFetched += rows.length;
            return rows;
          }),

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
