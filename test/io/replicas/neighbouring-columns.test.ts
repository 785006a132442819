import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { createRng, type Rng } from '../../../src/base/rng.ts';
import type { Collection, Replica } from '../../../src/domain/collection.ts';
import { everyKey } from '../../../src/domain/key-range.ts';
import { keyDigest, rowDigest } from '../../../src/domain/row-encoding.ts';
import type { CanonicalType, Shape } from '../../../src/domain/row.ts';
import { bucketOfDigest, DigestSum } from '../../../src/io/replicas/lane-sum.ts';
import type { Entry } from '../../../src/io/replicas/replica.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import { otherPostgresBins, startPostgresFrom } from '../../servers/postgres-majors.ts';
import { startPostgres } from '../../servers/postgres.ts';

/**
 * What stands between two columns belongs to either of them in the SQL of an encoding: whatever kinds meet, NULL or not, in a key or
 * not, the server's digests are those of the reference.
 */
interface Vector {
  readonly type: CanonicalType;
  readonly text: string | null;
  readonly postgres?: readonly [type: string, literal: string];
}

const vectors = (JSON.parse(readFileSync(join(import.meta.dirname, 'row-vectors.json'), 'utf8')) as readonly Vector[]).flatMap(
  ({ type, text, postgres }) => (postgres === undefined || text === null ? [] : [{ type, sqlType: postgres[0], literal: postgres[1] }]),
);
const keyTypes: ReadonlySet<string> = new Set(['int', 'bigint', 'boolean', 'uuid', 'text', 'date', 'bytea']);
const common = ['bool', 'uuid', 'text', 'int'] as const;
/** Of LATIN1. */
const western = vectors.filter(({ literal }) => /^[\u0020-\u00ff]*$/.test(literal) && !/\\u|chr/i.test(literal));
const TABLES = 80;
const BUCKETS = 8;
const signal = AbortSignal.timeout(120_000);

interface MadeColumn {
  readonly name: string;
  readonly type: CanonicalType;
  readonly sql: string;
  readonly value: string;
  readonly mayBeKey: boolean;
}

function makeColumn(random: Rng, name: string, from: typeof vectors): MadeColumn {
  const often = random.int(2) === 0 ? random.pick(common) : undefined;
  const { type, sqlType, literal } = random.pick(from.filter((one) => often === undefined || one.type === often));
  const nullable = random.int(3) === 0;
  return {
    name,
    type,
    sql: `${name} ${sqlType} ${nullable ? 'NULL' : 'NOT NULL'}`,
    value: nullable && random.int(2) === 0 ? 'NULL' : literal,
    mayBeKey: !nullable && keyTypes.has(sqlType),
  };
}

async function checkTables(url: string, seed: number, from = vectors): Promise<void> {
  const random = createRng(seed);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query("SET timezone = 'UTC'");
    for (let at = 0; at < TABLES; at += 1) {
      const columns = Array.from({ length: 1 + random.int(7) }, (_unused, n) => makeColumn(random, `c${random.int(1000)}_${n}`, from));
      const keys = columns.filter(({ mayBeKey }) => mayBeKey).slice(0, 1 + random.int(2));
      if (keys.length === 0) continue;
      const table = `met${at}`;
      const create = `CREATE TABLE ${table} (${columns.map(({ sql }) => sql).join(', ')}, PRIMARY KEY (${keys.map(({ name }) => name).join(', ')}))`;
      await client.query(`${create}; INSERT INTO ${table} VALUES (${columns.map(({ value }) => value).join(', ')})`);
      await checkTable(url, table, columns, keys, `seed ${seed}: ${create}`);
    }
  } finally {
    await client.end();
  }
}

async function checkTable(
  url: string,
  table: string,
  columns: readonly MadeColumn[],
  keys: readonly MadeColumn[],
  what: string,
): Promise<void> {
  const replica: Replica = { id: 'r', engine: 'postgres', url, table, region: 'r', role: 'peer', columnNames: {} };
  const collection: Collection = {
    name: table,
    domain: 'd',
    key: keys.map(({ name }) => name),
    columnClasses: {},
    excludedColumns: [],
    invariants: [],
    replicas: [replica],
    scanEveryMs: 1000,
  };
  const connection = await openReplica(collection, replica);
  try {
    const described = await connection.describe(signal);
    const agreed = new Map(columns.map(({ name, type }) => [name, type]));
    const shape: Shape = { ...described, columns: described.columns.map((one) => ({ ...one, type: agreed.get(one.name) ?? one.type })) };
    const entries: Entry[] = [];
    for await (const batch of connection.entries(shape, everyKey, { buckets: 1 }, signal)) entries.push(...batch);
    const [entry] = entries;
    if (entry === undefined) throw new Error(`${what}: one entry`);
    const [read] = await connection.readRows(shape, [entry.key], signal);
    const digest = rowDigest(shape, read?.row ?? {});
    expect(entries, what).toEqual([{ key: entry.key, digest }]);
    expect(read?.digest, what).toBe(digest);
    const sum = new DigestSum();
    sum.add(digest);
    expect(await connection.digest(shape, [everyKey], signal), what).toEqual([sum.result()]);
    const placed = keyDigest(shape, entry.key);
    const buckets = await connection.digestBuckets(shape, everyKey, BUCKETS, signal);
    expect(buckets[bucketOfDigest(placed, BUCKETS)], what).toEqual(sum.result());
    const { sketching } = connection;
    if (sketching?.hashKeys === undefined) throw new Error('a PostgreSQL replica sketches');
    expect(await sketching.hashKeys(shape, 'canonical', [entry.key], signal), what).toEqual([
      Buffer.from(digest, 'hex').toString('latin1'),
    ]);
    const scan = await sketching.scan(shape, everyKey, 'canonical', { by: 'place' }, signal);
    expect(scan.summary, what).toMatchObject(sum.result());
    await scan.close();
  } finally {
    await connection.close();
  }
}

describe('columns that meet in a row', () => {
  test('are encoded as in the reference', { timeout: 120_000 }, async () => {
    const server = await startPostgres();
    try {
      await checkTables(server.url, 1);
      const latin = new URL(server.url);
      const client = new pg.Client({ connectionString: server.url });
      await client.connect();
      await client.query("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
      await client.end();
      latin.pathname = '/latin';
      await checkTables(latin.href, 2, western);
    } finally {
      await server.close();
    }
  });

  test('are encoded where there are as many as a table can have', { timeout: 60_000 }, async () => {
    const server = await startPostgres();
    const client = new pg.Client({ connectionString: server.url });
    try {
      await client.connect();
      const id: MadeColumn = { name: 'id', type: 'int', sql: 'id int NOT NULL', value: '1', mayBeKey: true };
      const flags = Array.from({ length: 1500 }, (_unused, at): MadeColumn => {
        return {
          name: `f${at}`,
          type: 'bool',
          sql: `f${at} boolean NULL`,
          value: ['true', 'false', 'NULL'][at % 3] ?? '',
          mayBeKey: false,
        };
      });
      await client.query(`CREATE TABLE wide (${[id, ...flags].map(({ sql }) => sql).join(', ')}, PRIMARY KEY (id))`);
      await client.query(`INSERT INTO wide VALUES (${[id, ...flags].map(({ value }) => value).join(', ')})`);
      await checkTable(server.url, 'wide', [id, ...flags], [id], 'wide');
    } finally {
      await client.end();
      await server.close();
    }
  });

  const bins = otherPostgresBins();
  test.skipIf(bins.length === 0)('also on the other majors of PostgreSQL that are installed here', { timeout: 120_000 }, async () => {
    for (const bin of bins) {
      const server = await startPostgresFrom(bin);
      try {
        await checkTables(server.url, 3);
      } finally {
        await server.close();
      }
    }
  });
});
