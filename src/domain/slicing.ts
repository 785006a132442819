/**
 * How the rows of a comparison are cut into slices, so that a second scan need only look where the first has seen a difference.
 *
 * By key, where the key is one integer: neighbours in the key are neighbours in the index and mostly on disk, so that a few slices are
 * a few index ranges. slice = (key >> shift) modulo 8192; `shift` is such that the keys from `low` to `high` fill the slices once. Keys
 * outside of them (a replica may have some) fall into slices as well, and are looked for at both ends.
 * By place otherwise: slice = p modulo 2048, and a second scan reads every key, but hashes few rows. Fewer slices, because groups
 * that come in no order cost a cache miss each (measured: 2048 groups 10 % of a scan, 8192 half of one).
 *
 * A bucket is 8 or 32 neighbouring slices: what a summary tells of.
 */
import { SUMMARY_BUCKETS } from './sketch.ts';

export type Slicing =
  | { readonly by: 'place' }
  | { readonly by: 'key'; readonly shift: number; readonly low: bigint; readonly high: bigint };

/** Slices `from` to `to`, `to` not included. */
export interface SliceRun {
  readonly from: number;
  readonly to: number;
}

/** Both ends included. */
export interface KeyInterval {
  readonly low: bigint;
  readonly high: bigint;
}

export const PLACE_SLICES = 2048;
export const KEY_SLICES = 8192;

const LOWEST = -(2n ** 63n);
const HIGHEST = 2n ** 64n - 1n;

/** Slices by key for keys from `low` to `high`. */
export function sliceByKey(low: bigint, high: bigint): Slicing {
  let shift = 0;
  while ((high >> BigInt(shift)) - (low >> BigInt(shift)) >= BigInt(KEY_SLICES)) shift += 1;
  return { by: 'key', shift, low, high };
}

export function sliceCount(slicing: Slicing): number {
  return slicing.by === 'key' ? KEY_SLICES : PLACE_SLICES;
}

/** Buckets that rows between `low` and `high` can fall into; all where slices are by place. */
export function usedBuckets(slicing: Slicing): number {
  if (slicing.by === 'place') return SUMMARY_BUCKETS;
  const blocks = (slicing.high >> BigInt(slicing.shift)) - (slicing.low >> BigInt(slicing.shift)) + 1n;
  return Math.max(1, Math.ceil(Number(blocks) / slicesPerBucket(slicing)));
}

export function slicesPerBucket(slicing: Slicing): number {
  return sliceCount(slicing) / SUMMARY_BUCKETS;
}

/** The slice of a row. `key`: the key word; `place`: p. */
export function sliceOf(slicing: Slicing, key: bigint, place: bigint): number {
  if (slicing.by === 'place') return Number(place & BigInt(PLACE_SLICES - 1));
  return Number((BigInt.asIntN(64, key) >> BigInt(slicing.shift)) & BigInt(KEY_SLICES - 1));
}

export function bucketOfSlice(slicing: Slicing, slice: number): number {
  return Math.floor(slice / slicesPerBucket(slicing));
}

export function everySlice(slicing: Slicing): readonly SliceRun[] {
  return [{ from: 0, to: sliceCount(slicing) }];
}

/** Ascending slices, or parts of `size` slices each, as runs. */
export function runsOf(starts: readonly number[], size: number): readonly SliceRun[] {
  const runs: { from: number; to: number }[] = [];
  for (const from of starts) {
    const last = runs.at(-1);
    if (last?.to === from) last.to = from + size;
    else runs.push({ from, to: from + size });
  }
  return runs;
}

/** All other slices. `runs` ascend. */
export function otherRuns(slicing: Slicing, runs: readonly SliceRun[]): readonly SliceRun[] {
  const bounds = [0, ...runs.flatMap((run) => [run.from, run.to]), sliceCount(slicing)];
  const others: SliceRun[] = [];
  for (let at = 0; at < bounds.length; at += 2) {
    const [from = 0, to = 0] = bounds.slice(at, at + 2);
    if (from < to) others.push({ from, to });
  }
  return others;
}

export function slicesIn(runs: readonly SliceRun[]): number {
  return runs.reduce((sum, run) => sum + run.to - run.from, 0);
}

/** One bit a slice, the lowest of each byte first. */
export function sliceBitmap(slicing: Slicing, runs: readonly SliceRun[]): Buffer {
  const bitmap = Buffer.alloc(sliceCount(slicing) / 8);
  for (const run of runs) {
    for (let slice = run.from; slice < run.to; slice += 1) bitmap[slice >> 3] = (bitmap[slice >> 3] ?? 0) | (1 << (slice & 7));
  }
  return bitmap;
}

/** The keys that these slices can hold, ascending: those between `low` and `high`, and all that lie outside. */
export function keyIntervals(slicing: Slicing & { readonly by: 'key' }, runs: readonly SliceRun[]): readonly KeyInterval[] {
  const shift = BigInt(slicing.shift);
  const firstBlock = slicing.low >> shift;
  const lastBlock = slicing.high >> shift;
  const chosen = runs.flatMap((run) => Array.from({ length: run.to - run.from }, (_unused, at) => run.from + at));
  const blocks = chosen
    .map((slice) => firstBlock + BigInt.asUintN(13, BigInt(slice) - firstBlock))
    .filter((block) => block <= lastBlock)
    .toSorted((a, b) => (a < b ? -1 : 1));
  const intervals: { low: bigint; high: bigint }[] = [{ low: LOWEST, high: (firstBlock << shift) - 1n }];
  for (const block of blocks) {
    const last = intervals.at(-1);
    const [low, high] = [block << shift, ((block + 1n) << shift) - 1n];
    if (last !== undefined && last.high === low - 1n) last.high = high;
    else intervals.push({ low, high });
  }
  const above = (lastBlock + 1n) << shift;
  const last = intervals.at(-1);
  if (last !== undefined && last.high === above - 1n) last.high = HIGHEST;
  else intervals.push({ low: above, high: HIGHEST });
  return intervals;
}
