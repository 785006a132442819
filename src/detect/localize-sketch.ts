/** What two summaries say of the rows between them, and how large a table must be to name them. */
import { CELL_BYTES, type SketchTable, SUB_TABLES, SUMMARY_BUCKETS, type Summary } from '../domain/sketch.ts';
import { runsOf, type SliceRun, type Slicing, slicesPerBucket } from '../domain/slicing.ts';

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
export function estimateDifference(a: Summary, b: Summary): Estimate {
  const buckets = Array.from({ length: SUMMARY_BUCKETS }, (_unused, at) => at).filter((at) => a.fingerprints[at] !== b.fingerprints[at]);
  // Linear counting (Whang et al. 1990) is exact enough until few buckets are left untouched.
  const untouched = SUMMARY_BUCKETS - buckets.length;
  const counted = untouched === 0 ? Infinity : -SUMMARY_BUCKETS * Math.log(untouched / SUMMARY_BUCKETS);
  if (buckets.length <= SUMMARY_BUCKETS * 0.9) return { buckets, keys: Math.max(counted, Math.abs(a.count - b.count), 1) };
  // A lane is uniform in [-8, 8) after the shift: variance 64/3.
  const elements = squares(differences(a.spreads, b.spreads), 0) / (64 / 3);
  // Counts scatter as Poisson does: the variance is the number of rows lacking, on whichever side, whatever the mean.
  const counts = differences(a.counts, b.counts);
  const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  const lacking = Math.min(squares(counts, mean), elements);
  const keys = Math.max(lacking + (elements - lacking) / 2, Math.abs(a.count - b.count));
  return { buckets, keys: keys > SATURATED_KEYS ? Infinity : keys };
}

/** Modulo 256, signed. */
function differences(a: Uint8Array, b: Uint8Array): readonly number[] {
  return Array.from(a, (value, at) => ((value - (b[at] ?? 0)) << 24) >> 24);
}

function squares(values: readonly number[], mean: number): number {
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
}

/** Cells of a sub-table for about `keys` keys. Peeling with three sub-tables succeeds from 1.23 cells a key on for many keys; few keys
 * need slack for their scatter, and so does the estimate.
 */
export function cellsFor(keys: number): number {
  return Math.ceil((1.35 * keys + 2.2 * Math.sqrt(keys) + 6) / SUB_TABLES) | 1;
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

/** Fingerprints of parts of the buckets are worth asking for while they cost this share of the table that follows. */
const REFINING_SHARE = 0.3;
/** A second scan of less than this share of the rows is not worth narrowing down. */
const SMALL_SHARE = 0.06;

/** Into how many parts each differing bucket is to be split before the second scan; 1: it is not worth asking. */
export function partsFor(slicing: Slicing, buckets: number, keys: number): number {
  if (buckets === 0 || buckets / SUMMARY_BUCKETS < SMALL_SHARE) return 1;
  const worth = (REFINING_SHARE * cellsFor(keys) * SUB_TABLES * CELL_BYTES) / (buckets * 2);
  let parts = 1;
  while (parts * 2 <= Math.min(worth, slicesPerBucket(slicing))) parts *= 2;
  // Where most parts would differ too, the second scan is as long as without them.
  return keys > 2 * parts * SUMMARY_BUCKETS ? 1 : parts;
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
