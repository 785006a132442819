import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  bucketOfSlice,
  keyIntervals,
  otherRuns,
  runsOf,
  sliceBitmap,
  sliceByKey,
  sliceCount,
  sliceOf,
  slicesIn,
  usedBuckets,
} from '../../src/domain/slicing.ts';

const key = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

test('every key of a chosen slice lies in its intervals, inside of the span and beyond', () => {
  fc.assert(
    fc.property(key, key, fc.array(key, { minLength: 1, maxLength: 20 }), (one, two, keys) => {
      const [low, high] = one < two ? [one, two] : [two, one];
      const slicing = sliceByKey(low, high);
      if (slicing.by !== 'key') throw new Error('by key');
      const slices = [...new Set(keys.map((each) => sliceOf(slicing, BigInt.asUintN(64, each), 0n)))].toSorted((a, b) => a - b);
      const intervals = keyIntervals(slicing, runsOf(slices, 1));
      for (const each of keys) expect(intervals.some((interval) => interval.low <= each && each <= interval.high)).toBe(true);
      for (const [at, interval] of intervals.entries()) {
        const before = intervals[at - 1];
        if (before !== undefined) expect(before.high < interval.low).toBe(true);
      }
    }),
  );
});

test('within the span an interval holds keys of chosen slices alone', () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: -(2n ** 40n), max: 2n ** 40n }),
      fc.bigInt({ min: 1n, max: 2n ** 50n }),
      fc.nat(8191),
      (low, width, slice) => {
        const slicing = sliceByKey(low, low + width);
        if (slicing.by !== 'key') throw new Error('by key');
        const inside = keyIntervals(slicing, [{ from: slice, to: slice + 1 }]).filter(
          (interval) => interval.low >= low && interval.high <= low + width,
        );
        for (const interval of inside) {
          expect(sliceOf(slicing, BigInt.asUintN(64, interval.low), 0n)).toBe(slice);
          expect(sliceOf(slicing, BigInt.asUintN(64, interval.high), 0n)).toBe(slice);
        }
      },
    ),
  );
});

test('a span fills its slices once, and at least half of them where it is long enough', () => {
  fc.assert(
    fc.property(key, fc.bigInt({ min: 8192n, max: 2n ** 62n }), (low, width) => {
      fc.pre(low + width < 2n ** 63n);
      const slicing = sliceByKey(low, low + width);
      if (slicing.by !== 'key') throw new Error('by key');
      const blocks = ((low + width) >> BigInt(slicing.shift)) - (low >> BigInt(slicing.shift)) + 1n;
      expect(blocks).toBeLessThanOrEqual(8192n);
      expect(blocks).toBeGreaterThanOrEqual(4096n);
      expect(usedBuckets(slicing)).toBeGreaterThanOrEqual(128);
    }),
  );
});

test('runs, their bitmap and their buckets agree', () => {
  const runs = runsOf([0, 8, 24, 2040], 8);
  expect(runs).toEqual([
    { from: 0, to: 16 },
    { from: 24, to: 32 },
    { from: 2040, to: 2048 },
  ]);
  expect(slicesIn(runs)).toBe(32);
  expect(otherRuns({ by: 'place' }, runs)).toEqual([
    { from: 16, to: 24 },
    { from: 32, to: 2040 },
  ]);
  const bitmap = sliceBitmap({ by: 'place' }, runs);
  expect(bitmap.length * 8).toBe(sliceCount({ by: 'place' }));
  expect([...bitmap.subarray(0, 5)]).toEqual([255, 255, 0, 255, 0]);
  expect(bucketOfSlice({ by: 'place' }, 2047)).toBe(255);
});
