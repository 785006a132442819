/** One of two stores of a kind, filled, for benches of engines beside PostgreSQL. */
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import type { Replica } from '../../../src/domain/collection.ts';
import { startMariadb } from '../../servers/mariadb.ts';
import { startRedis } from '../../servers/redis.ts';
import { createAccounts, fillMariadb, replicaOf } from '../replicas/accounts.ts';

export interface PairStore {
  readonly url: string;
  replicaAs(id: string): Replica;
  /** Writes one row as nobody else does. */
  diverge(id: number): Promise<unknown>;
  close(): Promise<void>;
}

export async function openPairStore(engine: 'mariadb' | 'redis', rows: number): Promise<PairStore> {
  if (engine === 'mariadb') {
    const server = await startMariadb();
    const client = await mysql.createConnection({ uri: server.url });
    await client.query(createAccounts('mysql'));
    await client.query(fillMariadb(rows));
    return {
      url: server.url,
      replicaAs: (id) => replicaOf(id, 'mysql', server.url),
      diverge: (id) => client.query('UPDATE accounts SET balance = balance + 1 WHERE id = ?', [id]),
      close: async () => {
        client.destroy();
        await server.close();
      },
    };
  }
  const server = await startRedis();
  const client = new Redis(server.url);
  await client.config('SET', 'notify-keyspace-events', 'KA');
  for (let from = 1; from <= rows; from += 1_000) {
    const pipeline = client.pipeline();
    for (let id = from; id < from + 1_000; id += 1) pipeline.set(`account:${id}`, JSON.stringify({ id, balance: 0, note: `note ${id}` }));
    await pipeline.exec();
  }
  return {
    url: server.url,
    replicaAs: (id) => ({
      id,
      engine: 'redis',
      url: server.url,
      region: id,
      role: 'peer',
      keyTemplate: 'account:{id}',
      value: 'json',
      columnNames: {},
    }),
    diverge: (id) => client.set(`account:${id}`, JSON.stringify({ id, balance: -1, note: 'rogue' })),
    close: async () => {
      client.disconnect();
      await server.close();
    },
  };
}
