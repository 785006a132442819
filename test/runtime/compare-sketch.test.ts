import { expect, test } from 'vitest';
import { everyKey } from '../../src/domain/key-range.ts';
import type { Shape } from '../../src/domain/row.ts';
import { addItem, emptyTable } from '../../src/domain/sketch.ts';
import { bucketOfSlice, sliceOf, slicesIn, type Slicing } from '../../src/domain/slicing.ts';
import type { ReplicaConnection, Sketching } from '../../src/io/replicas/replica.ts';
import { sketchDifference } from '../../src/runtime/compare-sketch.ts';

const shape: Shape = { key: ['id'], columns: [{ name: 'id', type: 'int', nullable: false }] };

const byPlace: Slicing = { by: 'place' };
const bucketOf = (key: bigint): number => bucketOfSlice(byPlace, sliceOf(byPlace, key, key));

/** Rows in memory: key word -> low lane of the digest. Places are the key words themselves. `asked`: slices of each table. */
function store(rows: ReadonlyMap<bigint, bigint>): { readonly connection: ReplicaConnection; readonly asked: number[] } {
  const asked: number[] = [];
  const sketching: Sketching = {
    family: () => Promise.resolve('memory'),
    slicesByKey: () => Promise.resolve(false),
    keySpan: () => Promise.resolve(undefined),
    scan: () => {
      const fingerprints = new Uint16Array(256);
      let sum = 0n;
      for (const [key, low] of rows) {
        fingerprints[bucketOf(key)] = (fingerprints[bucketOf(key)] ?? 0) + Number(low & 0xffffn);
        sum = BigInt.asUintN(64, sum + low);
      }
      return Promise.resolve({
        summary: {
          count: rows.size,
          sum: sum.toString(16).padStart(32, '0'),
          fingerprints,
          spreads: new Uint8Array(128),
          counts: new Uint16Array(32),
        },
        refine: () => Promise.reject(new Error('so few buckets are not worth it')),
        table: (runs, cells) => {
          asked.push(slicesIn(runs));
          const table = emptyTable(cells);
          for (const [key, low] of rows) {
            const slice = sliceOf(byPlace, key, key);
            if (runs.some((run) => run.from <= slice && slice < run.to)) addItem(table, key, key, (low & 0xffff_ffffn) - 0x8000_0000n);
          }
          return Promise.resolve(table);
        },
        close: () => Promise.resolve(),
      });
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
  expect(asked).toEqual([8]);
});

test('a bucket whose fingerprint stays the same though it differs is found all the same', async () => {
  const changed = rows();
  const [seen = 0n, hidden = 0n] = [...changed.keys()].filter(
    (key, _at, all) => bucketOf(key) !== bucketOf(all[0] ?? 0n) || key === all[0],
  );
  changed.set(seen, 12345n);
  changed.set(hidden, (changed.get(hidden) ?? 0n) + 0x10000n);
  const { result, asked } = await difference(rows(), changed);
  expect(asked).toEqual([8, 2048]);
  expect(result.is === 'keys' ? new Set(result.keys.map((key) => key['id'])) : result).toEqual(
    new Set([seen.toString(), hidden.toString()]),
  );
});

test('a difference that no fingerprint shows is found by the sum of everything', async () => {
  const changed = rows();
  const [, hidden = 0n] = changed.keys();
  changed.set(hidden, (changed.get(hidden) ?? 0n) + 0x10000n);
  const { result, asked } = await difference(rows(), changed);
  expect(asked).toEqual([2048]);
  expect(result).toEqual({ is: 'keys', keys: [{ id: hidden.toString() }] });
});
