import { describe, expect, test } from 'vitest';
import { createRng, type Rng } from '../../src/base/rng.ts';
import { cellsFor, differingRuns, estimateDifference, keysOfTable, partsFor } from '../../src/detect/localize-sketch.ts';
import {
  addItem,
  emptyTable,
  foldTable,
  peelTable,
  SPREAD_SHIFT,
  type SketchTable,
  subtractTables,
  type Summary,
} from '../../src/domain/sketch.ts';
import { bucketOfSlice, sliceOf } from '../../src/domain/slicing.ts';

const word = (random: Rng): bigint => (BigInt(random.int(2 ** 32)) << 32n) | BigInt(random.int(2 ** 32));
const value = (random: Rng): bigint => BigInt(random.int(2 ** 32)) - 0x8000_0000n;
const same = (key: bigint): bigint => key;

/** Two tables of `rows` common rows and `keys` differing ones, half changed, a quarter lacking on each side. */
function tables(
  seed: string,
  cells: number,
  rows: number,
  keys: number,
): { readonly a: SketchTable; readonly b: SketchTable; readonly differing: ReadonlySet<bigint> } {
  const random = createRng(seed);
  const a = emptyTable(cells);
  const b = emptyTable(cells);
  for (let n = 0; n < rows; n += 1) {
    const [key, one] = [word(random), value(random)];
    addItem(a, key, key, one);
    addItem(b, key, key, one);
  }
  const differing = new Set<bigint>();
  for (let n = 0; n < keys; n += 1) {
    const key = word(random);
    differing.add(key);
    if (n % 4 !== 0) addItem(a, key, key, value(random));
    if (n % 4 !== 1) addItem(b, key, key, value(random));
  }
  return { a, b, differing };
}

describe('sketch tables', () => {
  test('equal sets leave nothing', () => {
    const { a, b } = tables('equal', 30, 1000, 0);
    expect(peelTable(subtractTables(a, b), same)).toEqual([]);
  });

  test('peeling names exactly the keys that differ, changed rows at one cell each', () => {
    let failed = 0;
    for (let seed = 0; seed < 200; seed += 1) {
      const keys = 1 + (seed % 40) * 5;
      const { a, b, differing } = tables(`peel ${seed}`, cellsFor(keys), 50, keys);
      const found = peelTable(subtractTables(a, b), same);
      if (found === undefined) failed += 1;
      else expect(new Set(found)).toEqual(differing);
    }
    expect(failed).toBeLessThan(10);
  });

  test('a table that is too small says so and names no false key', () => {
    for (let seed = 0; seed < 50; seed += 1) {
      const { a, b } = tables(`small ${seed}`, 21, 10, 200);
      expect(peelTable(subtractTables(a, b), same)).toBeUndefined();
    }
  });

  test('a table folded to a divisor is the table that would have been made at that size', () => {
    const large = tables('fold', 60, 200, 5);
    const small = tables('fold', 20, 200, 5);
    expect(foldTable(large.a, 20)).toEqual(small.a);
  });
});

test('a table that could not be peeled says how much larger the next must be', () => {
  for (const keys of [40, 150, 600]) {
    let madeFor = 5;
    for (let attempt = 0; ; attempt += 1) {
      expect(attempt, `${keys} keys`).toBeLessThan(7);
      const { a, b, differing } = tables(`grow ${keys}`, cellsFor(madeFor), 20, keys);
      const subtracted = subtractTables(a, b);
      const next = keysOfTable(subtracted, madeFor);
      const found = peelTable(subtracted, same);
      if (found !== undefined) {
        expect(new Set(found)).toEqual(differing);
        // What is spent on a table that is larger than need be.
        expect(madeFor).toBeLessThan(keys * 2);
        break;
      }
      madeFor = next;
    }
  }
});

test('few differences in many slices are narrowed down, where fingerprints cost less than what follows', () => {
  const slicing = { by: 'key', shift: 9, low: 1n, high: 4_000_000n } as const;
  expect(partsFor(slicing, 10, 10)).toBe(1);
  expect(partsFor(slicing, 82, 100)).toBe(4);
  expect(partsFor(slicing, 250, 1_000)).toBe(16);
  expect(partsFor(slicing, 256, 5_000)).toBe(32);
  expect(partsFor(slicing, 256, 25_000)).toBe(1);
  const parts = (list: readonly number[]): Uint16Array => Uint16Array.from(list);
  expect(differingRuns(slicing, [3, 9], 4, [parts([1, 2, 3, 4, 5, 6, 7, 8]), parts([1, 0, 0, 4, 5, 6, 7, 9])])).toEqual([
    { from: 3 * 32 + 8, to: 3 * 32 + 24 },
    { from: 9 * 32 + 24, to: 9 * 32 + 32 },
  ]);
});

function summary(rows: ReadonlyMap<bigint, bigint>): Summary {
  const fingerprints = new Uint16Array(256);
  const sums = Array.from({ length: 128 }, () => 0n);
  const counts = new Uint16Array(32);
  for (const [key, digest] of rows) {
    const bucket = bucketOfSlice({ by: 'place' }, sliceOf({ by: 'place' }, key, key));
    fingerprints[bucket] = (fingerprints[bucket] ?? 0) + Number(digest & 0xffffn);
    sums[bucket % 128] = (sums[bucket % 128] ?? 0n) + BigInt.asIntN(64, digest);
    counts[bucket % 32] = (counts[bucket % 32] ?? 0) + 1;
  }
  const spreads = Uint8Array.from(sums, (sum) => Number((sum >> SPREAD_SHIFT) & 255n));
  return { count: rows.size, sum: '', fingerprints, spreads, counts };
}

test('summaries tell about how many keys differ, from a handful to tens of thousands', () => {
  for (const keys of [1, 10, 100, 400, 2_000, 20_000]) {
    const ratios: number[] = [];
    for (let seed = 0; seed < 12; seed += 1) {
      const random = createRng(`estimate ${keys} ${seed}`);
      const a = new Map<bigint, bigint>();
      for (let n = 0; n < 30_000; n += 1) a.set(word(random), word(random));
      const b = new Map(a);
      let left = keys;
      for (const key of a.keys()) {
        if ((left -= 1) < 0) break;
        if (left % 2 === 0) b.delete(key);
        else b.set(key, word(random));
      }
      ratios.push(estimateDifference(summary(a), summary(b), { by: 'place' }).keys / keys);
    }
    const sorted = ratios.toSorted((one, two) => one - two);
    expect(sorted[6], `${keys} keys`).toBeGreaterThan(0.6);
    expect(sorted[6], `${keys} keys`).toBeLessThan(1.6);
  }
});
