import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import type { Collection } from '../../src/domain/collection.ts';
import { everyKey } from '../../src/domain/key-range.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import { readAuditChain } from '../../src/io/store/audit.ts';
import { openDatabase } from '../../src/io/store/database.ts';
import { openEmbeddedPostgres } from '../../src/io/store/embedded.ts';
import { verifyChain } from '../../src/report/audit-chain.ts';
import { durable, mariadbAvailable, startMariadb, type TestMariadb } from '../servers/mariadb.ts';
import { startPostgres } from '../servers/postgres.ts';
import { until } from './estate.ts';
import { serviceFolder, type ServiceProcess, startServiceProcess } from './started-homeostat.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const seed = Number(process.env['SEED'] ?? 7);
const rows = 1_000;
const hour = 3_600_000;

interface Bank {
  readonly maria: TestMariadb;
  /** Each call on a connection of its own: the server comes and goes. */
  sql(...statements: readonly string[]): Promise<readonly Record<string, unknown>[]>;
  start(): Promise<ServiceProcess>;
  /** What a path of the API answers; undefined while the service does not. */
  get(service: ServiceProcess, path: string): Promise<{ readonly items: readonly Record<string, unknown>[] }>;
  /** Names of rows on the MariaDB that are not as on the other two. */
  wrong(): Promise<readonly unknown[]>;
  /** Stops the service and looks at what it wrote down. */
  auditIsWhole(): Promise<boolean>;
  close(): Promise<void>;
}

const banks: Bank[] = [];
afterEach(async () => {
  for (const bank of banks.splice(0)) await bank.close();
});

/** `profiles` in two PostgreSQL databases and, as the third replica, in a durable MariaDB, which counts what is written to it. */
async function startBank(scanEveryMs: number): Promise<Bank> {
  const postgres = await startPostgres();
  const maria = await startMariadb(durable);
  const url = await maria.createDatabase('us');
  const replicas: Record<string, object> = { us: { url, table: 'profiles', region: 'us', role: 'peer' } };
  for (const region of ['eu', 'ap']) {
    const own = await postgres.createDatabase(region);
    const client = new pg.Client({ connectionString: own });
    await client.connect();
    await client.query('create table profiles (id bigint primary key, name text)');
    await client.query(`insert into profiles select i, 'name ' || i from generate_series(1, ${rows}) i`);
    await client.end();
    replicas[region] = { url: own, table: 'profiles', region, role: 'peer' };
  }
  const sql: Bank['sql'] = async (...statements) => {
    const connection = await mysql.createConnection({ uri: url, connectTimeout: 5_000 });
    try {
      let last: unknown;
      for (const statement of statements) [last] = await connection.query(statement);
      return last as readonly Record<string, unknown>[];
    } finally {
      connection.destroy();
    }
  };
  await sql(
    'create table profiles (id bigint primary key, name text)',
    `insert into profiles select seq, concat('name ', seq) from seq_1_to_${rows}`,
    'create table written (id bigint, name text)',
    'create trigger count_updates after update on profiles for each row insert into written select new.id, new.name where coalesce(@by_hand, 0) = 0',
    'create trigger count_inserts after insert on profiles for each row insert into written select new.id, new.name where coalesce(@by_hand, 0) = 0',
  );
  const folder = await serviceFolder({
    domains: { profiles: { consistency: 'eventual', stalenessMs: 200, repair: { mode: 'auto', rowsPerHour: 100_000 } } },
    collections: { profiles: { domain: 'profiles', key: ['id'], scanEveryMs, replicas } },
    forecast: { enabled: false },
  });
  const services: ServiceProcess[] = [];
  const bank: Bank = {
    maria,
    sql,
    start: async () => {
      const service = startServiceProcess(folder);
      services.push(service);
      await service.ready;
      return service;
    },
    get: async (service, path) => {
      const token = readFileSync(join(folder.data, 'token'), 'utf8').trim();
      const { api } = await service.ready;
      const answer = await fetch(`${api}/api/v1/${path}`, { headers: { authorization: `Bearer ${token}` } });
      return (await answer.json()) as { items: Record<string, unknown>[] };
    },
    wrong: () =>
      sql(
        `select seq as id, name from seq_1_to_${rows} left join profiles on id = seq where not name <=> concat('name ', seq)
         union select id, name from profiles where id > ${rows}`,
      ),
    auditIsWhole: async () => {
      for (const service of services) service.kill('SIGTERM');
      await Promise.all(services.map((service) => service.ended));
      const store = await openEmbeddedPostgres({ dataDir: folder.data });
      const database = openDatabase(store.url);
      const chain = [];
      for await (const entry of readAuditChain(database)) chain.push(entry);
      await database.close();
      await store.close();
      return verifyChain(chain).is === 'whole';
    },
    close: async () => {
      for (const service of services) service.kill('SIGKILL');
      await Promise.all(services.map((service) => service.ended));
      await maria.close();
      await postgres.close();
      await rm(folder.dir, { recursive: true, force: true });
    },
  };
  banks.push(bank);
  return bank;
}

const byHand = 'set @by_hand = 1';

describe.skipIf(!mariadbAvailable)('a replica on MariaDB whose rows are being read (needs mariadbd)', () => {
  const collection: Collection = {
    name: 'things',
    domain: 'd',
    key: ['id'],
    columnClasses: {},
    excludedColumns: [],
    invariants: [],
    replicas: [],
    scanEveryMs: 1000,
  };

  it.each(['killed', 'told to stop reading'])('says so when it is %s, and does not wait for the rest', async (how) => {
    const maria = await startMariadb();
    const url = await maria.createDatabase('things');
    const client = await mysql.createConnection({ uri: url });
    await client.query('create table things (id bigint primary key, note text)');
    // More than connections hold on their way.
    await client.query(`insert into things select seq, repeat('x', 100) from seq_1_to_300000`);
    client.destroy();
    const replica = { id: 'us', engine: 'mysql', url, table: 'things', region: 'us', role: 'peer', columnNames: {} } as const;
    const connection = await openReplica(collection, replica);
    const shape = await connection.describe(AbortSignal.timeout(60_000));
    const stop = new AbortController();
    let batches = 0;
    const reading = (async () => {
      for await (const _batch of connection.entries(shape, everyKey, { buckets: 1 }, stop.signal)) {
        batches += 1;
        if (batches > 1) continue;
        if (how === 'killed') await maria.kill();
        else stop.abort(new Error('enough'));
      }
    })();
    await expect(reading).rejects.toThrow(how === 'killed' ? /cannot be reached/ : 'enough');
    await connection.close();
    await maria.close();
  });
});

describe.skipIf(!mariadbAvailable)('a replica on MariaDB that is killed (needs mariadbd)', () => {
  it('in the middle of repairs: every row is right in the end, and was written once', async () => {
    const rng = createRng(seed);
    const bank = await startBank(300);
    const service = await bank.start();
    let broken = 0;
    for (let kill = 0; kill < 5; kill += 1) {
      await bank.sql(byHand, `update profiles set name = 'wrong' where id > ${broken} and id <= ${broken + 150}`);
      broken += 150;
      // Somewhere between the first look at the rows and the last batch.
      await delay(rng.int(2_500));
      await bank.maria.kill();
      await delay(rng.int(1_000));
      await bank.maria.startAgain();
    }
    await until(async () => (await bank.wrong()).length === 0, 'every row is right', 120_000);
    await until(
      async () => {
        const { items } = await bank.get(service, 'cases?limit=100');
        return items.length > 0 && items.every((one) => one['state'] === 'closed');
      },
      'every case is closed',
      120_000,
    );
    expect(await bank.sql('select id, count(*) as times from written group by id having times > 1'), `seed ${seed}`).toEqual([]);
    expect(await bank.sql('select count(*) as rows_written from written')).toEqual([{ rows_written: broken }]);
    expect(await bank.auditIsWhole()).toBe(true);
  });

  it('in the middle of its feed: the feed goes on, and what was written before and after is found without a scan', async () => {
    const bank = await startBank(hour);
    const service = await bank.start();
    await fed(bank, service);
    for (let id = 1; id <= 60; id += 1) {
      await bank.sql(byHand, `update profiles set name = 'wrong' where id = ${id}`);
      if (id % 20 === 0) {
        await bank.maria.kill();
        await bank.maria.startAgain();
      }
    }
    await until(async () => (await bank.wrong()).length === 0, 'every row is right', 120_000);
    const { items } = await bank.get(service, 'replicas');
    const feed = feedOf(items);
    expect(feed['lastGap']).toBe('the feed is new');
    expect(await bank.sql('select id, count(*) as times from written group by id having times > 1')).toEqual([]);
  });
});

const feedOf = (items: readonly Record<string, unknown>[]): Record<string, unknown> => {
  const us = items.find((one) => one['replica'] === 'us' || one['id'] === 'us');
  return (us?.['changes'] as { feed?: Record<string, unknown> } | undefined)?.feed ?? {};
};

/** The MariaDB tells its writes, and the scan that the new feed asked for has ended. */
async function fed(bank: Bank, service: ServiceProcess): Promise<void> {
  await until(async () => {
    const { items } = await bank.get(service, 'replicas');
    return feedOf(items)['state'] === 'streaming';
  }, 'the MariaDB tells its writes');
  await bank.sql(byHand, `update profiles set name = 'wrong' where id = ${rows}`);
  await until(async () => (await bank.wrong()).length === 0, 'a first write is told');
  await delay(2_000);
  await bank.sql('truncate written');
}

describe.skipIf(!mariadbAvailable)('a replica on MariaDB that comes back as another (needs mariadbd)', () => {
  /** What the service learns of it by its feed alone: the next scan is an hour away. */
  async function comesBack(
    otherwise: (bank: Bank) => Promise<unknown>,
  ): Promise<{ readonly gap: unknown; readonly written: readonly unknown[] }> {
    const bank = await startBank(hour);
    const first = await bank.start();
    await fed(bank, first);
    first.kill('SIGTERM');
    expect(await first.ended).toBe(0);
    await otherwise(bank);
    expect((await bank.wrong()).length).toBeGreaterThan(0);
    const second = await bank.start();
    await until(async () => (await bank.wrong()).length === 0, 'every row is right', 120_000);
    const { items } = await bank.get(second, 'replicas');
    const gap = feedOf(items)['lastGap'];
    const written = await bank.sql('select id, count(*) as times from written group by id having times > 1');
    expect(await bank.auditIsWhole()).toBe(true);
    return { gap, written };
  }
  /** One transaction a row, so that GTIDs go as far as before and further. */
  const breakOneByOne = (bank: Bank, upTo: number): Promise<unknown> =>
    bank.sql(byHand, ...Array.from({ length: upTo }, (_unused, n) => `update profiles set name = 'wrong' where id = ${n + 1}`));

  it('with a log that was reset and has grown past where it was: all is compared', async () => {
    const { gap, written } = await comesBack(async (bank) => {
      await bank.sql('reset master');
      await breakOneByOne(bank, 300);
    });
    expect(gap).toMatch(/the log is another one/);
    expect(written).toEqual([]);
  });

  it('with an older copy of its data, written to since: all is compared', async () => {
    const copies = await mkdtemp(join(tmpdir(), 'homeostat-copy-'));
    const { gap, written } = await comesBack(async (bank) => {
      await bank.maria.kill();
      execFileSync('cp', ['-a', bank.maria.data, copies]);
      await bank.maria.startAgain();
      // What the service saw of this is gone with the copy.
      const service = await bank.start();
      await bank.sql(byHand, ...Array.from({ length: 20 }, (_unused, n) => `update profiles set name = 'wrong' where id = ${100 + n}`));
      await until(async () => (await bank.wrong()).length === 0, 'what was written is repaired');
      await delay(2_000);
      service.kill('SIGTERM');
      expect(await service.ended).toBe(0);
      await bank.maria.kill();
      execFileSync('rm', ['-rf', bank.maria.data]);
      execFileSync('cp', ['-a', join(copies, 'data'), bank.maria.data]);
      await bank.maria.startAgain();
      await breakOneByOne(bank, 300);
    });
    await rm(copies, { recursive: true, force: true });
    expect(gap).toMatch(/the log is another one/);
    expect(written).toEqual([]);
  });

  it('with a log that was purged: all is compared', async () => {
    const { gap, written } = await comesBack(async (bank) => {
      // A file that is still being sent to somebody stays.
      await bank.maria.kill();
      await bank.maria.startAgain();
      await bank.sql(
        byHand,
        `update profiles set name = 'wrong' where id <= 30`,
        'flush binary logs',
        'purge binary logs before now() + interval 1 day',
      );
    });
    expect(gap).toMatch(/no longer has the log/);
    expect(written).toEqual([]);
  });

  it('empty: every row is put back once', async () => {
    const { gap, written } = await comesBack((bank) => bank.sql('reset master', byHand, 'delete from profiles'));
    expect(gap).toMatch(/no longer has the log|the log is another one/);
    expect(written).toEqual([]);
  });
});
