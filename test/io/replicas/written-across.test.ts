import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Collection } from '../../../src/domain/collection.ts';
import type { Effect } from '../../../src/domain/effect.ts';
import { rowDigest } from '../../../src/domain/row-encoding.ts';
import type { Row, Shape } from '../../../src/domain/row.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import type { ReplicaConnection } from '../../../src/io/replicas/replica.ts';
import { agreedShape } from '../../../src/runtime/compare.ts';
import { mariadbAvailable } from '../../servers/mariadb.ts';
import { type CorpusPair, type CorpusRow, equal } from './corpus.ts';
import { CorpusStores } from './corpus-stores.ts';

const base: Collection = {
  name: 'corpus',
  domain: 'd',
  key: ['id'],
  columnClasses: {},
  excludedColumns: [],
  invariants: [],
  replicas: [],
  scanEveryMs: 1000,
};
const signal = AbortSignal.timeout(240_000);
let stores: CorpusStores;

beforeAll(async () => {
  stores = await CorpusStores.start(`CREATE DOMAIN code AS char(4); CREATE TYPE mood AS enum ('so so', 'a''b')`);
}, 60_000);
afterAll(() => stores?.close());

/** What a repair does with a row that it read on `from`: brings it where it is missing, and where another one is. */
async function write(from: ReplicaConnection, to: ReplicaConnection, shape: Shape): Promise<void> {
  const key = { id: '1' };
  const [[wanted], [held]] = await Promise.all([from.readRows(shape, [key], signal), to.readRows(shape, [key], signal)]);
  if (wanted === undefined || held === undefined) throw new Error('no row');
  const effect = (before: Row | null, after: Row | null): Effect => ({
    replica: to.replica.id,
    collection: 'corpus',
    key,
    kind: before === null ? 'insert' : after === null ? 'delete' : 'update',
    expects: before === null ? null : rowDigest(shape, before),
    before,
    after,
    leaves: after === null ? null : rowDigest(shape, after),
  });
  const empty: Row = Object.fromEntries(shape.columns.map(({ name }) => [name, name === 'id' ? '1' : null]));
  for (const step of [effect(held.row, null), effect(null, wanted.row), effect(wanted.row, empty), effect(empty, wanted.row)])
    expect((await to.apply(shape, [step], signal)).is).toBe('applied');
}

async function writeBothWays(pair: CorpusPair): Promise<void> {
  const replicas = [await stores.createTable(pair.left), await stores.createTable(pair.right)];
  const collection: Collection = { ...base, replicas };
  const connections = await Promise.all(replicas.map((replica) => openReplica(collection, replica)));
  try {
    const shape = await agreedShape(collection, connections, signal);
    const [left, right] = connections;
    if (left === undefined || right === undefined) throw new Error('no connection');
    await write(left, right, shape);
    await write(right, left, shape);
  } finally {
    await Promise.all(connections.map((connection) => connection.close()));
  }
}

/** Types that say their length, or have a form of their own. */
const postgresTypes: readonly (readonly [type: string, literal: string])[] = [
  ['char(5)', "'ab'"],
  ['char(5)[]', '\'{ab,"c d"}\''],
  ['bit(3)', "B'101'"],
  ['bit(3)[]', "'{101,000}'"],
  ['varbit', "B''"],
  ['code', "'abcd'"],
  ['mood', "'a''b'"],
  ['mood[]', `'{"so so","a''b"}'`],
  ['varchar(3)', "'abc'"],
  ['numeric(5,2)', '1.50'],
  ['time(3)', "'24:00:00'"],
  ['timetz', "'12:00:00+05:30'"],
  ['timestamp(0)', "'2026-01-02 03:04:05'"],
  ['interval', "'-1 mon +3 days -00:00:00.000001'"],
  ['int[]', "'[0:1][1:2]={{1,2},{3,4}}'"],
  ['text[]', `array['a,b','{"x"}',null,'NULL','','\\']`],
  ['money', "'-12.34'"],
  ['cidr', "'10.0.0.0/8'"],
  ['inet', "'10.0.0.1/8'"],
  ['int4range', "'[1,5)'"],
  ['xml', "'<a>1</a>'"],
  ['"char"', "'x'"],
];

describe('a value that was read on one PostgreSQL is written on another', () => {
  for (const column of postgresTypes) {
    const row: CorpusRow = { engine: 'postgres', columns: [column] };
    test(column.join(' '), () => writeBothWays({ name: '', left: row, right: row }));
  }
});

describe('equal values are written in each other’s place', () => {
  const isRunnable = ({ left, right }: CorpusPair): boolean =>
    mariadbAvailable || (left.engine === 'postgres' && right.engine === 'postgres');
  for (const pair of equal) test.skipIf(!isRunnable(pair))(pair.name, () => writeBothWays(pair));
});
