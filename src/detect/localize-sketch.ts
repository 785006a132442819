/** What two summaries say of the rows between them, and how large a table must be to name them. */
import { COUNT_BUCKETS, SPREAD_BUCKETS, type SketchTable, SUB_TABLES, SUMMARY_BUCKETS, type Summary } from '../domain/sketch.ts';
import { runsOf, type SliceRun, type Slicing, slicesPerBucket, usedBuckets } from '../domain/slicing.ts';

export interface Estimate {
  /** Buckets that hold a difference. */
  readonly buckets: readonly number[];
  /** About how many keys differ; Infinity where the bytes have wrapped and say only "very many". */
  readonly keys: number;
}

/** Past this many differing keys between two replicas sums modulo 256 tell nothing. */
const SATURATED_KEYS = 60_000;

export function isEqualSummary(a: Summary, b: Summary): boolean {
  return a.count === b.count && a.sum === b.sum;
}

/** Of two summaries that are not equal. */
export function estimateDifference(a: Summary, b: Summary, slicing: Slicing): Estimate {
  const buckets = Array.from({ length: SUMMARY_BUCKETS }, (_unused, at) => at).filter((at) => a.fingerprints[at] !== b.fingerprints[at]);
  const counts = differences(a.counts, b.counts, 16);
  // A lane is uniform in [-8, 8) after the shift: variance 64/3.
  const elements = squares(differences(a.spreads, b.spreads, 8), 0) / (64 / 3);
  const used = usedBuckets(slicing);
  if (buckets.length <= used * 0.9) {
    // Linear counting (Whang et al. 1990) is exact enough until few buckets are left untouched. Where slices are by key, differences
    // may stand close together: rows that lack show in the counts, changed ones in the spreads, roughly.
    const counted = -used * Math.log(1 - buckets.length / used);
    const lacking = counts.reduce((sum, count) => sum + Math.max(0, Math.abs(count) - 1), 0);
    const gathered = slicing.by === 'key' ? Math.max(counted, 0.35 * elements) + lacking - overlap(buckets, counts) : counted;
    return { buckets, keys: Math.max(gathered, counted, Math.abs(a.count - b.count), 1) };
  }
  // Counts scatter as Poisson does: the variance is the number of rows lacking, on whichever side, whatever the mean. Many rows that
  // lack side by side are no scatter: they are counted apart.
  const center = counts.toSorted((one, two) => one - two)[Math.floor(counts.length / 2)] ?? 0;
  const spread = scatter(counts, center);
  const gathered = counts.reduce((sum, count) => sum + Math.max(0, Math.abs(count - center) - 4 * Math.sqrt(spread) - 4), 0);
  const scattered = (scatter(differences(a.spreads, b.spreads, 8), 0) * SPREAD_BUCKETS) / (64 / 3);
  const lacking = Math.min(spread * counts.length, scattered);
  const keys = Math.max(lacking + (scattered - lacking) / 2 + gathered, Math.abs(a.count - b.count));
  return { buckets, keys: keys > SATURATED_KEYS ? Infinity : keys };
}

/** The smaller nine tenths of squares of a normal variable make up this share of what their number would. */
const TRIMMED_SHARE = 0.623;

/** Variance about a center, by the smaller nine tenths: the rest may be no scatter. */
function scatter(values: readonly number[], center: number): number {
  const kept = values
    .map((value) => (value - center) ** 2)
    .toSorted((one, two) => one - two)
    .slice(0, Math.floor(values.length * 0.9));
  return kept.reduce((sum, square) => sum + square, 0) / kept.length / TRIMMED_SHARE;
}

/** What lacks in a group of buckets has been counted once for each of its buckets. */
function overlap(buckets: readonly number[], counts: readonly number[]): number {
  return counts.reduce((sum, count, group) => {
    const touched = buckets.filter((bucket) => bucket % COUNT_BUCKETS === group).length;
    return sum + Math.min(Math.max(0, Math.abs(count) - 1), Math.max(0, touched - 1));
  }, 0);
}

/** Modulo 2^bits, signed. */
function differences(a: Uint8Array | Uint16Array, b: Uint8Array | Uint16Array, bits: number): readonly number[] {
  return Array.from(a, (value, at) => ((value - (b[at] ?? 0)) << (32 - bits)) >> (32 - bits));
}

function squares(values: readonly number[], mean: number): number {
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
}

/**
 * Cells of a sub-table for about `keys` keys. Peeling with three sub-tables succeeds from 1.23 cells a key on for many keys; few keys
 * need slack for their scatter, and so does the estimate. `had`: cells of sub-tables that were too few; they count, though less.
 */
export function cellsFor(keys: number, had = 0): number {
  const wanted = (1.35 * keys + 2.2 * Math.sqrt(keys) + 6) / SUB_TABLES;
  const cells = Math.max(wanted - 0.8 * had, wanted / 4);
  // A cell more is 126 bytes between two replicas: for ten keys more than the twentieth of a second table that it saves. For fewer it
  // is half of the table's chance.
  let count = cells < 8 ? Math.ceil(cells) : Math.floor(cells);
  // Keys that meet modulo the one number must not meet modulo the other for that.
  while (had > 0 && greatestDivisor(count, had) > 1) count += 1;
  return count;
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

/**
 * About how many keys a subtracted table holds that could not be peeled, from the cells that are still empty; where none is, at least
 * four times what it was made for. Differences that stand close together hide from an estimate by buckets.
 */
export function keysOfTable(table: SketchTable, madeFor: number): number {
  let empty = 0;
  for (let at = 0; at < table.values.length; at += 1) if (table.values[at] === 0n && table.lows[at] === 0n) empty += 1;
  const counted = empty === 0 ? Infinity : -table.cells * Math.log(empty / table.values.length);
  return counted === Infinity ? madeFor * 4 : Math.max(counted * 1.1, madeFor * 1.4);
}

/** Fingerprints of parts of the buckets may cost this many bytes a differing key on each side, beyond what a few cost anyway. */
const REFINING_BYTES_A_KEY = 14;
const REFINING_FREE_BYTES = 500;
/** A second scan of less than this share of the rows is not worth narrowing down. */
const SMALL_SHARE = 0.06;

/** Into how many parts each differing bucket is to be split before the second scan; 1: it is not worth asking. */
export function partsFor(slicing: Slicing, buckets: number, keys: number): number {
  const used = usedBuckets(slicing);
  if (buckets / used < SMALL_SHARE) return 1;
  const worth = (REFINING_BYTES_A_KEY * keys - REFINING_FREE_BYTES) / (buckets * 2);
  let parts = 1;
  while (parts * 2 <= Math.min(worth, slicesPerBucket(slicing))) parts *= 2;
  // Where most parts would differ too, the second scan is as long as without them.
  return keys > 2 * parts * used ? 1 : parts;
}

/** The slices of the parts of these buckets whose fingerprints are not the same on all replicas. `prints`: one list a replica. */
export function differingRuns(
  slicing: Slicing,
  buckets: readonly number[],
  parts: number,
  prints: readonly Uint16Array[],
): readonly SliceRun[] {
  const perPart = slicesPerBucket(slicing) / parts;
  const starts = buckets.flatMap((bucket, at) =>
    Array.from({ length: parts }, (_unused, part) => part).flatMap((part) => {
      const own = prints[0]?.[at * parts + part];
      return prints.some((list) => list[at * parts + part] !== own) ? [(bucket * parts + part) * perPart] : [];
    }),
  );
  return runsOf(starts, perPart);
}
