/** Two PostgreSQL servers with the same table, what a comparison of it must at least cost, and what one has moved. */
import pg from 'pg';
import { systemClock } from '../../../src/base/clock.ts';
import type { Collection } from '../../../src/domain/collection.ts';
import type { Divergence } from '../../../src/domain/divergence.ts';
import type { Shape } from '../../../src/domain/row.ts';
import { describeTable } from '../../../src/io/replicas/postgres/describe.ts';
import { nativeHashes } from '../../../src/io/replicas/postgres/native-hash.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import type { ReplicaConnection } from '../../../src/io/replicas/replica.ts';
import { agreedShape, compareReplicas, type CompareSummary } from '../../../src/runtime/compare.ts';
import { startPostgres } from '../../servers/postgres.ts';
import { collectionOf, createAccounts, fillPostgres, replicaOf } from './accounts.ts';

export interface PostgresPair {
  readonly rows: number;
  readonly urls: readonly string[];
  readonly clients: readonly [pg.Client, pg.Client];
  readonly collection: Collection;
  readonly connections: readonly ReplicaConnection[];
  readonly shape: Shape;
  close(): Promise<void>;
}

export async function openPair(rows: number, signal: AbortSignal): Promise<PostgresPair> {
  const servers = await Promise.all([startPostgres(), startPostgres()]);
  const [first, second] = servers;
  if (first === undefined || second === undefined) throw new Error('two PostgreSQL servers');
  const clients = [new pg.Client({ connectionString: first.url }), new pg.Client({ connectionString: second.url })] as const;
  const collection = collectionOf(servers.map((server, at) => replicaOf(`r${at}`, 'postgres', server.url)));
  const connections = await Promise.all(collection.replicas.map((replica) => openReplica(collection, replica)));
  const close = async (): Promise<void> => {
    await Promise.all(connections.map((one) => one.close()));
    await Promise.all(clients.map((one) => one.end()));
    await Promise.all(servers.map((one) => one.close()));
  };
  try {
    await Promise.all(
      clients.map(async (client) => {
        await client.connect();
        await client.query(createAccounts('postgres'));
        // One core a server, as a comparison takes.
        await client.query('SET max_parallel_workers_per_gather = 0; SET jit = off');
        for (const statement of fillPostgres(rows).split('; ')) await client.query(statement);
      }),
    );
    const shape = await agreedShape(collection, connections, signal);
    return { rows, urls: servers.map((server) => server.url), clients, collection, connections, shape, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Two 128-bit lanes of the native hash over the table: the least that any comparison must scan. */
export async function digestScan({ collection, shape }: PostgresPair): Promise<string> {
  const [replica] = collection.replicas;
  if (replica === undefined) throw new Error('a replica');
  const client = new pg.Client({ connectionString: replica.url });
  await client.connect();
  try {
    const session = {
      query: async (text: string, values?: readonly unknown[]) =>
        (await client.query(text, values === undefined ? undefined : [...values])).rows,
      packed: () => Promise.reject(new Error('unused')),
    };
    const table = await describeTable(collection, replica, session);
    const { high, low } = nativeHashes(table, shape);
    return `SELECT count(*), sum(${high}), sum(${low}) FROM ${table.sql} t`;
  } finally {
    await client.end();
  }
}

export const moved = (connections: readonly ReplicaConnection[]): number =>
  connections.reduce((sum, one) => sum + one.counters.bytesMoved, 0);

export async function compare(
  connections: readonly ReplicaConnection[],
  signal: AbortSignal,
): Promise<{ readonly found: readonly Divergence[]; readonly summary: CompareSummary }> {
  const collection = collectionOf(connections.map((one) => one.replica));
  const found: Divergence[] = [];
  const run = compareReplicas({ collection, connections, stalenessMs: 0, clock: systemClock, signal, confirm: 'none' });
  for (;;) {
    const next = await run.next();
    if (next.done === true) return { found, summary: next.value };
    found.push(next.value);
  }
}
