import mysql from 'mysql2/promise';
import { startMariadb } from '../servers/mariadb.ts';

/**
 * The oracle for statements in the dialect of MySQL: a MariaDB server that runs them and says itself what it did. Its command counters give
 * the verb, the table locks of its performance schema the tables that were read and written, a second connection whether rows are locked.
 */
export interface Ran {
  /** The error's number, 0 for none; 1064 is a text that the server cannot read. */
  readonly error: number;
  /** What its counters call what it ran, without `Com_`. */
  readonly commands: readonly string[];
  /** Bare names, sorted. */
  readonly tables: readonly string[];
  readonly written: readonly string[];
  readonly locksRows: boolean;
  readonly returnsRows: boolean;
}

export interface MariadbOracle {
  run(sql: string): Promise<Ran>;
  /** Whether a statement on a new connection leaves a transaction open. */
  begins(sql: string): Promise<boolean>;
  /** What becomes of a change that is not committed when the statement runs. */
  ends(sql: string): Promise<'committed' | 'rolled back' | 'open'>;
  /** Of the rows of `grid` that a condition finds, how many there are, and for how many a column has not the value. */
  contradicted(condition: string, column: string, value: string): Promise<{ readonly found: number; readonly others: number }>;
  close(): Promise<void>;
}

const schema = `
  CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, customer_id INT, status VARCHAR(20) DEFAULT 'new', total DECIMAL(12,2),
    version INT DEFAULT 1, lock_version INT DEFAULT 1, note TEXT, doc JSON, sku VARCHAR(9), created_at DATETIME, updated_at DATETIME,
    deleted_at DATETIME, KEY by_status (status));
  CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(20), region VARCHAR(9));
  CREATE TABLE order_lines (id INT PRIMARY KEY, order_id INT, sku VARCHAR(9), quantity INT, price INT);
  CREATE TABLE stock (sku VARCHAR(9) PRIMARY KEY, n INT);
  CREATE TABLE counters (id INT PRIMARY KEY, n INT, updated_at DATETIME);
  CREATE TABLE archive (id INT AUTO_INCREMENT PRIMARY KEY, order_id INT);
  CREATE TABLE sessions (id INT PRIMARY KEY);
  CREATE TABLE accounts (id INT PRIMARY KEY, balance INT);
  CREATE TABLE ledger (id INT PRIMARY KEY, account_id INT);
  CREATE TABLE audit (id INT AUTO_INCREMENT PRIMARY KEY, what TEXT);
  CREATE TABLE jobs (id INT PRIMARY KEY, state VARCHAR(9));
  CREATE TABLE products (id INT PRIMARY KEY, stock INT, updated_at DATETIME);
  CREATE TABLE articles (id INT PRIMARY KEY, title TEXT, lang VARCHAR(9), FULLTEXT (title));
  CREATE TABLE shop_order (id INT PRIMARY KEY, status VARCHAR(9));
  CREATE TABLE \`group\` (\`order\` INT);
  CREATE TABLE \`odd table\` (\`odd name\` TEXT);
  CREATE TABLE \`odd\`\`table\` (n INT);
  CREATE TABLE grid (a INT, b INT, c VARCHAR(9));
  CREATE PROCEDURE move_money(a INT, b INT, n INT) SELECT 1;
  INSERT INTO grid SELECT a.n, b.n, c.t FROM (SELECT 1 n UNION SELECT 2 UNION SELECT 3 UNION SELECT NULL) a,
    (SELECT 1 n UNION SELECT 2 UNION SELECT NULL) b, (SELECT 'x' t UNION SELECT 'y' UNION SELECT 'it''s' UNION SELECT NULL) c;`;

const rows = `
  INSERT INTO orders (id, customer_id, status, total, doc) VALUES (1, 1, 'new', 5, '{}'), (2, 1, 'paid', 6, '[1]');
  INSERT INTO customers VALUES (1, 'x', 'eu');
  INSERT INTO counters VALUES (1, 1, NOW());
  INSERT INTO stock VALUES ('a', 3);
  INSERT INTO shop_order VALUES (1, 'new');`;

/** What counts a statement as read or written: locks of a table, whatever the plan. */
const locks = 'performance_schema.table_lock_waits_summary_by_table';

export async function openMariadbOracle(): Promise<MariadbOracle> {
  const server = await startMariadb([
    '--performance-schema=ON',
    '--performance-schema-instrument=wait/lock/table/%=ON',
    '--lower-case-table-names=1',
  ]);
  const url = await server.createDatabase('shop');
  const connect = (): Promise<mysql.Connection> => mysql.createConnection({ uri: url, multipleStatements: true });
  const other = await connect();
  await other.query('SET innodb_lock_wait_timeout = 0; SET lock_wait_timeout = 1');
  let isFresh = false;
  const reset = async (): Promise<void> => {
    if (isFresh) return;
    await other.query(
      `SET FOREIGN_KEY_CHECKS = 0; DROP DATABASE shop; CREATE DATABASE shop CHARACTER SET utf8mb4; USE shop; ${schema} ${rows}`,
    );
    isFresh = true;
  };
  const on = async <T>(work: (own: mysql.Connection) => Promise<T>): Promise<T> => {
    await reset();
    const own = await connect();
    try {
      return await work(own);
    } finally {
      // What is not committed goes with its connection.
      await own.end().catch(() => own.destroy());
    }
  };
  const countersOf = async (own: mysql.Connection): Promise<ReadonlyMap<string, number>> => {
    const [found] = await own.query<mysql.RowDataPacket[]>("SHOW SESSION STATUS LIKE 'Com\\_%'");
    return new Map(found.map((row) => [(row['Variable_name'] as string).slice(4), Number(row['Value'])]));
  };
  const totalOf = async (connection: mysql.Connection): Promise<number> => {
    const [found] = await connection.query<mysql.RowDataPacket[]>('SELECT total FROM orders WHERE id = 2');
    return Number(found[0]?.['total']);
  };
  return {
    run: (sql) =>
      on(async (own) => {
        await own.query('START TRANSACTION');
        const before = await countersOf(own);
        await other.query(`TRUNCATE ${locks}`);
        let error = 0;
        let returnsRows = false;
        try {
          const [result] = await own.query(sql);
          returnsRows = Array.isArray(result) && !result.some((one) => 'affectedRows' in one);
        } catch (thrown) {
          error = (thrown as { errno?: number }).errno ?? -1;
        }
        const [used] = await other.query<mysql.RowDataPacket[]>(
          `SELECT object_name AS name, count_write_external AS writes FROM ${locks}
           WHERE object_schema = 'shop' AND count_read_external + count_write_external > 0`,
        );
        const locksRows = await isLocked(
          other,
          used.map((row) => row['name'] as string),
        );
        const after = await countersOf(own);
        const [state] = await own.query<mysql.RowDataPacket[]>('SELECT @@in_transaction AS is_open');
        isFresh = state[0]?.['is_open'] === 1;
        return {
          error,
          commands: [...after].filter(([name, count]) => count > (before.get(name) ?? 0) && name !== 'show_status').map(([name]) => name),
          tables: used.map((row) => row['name'] as string).toSorted(),
          written: used.filter((row) => Number(row['writes']) > 0).map((row) => row['name'] as string),
          locksRows,
          returnsRows,
        };
      }),
    begins: (sql) =>
      on(async (own) => {
        isFresh = false;
        await own.query(sql);
        await own.query('UPDATE orders SET total = 99 WHERE id = 2');
        return (await totalOf(other)) !== 99;
      }),
    ends: (sql) =>
      on(async (own) => {
        isFresh = false;
        await own.query('SET autocommit = 0; UPDATE orders SET total = 99 WHERE id = 2; SAVEPOINT `before`; SAVEPOINT before_it');
        await own.query(sql);
        if ((await totalOf(other)) === 99) return 'committed';
        return (await totalOf(own)) === 99 ? 'open' : 'rolled back';
      }),
    contradicted: async (condition, column, value) => {
      await reset();
      const [found] = await other.query<mysql.RowDataPacket[]>(
        `SELECT COUNT(*) AS found, COUNT(IF(${column} <=> ?, NULL, 1)) AS others FROM (SELECT a, b, c FROM grid WHERE ${condition}) AS t`,
        [value],
      );
      return { found: Number(found[0]?.['found']), others: Number(found[0]?.['others']) };
    },
    close: async () => {
      await other.end();
      await server.close();
    },
  };
}

async function isLocked(other: mysql.Connection, tables: readonly string[]): Promise<boolean> {
  for (const table of tables) {
    try {
      await other.query(`SELECT COUNT(*) FROM ${mysql.escapeId(table)} FOR UPDATE`);
    } catch {
      return true;
    }
  }
  return false;
}
