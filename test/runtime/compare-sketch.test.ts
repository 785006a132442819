import { expect, test } from 'vitest';
import { everyKey } from '../../src/domain/key-range.ts';
import type { Shape } from '../../src/domain/row.ts';
import { addItem, bucketOf, emptyTable } from '../../src/domain/sketch.ts';
import type { ReplicaConnection, Sketching } from '../../src/io/replicas/replica.ts';
import { sketchDifference } from '../../src/runtime/compare-sketch.ts';

const shape: Shape = { key: ['id'], columns: [{ name: 'id', type: 'int', nullable: false }] };

/** Rows in memory: key word -> low lane of the digest. Places are the key words themselves. */
function store(rows: ReadonlyMap<bigint, bigint>): { readonly connection: ReplicaConnection; readonly asked: number[] } {
  const asked: number[] = [];
  const sketching: Sketching = {
    family: () => Promise.resolve('memory'),
    summarize: () => {
      const fingerprints = new Uint16Array(256);
      let sum = 0n;
      for (const [key, low] of rows) {
        fingerprints[bucketOf(key)] = (fingerprints[bucketOf(key)] ?? 0) + Number(low & 0xffffn);
        sum = BigInt.asUintN(64, sum + low);
      }
      return Promise.resolve({
        count: rows.size,
        sum: sum.toString(16).padStart(32, '0'),
        fingerprints,
        spreads: new Uint8Array(128),
        counts: new Uint8Array(64),
      });
    },
    table: (_shape, _range, _hash, buckets, cells) => {
      asked.push(buckets.length);
      const table = emptyTable(cells);
      for (const [key, low] of rows) if (buckets.includes(bucketOf(key))) addItem(table, key, key, (low & 0xffff_ffffn) - 0x8000_0000n);
      return Promise.resolve(table);
    },
    placeOf: () => (key) => key,
    locate: (_shape, _range, _hash, words) => Promise.resolve(words.map((word) => ({ id: word.toString() }))),
  };
  return { connection: { sketching } as unknown as ReplicaConnection, asked };
}

const rows = (): Map<bigint, bigint> =>
  new Map(
    Array.from({ length: 1000 }, (_unused, at) => [(BigInt(at) * 0x9e37_79b9_7f4a_7c15n) & ((1n << 64n) - 1n), BigInt(at) * 7919n + 5n]),
  );

const difference = async (
  a: Map<bigint, bigint>,
  b: Map<bigint, bigint>,
): Promise<{ readonly result: Awaited<ReturnType<typeof sketchDifference>>; readonly asked: readonly number[] }> => {
  const stores = [store(a), store(b)];
  const result = await sketchDifference(
    shape,
    stores.map((one) => one.connection),
    everyKey,
    'native',
    AbortSignal.timeout(10_000),
    { rounds: 0 },
  );
  return { result, asked: stores[0]?.asked ?? [] };
};

test('only the buckets whose fingerprints differ are looked into', async () => {
  const changed = rows();
  const [key = 0n] = changed.keys();
  changed.set(key, 12345n);
  const { result, asked } = await difference(rows(), changed);
  expect(result).toEqual({ is: 'keys', keys: [{ id: key.toString() }] });
  expect(asked).toEqual([1]);
});

test('a bucket whose fingerprint stays the same though it differs is found all the same', async () => {
  const changed = rows();
  const [seen = 0n, hidden = 0n] = [...changed.keys()].filter(
    (key, _at, all) => bucketOf(key) !== bucketOf(all[0] ?? 0n) || key === all[0],
  );
  changed.set(seen, 12345n);
  changed.set(hidden, (changed.get(hidden) ?? 0n) + 0x10000n);
  const { result, asked } = await difference(rows(), changed);
  expect(asked).toEqual([1, 256]);
  expect(result.is === 'keys' ? new Set(result.keys.map((key) => key['id'])) : result).toEqual(
    new Set([seen.toString(), hidden.toString()]),
  );
});

test('a difference that no fingerprint shows is found by the sum of everything', async () => {
  const changed = rows();
  const [, hidden = 0n] = changed.keys();
  changed.set(hidden, (changed.get(hidden) ?? 0n) + 0x10000n);
  const { result, asked } = await difference(rows(), changed);
  expect(asked).toEqual([256]);
  expect(result).toEqual({ is: 'keys', keys: [{ id: hidden.toString() }] });
});
