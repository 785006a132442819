/**
 * Differing keys from sketches: a summary of each replica from one scan; where they are not equal, a table of the buckets that differ,
 * sized by what the summaries say; doubled where peeling fails. Gives up (undefined) where so much differs that keys and digests are
 * the shorter way, or where rows move faster than it looks.
 */
import { cellsFor, estimateDifference, isEqualSummary } from '../detect/localize-sketch.ts';
import { type KeyRange } from '../domain/key-range.ts';
import { type Key, keyText, type Shape } from '../domain/row.ts';
import { bucketOf, peelTable, type SketchTable, subtractTables, SUMMARY_BUCKETS, type Summary } from '../domain/sketch.ts';
import type { ReplicaConnection, SketchHash, Sketching } from '../io/replicas/replica.ts';

export type SketchedKeys =
  | { readonly is: 'equal' }
  | { readonly is: 'keys'; readonly keys: readonly Key[] }
  /** Buckets of 256, by the place that the sketch's own hash gives a key, that hold differences: for a comparison by keys and digests. */
  | { readonly is: 'too-many'; readonly buckets: readonly number[] };

/** Past this many differing keys a table costs more than the keys and digests of a scan, and peeling holds the event loop. */
const MAX_SKETCHED_KEYS = 30_000;
const MAX_ATTEMPTS = 3;

/** The hash in which all of these can be sketched, if they can. */
export async function commonHash(
  shape: Shape,
  connections: readonly ReplicaConnection[],
  signal: AbortSignal,
): Promise<SketchHash | undefined> {
  const families = await Promise.all(
    connections.map(async ({ sketching }) => (sketching === undefined ? 'none' : sketching.family(shape, signal))),
  );
  if (families.includes('none')) return undefined;
  return new Set(families).size === 1 ? 'native' : 'canonical';
}

export async function sketchDifference(
  shape: Shape,
  connections: readonly ReplicaConnection[],
  range: KeyRange,
  hash: SketchHash,
  signal: AbortSignal,
  tally: { rounds: number },
): Promise<SketchedKeys> {
  const sketchers = connections.flatMap(({ sketching }): readonly Sketching[] => (sketching === undefined ? [] : [sketching]));
  const [reference] = sketchers;
  if (reference === undefined) return { is: 'equal' };
  tally.rounds += 1;
  const [first, ...others] = await Promise.all(sketchers.map((sketching) => sketching.summarize(shape, range, hash, signal)));
  // Replicas that are equal to the first are equal to each other: comparing all with the first finds every key.
  const estimates = others.flatMap((other) =>
    first === undefined || isEqualSummary(first, other) ? [] : [estimateDifference(first, other)],
  );
  if (estimates.length === 0) return { is: 'equal' };
  const buckets = [...new Set(estimates.flatMap((estimate) => estimate.buckets))].toSorted((a, b) => a - b);
  const keys = Math.max(...estimates.map((estimate) => estimate.keys));
  const fewest = Math.min(...[first, ...others].map((summary) => summary?.count ?? 0));
  if (keys > MAX_SKETCHED_KEYS || keys > fewest / 4 + 100) return { is: 'too-many', buckets };
  const placeOf = reference.placeOf(shape, hash);
  const everyBucket = Array.from({ length: SUMMARY_BUCKETS }, (_unused, at) => at);
  let chosen = buckets.length === 0 ? everyBucket : buckets;
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    tally.rounds += 1;
    const cells = cellsFor(keys, attempt);
    const [own, ...tables] = await Promise.all(sketchers.map((sketching) => sketching.table(shape, range, hash, chosen, cells, signal)));
    if (own === undefined) break;
    const peeled = tables.map((table) => peelTable(subtractTables(own, table), placeOf));
    if (peeled.some((one) => one === undefined)) continue;
    // Fingerprints have 16 bits: a bucket that differs may look equal. What the chosen buckets differ by must be all that there is;
    // otherwise (or where rows have moved since) every bucket is looked into.
    const isAll = tables.every(
      (table, at) => first === undefined || others[at] === undefined || isExplained(first, others[at], own, table),
    );
    if (chosen.length < SUMMARY_BUCKETS && !isAll) {
      chosen = everyBucket;
      continue;
    }
    const words = [...new Set(peeled.flatMap((one) => one ?? []))];
    // A changed row whose two values meet in 32 bits would leave nothing in the table, but its bucket has told of it.
    const explained = new Set(words.map((word) => bucketOf(placeOf(word))));
    if (!buckets.every((bucket) => explained.has(bucket))) break;
    return { is: 'keys', keys: await locate(shape, sketchers, range, hash, words, signal) };
  }
  return { is: 'too-many', buckets };
}

/**
 * Whether two tables of some buckets differ by as much as the summaries of everything. The values of one sub-table add up to the low
 * halves of the digests' low lanes less 2^31 a row, which modulo 2^32 the summary knows as well.
 */
function isExplained(one: Summary, two: Summary, oneTable: SketchTable, twoTable: SketchTable): boolean {
  const told = (summary: Summary): bigint => BigInt(`0x${summary.sum.slice(24)}`) - (BigInt(summary.count) << 31n);
  const seen = (table: SketchTable): bigint => table.values.subarray(0, table.cells).reduce((sum, value) => sum + value, 0n);
  return BigInt.asUintN(32, told(one) - told(two)) === BigInt.asUintN(32, seen(oneTable) - seen(twoTable));
}

async function locate(
  shape: Shape,
  sketchers: readonly Sketching[],
  range: KeyRange,
  hash: SketchHash,
  words: readonly bigint[],
  signal: AbortSignal,
): Promise<readonly Key[]> {
  const found = new Map<string, Key>();
  for (const keys of await Promise.all(sketchers.map((sketching) => sketching.locate(shape, range, hash, words, signal)))) {
    for (const key of keys) found.set(keyText(shape.key, key), key);
  }
  return [...found.values()];
}
