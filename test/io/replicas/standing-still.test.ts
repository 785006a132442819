import { afterAll, describe, expect, test } from 'vitest';
import { Failure } from '../../../src/base/failure.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import {
  collection,
  type ReplicaStore,
  rowOf,
  startMariadbStore,
  startPostgresStore,
  startRedisStore,
} from '../../conformance/replica-stores.ts';
import { mariadbAvailable } from '../../servers/mariadb.ts';
import { redisAvailable } from '../../servers/redis.ts';
import { startStillProxy } from '../../servers/still-proxy.ts';

const opened: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of opened.toReversed()) await close();
});

/** What a call says that was on its way when the store began to stand still, and whether the store is there afterwards. */
async function callOf(store: ReplicaStore): Promise<readonly [unknown, number]> {
  opened.push(() => store.close());
  await store.put(rowOf(1));
  const proxy = await startStillProxy(store.replica.url);
  opened.push(() => proxy.close());
  const connection = await openReplica(collection, { ...store.replica, url: proxy.url });
  opened.push(() => connection.close());
  const signal = AbortSignal.timeout(60_000);
  const shape = await connection.describe(signal);
  await connection.readRows(shape, [{ id: '1' }], signal);
  proxy.standStill();
  const failure: unknown = await connection.readRows(shape, [{ id: '1' }], signal).catch((error: unknown) => error);
  proxy.goOn();
  return [failure, (await connection.readRows(shape, [{ id: '1' }], signal)).length];
}

describe('a store that stands still, without closing a connection', () => {
  test.skipIf(!mariadbAvailable || !redisAvailable)(
    'I16: is one that does not answer, for a call that nobody ends (needs MariaDB and Redis)',
    { timeout: 120_000 },
    async () => {
      const stores = await Promise.all([startPostgresStore(), startMariadbStore(), startRedisStore('json')]);
      for (const [failure, rows] of await Promise.all(stores.map(callOf))) {
        expect(failure).toBeInstanceOf(Failure);
        expect(failure).toMatchObject({ code: 'replica-down', retry: 'later', message: expect.stringContaining('no answer in time') });
        expect(rows).toBe(1);
      }
    },
  );
});
