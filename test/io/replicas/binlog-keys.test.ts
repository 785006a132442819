// Key columns of every type that the binary log can be read for: what the feed tells must be the key by which the row is found.
import mysql from 'mysql2/promise';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Collection, Replica } from '../../../src/domain/collection.ts';
import type { Key } from '../../../src/domain/row.ts';
import { changeFeedOf } from '../../../src/io/replicas/changes/registry.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import { until } from '../../integration/estate.ts';
import { mariadbAvailable, startMariadb, type TestMariadb } from '../../servers/mariadb.ts';

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

const keys: readonly (readonly [string, readonly string[]])[] = [
  ['tinyint unsigned', ['0', '255']],
  ['mediumint', ['-8388608', '8388607']],
  ['bigint unsigned', ['0', '18446744073709551615']],
  ['decimal(20,4)', ['-1.5', '0', '1234567890123456.0001']],
  ["enum('new','it''s paid','gone, sadly','größer')", ["'new'", "'it''s paid'", "'gone, sadly'", "'größer'"]],
  ['char(20) CHARACTER SET utf8mb4', ["'größer  '", "''"]],
  ['varchar(300) CHARACTER SET latin1', ["'Pärt '", "''"]],
  ['binary(4)', ["x'00000000'", "x'01020000'", "x'ffffffff'"]],
  ['varbinary(9)', ["x''", "x'010000'"]],
  ['date', ["'1000-01-01'", "'2026-11-27'"]],
  ['datetime(3)', ["'2026-11-27 06:33:05.125'"]],
  ['timestamp(6)', ["'2026-11-27 06:33:05.000001'"]],
  [
    'uuid',
    [
      "'00000000-0000-0000-0000-000000000000'",
      "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
      "'2d4b2ec0-cb3f-11f0-8de9-0242ac120002'",
      "'6ccd780c-baba-1026-9564-5b8c656024db'",
      "'f81d4fae-7dec-41d0-a765-00a0c91e6bf6'",
      "'01936a1e-0000-7abc-8def-000000000000'",
    ],
  ],
  ['inet4', ["'0.0.0.0'", "'10.0.0.255'"]],
  ['inet6', ["'::'", "'2001:db8::1'", "'::ffff:192.0.2.1'", "'fe80::'"]],
];

describe.skipIf(!mariadbAvailable)('binary log', () => {
  let server: TestMariadb;
  let url: string;
  let client: mysql.Connection;
  beforeAll(async () => {
    server = await startMariadb();
    url = await server.createDatabase('keys');
    client = await mysql.createConnection({ uri: url, charset: 'utf8mb4' });
    await client.query("SET time_zone = '+00:00'");
  });
  afterAll(async () => {
    client?.destroy();
    await server?.close();
  });

  test.each(keys)('a key of type %s is told as the key by which its row is found', async (type, literals) => {
    await client.query(`CREATE OR REPLACE TABLE things (note text, id ${type} PRIMARY KEY)`);
    const replica: Replica = { id: 'maria', engine: 'mysql', url, table: 'things', region: 'eu', role: 'peer', columnNames: {} };
    const collection: Collection = {
      name: 'things',
      domain: 'd',
      key: ['id'],
      columnClasses: {},
      excludedColumns: [],
      invariants: [],
      replicas: [replica],
      scanEveryMs: 1000,
    };
    const connection = await openReplica(collection, replica);
    const described = await connection.describe(AbortSignal.timeout(10_000));
    if (described.open === true) throw new Error('a table has a shape of its own');
    const told: Key[] = [];
    const says: string[] = [];
    let hasStarted = false;
    const stopping = new AbortController();
    const run = changeFeedOf('mysql')?.run({
      watched: [{ collection, replica, shape: described }],
      installation: '0123abcd',
      maxRetainedBytes: 1e12,
      isDurable: true,
      from: null,
      settled: () => null,
      sink: {
        started: () => (hasStarted = true),
        key: (_watched, key) => told.push(key),
        everything: (_watched, because) => says.push(because),
        refused: (_watched, because) => says.push(because),
        reached: () => undefined,
        made: () => undefined,
        retained: () => undefined,
      },
      signal: stopping.signal,
    });
    try {
      await until(async () => hasStarted || says.length > 0, 'the feed has started');
      expect(says).toEqual([]);
      for (const literal of literals) {
        told.length = 0;
        await client.query(`INSERT INTO things VALUES ('n', ${literal})`);
        await until(async () => told.length > 0 || says.length > 0, `the write of ${literal} is told`);
        expect(says).toEqual([]);
        const rows = await connection.readRows(described, told, AbortSignal.timeout(10_000));
        expect({ literal, found: rows.length, told }).toMatchObject({ literal, found: 1 });
      }
    } finally {
      stopping.abort();
      await run;
      await connection.close();
    }
  });
});
