import { expect, test } from 'vitest';
import { everyKey } from '../../src/domain/key-range.ts';
import type { Shape } from '../../src/domain/row.ts';
import { addItem, emptyTable } from '../../src/domain/sketch.ts';
import { bucketOfSlice, sliceByKey, sliceOf, slicesIn, slicesPerBucket, type Slicing } from '../../src/domain/slicing.ts';
import type { ReplicaConnection, Sketching } from '../../src/io/replicas/replica.ts';
import { sketchDifference } from '../../src/runtime/compare-sketch.ts';

const shape: Shape = { key: ['id'], columns: [{ name: 'id', type: 'int', nullable: false }] };

const byPlace: Slicing = { by: 'place' };
const bucketOf = (key: bigint): number => bucketOfSlice(byPlace, sliceOf(byPlace, key, key));

/** Rows in memory: key word -> low lane of the digest. Places are the key words themselves. `asked`: slices of each table. */
function store(
  rows: ReadonlyMap<bigint, bigint>,
  slicing: Slicing = byPlace,
): { readonly connection: ReplicaConnection; readonly asked: number[] } {
  const asked: number[] = [];
  // Small keys are no places.
  const place = (key: bigint): bigint => (slicing.by === 'place' ? key : (key * 0x9e37_79b9_7f4a_7c15n) & ((1n << 64n) - 1n));
  const sketching: Sketching = {
    family: () => Promise.resolve('memory'),
    slicesByKey: () => Promise.resolve(slicing.by === 'key'),
    keySpan: () => Promise.resolve(slicing.by === 'key' ? slicing : undefined),
    scan: () => {
      const fingerprints = new Uint16Array(256);
      let sum = 0n;
      for (const [key, low] of rows) {
        const bucket = bucketOfSlice(slicing, sliceOf(slicing, key, key));
        fingerprints[bucket] = (fingerprints[bucket] ?? 0) + Number(low & 0xffffn);
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
        refine: (buckets, parts) => {
          const perBucket = slicesPerBucket(slicing);
          const prints = new Uint16Array(buckets.length * parts);
          for (const [key, low] of rows) {
            const slice = sliceOf(slicing, key, key);
            const at = buckets.indexOf(bucketOfSlice(slicing, slice));
            const place = at * parts + Math.floor(((slice % perBucket) * parts) / perBucket);
            if (at >= 0) prints[place] = (prints[place] ?? 0) + Number(low & 0xffffn);
          }
          return Promise.resolve(prints);
        },
        table: (runs, cells) => {
          asked.push(slicesIn(runs));
          const table = emptyTable(cells);
          for (const [key, low] of rows) {
            const slice = sliceOf(slicing, key, key);
            if (runs.some((run) => run.from <= slice && slice < run.to))
              addItem(table, key, place(key), (low & 0xffff_ffffn) - 0x8000_0000n);
          }
          return Promise.resolve(table);
        },
        close: () => Promise.resolve(),
      });
    },
    placeOf: () => place,
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

test('where too much differs for a table, a slice that only looks equal is not left out', async () => {
  const slicing = sliceByKey(0n, 8191n);
  const all = (): Map<bigint, bigint> => new Map(Array.from({ length: 8000 }, (_unused, at) => [BigInt(at), BigInt(at) * 7919n + 5n]));
  const ranges = async (change: (rows: Map<bigint, bigint>) => void): Promise<unknown> => {
    const changed = all();
    for (let key = 0n; key < 3000n; key += 1n) changed.set(key, 99_999n + key * 65_537n);
    change(changed);
    const stores = [store(all(), slicing), store(changed, slicing)];
    const result = await sketchDifference(
      shape,
      stores.map((one) => one.connection),
      everyKey,
      'native',
      AbortSignal.timeout(10_000),
      { rounds: 0 },
    );
    return result.is === 'too-many' ? result.ranges.map(({ after, upTo }) => [after?.['id'], upTo?.['id']]) : result;
  };
  // Keys below and above the span have ranges of their own.
  expect(await ranges(() => undefined)).toEqual([
    [undefined, '2999'],
    ['8191', undefined],
  ]);
  expect(await ranges((rows) => rows.set(7000n, (rows.get(7000n) ?? 0n) + 0x10000n))).toEqual([[undefined, undefined]]);
});
