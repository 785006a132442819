/** The stores that the replica conformance suite runs on: each gives an empty copy of one collection and a way to write beside us. */
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import pg from 'pg';
import type { Collection, Replica } from '../../src/domain/collection.ts';
import type { Row } from '../../src/domain/row.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import { OpenScans } from '../../src/io/replicas/remote/open-scans.ts';
import { answerCall } from '../../src/io/replicas/remote/answer-call.ts';
import { type CallChannel, openRemoteReplica } from '../../src/io/replicas/remote/remote.ts';
import type { ReplicaConnection } from '../../src/io/replicas/replica.ts';
import { startMariadb } from '../servers/mariadb.ts';
import { startPostgres } from '../servers/postgres.ts';
import { startRedis } from '../servers/redis.ts';
import { startRowService } from '../servers/rows-over-http.ts';

export interface ReplicaStore {
  /** Where connections are not opened by the registry. */
  readonly open?: (replica: Replica) => Promise<ReplicaConnection>;
  readonly replica: Replica;
  /** Writes rows as the estate would, past our connector. */
  put(row: Row): Promise<void>;
  remove(id: string): Promise<void>;
  clear(): Promise<void>;
  /** Makes the store refuse a name twice, or no longer; absent where it has no such constraints. */
  uniqueNames?(isUnique: boolean): Promise<void>;
  close(): Promise<void>;
  /** Replicas that cannot work, with the code and a word of the sentence that must come. */
  readonly broken: readonly { readonly replica: Replica; readonly code: string; readonly says: RegExp }[];
}

/** id int key; name, note text; amount numeric; at timestamptz; ok bool. */
export const collection: Collection = {
  name: 'things',
  domain: 'd',
  key: ['id'],
  columnClasses: {},
  excludedColumns: [],
  invariants: [],
  replicas: [],
  scanEveryMs: 1000,
};

export const rowOf = (id: number, changes: Row = {}): Row => ({
  id: String(id),
  amount: `${id}.5`,
  at: '2026-01-02 03:04:05.678+00',
  name: `name ${id}`,
  note: id % 3 === 0 ? null : '',
  ok: id % 2 === 0 ? 'true' : 'false',
  ...changes,
});

const base = { region: 'eu', role: 'peer', columnNames: {} } as const;

export async function startPostgresStore(): Promise<ReplicaStore> {
  const server = await startPostgres();
  const url = await server.createDatabase('things');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(
    `CREATE TABLE things (id int PRIMARY KEY, name text, note text, amount numeric(12,2), at timestamptz, ok boolean);
     CREATE TABLE keyless (id int, name text); CREATE TABLE odd (id int PRIMARY KEY, odd pg_class)`,
  );
  const replica: Replica = { ...base, id: 'pg', engine: 'postgres', url, table: 'public.things' };
  const wrong = new URL(url);
  wrong.password = 'wrong-secret';
  const closed = new URL(url);
  closed.port = '1';
  return {
    replica,
    put: async (row) => {
      await client.query(
        `INSERT INTO things (id, name, note, amount, at, ok) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, note = excluded.note, amount = excluded.amount, at = excluded.at, ok = excluded.ok`,
        ['id', 'name', 'note', 'amount', 'at', 'ok'].map((column) => row[column] ?? null),
      );
    },
    remove: async (id) => {
      await client.query('DELETE FROM things WHERE id = $1', [id]);
    },
    clear: async () => {
      await client.query('TRUNCATE things');
    },
    uniqueNames: async (isUnique) => {
      await client.query(isUnique ? 'CREATE UNIQUE INDEX names ON things (name)' : 'DROP INDEX names');
    },
    close: async () => {
      await client.end();
      await server.close();
    },
    broken: [
      { replica: { ...replica, url: closed.href }, code: 'replica-down', says: /cannot be reached/ },
      { replica: { ...replica, url: wrong.href }, code: 'wrong-password', says: /password/ },
      { replica: { ...replica, table: 'public.nowhere' }, code: 'no-table', says: /no table public.nowhere/ },
      { replica: { ...replica, table: 'keyless' }, code: 'no-key', says: /no primary key or unique constraint on \(id\)/ },
      { replica: { ...replica, table: 'odd' }, code: 'unsupported-column', says: /columns\.odd\.compare: false/ },
    ],
  };
}

export async function startMariadbStore(): Promise<ReplicaStore> {
  const server = await startMariadb();
  const url = await server.createDatabase('things');
  const client = await mysql.createConnection({ uri: url, multipleStatements: true, timezone: 'Z' });
  await client.query(
    `SET time_zone = '+00:00';
     CREATE TABLE things (id int PRIMARY KEY, name varchar(200), note text, amount decimal(12,2), at timestamp(6) NULL, ok boolean);
     CREATE TABLE keyless (id int, name text); CREATE TABLE odd (id int PRIMARY KEY, odd point)`,
  );
  const replica: Replica = { ...base, id: 'maria', engine: 'mysql', url, table: 'things' };
  const wrong = new URL(url);
  wrong.password = 'wrong-secret';
  const closed = new URL(url);
  closed.port = '1';
  return {
    replica,
    put: async (row) => {
      const ok = row['ok'] === null || row['ok'] === undefined ? null : row['ok'] === 'true';
      const at = row['at']?.replace('+00', '') ?? null;
      await client.query('REPLACE INTO things (id, name, note, amount, at, ok) VALUES (?, ?, ?, ?, ?, ?)', [
        row['id'],
        row['name'],
        row['note'],
        row['amount'],
        at,
        ok,
      ]);
    },
    remove: async (id) => {
      await client.query('DELETE FROM things WHERE id = ?', [id]);
    },
    clear: async () => {
      await client.query('DELETE FROM things');
    },
    uniqueNames: async (isUnique) => {
      await client.query(isUnique ? 'CREATE UNIQUE INDEX names ON things (name)' : 'DROP INDEX names ON things');
    },
    close: async () => {
      await client.end();
      await server.close();
    },
    broken: [
      { replica: { ...replica, url: closed.href }, code: 'replica-down', says: /cannot be reached/ },
      { replica: { ...replica, url: wrong.href }, code: 'wrong-password', says: /password/ },
      { replica: { ...replica, table: 'nowhere' }, code: 'no-table', says: /no table nowhere/ },
      { replica: { ...replica, table: 'keyless' }, code: 'no-key', says: /no primary key or unique constraint on \(id\)/ },
      { replica: { ...replica, table: 'odd' }, code: 'unsupported-column', says: /columns\.odd\.compare: false/ },
    ],
  };
}

export async function startRedisStore(value: 'json' | 'hash'): Promise<ReplicaStore> {
  const server = await startRedis();
  const client = new Redis(server.url);
  const replica: Replica = { ...base, id: 'cache', engine: 'redis', url: server.url, keyTemplate: 'thing:{id}', value };
  const closed = new URL(server.url);
  closed.port = '1';
  const wrong = new URL(server.url);
  wrong.username = 'nobody';
  wrong.password = 'wrong-secret';
  return {
    replica,
    put: async (row) => {
      const key = `thing:${row['id'] ?? ''}`;
      // As an application would write it: JSON types, another time format, an extra field that is nobody's column.
      if (value === 'json') {
        const { amount, at, ok, ...rest } = row;
        const own = { ...rest, amount: Number(amount), at: at?.replace(' ', 'T').replace('+00', 'Z') ?? null, ok: ok === 'true', extra: 1 };
        await client.set(key, JSON.stringify(own), 'EX', 1000);
      } else {
        await client.del(key);
        await client.hset(key, Object.fromEntries(Object.entries(row).filter((entry): entry is [string, string] => entry[1] !== null)));
      }
    },
    remove: async (id) => {
      await client.del(`thing:${id}`);
    },
    clear: async () => {
      await client.flushall();
      await client.set('thingy:1', 'of another collection');
    },
    close: async () => {
      client.disconnect();
      await server.close();
    },
    broken: [
      { replica: { ...replica, url: closed.href }, code: 'replica-down', says: /cannot be reached/ },
      { replica: { ...replica, url: wrong.href }, code: 'wrong-password', says: /password/ },
      { replica: { ...replica, keyTemplate: 'thing:{name}' }, code: 'bad-key-template', says: /must name each key column \(id\) once/ },
    ],
  };
}

export function openStore(store: ReplicaStore, replica: Replica): Promise<ReplicaConnection> {
  return store.open === undefined ? openReplica(collection, replica) : store.open(replica);
}

/** PostgreSQL, every call of which goes through the wire format of agents and back. */
export async function startAgentStore(): Promise<ReplicaStore> {
  const store = await startPostgresStore();
  const opened: ReplicaConnection[] = [];
  return {
    ...store,
    open: async (replica) => {
      const connection = await openReplica(collection, replica);
      opened.push(connection);
      return openRemoteReplica(collection, replica, 'repair', channelTo(connection));
    },
    close: async () => {
      await Promise.all(opened.map((connection) => connection.close()));
      await store.close();
    },
  };
}

function channelTo(connection: ReplicaConnection): CallChannel {
  const scans = new OpenScans('the agent');
  return {
    async *call(_collection, _replica, call, signal) {
      const parts: string[] = [];
      const give = async (part: unknown): Promise<void> => void parts.push(JSON.stringify(part));
      await answerCall(JSON.parse(JSON.stringify(call)) as typeof call, {
        connection,
        mayLeave: true,
        mayWrite: true,
        scans,
        signal,
        give,
      });
      for (const part of parts) yield JSON.parse(part) as unknown;
    },
  };
}

export async function startHttpStore(): Promise<ReplicaStore> {
  const service = await startRowService({ user: 'homeostat', password: 'right' });
  const replica: Replica = { ...base, id: 'service', engine: 'http', url: service.url };
  const closed = new URL(service.url);
  closed.port = '1';
  const wrong = new URL(service.url);
  wrong.password = 'wrong-secret';
  const nowhere = new URL(service.url);
  nowhere.pathname = '/nowhere';
  return {
    replica,
    put: async (row) => service.put(row),
    remove: async (id) => service.remove(id),
    clear: async () => service.clear(),
    close: () => service.close(),
    broken: [
      { replica: { ...replica, url: closed.href }, code: 'replica-down', says: /cannot be reached/ },
      { replica: { ...replica, url: wrong.href }, code: 'wrong-password', says: /password/ },
      { replica: { ...replica, url: nowhere.href }, code: 'no-table', says: /replica API/ },
    ],
  };
}
