/**
 * Changes that stores tell: how long a divergence that is made among 5,000 changes a second takes to be confirmed in our store, what
 * the feed costs the writers, and what a round costs in which nothing was written; beside full scans of the same tables.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Collection } from '../../src/domain/collection.ts';
import { openDatabase } from '../../src/io/store/database.ts';
import { migrate } from '../../src/io/store/migrate.ts';
import { mariadbAvailable } from '../servers/mariadb.ts';
import { startPostgres } from '../servers/postgres.ts';
import { redisAvailable } from '../servers/redis.ts';
import type { Bench, BenchOptions } from './bench.ts';
import { type Child, startChild } from './incremental/child.ts';
import { runLagDrill } from './incremental/lag-drill.ts';
import type { Ask } from './incremental/loops-child.ts';
import { openPairStore } from './incremental/pair-store.ts';
import type { Write } from './incremental/writer-child.ts';
import { collectionOf, createAccounts, fillPostgres, replicaOf, serverCpuSeconds } from './replicas/accounts.ts';

type MutableFigures = Record<string, number>;

/** Keys that only we write, to make divergences. */
const ours = 1_000;
const perSecond = 5_000;
const rowsAtOnce = 10;

export const bench: Bench = {
  name: 'incremental',
  says: 'changes that stores tell: time to a confirmed divergence at 5,000 changes a second, cost to the writers, quiet rounds; against full scans',
  parts: ['changes', 'lag', 'mariadb', 'redis'],
  run: async (options) => {
    const figures: MutableFigures = {};
    const baseline: MutableFigures = {};
    const isWanted = (part: string, isFull = false): boolean => options.only?.includes(part) ?? !(isFull && options.quick);
    if (isWanted('changes')) await onPostgres(options, figures, baseline);
    if (isWanted('lag')) await underLag(options, figures);
    // Two stores that the application writes one after the other, without replication: only time says when they should be equal.
    if (mariadbAvailable && isWanted('mariadb', true)) await onPair(options, 'mariadb', figures);
    if (redisAvailable && isWanted('redis', true)) await onPair(options, 'redis', figures);
    return { figures, baseline };
  },
};

const sorted = (values: readonly number[]): readonly number[] => values.toSorted((a, b) => a - b);
const quantile = (values: readonly number[], q: number): number =>
  sorted(values)[Math.min(values.length - 1, Math.floor(values.length * q))] ?? Number.NaN;

async function onPostgres(options: BenchOptions, figures: MutableFigures, baseline: MutableFigures): Promise<void> {
  const { quick, log } = options;
  const rows = quick ? 100_000 : 500_000;
  // As servers are by default, but for fsync: with synchronous_commit off, what was committed reaches nobody for up to 200 ms.
  const settings = { synchronous_commit: 'on' };
  const [store, up, down] = await Promise.all([startPostgres(), startPostgres(settings), startPostgres(settings)]);
  const service = startChild<Ask>('./loops-child.ts');
  const writer = startChild<Write>('./writer-child.ts');
  const database = openDatabase(store.url);
  const leader = new pg.Client({ connectionString: up.url });
  const follower = new pg.Client({ connectionString: down.url });
  try {
    await migrate(database);
    await Promise.all(
      [leader, follower].map(async (client) => {
        await client.connect();
        await client.query(createAccounts('postgres'));
        for (const statement of fillPostgres(rows).split('; ')) await client.query(statement);
      }),
    );
    await subscribe(leader, follower, up.url);
    const collection: Collection = {
      ...collectionOf([
        { ...replicaOf('up', 'postgres', up.url), role: 'leader' },
        { ...replicaOf('down', 'postgres', down.url), role: 'follower' },
      ]),
      changes: { maxRetainedBytes: 4 * 2 ** 30, isDurable: false },
    };
    await service.ask({ is: 'open', storeUrl: store.url, collection, stalenessMs: 10_000 });
    const load: Write = {
      urls: [up.url],
      seconds: 0,
      connections: 2,
      rowsAtOnce,
      perSecond,
      thinkMs: 0,
      from: ours + 1,
      upTo: rows,
      seed: 1,
    };

    await startFeed(service, database);
    log('a divergence every 300 ms among 5,000 changes a second');
    const seconds = quick ? 7 : 30;
    const cpuBefore = await service.ask<number>({ is: 'cpu' });
    const writing = writer.ask<{ rows: number; seconds: number }>({ ...load, seconds: seconds + 1 });
    const made = await diverge(leader, follower, seconds * 1000);
    const written = await writing;
    figures['changes_per_s'] = written.rows / written.seconds;
    figures['service_cpu_share'] = ((await service.ask<number>({ is: 'cpu' })) - cpuBefore) / written.seconds;
    const confirmed = await confirmations(database, made.size, 20_000);
    const times = [...made].map(([key, atMs]) => (confirmed.get(key) ?? Number.POSITIVE_INFINITY) - atMs);
    figures['detect_p50_ms'] = quantile(times, 0.5);
    figures['detect_p95_ms'] = quantile(times, 0.95);
    figures['missed'] = times.filter((time) => time === Number.POSITIVE_INFINITY).length;
    figures['false'] = [...confirmed.keys()].filter((key) => !made.has(key)).length;
    log(`p95 ${Math.round(figures['detect_p95_ms'])} ms, ${figures['missed']} missed, ${figures['false']} false`);

    figures['quiet_round_ms'] = quantile(await service.ask<number[]>({ is: 'quiet', rounds: 50 }), 0.95);
    baseline['full_scan_ms'] = await service.ask<number>({ is: 'scan' });

    log('throughput of the writers, with the feed and without, in turns');
    await service.ask({ is: 'stop' });
    const world = { service, writer, database, leader };
    // Eight connections that think for 15 ms ask for about 5,000 changes a second, if they are answered at once.
    const thinking = await throughput(world, { ...load, perSecond: 0, connections: 8, thinkMs: 15, seconds: quick ? 0.6 : 2.5 }, 7);
    figures['write_cost_share'] = thinking.costShare;
    figures['write_rows_per_s'] = thinking.on.rate;
    baseline['write_rows_per_s'] = thinking.off.rate;
    figures['source_cpu_us_per_row'] = thinking.on.cpuUs;
    baseline['source_cpu_us_per_row'] = thinking.off.cpuUs;
    if (!quick) {
      // Beyond what is asked for: no thinking, so that writers, servers and the feed fight for two cores.
      const flatOut = await throughput(world, { ...load, perSecond: 0, seconds: 3 }, 3);
      figures['write_cost_share_flat_out'] = flatOut.costShare;
      figures['write_rows_per_s_flat_out'] = flatOut.on.rate;
      baseline['write_rows_per_s_flat_out'] = flatOut.off.rate;
    }
    await service.ask({ is: 'close' });
  } finally {
    service.close();
    writer.close();
    await Promise.all([leader.end(), follower.end(), database.close()]);
    await Promise.all([store.close(), up.close(), down.close()]);
  }
}

/** An engine beside PostgreSQL: 2,000 changes a second to both of two stores, and now and then one to the second alone. */
async function onPair({ log }: BenchOptions, engine: 'mariadb' | 'redis', figures: MutableFigures): Promise<void> {
  log(`a divergence every 300 ms among 2,000 changes a second on two ${engine} servers`);
  const rows = 20_000;
  const stalenessMs = 200;
  const store = await startPostgres();
  const stores = await Promise.all([openPairStore(engine, rows), openPairStore(engine, rows)]);
  const service = startChild<Ask>('./loops-child.ts');
  const writer = startChild<Write>('./writer-child.ts');
  const database = openDatabase(store.url);
  try {
    await migrate(database);
    const [one, two] = stores;
    const collection: Collection = {
      ...collectionOf([one.replicaAs('one'), two.replicaAs('two')]),
      changes: { maxRetainedBytes: 4 * 2 ** 30, isDurable: false },
    };
    await service.ask({ is: 'open', storeUrl: store.url, collection, stalenessMs });
    await startFeed(service, database);
    const writing = writer.ask<{ rows: number; seconds: number }>({
      urls: stores.map((each) => each.url),
      seconds: 12,
      connections: 2,
      rowsAtOnce,
      perSecond: 2_000,
      thinkMs: 0,
      from: ours + 1,
      upTo: rows,
      seed: 1,
    });
    const made = new Map<string, number>();
    for (let id = 1; id <= 36; id += 1) {
      await delay(300);
      await two.diverge(id);
      made.set(String(id), Date.now());
    }
    const written = await writing;
    const confirmed = await confirmations(database, made.size, 20_000);
    const times = [...made].map(([key, atMs]) => (confirmed.get(key) ?? Number.POSITIVE_INFINITY) - atMs);
    figures[`${engine}_changes_per_s`] = written.rows / written.seconds;
    figures[`${engine}_detect_p95_ms`] = quantile(times, 0.95);
    figures[`${engine}_missed`] = times.filter((time) => time === Number.POSITIVE_INFINITY).length;
    figures[`${engine}_false`] = [...confirmed.keys()].filter((key) => !made.has(key)).length;
    await service.ask({ is: 'close' });
  } finally {
    service.close();
    writer.close();
    await database.close();
    await Promise.all([store.close(), ...stores.map((each) => each.close())]);
  }
}

/** Built-in logical replication, which does not carry what has an origin: that is how a lost change is made. */
async function subscribe(leader: pg.Client, follower: pg.Client, url: string): Promise<void> {
  const { hostname, port, username, password, pathname } = new URL(url);
  const connection = `host=${hostname} port=${port} user=${username} password=${password} dbname=${pathname.slice(1)}`;
  await leader.query('CREATE PUBLICATION estate FOR TABLE accounts');
  await leader.query(`SELECT pg_replication_origin_create('lost')`);
  await follower.query(`CREATE SUBSCRIPTION estate CONNECTION '${connection}' PUBLICATION estate WITH (copy_data = false, origin = none)`);
}

async function startFeed(service: Child<Ask>, database: ReturnType<typeof openDatabase>): Promise<void> {
  await database.query('update replica_changes set is_told = false');
  await service.ask({ is: 'start' });
  for (;;) {
    const { rows } = await database.query('select from replica_changes where is_told');
    if (rows.length === 2) return;
    await delay(20);
  }
}

/** Every 300 ms one: a write to the follower, or a write to the leader that replication loses. Key -> wall clock of its commit. */
async function diverge(leader: pg.Client, follower: pg.Client, forMs: number): Promise<ReadonlyMap<string, number>> {
  const made = new Map<string, number>();
  const endMs = performance.now() + forMs;
  for (let id = 1; id <= ours && performance.now() < endMs; id += 1) {
    await delay(300);
    if (id % 2 === 0) {
      await follower.query('UPDATE accounts SET balance = balance + 1 WHERE id = $1', [id]);
    } else {
      await leader.query(`SELECT pg_replication_origin_session_setup('lost')`);
      await leader.query('UPDATE accounts SET balance = balance + 1 WHERE id = $1', [id]);
    }
    made.set(String(id), Date.now());
    if (id % 2 === 1) await leader.query('SELECT pg_replication_origin_session_reset()');
  }
  return made;
}

/** Key -> when it was confirmed in our store. */
async function confirmations(
  database: ReturnType<typeof openDatabase>,
  expected: number,
  timeoutMs: number,
): Promise<ReadonlyMap<string, number>> {
  const untilMs = performance.now() + timeoutMs;
  for (;;) {
    const { rows } = await database.query<{ key: { id: string }; confirmed_at_ms: number }>(
      `select key, confirmed_at_ms from divergences where status = 'confirmed'`,
    );
    if (rows.length >= expected || performance.now() > untilMs) return new Map(rows.map((row) => [row.key.id, row.confirmed_at_ms]));
    await delay(100);
  }
}

/** Confirmation while the follower lags; a short lag and few of them where there is little time. */
async function underLag({ quick, log }: BenchOptions, figures: MutableFigures): Promise<void> {
  log('differences while the follower lags');
  const maxLagMs = quick ? 1_500 : 30_000;
  const drill = await runLagDrill({ seconds: quick ? 6 : 72, maxLagMs, writesPerSecond: 500, injectEveryMs: quick ? 250 : 500, log });
  figures['lag_max_s'] = maxLagMs / 1000;
  figures['lag_writes_per_s'] = drill.writesPerSecond;
  figures['lag_injected'] = drill.injected;
  figures['lag_precision'] = drill.precision;
  figures['lag_recall'] = drill.recall;
  figures['lag_confirm_over_p95_ms'] = drill.overLagP95Ms;
}

interface Measured {
  /** Rows a second. */
  readonly rate: number;
  /** Of the leader's server, all its processes, a row. */
  readonly cpuUs: number;
}

/**
 * Windows with the feed and without, in turns; the order of each pair is turned round. The cost is the median of the pairs': what else
 * the machine does meanwhile mostly lasts longer than a pair, and many short pairs tell more than few long ones (7 of 0.6 s against 3 of
 * 1.2 s, whose medians were compared: a standard deviation of 0.005, not 0.008, beside bursts of other load 0.02, not 0.04; the same mean).
 */
async function throughput(
  world: {
    readonly service: Child<Ask>;
    readonly writer: Child<Write>;
    readonly database: ReturnType<typeof openDatabase>;
    readonly leader: pg.Client;
  },
  load: Write,
  pairs: number,
): Promise<{ readonly on: Measured; readonly off: Measured; readonly costShare: number }> {
  const { service, writer, database, leader } = world;
  const windows = { on: [] as Measured[], off: [] as Measured[] };
  const window = async (is: 'on' | 'off', seed: number): Promise<void> => {
    if (is === 'on') await startFeed(service, database);
    const before = await serverCpuSeconds(leader);
    const { rows, seconds } = await writer.ask<{ rows: number; seconds: number }>({ ...load, seed });
    windows[is].push({ rate: rows / seconds, cpuUs: (((await serverCpuSeconds(leader)) - before) / rows) * 1e6 });
    if (is === 'on') await service.ask({ is: 'stop' });
    await delay(300);
  };
  // Caches, and the log's first segments.
  await writer.ask({ ...load, seconds: 1, seed: 0 });
  for (let pair = 0; pair < pairs; pair += 1) {
    for (const is of pair % 2 === 0 ? (['on', 'off'] as const) : (['off', 'on'] as const)) await window(is, pair);
  }
  const middle = (of: readonly Measured[]): Measured => ({
    rate: quantile(
      of.map((one) => one.rate),
      0.5,
    ),
    cpuUs: quantile(
      of.map((one) => one.cpuUs),
      0.5,
    ),
  });
  const costs = windows.on.map(({ rate }, pair) => 1 - rate / (windows.off[pair]?.rate ?? Number.NaN));
  return { on: middle(windows.on), off: middle(windows.off), costShare: quantile(costs, 0.5) };
}
