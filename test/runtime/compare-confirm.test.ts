import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { createRng } from '../../src/base/rng.ts';
import type { Collection, Replica } from '../../src/domain/collection.ts';
import type { Divergence } from '../../src/domain/divergence.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import type { ReplicaConnection } from '../../src/io/replicas/replica.ts';
import { agreedShape, compareKeys } from '../../src/runtime/compare.ts';
import { confirmDivergences, lookAgain } from '../../src/runtime/compare-confirm.ts';
import { LEAST_LOOKS } from '../../src/runtime/compare-watch.ts';
import { RecentWrites } from '../../src/runtime/recent-writes.ts';
import { Suspects } from '../../src/runtime/suspects.ts';
import { until } from '../integration/estate.ts';
import { startPostgres, type TestPostgres } from '../servers/postgres.ts';

const signal = AbortSignal.timeout(120_000);
let servers: readonly TestPostgres[];
let leader: pg.Client;
let follower: pg.Client;
let collection: Collection;
let connections: readonly ReplicaConnection[];

beforeAll(async () => {
  servers = await Promise.all([startPostgres(), startPostgres()]);
  const [first, second] = servers;
  if (first === undefined || second === undefined) throw new Error('two servers');
  leader = new pg.Client({ connectionString: first.url });
  follower = new pg.Client({ connectionString: second.url });
  for (const client of [leader, follower]) {
    await client.connect();
    await client.query('CREATE TABLE t (id int PRIMARY KEY, v text)');
    await client.query(`INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 20) i`);
  }
  const replicas: readonly Replica[] = servers.map((server, at) => ({
    id: at === 0 ? 'eu' : 'us',
    engine: 'postgres',
    url: server.url,
    region: 'x',
    role: at === 0 ? 'leader' : 'follower',
    table: 't',
    columnNames: {},
  }));
  collection = {
    name: 't',
    domain: 'd',
    key: ['id'],
    columnClasses: {},
    excludedColumns: [],
    invariants: [],
    replicas,
    scanEveryMs: 1000,
  };
  connections = await Promise.all(replicas.map((replica) => openReplica(collection, replica)));
}, 120_000);
afterAll(async () => {
  for (const connection of connections ?? []) await connection.close();
  await leader?.end();
  await follower?.end();
  for (const server of servers ?? []) await server.close();
});

async function see(ids: readonly number[]): Promise<readonly Divergence[]> {
  const keys = ids.map((id) => ({ id: String(id) }));
  return (await compareKeys({ collection, connections, keys, clock: systemClock, signal })).divergences;
}

describe('a second look at a difference', () => {
  test('a row that was set to another value and back is not the same difference; one that nobody wrote is', async () => {
    await follower.query(`UPDATE t SET v = 'behind' WHERE id IN (1, 2, 3, 4)`);
    await follower.query('DELETE FROM t WHERE id IN (5, 6)');
    const seen = await see([1, 2, 3, 4, 5, 6]);
    expect(seen).toHaveLength(6);
    // As the leader of a follower that lags: 1 goes back and forth, 2 is written over with what it was, 5 is made anew.
    for (const v of ['other', 'v1']) await leader.query('UPDATE t SET v = $1 WHERE id = 1', [v]);
    await leader.query(`UPDATE t SET v = 'v2' WHERE id = 2`);
    await leader.query('DELETE FROM t WHERE id = 5');
    await leader.query(`INSERT INTO t VALUES (5, 'v5')`);
    await follower.query(`UPDATE t SET v = 'v4' WHERE id = 4`);
    const shape = await agreedShape(collection, connections, signal);
    const { unchanged, changed, healed } = await lookAgain({ collection, connections, shape, clock: systemClock, signal }, seen);
    const ids = (found: readonly Divergence[]): readonly (string | undefined)[] => found.map((one) => one.key['id']);
    expect({ unchanged: ids(unchanged), changed: ids(changed), healed }).toEqual({
      unchanged: ['3', '6'],
      changed: ['1', '2', '5'],
      healed: [{ id: '4' }],
    });
  });
});

describe('rows that their store does not mark', () => {
  /** As MySQL or Redis would answer. `beforeRead`: what another client does right before each read of the leader. */
  function unmarked(beforeRead: (read: number) => Promise<unknown>): readonly ReplicaConnection[] {
    return connections.map((connection, at): ReplicaConnection => {
      let reads = 0;
      return {
        ...connection,
        position: () => Promise.resolve({ is: 'wall-clock', text: '', atMs: Date.now() }),
        readRows: async (...args) => {
          if (at === 0) await beforeRead(reads++);
          return (await connection.readRows(...args)).map(({ key, row, digest }) => ({ key, row, digest }));
        },
      };
    });
  }
  const idsOf = (found: readonly Divergence[]): readonly (string | undefined)[] => found.map((one) => one.key['id']);
  const options = { stalenessMs: 0, clock: systemClock, signal, rng: createRng(5) };

  test('one that is otherwise in every second look is not confirmed, one that stays is', async () => {
    await follower.query(`UPDATE t SET v = 'other' WHERE id IN (15, 16)`);
    const watched = unmarked((read) => leader.query('UPDATE t SET v = $1 WHERE id = 15', [read % 2 === 0 ? 'v15' : 'back']));
    const { divergences } = await compareKeys({
      collection,
      connections: watched,
      keys: [{ id: '15' }, { id: '16' }],
      clock: systemClock,
      signal,
    });
    const result = await confirmDivergences({ collection, connections: watched, divergences, ...options });
    expect({ confirmed: idsOf(result.confirmed), flapping: idsOf(result.flapping) }).toEqual({ confirmed: ['16'], flapping: ['15'] });
  });

  test('one that looked otherwise a single time, in one look of all, is confirmed only by a second row of looks', async () => {
    await follower.query(`UPDATE t SET v = 'other' WHERE id = 17`);
    const seenAs: string[] = [];
    const watched = unmarked(async (read) => {
      const v = read === LEAST_LOOKS - 1 ? 'once' : 'v17';
      seenAs.push(v);
      await leader.query('UPDATE t SET v = $1 WHERE id = 17', [v]);
    });
    const { divergences } = await compareKeys({ collection, connections: watched, keys: [{ id: '17' }], clock: systemClock, signal });
    const result = await confirmDivergences({ collection, connections: watched, divergences, ...options });
    expect(idsOf(result.confirmed)).toEqual(['17']);
    expect(seenAs.length - seenAs.indexOf('once')).toBeGreaterThan(LEAST_LOOKS);
  });

  test('one that a feed tells as written is not confirmed, however it looks', async () => {
    await follower.query(`UPDATE t SET v = 'other' WHERE id IN (18, 19)`);
    const watched = unmarked(() => Promise.resolve());
    const keys = [{ id: '18' }, { id: '19' }];
    const seenSinceMs = systemClock.monotonicMs();
    const { divergences } = await compareKeys({ collection, connections: watched, keys, clock: systemClock, signal });
    const writes = new RecentWrites();
    // After the first sight of this look, and of each of the next.
    const wasToldSince = (text: string, sinceMs: number): boolean => {
      if (text.includes('18')) writes.note('t', text, systemClock.monotonicMs());
      return writes.wasToldSince('t', text, sinceMs);
    };
    const result = await confirmDivergences({ collection, connections: watched, divergences, ...options, wasToldSince, seenSinceMs });
    expect({ confirmed: idsOf(result.confirmed), flapping: idsOf(result.flapping) }).toEqual({ confirmed: ['19'], flapping: ['18'] });
  });
});

describe('a suspect without marks, in the rounds that compare what was written', () => {
  async function steps(areAllTold: boolean, isTold: (step: number) => boolean): Promise<number | undefined> {
    const watched = connections.map(
      (connection): ReplicaConnection => ({
        ...connection,
        position: () => Promise.resolve({ is: 'wall-clock', text: '', atMs: 0 }),
        readRows: async (...args) => (await connection.readRows(...args)).map(({ key, row, digest }) => ({ key, row, digest })),
      }),
    );
    let nowMs = 0;
    const clock = { ...systemClock, monotonicMs: () => nowMs };
    const shape = await agreedShape(collection, watched, signal);
    const { divergences } = await compareKeys({ collection, connections: watched, keys: [{ id: '20' }], clock, signal });
    const suspects = new Suspects(['id']);
    suspects.offer(
      shape,
      divergences.map((divergence) => ({ divergence, sinceMs: 0 })),
      0,
    );
    for (let step = 1; step <= 3 * LEAST_LOOKS; step += 1) {
      nowMs += 1_000;
      const wasToldSince = (): boolean => isTold(step);
      const { confirmed } = await suspects.step({
        collection,
        connections: watched,
        shape,
        clock,
        stalenessMs: 0,
        signal,
        areAllTold,
        wasToldSince,
      });
      if (confirmed.length > 0) return step;
    }
    return undefined;
  }

  test('is confirmed at once where feeds tell all replicas, after a number of looks elsewhere, never while it is told', async () => {
    await follower.query(`UPDATE t SET v = 'other' WHERE id = 20`);
    expect(await steps(true, () => false)).toBe(1);
    expect(await steps(false, () => false)).toBe(LEAST_LOOKS + 1);
    expect(await steps(false, (step) => step === 5)).toBe(5 + LEAST_LOOKS + 1);
    expect(await steps(true, () => true)).toBeUndefined();
  });
});

describe('a logical subscriber', () => {
  test('has passed its publisher when it has applied what was committed there, not before, whatever the clock says', async () => {
    const [up, down] = connections;
    const [server] = servers;
    if (up === undefined || down === undefined || server === undefined) throw new Error('two replicas');
    const url = new URL(server.url);
    const dsn = `host=${url.hostname} port=${url.port} user=${url.username} password=${url.password} dbname=${url.pathname.slice(1)}`;
    await leader.query('CREATE PUBLICATION p FOR TABLE t');
    await follower.query(`CREATE SUBSCRIPTION s CONNECTION '${dsn}' PUBLICATION p WITH (copy_data = false)`);
    const never = 1e9;
    await until(async () => down.hasPassed(await up.position(signal), never, signal), 'the subscriber catches up');

    // Its apply worker waits for this lock.
    await follower.query('BEGIN');
    await follower.query('SELECT FROM t WHERE id = 10 FOR UPDATE');
    await leader.query(`UPDATE t SET v = 'new' WHERE id = 10`);
    const position = await up.position(signal);
    for (let look = 0; look < 20; look += 1) expect(await down.hasPassed(position, 0, signal)).toBe(false);
    // Nothing flows the other way.
    expect(await up.hasPassed(await down.position(signal), never, signal)).toBe(true);
    await follower.query('COMMIT');
    await until(() => down.hasPassed(position, never, signal), 'the subscriber passes');
    expect((await follower.query('SELECT v FROM t WHERE id = 10')).rows).toEqual([{ v: 'new' }]);

    await follower.query('DROP SUBSCRIPTION s');
    expect(await down.hasPassed(position, never, signal)).toBe(false);
    expect(await down.hasPassed(position, 0, signal)).toBe(true);
  });
});
