/** What two summaries say of the rows between them, and how large a table must be to name them. */
import { SUB_TABLES, SUMMARY_BUCKETS, type Summary } from '../domain/sketch.ts';

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

/**
 * Cells of a sub-table for about `keys` keys, `attempt` counting from 0. Peeling with three sub-tables succeeds from 1.23 cells a key
 * on for many keys; few keys need slack for their scatter, and so does the estimate.
 */
export function cellsFor(keys: number, attempt: number): number {
  const wanted = (1.35 * keys + 2.2 * Math.sqrt(keys) + 6) * 2 ** attempt;
  return Math.ceil(wanted / SUB_TABLES) | 1;
}
