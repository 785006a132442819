/**
 * Differing keys from sketches: a summary of each replica from one scan; where they are not equal, fingerprints of the parts of the
 * buckets that differ, and a table of those parts that differ, larger where peeling fails. Each replica is in one snapshot all the
 * while. Gives up where so much differs that keys and digests are the shorter way.
 */
import { cellsFor, differingRuns, estimateDifference, isEqualSummary, keysOfTable, partsFor } from '../detect/localize-sketch.ts';
import { type KeyRange } from '../domain/key-range.ts';
import { type Key, keyText, type Shape } from '../domain/row.ts';
import { copyTable, isEmptyTable, peelTables, type SketchTable, subtractTables, SUMMARY_BUCKETS, type Summary } from '../domain/sketch.ts';
import {
  bucketOfSlice,
  everySlice,
  keyIntervals,
  otherRuns,
  runsOf,
  sliceByKey,
  sliceOf,
  slicesIn,
  sliceCount,
  slicesPerBucket,
  type SliceRun,
  type Slicing,
} from '../domain/slicing.ts';
import type { ReplicaConnection, SketchHash, Sketching, SketchScan } from '../io/replicas/replica.ts';

export type SketchedKeys =
  | { readonly is: 'equal' }
  | { readonly is: 'keys'; readonly keys: readonly Key[] }
  /** The ranges that hold all differences. */
  | { readonly is: 'too-many'; readonly ranges: readonly KeyRange[] };

/** Past this many differing keys a table costs more than the keys and digests of a scan, and peeling holds the event loop. */
const MAX_SKETCHED_KEYS = 30_000;
/** Each is at least 1.4 times the last, most are four times. */
const MAX_ATTEMPTS = 8;

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

/** How all replicas cut the range: by key if each of them has an index for that. */
export async function commonSlicing(shape: Shape, sketchers: readonly Sketching[], range: KeyRange, signal: AbortSignal): Promise<Slicing> {
  const [first] = sketchers;
  const able = await Promise.all(sketchers.map((sketching) => sketching.slicesByKey(shape, signal)));
  if (first === undefined || able.includes(false)) return { by: 'place' };
  // Of one replica: what the others hold beyond is found all the same, and a few strays must not stretch the slices of all.
  const span = await first.keySpan(shape, range, signal);
  return span === undefined ? { by: 'place' } : sliceByKey(span.low, span.high);
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
  const slicing = await commonSlicing(shape, sketchers, range, signal);
  tally.rounds += 1;
  const opened = await Promise.allSettled(sketchers.map((sketching) => sketching.scan(shape, range, hash, slicing, signal)));
  const scans = opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  try {
    const failed = opened.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    const [reference] = sketchers;
    if (reference === undefined) return { is: 'equal' };
    const placeOf = reference.placeOf(shape, hash);
    const words = await differingWords(scans, slicing, placeOf, tally);
    if (words.is === 'equal') return words;
    if (words.is === 'too-many') return { is: 'too-many', ranges: rangesOf(shape, range, slicing, words.chosen) };
    return { is: 'keys', keys: await locate(shape, sketchers, range, hash, words.words, signal) };
  } finally {
    await Promise.all(scans.map((scan) => scan.close()));
  }
}

type Words =
  | { readonly is: 'equal' }
  | { readonly is: 'words'; readonly words: readonly bigint[] }
  | { readonly is: 'too-many'; readonly chosen: readonly SliceRun[] };

async function differingWords(
  scans: readonly SketchScan[],
  slicing: Slicing,
  placeOf: (key: bigint) => bigint,
  tally: { rounds: number },
): Promise<Words> {
  const [first, ...others] = scans.map((scan) => scan.summary);
  if (first === undefined) return { is: 'equal' };
  // Replicas that are equal to the first are equal to each other: comparing all with the first finds every key.
  const estimates = others.flatMap((other) => (isEqualSummary(first, other) ? [] : [estimateDifference(first, other, slicing)]));
  if (estimates.length === 0) return { is: 'equal' };
  const buckets = [...new Set(estimates.flatMap((estimate) => estimate.buckets))].toSorted((a, b) => a - b);
  let keys = Math.max(...estimates.map((estimate) => estimate.keys));
  const fewest = Math.min(...scans.map((scan) => scan.summary.count));
  const isTooMany = (): boolean => keys > MAX_SKETCHED_KEYS || keys > fewest / 4 + 100;
  let chosen = buckets.length === 0 ? everySlice(slicing) : await narrowed(scans, slicing, buckets, keys);
  /** Tables that were too small, a list an attempt: one for each of the other replicas. */
  const had: SketchTable[][] = [];
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    if (isTooMany()) return { is: 'too-many', chosen: await allThatDiffers(scans, slicing, chosen) };
    tally.rounds += 1;
    const cells = cellsFor(
      keys,
      had.reduce((sum, [table]) => sum + (table?.cells ?? 0), 0),
    );
    const [own, ...tables] = await Promise.all(scans.map((scan) => scan.table(chosen, cells)));
    if (own === undefined) break;
    const subtracted = tables.map((table) => subtractTables(own, table));
    const seen = Math.max(...subtracted.map((table) => keysOfTable(table, keys)));
    had.push(subtracted);
    // Peeling uses tables up; a later attempt needs them whole.
    const peeled = others.map((_other, at) =>
      peelTables(
        had.flatMap((list) => list.slice(at, at + 1).map(copyTable)),
        placeOf,
      ),
    );
    if (peeled.includes(undefined)) {
      keys = seen;
      continue;
    }
    // Fingerprints have 16 bits: a part that differs may look equal. What the chosen parts differ by must be all that there is;
    // otherwise everything is looked into.
    const isAll = tables.every((table, at) => {
      const other = others[at];
      return other === undefined || isExplained(first, other, own, table);
    });
    if (!isAll && slicesIn(chosen) < sliceCount(slicing)) {
      chosen = everySlice(slicing);
      had.length = 0;
      continue;
    }
    const words = [...new Set(peeled.flatMap((one) => one ?? []))];
    // A changed row whose two values meet in 32 bits would leave nothing in the table, but its bucket has told of it.
    const explained = new Set(words.map((word) => bucketOfSlice(slicing, sliceOf(slicing, word, placeOf(word)))));
    if (!isAll || !buckets.every((bucket) => explained.has(bucket))) break;
    return { is: 'words', words };
  }
  return { is: 'too-many', chosen: everySlice(slicing) };
}

/** Cells that tell whether two sets of rows are the same: sums of 40 and twice 64 bits. */
const PROOF_CELLS = 1;

/**
 * Fingerprints have 16 bits, so a slice that differs may look equal. Where no table shows that the chosen ones hold everything, the
 * others are looked at once more; if they are not the same everywhere after all, everything is chosen.
 */
async function allThatDiffers(scans: readonly SketchScan[], slicing: Slicing, chosen: readonly SliceRun[]): Promise<readonly SliceRun[]> {
  const others = otherRuns(slicing, chosen);
  if (slicing.by === 'place' || others.length === 0) return everySlice(slicing);
  const [own, ...tables] = await Promise.all(scans.map((scan) => scan.table(others, PROOF_CELLS)));
  const isSame = own !== undefined && tables.every((table) => isEmptyTable(subtractTables(own, table)));
  return isSame ? chosen : everySlice(slicing);
}

/** More would be more statements than they save rows. */
const MAX_RANGES = 64;

/** The parts of the range that these slices take up, where slices are by key. */
function rangesOf(shape: Shape, range: KeyRange, slicing: Slicing, runs: readonly SliceRun[]): readonly KeyRange[] {
  const [name = ''] = shape.key;
  if (slicing.by !== 'key') return [range];
  const after = range.after === null ? undefined : BigInt(range.after[name] ?? 0);
  const upTo = range.upTo === null ? undefined : BigInt(range.upTo[name] ?? 0);
  const intervals = keyIntervals(slicing, runs)
    .map(({ low, high }, at, all) => ({
      // The first and the last have no bound of their own.
      after: at === 0 ? after : after === undefined || low - 1n > after ? low - 1n : after,
      upTo: at === all.length - 1 ? upTo : upTo === undefined || high < upTo ? high : upTo,
    }))
    .filter((one) => one.after === undefined || one.upTo === undefined || one.after < one.upTo);
  if (intervals.length > MAX_RANGES) return [range];
  const key = (value: bigint | undefined): Key | null => (value === undefined ? null : { [name]: value.toString() });
  return intervals.map((one) => ({ after: key(one.after), upTo: key(one.upTo) }));
}

/** The slices to look into: of the buckets that differ, the parts that do, where asking for those is worth it. */
async function narrowed(
  scans: readonly SketchScan[],
  slicing: Slicing,
  buckets: readonly number[],
  keys: number,
): Promise<readonly SliceRun[]> {
  const whole = runsOf(
    buckets.map((bucket) => bucket * slicesPerBucket(slicing)),
    slicesPerBucket(slicing),
  );
  const parts = keys > MAX_SKETCHED_KEYS ? 1 : partsFor(slicing, buckets.length, keys);
  if (parts === 1) return buckets.length === SUMMARY_BUCKETS ? everySlice(slicing) : whole;
  return differingRuns(slicing, buckets, parts, await Promise.all(scans.map((scan) => scan.refine(buckets, parts))));
}

/**
 * Whether two tables of some slices differ by as much as the summaries of everything. The values of one sub-table add up to the low
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
