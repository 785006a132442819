/** The stores that the change feed suite runs on: each with one empty collection and a way to write to it beside us. */
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import pg from 'pg';
import type { Collection, Replica } from '../../src/domain/collection.ts';
import { until } from '../integration/estate.ts';
import { startMariadb } from '../servers/mariadb.ts';
import { startPostgres } from '../servers/postgres.ts';
import { startRedis } from '../servers/redis.ts';

export interface FeedStore {
  readonly collection: Collection;
  readonly replica: Replica;
  put(id: number, note: string): Promise<unknown>;
  /** Several rows in one transaction. */
  putMany(from: number, upTo: number): Promise<unknown>;
  remove(id: number): Promise<unknown>;
  rename(id: number, to: number): Promise<unknown>;
  /** Writes these keys and takes it back; absent where nothing can be taken back. */
  readonly putAndRollBack?: (id: number) => Promise<unknown>;
  truncate(): Promise<unknown>;
  /** A change of the table's columns; absent where there are none. */
  readonly addColumn?: () => Promise<unknown>;
  /** Lets the store forget what it kept for a feed. */
  readonly loseLog?: (installation: string) => Promise<unknown>;
  /** A replica of the same store that tells nothing, and a word of why. */
  readonly silent: { readonly replica: Replica; readonly says: RegExp };
  close(): Promise<void>;
}

const base = { region: 'eu', role: 'peer', columnNames: {} } as const;
export const collection: Collection = {
  name: 'things',
  domain: 'd',
  key: ['id', 'part'],
  columnClasses: {},
  excludedColumns: [],
  invariants: [],
  replicas: [],
  scanEveryMs: 1000,
};

/** A text that every engine has to bring to the same canonical one. */
export const partOf = (id: number): string => `Pärt ${id}  `;

export async function startPostgresFeedStore(): Promise<FeedStore> {
  const server = await startPostgres({ max_slot_wal_keep_size: '10GB' });
  const url = await server.createDatabase('things');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(
    `CREATE TABLE things (note text, big text, id bigint, part text, PRIMARY KEY (id, part));
     CREATE TABLE no_identity (id bigint NOT NULL, part text NOT NULL, UNIQUE (id, part))`,
  );
  const replica: Replica = { ...base, id: 'pg', engine: 'postgres', url, table: 'things' };
  return {
    collection,
    replica,
    put: (id, note) =>
      client.query(
        `INSERT INTO things (note, big, id, part) VALUES ($2, repeat('x', 5000), $1, $3) ON CONFLICT (id, part) DO UPDATE SET note = excluded.note`,
        [id, note, partOf(id)],
      ),
    putMany: (from, upTo) =>
      client.query(`INSERT INTO things SELECT 'n', 'b', i, 'Pärt ' || i || '  ' FROM generate_series($1::int, $2::int) i`, [from, upTo]),
    remove: (id) => client.query('DELETE FROM things WHERE id = $1', [id]),
    rename: (id, to) => client.query('UPDATE things SET id = $2, part = $3 WHERE id = $1', [id, to, partOf(to)]),
    putAndRollBack: async (id) => {
      await client.query('BEGIN');
      await client.query(`INSERT INTO things VALUES ('n', 'b', $1, 'p')`, [id]);
      await client.query('ROLLBACK');
    },
    truncate: () => client.query('TRUNCATE things'),
    addColumn: () => client.query('ALTER TABLE things ADD COLUMN extra int DEFAULT 5'),
    loseLog: async (installation) => {
      // Its reader may not have ended yet.
      const drop = `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'homeostat\\_' || $1 || '%'`;
      await until(
        () =>
          client.query(drop, [installation]).then(
            ({ rowCount }) => rowCount === 1,
            () => false,
          ),
        'the slot is dropped',
      );
    },
    silent: { replica: { ...replica, table: 'no_identity' }, says: /REPLICA IDENTITY USING INDEX/ },
    close: async () => {
      await client.end();
      await server.close();
    },
  };
}

export async function startMariadbFeedStore(settings: readonly string[] = []): Promise<FeedStore> {
  const server = await startMariadb(settings);
  const url = await server.createDatabase('things');
  const client = await mysql.createConnection({ uri: url, multipleStatements: true });
  await client.query(
    `CREATE TABLE things (note text, big longtext, amount decimal(20,4), at datetime(6), id bigint, part varchar(200) CHARACTER SET latin1, PRIMARY KEY (id, part));
     CREATE TABLE parents (id bigint PRIMARY KEY);
     CREATE TABLE children (id bigint, part varchar(20), parent bigint, PRIMARY KEY (id, part), FOREIGN KEY (parent) REFERENCES parents (id) ON DELETE CASCADE)`,
  );
  const replica: Replica = { ...base, id: 'maria', engine: 'mysql', url, table: 'things' };
  return {
    collection,
    replica,
    put: (id, note) =>
      client.query(
        `INSERT INTO things (note, big, amount, at, id, part) VALUES (?, REPEAT('x', 5000), 1.5, NOW(6), ?, ?) ON DUPLICATE KEY UPDATE note = VALUES(note)`,
        [note, id, partOf(id)],
      ),
    putMany: (from, upTo) =>
      client.query(`INSERT INTO things SELECT 'n', NULL, -3.25, NULL, seq, CONCAT('Pärt ', seq, '  ') FROM seq_${from}_to_${upTo}`),
    remove: (id) => client.query('DELETE FROM things WHERE id = ?', [id]),
    rename: (id, to) => client.query('UPDATE things SET id = ?, part = ? WHERE id = ?', [to, partOf(to), id]),
    putAndRollBack: async (id) => {
      await client.query('START TRANSACTION');
      await client.query(`INSERT INTO things (id, part) VALUES (?, 'p')`, [id]);
      await client.query('ROLLBACK');
    },
    truncate: () => client.query('TRUNCATE TABLE things'),
    addColumn: () => client.query('ALTER TABLE things ADD COLUMN extra int DEFAULT 5 FIRST'),
    loseLog: async () => {
      await client.query('FLUSH BINARY LOGS');
      // What a reader that has not ended yet still holds is not purged.
      await until(async () => {
        const [[row]] = await client.query<mysql.RowDataPacket[]>('SHOW MASTER STATUS');
        await client.query('PURGE BINARY LOGS TO ?', [row?.['File']]);
        return (await client.query<mysql.RowDataPacket[]>('SHOW BINARY LOGS'))[0].length === 1;
      }, 'the log is purged');
    },
    silent: { replica: { ...replica, table: 'children' }, says: /foreign key/ },
    close: async () => {
      client.destroy();
      await server.close();
    },
  };
}

export async function startRedisFeedStore(): Promise<FeedStore> {
  const server = await startRedis();
  const client = new Redis(`${server.url}/3`);
  await client.config('SET', 'notify-keyspace-events', 'KA');
  const replica: Replica = {
    ...base,
    id: 'cache',
    engine: 'redis',
    url: `${server.url}/3`,
    keyTemplate: 'thing:{id}:[{part}]',
    value: 'json',
  };
  const keyOf = (id: number): string => `thing:${id}:[${partOf(id)}]`;
  return {
    collection,
    replica,
    put: (id, note) => client.set(keyOf(id), JSON.stringify({ note })),
    putMany: (from, upTo) => {
      const transaction = client.multi();
      for (let id = from; id <= upTo; id += 1) transaction.set(keyOf(id), '{}');
      return transaction.exec();
    },
    remove: (id) => client.del(keyOf(id)),
    rename: (id, to) => client.rename(keyOf(id), keyOf(to)),
    truncate: () => client.flushdb(),
    // One server, one setting: a hash needs notifications of its own, which are then turned off.
    silent: { replica: { ...replica, value: 'hash' }, says: /notify-keyspace-events/ },
    close: async () => {
      client.disconnect();
      await server.close();
    },
  };
}
