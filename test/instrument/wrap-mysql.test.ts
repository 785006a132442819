import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import mysqlCallbacks from 'mysql2';
import mysql from 'mysql2/promise';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { wrapMysql } from '../../src/instrument/instrument.mjs';
import { mariadbAvailable, startMariadb, type TestMariadb } from '../servers/mariadb.ts';

/** The wrapper on the real driver and a real server: what spans say afterwards. */
const exporter = new InMemorySpanExporter();
const provider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
});
afterAll(async () => {
  context.disable();
  trace.disable();
  await provider.shutdown();
});

type Said = Record<string, unknown>;

/** Events that a piece of work left on its span. Ids of transactions become t1, t2 ... in the order in which they come. */
async function eventsOf(work: () => Promise<unknown>): Promise<readonly Said[]> {
  await provider.getTracer('test').startActiveSpan('unit', async (span) => {
    await work();
    span.end();
  });
  const ids = new Map<unknown, string>();
  return (exporter.getFinishedSpans().at(-1)?.events ?? []).map((event) => {
    expect(event.name).toBe('consistency.operation');
    const said = Object.fromEntries(
      Object.entries(event.attributes ?? {}).map(([name, value]) => [name.replace('consistency.', ''), value]),
    );
    const id = said['transaction.id'];
    if (!ids.has(id)) ids.set(id, `t${ids.size + 1}`);
    return { ...said, 'transaction.id': ids.get(id) };
  });
}

const account = (operation: string, key: string, more: Said): Said => ({ 'object.type': 'account', 'object.key': key, operation, ...more });
const tables = {
  accounts: { type: 'account', key: 'id', version: 'version' },
  entries: { type: 'entry', key: 'id', version: 'version' },
};

describe.skipIf(!mariadbAvailable)('wrapMysql (mariadb)', () => {
  let server: TestMariadb;
  let pool: mysql.Pool;
  beforeAll(async () => {
    server = await startMariadb();
    pool = wrapMysql(mysql.createPool({ uri: server.url, connectionLimit: 2 }), tables);
    await pool.query('CREATE TABLE accounts (id VARCHAR(40) PRIMARY KEY, balance INT NOT NULL, version INT NOT NULL DEFAULT 1)');
    await pool.query('CREATE TABLE entries (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT, version INT NOT NULL DEFAULT 1)');
  });
  afterAll(async () => {
    await pool.end();
    await server.close();
  });
  beforeEach(async () => {
    await pool.query('DELETE FROM accounts');
    await pool.query("INSERT INTO accounts VALUES ('a', 100, 1), ('b', 50, 4)");
    exporter.reset();
  });

  test.each(['query', 'execute'] as const)('statements by themselves: %s', async (method) => {
    const run = async (sql: string | mysql.QueryOptions, values?: (string | number)[]): Promise<void> => {
      const options = typeof sql === 'string' ? { sql, ...(values === undefined ? {} : { values }) } : sql;
      await (method === 'query' ? pool.query(options) : pool.execute(options));
    };
    const events = await eventsOf(async () => {
      await run('SELECT `balance`, version FROM `accounts` WHERE `id` = ?', ['a']);
      await run('UPDATE accounts SET balance = ?, version = version + 1 WHERE id = ? AND version = ? LIMIT 1', [90, 'a', 1]);
      await run({
        sql: 'UPDATE `accounts` SET balance = ?, version = ? WHERE id = "a" && version = 2 # the last',
        values: [80, 3],
      });
      await run("DELETE FROM accounts WHERE id = 'b' AND version = ?", [4]);
      await run('SELECT balance, version FROM accounts WHERE id = ?', ['gone']);
      await run('UPDATE accounts SET balance = 0 WHERE id = ? AND version = ?', ['a', 1]);
      await run('UPDATE accounts SET balance = 0 WHERE id = ? OR id = ?', ['a', 'b']);
      await run("SELECT version FROM accounts WHERE id = 'it\\'s' -- or 'a'", []);
    });
    expect(events).toEqual([
      account('read', 'a', { version: 1, 'transaction.id': 't1' }),
      account('write', 'a', { 'version.base': 1, version: 2, 'transaction.id': 't2' }),
      account('write', 'a', { 'version.base': 2, version: 3, 'transaction.id': 't3' }),
      account('delete', 'b', { 'version.base': 4, 'transaction.id': 't4' }),
      account('read', 'gone', { version: '', 'transaction.id': 't5' }),
      // A write that matched nothing, and one on several rows, say nothing.
      account('read', "it's", { version: '', 'transaction.id': 't6' }),
    ]);
  });

  test('inserts: keys that are given, that the server made (insertId, RETURNING), and rows that may have been there', async () => {
    const made: unknown[] = [];
    const events = await eventsOf(async () => {
      await pool.query('INSERT INTO accounts (id, balance, version) VALUES (?, ?, ?)', ['c', 1, 7]);
      const [header] = await pool.query<mysql.ResultSetHeader>("INSERT INTO entries (what) VALUES ('a; (b')");
      const [rows] = await pool.execute<mysql.RowDataPacket[]>("INSERT INTO entries (what) VALUES ('x') RETURNING id, version");
      const [other] = await pool.query<mysql.ResultSetHeader>('INSERT INTO entries SET ?', { what: 'x', version: 5 });
      made.push(header.insertId, rows[0]?.['id'], other.insertId);
      await pool.query('INSERT IGNORE INTO accounts (id, balance) VALUES (?, 0)', ['a']);
      await pool.query('INSERT INTO accounts (id, balance) VALUES (?, 0) ON DUPLICATE KEY UPDATE balance = 5', ['a']);
      await pool.query('REPLACE INTO accounts (id, balance) VALUES (?, 0)', ['a']);
      await pool.query("INSERT INTO accounts (id, balance) VALUES ('d', 0), ('e', 0)");
    });
    expect(events.map((said) => Object.fromEntries(Object.entries(said).filter(([name]) => name !== 'transaction.id')))).toEqual([
      account('write', 'c', { 'version.base': '', version: 7 }),
      { ...account('write', String(made[0]), { 'version.base': '' }), 'object.type': 'entry' },
      { ...account('write', String(made[1]), { 'version.base': '', version: 1 }), 'object.type': 'entry' },
      { ...account('write', String(made[2]), { 'version.base': '', version: 5 }), 'object.type': 'entry' },
      // INSERT IGNORE found the row and wrote nothing.
      account('write', 'a', {}),
      account('write', 'a', {}),
    ]);
    expect(new Set(made).size).toBe(3);
  });

  test.each<[string, (connection: mysql.PoolConnection) => Promise<unknown>, string, number]>([
    ['COMMIT', (connection) => connection.query('COMMIT'), 'committed', 99],
    ['commit()', (connection) => connection.commit(), 'committed', 99],
    ['ROLLBACK', (connection) => connection.query('ROLLBACK'), 'aborted', 100],
    ['rollback()', (connection) => connection.rollback(), 'aborted', 100],
    ['another BEGIN, which commits it', (connection) => connection.beginTransaction(), 'committed', 99],
    ['a CREATE TABLE, which commits it', (connection) => connection.query('CREATE OR REPLACE TABLE scratch (id INT)'), 'committed', 99],
    ['the end of its session', (connection) => connection.changeUser({ database: 'test' }), 'aborted', 100],
  ])('writes of a transaction are said when it ends: %s', async (_, end, outcome, balance) => {
    const events = await eventsOf(async () => {
      const connection = await pool.getConnection();
      await connection.beginTransaction();
      await connection.query('SELECT version FROM accounts WHERE id = ? FOR UPDATE', ['a']);
      await connection.query('UPDATE accounts SET balance = balance - 1, version = version + 1 WHERE id = ? AND version = 1', ['a']);
      await connection.execute('INSERT INTO accounts (id, balance) VALUES (?, ?) RETURNING version', ['c', 1]);
      expect(trace.getActiveSpan()).toBeDefined();
      await end(connection);
      await connection.rollback();
      connection.release();
    });
    const [rows] = await pool.query<mysql.RowDataPacket[]>("SELECT balance FROM accounts WHERE id = 'a'");
    expect(rows[0]?.['balance']).toBe(balance);
    const transaction = { 'transaction.id': 't1', 'transaction.outcome': outcome };
    expect(events).toEqual([
      account('read', 'a', { version: 1, 'transaction.id': 't1' }),
      account('write', 'a', { 'version.base': 1, version: 2, ...transaction }),
      account('write', 'c', { 'version.base': '', version: 1, ...transaction }),
    ]);
  });

  test('without autocommit every write waits for the next COMMIT', async () => {
    const events = await eventsOf(async () => {
      const connection = wrapMysql(await mysql.createConnection(server.url), tables);
      await connection.query('SET autocommit = 0');
      await connection.query('UPDATE accounts SET balance = 1 WHERE id = ?', ['a']);
      await connection.query('COMMIT');
      await connection.query('UPDATE accounts SET balance = 2 WHERE id = ?', ['a']);
      await connection.query('ROLLBACK');
      await connection.query('UPDATE accounts SET balance = 3 WHERE id = ?', ['a']);
      await connection.query('SET autocommit = 1');
      await connection.query('UPDATE accounts SET balance = 4 WHERE id = ?', ['a']);
      await connection.end();
    });
    expect(events).toEqual([
      account('write', 'a', { 'transaction.id': 't1', 'transaction.outcome': 'committed' }),
      account('write', 'a', { 'transaction.id': 't2', 'transaction.outcome': 'aborted' }),
      account('write', 'a', { 'transaction.id': 't3', 'transaction.outcome': 'committed' }),
      account('write', 'a', { 'transaction.id': 't4' }),
    ]);
  });

  test('what a deadlock rolled back is aborted, though COMMIT is answered as if it were not', async () => {
    const events = await eventsOf(async () => {
      const [one, two] = [await pool.getConnection(), await pool.getConnection()];
      await one.beginTransaction();
      await two.beginTransaction();
      // The one that has changed less is rolled back.
      await two.query("INSERT INTO entries (what) VALUES ('1'), ('2'), ('3'), ('4'), ('5')");
      await one.query("UPDATE accounts SET balance = 1 WHERE id = 'a'");
      await two.query("UPDATE accounts SET balance = 1 WHERE id = 'b'");
      const waiting = two.query("UPDATE accounts SET balance = 2 WHERE id = 'a'");
      await expect(one.query("UPDATE accounts SET balance = 2 WHERE id = 'b'")).rejects.toThrow(/Deadlock/);
      await waiting;
      await one.query('COMMIT');
      await two.query('COMMIT');
      one.release();
      two.release();
    });
    expect(events.map((said) => [said['object.key'], said['transaction.outcome']])).toEqual([
      ['a', 'aborted'],
      ['b', 'committed'],
      ['a', 'committed'],
    ]);
  });

  test.each<[string, (connection: mysql.PoolConnection) => Promise<unknown>]>([
    ['a savepoint is gone back to', (connection) => connection.query('ROLLBACK TO SAVEPOINT s')],
    ['rows are streamed', (connection) => streamed(connection)],
  ])('a transaction in which %s claims nothing', async (_, step) => {
    const events = await eventsOf(async () => {
      const connection = await pool.getConnection();
      await connection.beginTransaction();
      await connection.query('SAVEPOINT s');
      await connection.query("UPDATE accounts SET balance = 1 WHERE id = 'a'");
      await step(connection);
      await connection.commit();
      connection.release();
    });
    expect(events).toEqual([]);
  });

  test('requests that wait for a connection say what they did on their own spans; callbacks work as promises do', async () => {
    const narrow = wrapMysql(mysqlCallbacks.createPool({ uri: server.url, connectionLimit: 1 }), tables);
    const tracer = provider.getTracer('test');
    const unit = (key: string): Promise<void> =>
      tracer.startActiveSpan(
        key,
        (span) =>
          new Promise<void>((resolve, reject) =>
            narrow.query('SELECT version FROM accounts WHERE id = ?', key, (error) => {
              span.end();
              if (error) reject(error);
              else resolve();
            }),
          ),
      );
    await Promise.all(['a', 'b', 'c'].map(unit));
    await new Promise((resolve) => narrow.end(resolve));
    const said = exporter
      .getFinishedSpans()
      .map((span) => `${span.name}: ${span.events.map((event) => String(event.attributes?.['consistency.object.key'])).join()}`);
    expect(said.toSorted((a, b) => (a < b ? -1 : 1))).toEqual(['a: a', 'b: b', 'c: c']);
  });

  test('the driver behaves as without it: errors, values, several results', async () => {
    const connection = wrapMysql(await mysql.createConnection({ uri: server.url, multipleStatements: true }), tables);
    expect(wrapMysql(connection, tables)).toBe(connection);
    const events = await eventsOf(async () => {
      await expect(connection.query('SELECT * FROM nowhere WHERE id = ?', [1])).rejects.toMatchObject({ errno: 1146 });
      await expect(connection.execute("INSERT INTO accounts (id, balance) VALUES ('a', 1)")).rejects.toMatchObject({ errno: 1062 });
      const [results] = await connection.query<mysql.RowDataPacket[][]>(
        "SELECT 1 AS one; SELECT version FROM accounts WHERE id = 'a'; SELECT 2 AS two",
      );
      expect(results.map((rows) => ({ ...rows[0] }))).toEqual([{ one: 1 }, { version: 1 }, { two: 2 }]);
      const [rows] = await connection.query({ sql: 'SELECT id, version FROM accounts WHERE id = ?', rowsAsArray: true }, ['b']);
      expect(rows).toEqual([['b', 4]]);
    });
    await connection.end();
    expect(events).toEqual([account('read', 'b', { 'transaction.id': 't1' })]);
  });
});

/** Reads rows as a stream, as the driver's callback interface gives them. */
function streamed(connection: mysql.PoolConnection): Promise<void> {
  const core = connection.connection as unknown as mysqlCallbacks.Connection;
  return new Promise((resolve, reject) => {
    core.query("SELECT * FROM accounts WHERE id = 'a'").stream().on('error', reject).on('end', resolve).resume();
  });
}
