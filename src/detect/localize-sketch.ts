/** What two summaries say of the rows between them, and how large a table must be to name them. */
import { SUB_TABLES, SUMMARY_BUCKETS, type Summary } from '../domain/sketch.ts';

export interface Estimate {
  /** Buckets that hold a difference. */
  readonly buckets: readonly number[];
  /** About how many keys differ; Infinity where the sign sums have wrapped and say only "very many". */
  readonly keys: number;
}

/** Past this many differing keys between two replicas sign sums modulo 256 tell nothing. */
const SATURATED_KEYS = 100_000;

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
  const squares = (one: Int8Array, two: Int8Array): number => one.reduce((sum, value, at) => sum + signed8(value - (two[at] ?? 0)) ** 2, 0);
  const elements = squares(a.digestSigns, b.digestSigns);
  const lacking = squares(a.keySigns, b.keySigns);
  const keys = Math.max(lacking + Math.max(elements - lacking, 0) / 2, elements / 2, Math.abs(a.count - b.count));
  return { buckets, keys: keys > SATURATED_KEYS ? Infinity : keys };
}

function signed8(value: number): number {
  return (value << 24) >> 24;
}

/**
 * Cells of a sub-table for about `keys` keys, `attempt` counting from 0. Peeling with three sub-tables succeeds from 1.23 cells a key
 * on for many keys; few keys need slack for their scatter, and so does the estimate.
 */
export function cellsFor(keys: number, attempt: number): number {
  const wanted = (1.35 * keys + 2.2 * Math.sqrt(keys) + 6) * 2 ** attempt;
  return Math.ceil(wanted / SUB_TABLES) | 1;
}
