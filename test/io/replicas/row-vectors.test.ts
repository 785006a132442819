import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import type { Collection, Replica } from '../../../src/domain/collection.ts';
import { everyKey } from '../../../src/domain/key-range.ts';
import { encodeRow, isCanonical, rowDigest } from '../../../src/domain/row-encoding.ts';
import type { CanonicalType, Shape } from '../../../src/domain/row.ts';
import { DigestSum } from '../../../src/io/replicas/lane-sum.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import { mariadbAvailable, startMariadb } from '../../servers/mariadb.ts';
import { otherPostgresBins, startPostgresFrom } from '../../servers/postgres-majors.ts';
import { startPostgres } from '../../servers/postgres.ts';

/**
 * Row encoding v1 as examples that every implementation must reproduce: the canonical text of a value, the bytes of the row
 * (1, value) with columns id (int) and v, their digest, and how engines are given the value. `UPDATE_GOLDEN=1` writes bytes and digests.
 */
interface Vector {
  readonly type: CanonicalType;
  readonly text: string | null;
  readonly row: string;
  readonly digest: string;
  readonly postgres?: readonly [type: string, literal: string];
  readonly mariadb?: readonly [type: string, literal: string];
}

const file = join(import.meta.dirname, 'row-vectors.json');
const vectors = JSON.parse(readFileSync(file, 'utf8')) as readonly Vector[];

const shapeOf = (type: CanonicalType): Shape => ({
  key: ['id'],
  columns: [
    { name: 'id', type: 'int', nullable: false },
    { name: 'v', type, nullable: true },
  ],
});

const collection: Collection = {
  name: 'vectors',
  domain: 'd',
  key: ['id'],
  columnClasses: {},
  excludedColumns: [],
  invariants: [],
  replicas: [],
  scanEveryMs: 1000,
};
const signal = AbortSignal.timeout(60_000);

/** One table with a column a vector, read and digested by the engine as the columns' types. */
async function check(engine: 'postgres' | 'mysql', url: string, query: (sql: string) => Promise<unknown>): Promise<void> {
  const own = vectors.flatMap((vector, at) => {
    const given = engine === 'postgres' ? vector.postgres : vector.mariadb;
    return given === undefined ? [] : [{ vector, name: `v${at}`, type: given[0], literal: given[1] }];
  });
  await query(`CREATE TABLE vectors (id int PRIMARY KEY, ${own.map(({ name, type }) => `${name} ${type} NULL`).join(', ')})`);
  await query(`INSERT INTO vectors VALUES (1, ${own.map(({ literal }) => literal).join(', ')})`);
  const replica: Replica = { id: engine, engine, url, table: 'vectors', region: 'r', role: 'peer', columnNames: {} };
  const connection = await openReplica({ ...collection, replicas: [replica] }, replica);
  try {
    const described = await connection.describe(signal);
    const agreed = new Map(own.map(({ name, vector }) => [name, vector.type]));
    const shape = {
      ...described,
      columns: described.columns.map((column) => ({ ...column, type: agreed.get(column.name) ?? column.type })),
    };
    const [read] = await connection.readRows(shape, [{ id: '1' }], signal);
    for (const { vector, name, literal, type } of own) expect(read?.row[name], `${type} ${literal}`).toBe(vector.text);
    const sum = new DigestSum();
    sum.add(rowDigest(shape, read?.row ?? {}));
    expect(await connection.digest(shape, [everyKey], signal), 'the digest that the engine computes').toEqual([sum.result()]);
  } finally {
    await connection.close();
  }
}

async function checkPostgres(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query("SET timezone = 'UTC'");
    await check('postgres', url, (sql) => client.query(sql));
  } finally {
    await client.end();
  }
}

describe('row encoding v1', () => {
  test('is what the vector file holds', () => {
    const made = vectors.map((vector) => ({
      ...vector,
      row: Buffer.from(encodeRow(shapeOf(vector.type), { id: '1', v: vector.text })).toString('utf8'),
      digest: rowDigest(shapeOf(vector.type), { id: '1', v: vector.text }),
    }));
    if (process.env['UPDATE_GOLDEN'] === '1')
      writeFileSync(file, `[\n${made.map((vector) => `  ${JSON.stringify(vector)}`).join(',\n')}\n]\n`);
    expect(made).toEqual(JSON.parse(readFileSync(file, 'utf8')));
    for (const { type, text } of vectors) if (text !== null) expect(isCanonical(type, text), `${type} ${text}`).toBe(true);
  });

  test('has a vector of each type, NULL apart from empty, and no two alike', () => {
    expect(new Set(vectors.map((vector) => vector.type)).size).toBe(16);
    const rows = vectors.map((vector) => `${vector.type} ${vector.row}`);
    expect(new Set(rows).size).toBe(new Set(vectors.map(({ type, text }) => JSON.stringify([type, text]))).size);
  });

  test('is what PostgreSQL computes', async () => {
    const server = await startPostgres();
    try {
      await checkPostgres(server.url);
    } finally {
      await server.close();
    }
  });

  const bins = otherPostgresBins();
  test.skipIf(bins.length === 0)('is what the other majors of PostgreSQL that are installed here compute', async () => {
    for (const bin of bins) {
      const server = await startPostgresFrom(bin);
      try {
        await checkPostgres(server.url);
      } finally {
        await server.close();
      }
    }
  });

  test.skipIf(!mariadbAvailable)('is what MariaDB computes', async () => {
    const server = await startMariadb();
    const client = await mysql.createConnection({ uri: server.url, charset: 'utf8mb4' });
    try {
      await client.query("SET time_zone = '+00:00', sql_mode = 'NO_BACKSLASH_ESCAPES'");
      await check('mysql', server.url, (sql) => client.query(sql));
    } finally {
      await client.end();
      await server.close();
    }
  });
});
