import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import type { Collection, Replica } from '../../src/domain/collection.ts';
import type { Divergence } from '../../src/domain/divergence.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import type { ReplicaConnection } from '../../src/io/replicas/replica.ts';
import { compareKeys, compareReplicas, type CompareOptions, type CompareSummary } from '../../src/runtime/compare.ts';
import { startPostgres, type TestPostgres } from '../servers/postgres.ts';
import { redisAvailable, startRedis, type TestRedis } from '../servers/redis.ts';

const signal = AbortSignal.timeout(120_000);
let postgres: TestPostgres;
let clients: pg.Client[];
let connections: ReplicaConnection[];
let collection: Collection;

beforeAll(async () => {
  postgres = await startPostgres();
  const replicas: Replica[] = [];
  clients = [];
  for (const id of ['eu', 'us', 'ap']) {
    const url = await postgres.createDatabase(id);
    replicas.push({ id, engine: 'postgres', url, region: id, role: 'peer', table: 't', columnNames: {} });
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query('CREATE TABLE t (a int, b text, v text, w text, PRIMARY KEY (a, b))');
    clients.push(client);
  }
  collection = {
    name: 't',
    domain: 'd',
    key: ['a', 'b'],
    columnClasses: {},
    excludedColumns: [],
    invariants: [],
    replicas,
    scanEveryMs: 1000,
  };
  connections = await Promise.all(replicas.map((replica) => openReplica(collection, replica)));
}, 60_000);
afterAll(async () => {
  for (const connection of connections ?? []) await connection.close();
  for (const client of clients ?? []) await client.end();
  await postgres?.close();
});
beforeEach(async () => {
  for (const client of clients)
    await client.query(`TRUNCATE t; INSERT INTO t SELECT i % 50, 'k' || i, 'v', NULL FROM generate_series(1, 2000) i`);
});

async function compare(
  options: Partial<CompareOptions> = {},
): Promise<{ readonly found: readonly Divergence[]; readonly summary: CompareSummary }> {
  const found: Divergence[] = [];
  const run = compareReplicas({ collection, connections, stalenessMs: 0, clock: systemClock, signal, confirm: 'once', ...options });
  for (;;) {
    const next = await run.next();
    if (next.done === true) return { found, summary: next.value };
    found.push(next.value);
  }
}

const only = (at: number): pg.Client => {
  const client = clients[at];
  if (client === undefined) throw new Error('no such client');
  return client;
};

describe('comparing replicas', () => {
  test('equal replicas: no rows fetched, one round', async () => {
    const { found, summary } = await compare();
    expect(found).toEqual([]);
    expect(summary).toMatchObject({ rowsScanned: 6000, rowsFetched: 0, rounds: 1, suspected: 0 });
  });

  test('names kind, replicas and columns of what differs, and fetches little else', async () => {
    await only(0).query(`UPDATE t SET v = 'p|q', w = 'r' WHERE b = 'k7'`);
    await only(1).query(`UPDATE t SET v = 'p', w = 'q|r' WHERE b = 'k7'`);
    await only(2).query(`UPDATE t SET v = 'p', w = 'q|r' WHERE b = 'k7'`);
    await only(1).query(`UPDATE t SET w = '' WHERE b = 'k8'`);
    await only(2).query(`DELETE FROM t WHERE b = 'k9'`);
    await only(0).query(`INSERT INTO t VALUES (1, 'new', NULL, NULL)`);
    const { found, summary } = await compare();
    const told = Object.fromEntries(
      found.map((one) => [
        one.key['b'],
        [one.is, one.columns, Object.entries(one.replicas).flatMap(([id, row]) => (row === null ? [id] : []))],
      ]),
    );
    expect(told).toEqual({
      k7: ['different', ['v', 'w'], []],
      k8: ['different', ['w'], []],
      k9: ['missing', [], ['ap']],
      new: ['extra', [], ['us', 'ap']],
    });
    expect(summary.rowsFetched).toBeLessThanOrEqual(2 * 12);
  });

  test.each([3, 40, 700, 1900])('every key is named where %i of 2,000 rows differ, few enough for a sketch or too many', async (count) => {
    // Between PostgreSQL servers sketches use the engine's own hash and entries the canonical one: a comparison that falls back
    // from one to the other must not take the buckets of the first for those of the second. All buckets are hit only by many rows.
    await only(1).query(`UPDATE t SET v = 'other' WHERE substr(b, 2)::int <= ${count} AND substr(b, 2)::int > 1`);
    await only(2).query(`DELETE FROM t WHERE b = 'k1'`);
    const { found } = await compare();
    expect(new Set(found.map((one) => one.key['b']))).toEqual(new Set(Array.from({ length: count }, (_, at) => `k${at + 1}`)));
  });

  test('every key is named where half of a small table differs', async () => {
    for (const client of clients) await client.query(`DELETE FROM t WHERE substr(b, 2)::int > 300`);
    await only(1).query(`UPDATE t SET v = 'other' WHERE substr(b, 2)::int <= 200`);
    const { found } = await compare();
    expect(found).toHaveLength(200);
  });

  test('with an authority, what it lacks is extra and what another lacks is missing', async () => {
    await only(1).query(`INSERT INTO t VALUES (1, 'us only', 'x', 'x')`);
    await only(2).query(`DELETE FROM t WHERE b = 'k1'`);
    const { found } = await compare({ collection: { ...collection, authority: 'eu' } });
    expect(Object.fromEntries(found.map((one) => [one.key['b'], one.is]))).toEqual({ 'us only': 'extra', k1: 'missing' });
  });

  test('I13: lag is not divergence: what arrives within the budget is healed, what stays is confirmed, what moves is neither', async () => {
    await only(0).query(`UPDATE t SET v = 'late' WHERE b = 'k1'`);
    await only(0).query(`UPDATE t SET v = 'lost' WHERE b = 'k2'`);
    let moves = 0;
    const busy = setInterval(() => void only(0).query(`UPDATE t SET v = 'moving ' || $1::int WHERE b = 'k3'`, [(moves += 1)]), 50);
    const late = setTimeout(() => [1, 2].map((at) => only(at).query(`UPDATE t SET v = 'late' WHERE b = 'k1'`)), 400);
    await only(0).query(`UPDATE t SET v = 'moving' WHERE b = 'k3'`);
    const { found, summary } = await compare({ confirm: 'wait', stalenessMs: 1000 });
    clearInterval(busy);
    clearTimeout(late);
    const by = (status: string): readonly string[] =>
      [...new Set(found.filter((one) => one.status === status).map((one) => one.key['b'] ?? ''))].toSorted((a, b) => (a < b ? -1 : 1));
    expect(by('suspected')).toEqual(['k1', 'k2', 'k3']);
    expect(by('confirmed')).toEqual(['k2']);
    expect(summary).toMatchObject({ suspected: 3, confirmed: 1, healed: 1, flapping: 1 });
  });

  test('given keys are compared alone', async () => {
    await only(0).query(`UPDATE t SET v = 'x' WHERE b IN ('k1', 'k2')`);
    const result = await compareKeys({
      collection,
      connections,
      keys: [
        { a: '1', b: 'k1' },
        { a: '3', b: 'k3' },
      ],
      clock: systemClock,
      signal,
    });
    expect(result.divergences.map((one) => one.key)).toEqual([{ a: '1', b: 'k1' }]);
    expect(result.equalKeys).toEqual([{ a: '3', b: 'k3' }]);
  });

  test('a column that one replica lacks is refused by name, with the way out', async () => {
    await only(1).query('ALTER TABLE t ADD COLUMN more int');
    try {
      await expect(compare()).rejects.toThrow(
        "Column more of t is on us but not on eu: add it there, map its name under the replica's columns, or set columns.more.compare: false.",
      );
    } finally {
      await only(1).query('ALTER TABLE t DROP COLUMN more');
    }
  });
});

describe.skipIf(!redisAvailable)('comparing a cache with its database (redis)', () => {
  let server: TestRedis;
  let cache: ReplicaConnection;
  let redis: Redis;
  beforeAll(async () => {
    server = await startRedis();
    redis = new Redis(server.url);
    cache = await openReplica(collection, {
      id: 'cache',
      engine: 'redis',
      url: server.url,
      region: 'eu',
      role: 'cache',
      keyTemplate: 't:{a}:{b}',
      value: 'json',
      columnNames: { w: 'double_u' },
    });
  });
  afterAll(async () => {
    await cache?.close();
    redis?.disconnect();
    await server?.close();
  });

  test('a cold key is no divergence, a stale one and one that the database lacks are', async () => {
    await redis.set('t:1:k1', JSON.stringify({ a: 1, b: 'k1', v: 'v', double_u: null }));
    await redis.set('t:2:k2', JSON.stringify({ v: 'stale' }));
    await redis.set('t:3:k3', JSON.stringify({ v: 'v', double_u: '' }), 'PX', 60_000);
    await redis.set('t:9:gone', JSON.stringify({ v: 'v' }));
    await redis.set('t:4:k4', 'not json');
    const { found } = await compare({ connections: [...connections.slice(0, 1), cache] });
    const told = Object.fromEntries(found.map((one) => [one.key['b'], [one.is, one.columns]]));
    expect(told).toEqual({ k2: ['different', ['v']], k3: ['different', ['w']], gone: ['extra', []], k4: ['different', ['v', 'w']] });
  });
});
