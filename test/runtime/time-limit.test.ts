import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { Failure } from '../../src/base/failure.ts';
import type { Collection, Replica } from '../../src/domain/collection.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import { compareReplicas } from '../../src/runtime/compare.ts';
import { startPostgres, type TestPostgres } from '../servers/postgres.ts';

/** Sixty of the smallest chunks. */
const ROWS = 600_000;
const signal = AbortSignal.timeout(110_000);
let server: TestPostgres;
let collection: Collection;

beforeAll(async () => {
  server = await startPostgres();
  const urls = await Promise.all(['a', 'b'].map((name) => server.createDatabase(name)));
  for (const [at, connectionString] of urls.entries()) {
    const client = new pg.Client({ connectionString });
    await client.connect();
    await client.query('CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)');
    await client.query(`INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, ${ROWS}) i`);
    if (at === 1) await client.query(`UPDATE t SET v = 'other' WHERE id IN (1, 299999, ${ROWS})`);
    await client.query('ANALYZE t');
    await client.end();
  }
  const replicas = urls.map(
    (url, at): Replica => ({ id: `r${at}`, engine: 'postgres', url, region: 'x', role: 'peer', table: 't', columnNames: {} }),
  );
  collection = {
    name: 't',
    domain: 'd',
    key: ['id'],
    columnClasses: {},
    excludedColumns: [],
    invariants: [],
    replicas,
    scanEveryMs: 1000,
  };
}, 120_000);
afterAll(() => server?.close());

interface Compared {
  readonly found: readonly (string | undefined)[];
  /** Ends of all chunks but the last. */
  readonly chunks: readonly number[];
}

async function compareAll(): Promise<Compared> {
  const connections = await Promise.all(collection.replicas.map((replica) => openReplica(collection, replica)));
  const chunks: number[] = [];
  const found: (string | undefined)[] = [];
  try {
    const run = compareReplicas({
      collection,
      connections,
      stalenessMs: 0,
      clock: systemClock,
      signal,
      confirm: 'none',
      onCheckpoint: ({ after }) => void chunks.push(Number(after['id'])),
    });
    for (;;) {
      const next = await run.next();
      if (next.done === true) return { found, chunks };
      found.push(next.value.key['id']);
    }
  } finally {
    for (const connection of connections) await connection.close();
  }
}

async function limit(ms: number): Promise<void> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  for (const name of ['a', 'b']) await client.query(`ALTER DATABASE ${name} SET statement_timeout = ${Math.max(1, Math.round(ms))}`);
  await client.end();
}

test('a server that ends statements after a time is compared in chunks that stay below it, each row once', async () => {
  const startedMs = performance.now();
  expect(await compareAll()).toEqual({ found: ['1', '299999', String(ROWS)], chunks: [] });
  const wholeMs = performance.now() - startedMs;
  // What is a limit to all and none to a chunk depends on how busy this machine is at the moment: one of these is.
  const tried: unknown[] = [];
  for (const share of [4, 6, 3, 8, 2, 12, 4, 6, 3]) {
    await limit(wholeMs / share);
    const compared = await compareAll().catch((error: unknown) => error);
    tried.push(compared);
    if (compared instanceof Failure) {
      expect(compared.code).toBe('statement-timeout');
      continue;
    }
    const { found, chunks } = compared as Compared;
    expect(found).toEqual(['1', '299999', String(ROWS)]);
    if (chunks.length === 0) continue;
    expect(chunks).toEqual(chunks.toSorted((a, b) => a - b));
    expect(chunks.at(-1)).toBeLessThanOrEqual(ROWS);
    return;
  }
  expect(tried).toBe('one that was compared in chunks');
}, 120_000);
