// What every change feed must do, whatever the engine: test/conformance/feed-stores.ts gives it a real store.
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { WatchedReplica } from '../../src/io/replicas/changes/changes.ts';
import { changeFeedOf, changeFeeds } from '../../src/io/replicas/changes/registry.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import { until } from '../integration/estate.ts';
import { mariadbAvailable } from '../servers/mariadb.ts';
import { redisAvailable } from '../servers/redis.ts';
import { collection, type FeedStore, partOf, startMariadbFeedStore, startPostgresFeedStore, startRedisFeedStore } from './feed-stores.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const installation = '0123abcd';
const stores: readonly (readonly [string, boolean, () => Promise<FeedStore>])[] = [
  ['postgres', true, startPostgresFeedStore],
  ['mariadb', mariadbAvailable, startMariadbFeedStore],
  [
    'mariadb, compressed log of changed columns only',
    mariadbAvailable,
    () => startMariadbFeedStore(['--log-bin-compress=1', '--log-bin-compress-min-len=10', '--binlog-row-image=MINIMAL']),
  ],
  ['redis', redisAvailable, startRedisFeedStore],
];

test('every feed is tried', () => {
  expect(changeFeeds.map((feed) => feed.engine)).toEqual(['postgres', 'mysql', 'redis']);
});

for (const [name, isAvailable, start] of stores) {
  describe.skipIf(!isAvailable)(`change feed (${name})`, () => {
    let store: FeedStore;
    let watched: WatchedReplica;
    beforeAll(async () => {
      store = await start();
      const connection = await openReplica(collection, store.replica);
      const described = await connection.describe(AbortSignal.timeout(10_000));
      await connection.close();
      // As agreed with a SQL peer: a cache has no types of its own.
      const shape =
        described.open === true
          ? {
              key: collection.key,
              columns: [
                { name: 'id', type: 'int' as const, nullable: false },
                { name: 'part', type: 'text' as const, nullable: false },
              ],
            }
          : described;
      watched = { collection, replica: store.replica, shape };
    });
    afterAll(() => store?.close());

    /** A running feed with what it has told. */
    function listen(from: string | null): {
      readonly told: string[];
      readonly everything: string[];
      readonly started: (string | undefined)[];
      reached: () => string;
      stop(): Promise<void>;
    } {
      const feed = changeFeedOf(store.replica.engine);
      if (feed === undefined) throw new Error('no feed');
      const told: string[] = [];
      const everything: string[] = [];
      const started: (string | undefined)[] = [];
      let reached = from ?? '';
      const stopping = new AbortController();
      const run = feed.run({
        watched: [watched],
        installation,
        maxRetainedBytes: 1e12,
        isDurable: true,
        from,
        settled: () => (reached === '' ? null : reached),
        sink: {
          started: (missed) => started.push(missed),
          key: (_watched, key) => told.push(`${key['id']}|${key['part']}`),
          everything: (_watched, because) => everything.push(because),
          refused: (_watched, because) => everything.push(`refused: ${because}`),
          reached: (position) => {
            reached = position;
          },
          made: () => undefined,
          retained: () => undefined,
        },
        signal: stopping.signal,
      });
      run.catch(() => undefined);
      return {
        told,
        everything,
        started,
        reached: () => reached,
        stop: async () => {
          stopping.abort();
          await run;
        },
      };
    }
    const at = (id: number): string => `${id}|${partOf(id)}`;

    test('tells the key of every row that was inserted, updated, deleted or renamed, and of none that was rolled back', async () => {
      const feed = listen(null);
      await until(async () => feed.started.length > 0, 'it has started');
      await store.put(1, 'one');
      await store.put(1, 'changed');
      await store.put(-9_007_199_254_740_991, 'far');
      await store.remove(1);
      await store.put(2, 'two');
      await store.rename(2, 3);
      await store.putAndRollBack?.(50);
      await store.put(4, 'last');
      await until(async () => feed.told.includes(at(4)), 'the last write is told');
      expect(feed.told.filter((one) => one === at(1))).toHaveLength(3);
      expect(new Set(feed.told)).toEqual(new Set([1, -9_007_199_254_740_991, 2, 3, 4].map(at)));
      expect(feed.everything).toEqual([]);
      await feed.stop();
    });

    test('what it tells can be looked up in the replica as it is', async () => {
      const feed = listen(null);
      await until(async () => feed.started.length > 0, 'it has started');
      await store.put(77, 'found');
      await until(async () => feed.told.includes(at(77)), 'the write is told');
      const connection = await openReplica(collection, store.replica);
      const rows = await connection.readRows(watched.shape, [{ id: '77', part: partOf(77) }], AbortSignal.timeout(10_000));
      expect(rows.map((row) => row.key)).toEqual([{ id: '77', part: partOf(77) }]);
      await connection.close();
      await feed.stop();
    });

    test('a transaction of many rows is told whole, and so is what follows', async () => {
      const feed = listen(null);
      await until(async () => feed.started.length > 0, 'it has started');
      await store.putMany(1000, 5999);
      await store.put(6000, 'after');
      await until(async () => feed.told.includes(at(6000)), 'the last write is told');
      expect(new Set(feed.told)).toEqual(new Set(Array.from({ length: 5001 }, (_unused, n) => at(1000 + n))));
      await feed.stop();
    });

    test('goes on from where it was, or says what it missed', async () => {
      const first = listen(null);
      await until(async () => first.started.length > 0, 'it has started');
      expect(first.started[0]).toBeDefined();
      await until(async () => first.reached() !== '', 'it says where it is');
      const before = first.reached();
      await store.put(7000, 'before');
      await until(async () => first.told.includes(at(7000)) && first.reached() !== before, 'the write is told');
      await first.stop();
      await store.put(7001, 'meanwhile');
      const second = listen(first.reached());
      await until(async () => second.started.length > 0, 'it has started again');
      await store.put(7002, 'after');
      await until(async () => second.told.includes(at(7002)), 'the last write is told');
      const isKept = changeFeedOf(store.replica.engine)?.survivesRestart === true;
      expect(second.started[0] === undefined).toBe(isKept);
      expect(second.told.includes(at(7001))).toBe(isKept);
      await second.stop();

      if (store.loseLog === undefined) return;
      await store.put(7003, 'untold');
      await store.loseLog(installation);
      const third = listen(first.reached());
      await until(async () => third.started.length > 0, 'it has started anew');
      expect(third.started[0]).toMatch(/gone|no longer/);
      await store.put(7004, 'told');
      await until(async () => third.told.includes(at(7004)), 'what follows is told');
      await third.stop();
    });

    test('a truncated table, and one whose columns were changed, is told as a whole; what follows is told by key', async () => {
      const feed = listen(null);
      await until(async () => feed.started.length > 0, 'it has started');
      await store.put(8000, 'there');
      await until(async () => feed.told.includes(at(8000)), 'the write is told');
      await store.truncate();
      await until(async () => feed.everything.length > 0, 'the truncate is told');
      if (store.addColumn !== undefined) {
        const before = feed.everything.length;
        await store.addColumn();
        await store.put(8001, 'after');
        await until(async () => feed.told.includes(at(8001)), 'what follows is told by its key');
        expect(feed.everything.length).toBeGreaterThan(before);
        expect(feed.told).toEqual([at(8000), at(8001)]);
      }
      await feed.stop();
    });

    test('whether a replica is told can be asked beforehand', async () => {
      const feed = changeFeedOf(store.replica.engine);
      const signal = AbortSignal.timeout(10_000);
      expect(await feed?.whyNot(watched, signal)).toBeUndefined();
      if (store.replica.engine === 'redis') {
        const { Redis } = await import('ioredis');
        const redis = new Redis(store.replica.url);
        await redis.config('SET', 'notify-keyspace-events', 'K$gxe');
        redis.disconnect();
      }
      expect(await feed?.whyNot({ ...watched, replica: store.silent.replica }, signal)).toMatch(store.silent.says);
    });
  });
}
