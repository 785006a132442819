import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Collection, Replica } from '../../../src/domain/collection.ts';
import type { Shape } from '../../../src/domain/row.ts';
import { describeTable } from '../../../src/io/replicas/postgres/describe.ts';
import { nativeFamily, nativeHashes, nativeIntPlace } from '../../../src/io/replicas/postgres/native-hash.ts';
import { otherPostgresBins, startPostgresFrom } from '../../servers/postgres-majors.ts';
import { startPostgres, type TestPostgres } from '../../servers/postgres.ts';

/** Lanes of one value of one column, the same on every major of PostgreSQL. `UPDATE_GOLDEN=1` rewrites them from the bundled one. */
interface Vector {
  readonly type: string;
  readonly literal: string;
  readonly place: string;
  readonly high: string;
  readonly low: string;
}

const file = join(import.meta.dirname, 'native-vectors.json');

const values: readonly (readonly [type: string, literals: readonly string[]])[] = [
  ['smallint', ['0', '-1', '32767', 'NULL']],
  ['int', ['0', '1', '-1', '-2147483648', 'NULL']],
  // hashint8 folds both halves into one: all of these but -1 and NULL are 0 or 1 to it.
  ['bigint', ['0', '1', '-1', '4294967296', '4294967297', '-4294967297', '9223372036854775807', '7', 'NULL']],
  ['numeric', ['0', '1', '-1', '10000', '0.0001', '1.50', '-1.5', "'NaN'", '12345678901234567890.5', '-12345678901234567890.5', 'NULL']],
  ['numeric(14,2)', ['0', '1.5', '-1.5', "'NaN'", 'NULL']],
  ['float8', ['0', '1', '-1', "'NaN'", "'Infinity'", "'-Infinity'", '1e-320', 'NULL']],
  ['float4', ['0', '0.5', '-0.5', "'NaN'", 'NULL']],
  ['boolean', ['true', 'false', 'NULL']],
  ['text', ["''", "'a'", "'a '", "'A'", "'é'", "'e\u0301'", "repeat('x', 3000)", 'NULL']],
  ['varchar(20)', ["''", "'a'", "'a '"]],
  ['char(5)', ["''", "'a'", "' a'"]],
  ['uuid', ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'", 'NULL']],
  ['bytea', ["'\\x'", "'\\x00'", "'\\x0001'", 'NULL']],
  ['date', ["'2026-01-01'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", 'NULL']],
  ['time', ["'00:00'", "'24:00'", "'00:00:00.000001'", "'01:11:34.967296'", 'NULL']],
  // 2^32 microseconds apart, less one: one value to the engine's hash.
  [
    'timestamp',
    [
      "'2000-01-01'",
      "'2000-01-01 00:00:00.000001'",
      "'2000-01-01 01:11:34.967296'",
      "'infinity'",
      "'-infinity'",
      "'0044-03-15 BC'",
      'NULL',
    ],
  ],
  ['timestamptz', ["'2026-01-01 12:00Z'", "'2026-01-01 12:00:00.000001+02'", "'infinity'", "'1883-11-18 12:00Z'", 'NULL']],
  ['interval', ["'1 day'", "'24 hours'", "'1 mon'", 'NULL']],
  ['jsonb', ["'[1, [2]]'", "'[[1], 2]'", "'[[1]]'", "'[[[[1]]]]'", '\'{"a": 1.50}\'', 'NULL']],
  ['int[]', ["'{1,2,3,4}'", "'{{1,2},{3,4}}'", "'{}'", 'NULL']],
  ['inet', ["'10.0.0.1'", "'10.0.0.1/24'", 'NULL']],
  ['bit varying(8)', ["B'0'", "B'00'", 'NULL']],
];

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

async function hashRows(
  client: pg.Client,
  columns: readonly string[],
  rows: readonly string[],
): Promise<readonly Record<string, string>[]> {
  const definitions = columns.map((type, at) => `c${at} ${type}`).join(', ');
  await client.query(`DROP TABLE IF EXISTS vectors; CREATE TABLE vectors (id int PRIMARY KEY, ${definitions});
    INSERT INTO vectors VALUES ${rows.map((row, id) => `(${id}, ${row})`).join(', ')}`);
  const replica: Replica = { id: 'r', engine: 'postgres', url: '', table: 'vectors', region: 'r', role: 'peer', columnNames: {} };
  const query = async (text: string, parameters?: readonly unknown[]): Promise<Record<string, unknown>[]> =>
    (await client.query<Record<string, unknown>>(text, parameters === undefined ? undefined : [...parameters])).rows;
  const table = await describeTable(collection, replica, { query, packed: () => Promise.reject(new Error('unused')) });
  // Without the key, so that equal values have equal lanes.
  const shape: Shape = { key: ['c0'], columns: table.shape.columns.filter((column) => column.name !== 'id') };
  const { place, high, low } = nativeHashes(table, shape);
  const result = await query(`SELECT ${place}::text AS place, (${high})::text AS high, (${low})::text AS low FROM vectors t ORDER BY id`);
  return result.map((row) => ({ family: nativeFamily(table, shape), ...row }) as Record<string, string>);
}

const collectVectors = async (client: pg.Client): Promise<readonly Vector[]> => {
  const vectors: Vector[] = [];
  for (const [type, literals] of values) {
    const rows = await hashRows(client, [type], literals);
    for (const [at, row] of rows.entries()) {
      const { place = '', high = '', low = '' } = row;
      vectors.push({ type, literal: literals[at] ?? '', place, high, low });
    }
  }
  return vectors;
};

let postgres: TestPostgres;
let client: pg.Client;

async function connect(url: string): Promise<pg.Client> {
  const opened = new pg.Client({ connectionString: url });
  await opened.connect();
  await opened.query("SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'");
  return opened;
}

beforeAll(async () => {
  postgres = await startPostgres();
  client = await connect(postgres.url);
}, 60_000);
afterAll(async () => {
  await client?.end();
  await postgres?.close();
});

describe('the hash between PostgreSQL servers', () => {
  test('is what the vector file holds', async () => {
    const vectors = await collectVectors(client);
    if (process.env['UPDATE_GOLDEN'] === '1')
      writeFileSync(file, `[\n${vectors.map((vector) => `  ${JSON.stringify(vector)}`).join(',\n')}\n]\n`);
    expect(vectors).toEqual(JSON.parse(readFileSync(file, 'utf8')));
  });

  const bins = otherPostgresBins();
  test.skipIf(bins.length === 0)('is the same on the other majors that are installed here', async () => {
    const expected = JSON.parse(readFileSync(file, 'utf8')) as readonly Vector[];
    for (const bin of bins) {
      const other = await startPostgresFrom(bin);
      const there = await connect(other.url);
      try {
        expect(await collectVectors(there), bin).toEqual(expected);
      } finally {
        await there.end();
        await other.close();
      }
    }
  });

  test('tells all values of a type apart', async () => {
    for (const [type, literals] of values) {
      const lows = new Set((await hashRows(client, [type], literals)).map((row) => row['low']));
      expect(lows.size, type).toBe(literals.length);
    }
  });

  test.each([
    ['float8', '0', '5'],
    ['numeric', '0', '5'],
    ['numeric', "'NaN'", "'Infinity'"],
    ['numeric', "'Infinity'", "'-Infinity'"],
    ['numeric', '0', "'Infinity'"],
    ['numeric', "'NaN'", '0'],
    ['bigint', '0', '4294967296'],
    ['text', "''", 'NULL'],
    ['boolean', 'false', 'NULL'],
  ])('tells two neighbours of type %s from the same swapped: %s and %s', async (type, one, two) => {
    const rows = [`${one}, ${two}`, `${two}, ${one}`, `${one}, ${one}`, `${two}, ${two}`];
    const lanes = await hashRows(client, [type, type], rows);
    expect(new Set(lanes.map((row) => row['low'])).size).toBe(4);
  });

  test('a numeric leaves no structure that a sum over rows could cancel', async () => {
    // The engine adds a numeric's weight by XOR after hashing: of 64 pairs of rows whose values 1 and 10000 are swapped every other
    // pair would add up to the same.
    const rows = Array.from({ length: 64 }, (_unused, at) => [`${at}, 1`, `${at}, 10000`]).flat();
    const lanes = await hashRows(client, ['int', 'numeric'], rows);
    const low = (at: number): bigint => BigInt(lanes[at]?.['low'] ?? 0);
    for (let at = 0; at + 3 < lanes.length; at += 4) {
      expect(low(at) + low(at + 3)).not.toBe(low(at + 1) + low(at + 2));
    }
  });

  test('an integer key has the place that peeling computes', async () => {
    const keys = [0n, 1n, -1n, 7n, 4294967296n, -4294967297n, 2n ** 63n - 1n, -(2n ** 63n), 123456789012345n];
    const rows = await hashRows(
      client,
      ['bigint'],
      keys.map((key) => `'${key}'::bigint`),
    );
    expect(rows.map((row) => BigInt.asUintN(64, BigInt(row['place'] ?? 0)))).toEqual(keys.map(nativeIntPlace));
    expect(new Set(rows.map((row) => row['place'])).size).toBe(keys.length);
  });
});
