import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Collection, Replica } from '../../../src/domain/collection.ts';
import { postgresFeed } from '../../../src/io/replicas/changes/postgres/postgres-feed.ts';
import type { WatchedReplica } from '../../../src/io/replicas/changes/changes.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import { until } from '../../integration/estate.ts';
import { startPostgres, type TestPostgres } from '../../servers/postgres.ts';

const signal = AbortSignal.timeout(120_000);
const installation = 'feedfeed';
let server: TestPostgres;
let admin: pg.Client;

beforeAll(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.url });
  await admin.connect();
  await admin.query(
    `CREATE TABLE padded (code char(8), day date, amount numeric(10,2), PRIMARY KEY (code, day, amount));
     CREATE TABLE plain (id int PRIMARY KEY);
     CREATE ROLE reader LOGIN PASSWORD 'reader-secret'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader`,
  );
}, 60_000);
afterAll(async () => {
  await admin?.end();
  await server?.close();
});

async function watch(table: string, key: readonly string[], url = server.url): Promise<WatchedReplica> {
  const replica: Replica = { id: 'eu', engine: 'postgres', url, region: 'eu', role: 'peer', table, columnNames: {} };
  const collection: Collection = {
    name: table,
    domain: 'd',
    key,
    columnClasses: {},
    excludedColumns: [],
    invariants: [],
    replicas: [replica],
    scanEveryMs: 1000,
  };
  const connection = await openReplica(collection, replica);
  const shape = await connection.describe(signal);
  await connection.close();
  return { collection, replica, shape };
}

function run(
  watched: readonly WatchedReplica[],
  isDurable: boolean,
): { readonly said: string[]; readonly made: string[]; stop(): Promise<void> } {
  const said: string[] = [];
  const made: string[] = [];
  const stopping = new AbortController();
  const running = postgresFeed.run({
    watched,
    installation,
    maxRetainedBytes: 1e12,
    isDurable,
    from: null,
    settled: () => null,
    sink: {
      started: () => said.push('started'),
      key: (_watched, key) => said.push(JSON.stringify(key)),
      everything: (_watched, because) => said.push(because),
      refused: (_watched, because) => said.push(because),
      reached: () => undefined,
      made: (_watched, statement) => made.push(statement),
      retained: () => undefined,
    },
    signal: stopping.signal,
  });
  running.catch(() => undefined);
  return {
    said,
    made,
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

const slots = async (): Promise<readonly { readonly temporary: boolean }[]> =>
  (await admin.query<{ temporary: boolean }>(`SELECT temporary FROM pg_replication_slots WHERE slot_name LIKE 'homeostat%'`)).rows;

describe('PostgreSQL tells its changes', () => {
  test('where the server sets slots no limit, the slot goes with the connection, unless it was asked to stay; and it can be taken away', async () => {
    const watched = await watch('plain', ['id']);
    const passing = run([watched], false);
    await until(async () => passing.said.includes('started'), 'it has started');
    expect(await slots()).toEqual([{ temporary: true }]);
    expect(passing.made).toEqual(['CREATE PUBLICATION homeostat_plain FOR TABLE public.plain WITH (publish_via_partition_root = true)']);
    await passing.stop();
    await until(async () => (await slots()).length === 0, 'the slot has gone');

    const kept = run([watched], true);
    await until(async () => kept.said.includes('started'), 'it has started');
    await kept.stop();
    expect(await slots()).toEqual([{ temporary: false }]);
    await postgresFeed.remove(watched.replica, installation, signal);
    expect(await slots()).toEqual([]);
  });

  test('two URLs of one database have a slot each, and neither takes the other away', async () => {
    const other = new URL(server.url);
    other.searchParams.set('application_name', 'other');
    const [one, two] = await Promise.all([watch('plain', ['id']), watch('padded', ['code', 'day', 'amount'], other.href)]);
    for (const watched of [one, two, one]) {
      const feed = run([watched], true);
      await until(async () => feed.said.includes('started'), 'it has started');
      await feed.stop();
    }
    expect(await slots()).toHaveLength(2);
    await postgresFeed.remove(one.replica, installation, signal);
    expect(await slots()).toHaveLength(1);
    await postgresFeed.remove(two.replica, installation, signal);
  });

  test('blanks at the end of char(n), dates and decimals are told as the replica gives them', async () => {
    const watched = await watch('padded', ['code', 'day', 'amount']);
    const feed = run([watched], false);
    await until(async () => feed.said.includes('started'), 'it has started');
    await admin.query(`INSERT INTO padded VALUES ('ab', '2026-02-03', 1.50)`);
    await until(async () => feed.said.length > 1, 'the write is told');
    await feed.stop();
    const connection = await openReplica(watched.collection, watched.replica);
    const [row] = await connection.readRows(watched.shape, [JSON.parse(feed.said[1] ?? '') as Record<string, string>], signal);
    expect(JSON.stringify(row?.key)).toBe(feed.said[1]);
    await connection.close();
  });

  test('a role that may not is told the statement that lets it, and what it may tell is told', async () => {
    const url = new URL(server.url);
    url.username = 'reader';
    url.password = 'reader-secret';
    const [padded, plain] = await Promise.all([watch('padded', ['code', 'day', 'amount'], url.href), watch('plain', ['id'], url.href)]);
    expect(await postgresFeed.whyNot(plain, signal)).toMatch(/run ALTER ROLE reader REPLICATION/);
    await admin.query('ALTER ROLE reader REPLICATION');
    expect(await postgresFeed.whyNot(plain, signal)).toBeUndefined();
    await admin.query('DROP PUBLICATION IF EXISTS homeostat_plain, homeostat_padded');
    await admin.query('CREATE PUBLICATION homeostat_plain FOR TABLE plain');
    const feed = run([padded, plain], false);
    await until(async () => feed.said.includes('started'), 'it has started');
    expect(feed.said[0]).toMatch(/let its owner run CREATE PUBLICATION homeostat_padded FOR TABLE public\.padded/);
    await admin.query('INSERT INTO padded VALUES ($1, $2, 1)', ['untold', '2026-01-01']);
    await admin.query('INSERT INTO plain VALUES (7)');
    await until(async () => feed.said.includes('{"id":"7"}'), 'the write is told');
    expect(feed.said).toHaveLength(3);
    await feed.stop();
  });
});
