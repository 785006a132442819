import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import type { Collection, Replica } from '../../src/domain/collection.ts';
import type { Divergence } from '../../src/domain/divergence.ts';
import type { Key, Shape } from '../../src/domain/row.ts';
import type { ChangeSink, WatchedReplica } from '../../src/io/replicas/changes/changes.ts';
import { postgresFeed } from '../../src/io/replicas/changes/postgres/postgres-feed.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import type { ReplicaConnection } from '../../src/io/replicas/replica.ts';
import { compareReplicas, type CompareOptions, type CompareProgress, type CompareSummary } from '../../src/runtime/compare.ts';
import { until } from '../integration/estate.ts';
import { startPostgres, type TestPostgres } from '../servers/postgres.ts';
import { startReplication, type TestReplication } from '../servers/postgres-standbys.ts';

const signal = AbortSignal.timeout(170_000);
const ROWS = 20_000;
let replication: TestReplication;
let alone: TestPostgres;
let leader: pg.Client;
let standby: pg.Client;
let other: pg.Client;
let collection: Collection;
const opened: ReplicaConnection[] = [];

const replicaOf = (id: string, role: Replica['role'], url: string): Replica => ({
  id,
  engine: 'postgres',
  url,
  region: 'x',
  role,
  table: 't',
  columnNames: {},
});

beforeAll(async () => {
  [replication, alone] = await Promise.all([
    startReplication(['down'], { synchronous_commit: 'off', wal_level: 'logical' }),
    startPostgres(),
  ]);
  const down = replication.standbys['down'] ?? '';
  [leader, standby, other] = [replication.url, down, alone.url].map((connectionString) => new pg.Client({ connectionString })) as [
    pg.Client,
    pg.Client,
    pg.Client,
  ];
  for (const client of [leader, standby, other]) await client.connect();
  for (const client of [leader, other]) {
    await client.query('CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)');
    await client.query(`INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, ${ROWS}) i`);
    await client.query('ANALYZE t');
  }
  collection = {
    name: 't',
    domain: 'd',
    key: ['id'],
    columnClasses: {},
    excludedColumns: [],
    invariants: [],
    replicas: [replicaOf('up', 'leader', replication.url), replicaOf('down', 'follower', down), replicaOf('apart', 'peer', alone.url)],
    scanEveryMs: 1000,
  };
  for (const replica of collection.replicas) opened.push(await openReplica(collection, replica));
  await until(async () => (await standby.query('SELECT FROM t')).rowCount === ROWS, 'the standby has the table');
}, 120_000);
afterAll(async () => {
  for (const connection of opened) await connection.close();
  for (const client of [leader, standby, other]) await client?.end();
  await replication?.close();
  await alone?.close();
});

const of = (...ids: readonly string[]): readonly ReplicaConnection[] => opened.filter((one) => ids.includes(one.replica.id));

async function compare(
  options: Pick<CompareOptions, 'connections' | 'stalenessMs'> & Partial<CompareOptions>,
): Promise<{ readonly found: readonly Divergence[]; readonly summary: CompareSummary }> {
  const found: Divergence[] = [];
  const run = compareReplicas({ collection, clock: systemClock, signal, confirm: 'wait', ...options });
  for (;;) {
    const next = await run.next();
    if (next.done === true) return { found, summary: next.value };
    found.push(next.value);
  }
}

const confirmed = (found: readonly Divergence[]): readonly string[] =>
  found.flatMap((one) => (one.status === 'confirmed' ? [String(one.key['id'])] : [])).toSorted((a, b) => Number(a) - Number(b));

describe('a streaming standby', () => {
  test('that does not replay is behind, not different: nothing is confirmed before it has passed, whatever the budget', async () => {
    await standby.query('SELECT pg_wal_replay_pause()');
    await leader.query(`UPDATE t SET v = 'later' WHERE id <= 300`);
    await leader.query('DELETE FROM t WHERE id BETWEEN 301 AND 310');
    let hasResumed = false;
    const onProgress = ({ phase }: CompareProgress): void => {
      if (phase !== 'confirm' || hasResumed) return;
      hasResumed = true;
      void standby.query('SELECT pg_wal_replay_resume()');
    };
    const { found, summary } = await compare({ connections: of('up', 'down'), stalenessMs: 0, onProgress });
    expect({ suspected: summary.suspected, confirmed: confirmed(found), healed: summary.healed }).toEqual({
      suspected: 310,
      confirmed: [],
      healed: 310,
    });
    await leader.query(`UPDATE t SET v = 'v' || id WHERE id <= 300`);
    await leader.query(`INSERT INTO t SELECT i, 'v' || i FROM generate_series(301, 310) i`);
  });

  test('that is behind while its leader is written all the time, beside a copy that really differs: exactly that is confirmed', async () => {
    await standby.query('SELECT pg_wal_replay_pause()');
    // What the standby does not have when it is scanned, and has when it is looked at again.
    for (const client of [leader, other]) await client.query(`UPDATE t SET v = 'not yet' WHERE id BETWEEN 6001 AND 6050`);
    await other.query(`UPDATE t SET v = 'drift' WHERE id IN (15000, 15001)`);
    await other.query('DELETE FROM t WHERE id = 15002');
    const writer = new pg.Client({ connectionString: replication.url });
    await writer.connect();
    let isDone = false;
    // Both copies are written, one by replication and one by the application; these rows end as they were on both.
    const writing = (async () => {
      for (let n = 0; !isDone; n += 1) {
        const id = 1 + (n % 5_000);
        for (const client of [writer, other]) await client.query('UPDATE t SET v = $1 WHERE id = $2', [`n${n}`, id]);
      }
    })();
    let hasResumed = false;
    const onProgress = ({ phase }: CompareProgress): void => {
      if (phase !== 'confirm' || hasResumed) return;
      hasResumed = true;
      void standby.query('SELECT pg_wal_replay_resume()');
    };
    const { found, summary } = await compare({ connections: opened, stalenessMs: 1_500, onProgress });
    isDone = true;
    await writing;
    await writer.end();
    expect(confirmed(found)).toEqual(['15000', '15001', '15002']);
    // It was seen with its lag, and not blamed for it.
    expect(summary.suspected).toBeGreaterThanOrEqual(53);
  });

  test('that is far behind is given a rest before it is scanned: no snapshot of ours holds its replay up', async () => {
    const [down] = of('down');
    if (down?.pressure === undefined) throw new Error('a PostgreSQL standby tells its lag');
    await until(async () => (await down.pressure?.(signal))?.lagMs === 0, 'the standby has replayed everything');
    await standby.query('SELECT pg_wal_replay_pause()');
    await leader.query(`UPDATE t SET v = 'more' WHERE id = 1`);
    await until(async () => ((await down.pressure?.(signal))?.lagMs ?? 0) > 200, 'the standby is behind');
    const said: string[] = [];
    let scannedBefore: number | undefined;
    const onProgress = ({ phase, says = '' }: CompareProgress): void => {
      if (phase !== 'pause') return;
      said.push(says);
      if (said.length > 1) return;
      scannedBefore = down.counters.rowsScanned;
      void standby.query('SELECT pg_wal_replay_resume()');
    };
    const started = down.counters.rowsScanned;
    const throttled = { ...collection, throttle: { maxLagMs: 200, maxStatements: 1_000, maxPauseMs: 60_000 } };
    const { summary } = await compare({ collection: throttled, connections: of('up', 'down'), stalenessMs: 0, onProgress });
    expect(said[0]).toMatch(/^replication of down is \d+ s behind$/);
    expect(scannedBefore).toBe(started);
    expect(summary.suspected).toBe(0);
  });
});

describe('the writes of a standby', () => {
  function sinkOf(keys: Key[], refused: string[], onStart: () => void): ChangeSink {
    return {
      started: onStart,
      key: (_watched, key) => void keys.push(key),
      everything: () => undefined,
      refused: (_watched, because) => void refused.push(because),
      made: () => undefined,
      reached: () => undefined,
      retained: () => undefined,
    };
  }
  async function watched(replicas: readonly Replica[]): Promise<WatchedReplica> {
    const [down] = of('down');
    const replica = replicas.find(({ id }) => id === 'down');
    if (down === undefined || replica === undefined) throw new Error('a standby');
    const shape: Shape = await down.describe(signal);
    return { collection: { ...collection, replicas }, replica, shape };
  }
  const run = (one: WatchedReplica, sink: ChangeSink, stop: AbortSignal): Promise<void> =>
    postgresFeed.run({
      watched: [one],
      installation: '00000001',
      maxRetainedBytes: 2 ** 30,
      isDurable: false,
      from: null,
      settled: () => null,
      sink,
      signal: stop,
    });

  test('are told by its leader, where that is a replica too', async () => {
    expect(await postgresFeed.whyNot(await watched(collection.replicas), signal)).toContain(
      'is a standby: its leader up tells its changes',
    );
  });

  test('are told by the standby itself where its leader is out of reach, once the publication is there; before, which statement makes it', async () => {
    const one = await watched(collection.replicas.filter(({ id }) => id !== 'up'));
    const refused: string[] = [];
    await run(
      one,
      sinkOf([], refused, () => undefined),
      signal,
    );
    expect(refused).toEqual([
      'Replica down of t is a standby, where nothing can be made: let the table’s owner run CREATE PUBLICATION homeostat_t FOR TABLE public.t WITH (publish_via_partition_root = true) on its leader',
    ]);

    await leader.query('CREATE PUBLICATION homeostat_t FOR TABLE t WITH (publish_via_partition_root = true)');
    await until(async () => (await standby.query('SELECT FROM pg_publication')).rowCount === 1, 'the standby knows the publication');
    const keys: Key[] = [];
    let hasStarted = false;
    const stop = new AbortController();
    const running = run(
      one,
      sinkOf(keys, [], () => (hasStarted = true)),
      stop.signal,
    );
    // A slot on a standby waits for its leader to say which transactions are running.
    await until(async () => {
      await leader.query('SELECT pg_log_standby_snapshot()');
      return hasStarted;
    }, 'the feed starts');
    await leader.query(`UPDATE t SET v = 'told' WHERE id = 77`);
    await leader.query('DELETE FROM t WHERE id = 78');
    await until(() => Promise.resolve(keys.length >= 2), 'the writes are told');
    expect(keys).toEqual([{ id: '77' }, { id: '78' }]);
    stop.abort();
    await running;
  });
});
