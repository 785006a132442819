import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Collection, Replica } from '../../../src/domain/collection.ts';
import { isEqualRangeDigest } from '../../../src/domain/digest.ts';
import { everyKey } from '../../../src/domain/key-range.ts';
import { createRng } from '../../../src/base/rng.ts';
import { canonicalText, rowDigest } from '../../../src/domain/row-encoding.ts';
import type { Shape } from '../../../src/domain/row.ts';
import { DigestSum } from '../../../src/io/replicas/lane-sum.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import { isEqualSummary } from '../../../src/detect/localize-sketch.ts';
import { agreedShape } from '../../../src/runtime/compare.ts';
import { commonHash, commonSlicing } from '../../../src/runtime/compare-sketch.ts';
import { mariadbAvailable } from '../../servers/mariadb.ts';
import { type CorpusPair, differing, equal } from './corpus.ts';
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
  stores = await CorpusStores.start();
}, 60_000);
afterAll(() => stores?.close());

async function areEqual(pair: CorpusPair): Promise<boolean> {
  const replicas = [await stores.createTable(pair.left), await stores.createTable(pair.right)];
  const collection: Collection = { ...base, replicas };
  const connections = await Promise.all(replicas.map((replica) => openReplica(collection, replica)));
  try {
    const shape = await agreedShape(collection, connections, signal);
    const digests = await Promise.all(connections.map((connection) => connection.digest(shape, [everyKey], signal)));
    for (const connection of connections) {
      const [read] = await connection.readRows(shape, [{ id: '1' }], signal);
      expect(read?.digest, 'the engine digests as the specification does').toBe(rowDigest(shape, read?.row ?? {}));
    }
    const [left, right] = digests.map((list) => list[0]);
    const isEqual = left !== undefined && right !== undefined && isEqualRangeDigest(left, right);
    const hash = await commonHash(shape, connections, signal);
    if (hash !== undefined) {
      const sketchers = connections.flatMap(({ sketching }) => (sketching === undefined ? [] : [sketching]));
      const slicing = await commonSlicing(shape, sketchers, everyKey, signal);
      const scans = await Promise.all(sketchers.map((sketching) => sketching.scan(shape, everyKey, hash, slicing, signal)));
      const [one, two] = scans.map((scan) => scan.summary);
      await Promise.all(scans.map((scan) => scan.close()));
      expect(one !== undefined && two !== undefined && isEqualSummary(one, two), `by the ${hash} hash of sketches`).toBe(isEqual);
    }
    return isEqual;
  } finally {
    await Promise.all(connections.map((connection) => connection.close()));
  }
}

const runnable = (pair: CorpusPair): boolean => mariadbAvailable || (pair.left.engine === 'postgres' && pair.right.engine === 'postgres');

test('the corpus has at least 60 pairs of each kind', () => {
  expect(differing.length).toBeGreaterThanOrEqual(60);
  expect(equal.length).toBeGreaterThanOrEqual(60);
});

describe('pairs that differ though some tool calls them equal', () => {
  for (const pair of differing) test.skipIf(!runnable(pair))(pair.name, async () => expect(await areEqual(pair)).toBe(false));
});

describe('equal values that are written differently', () => {
  for (const pair of equal) test.skipIf(!runnable(pair))(pair.name, async () => expect(await areEqual(pair)).toBe(true));
});

test('doubles are the same text in every engine, also where printers disagree on the shortest one', async () => {
  const random = createRng('doubles');
  const values: number[] = [1e23, 5e-324, 1.7976931348623157e308, 9007199254740992, 386418093320125600, -0];
  for (let power = -1074; power < 1023; power += 7) values.push(2 ** power, 3 * 2 ** power);
  for (let n = 0; n < 1500; n += 1) {
    values.push(
      Math.round(random.next() * 1e7) / 100,
      (random.next() - 0.5) * 10 ** random.int(40),
      random.int(2 ** 31) * 2 ** random.int(40),
      random.int(1000) * 10 ** random.int(290),
    );
  }
  const rows = values.map((value, id) => `(${id}, ${value.toExponential()})`).join(', ');
  const replicas: Replica[] = [];
  const setUp: readonly (readonly [Replica['engine'], string, string, (sql: string) => Promise<unknown>])[] = [
    ['postgres', stores.postgres.url, 'float8', (sql) => stores.pg.query(sql)],
    ...(stores.mariadb === undefined || stores.my === undefined
      ? []
      : [['mysql', stores.mariadb.url, 'double', (sql: string) => stores.my?.query(sql) ?? Promise.resolve()] as const]),
  ];
  for (const [engine, url, type, query] of setUp) {
    await query(`CREATE TABLE doubles (id int PRIMARY KEY, d ${type})`);
    await query(`INSERT INTO doubles VALUES ${rows}`);
    replicas.push({ id: engine, engine, url, table: 'doubles', region: 'r', role: 'peer', columnNames: {} });
  }
  const collection: Collection = { ...base, replicas };
  const sum = new DigestSum();
  const shape: Shape = {
    key: ['id'],
    columns: [
      { name: 'id', type: 'int', nullable: false },
      { name: 'd', type: 'float', nullable: true },
    ],
  };
  for (const [id, value] of values.entries()) sum.add(rowDigest(shape, { id: String(id), d: canonicalText('float', String(value)) }));
  for (const replica of replicas) {
    const connection = await openReplica(collection, replica);
    try {
      expect(await connection.digest(shape, [everyKey], signal), replica.engine).toEqual([sum.result()]);
    } finally {
      await connection.close();
    }
  }
});
