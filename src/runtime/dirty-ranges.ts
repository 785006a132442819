/**
 * Many written keys as few ranges of keys: rows that are written together mostly stand together (new ones at the end, a batch job in
 * between), and a comparison of those ranges reads a part of the collection instead of all of it. Whole keys alone: other orders say
 * nothing of how much lies between two keys.
 */

export interface DirtyRange {
  /** Both ends included. */
  readonly low: bigint;
  readonly high: bigint;
  /** Monotonic time of the oldest write in it. */
  readonly sinceMs: number;
}

/** Each is a comparison of its own, with a round trip or three. */
export const mostDirtyRanges = 32;

/** The ranges that hold all of these, split at the widest gaps; ascending and apart from each other. */
export function coverRanges(parts: readonly DirtyRange[], most = mostDirtyRanges): readonly DirtyRange[] {
  const sorted = parts.toSorted((a, b) => (a.low < b.low ? -1 : a.low > b.low ? 1 : 0));
  const apart: DirtyRange[] = [];
  for (const part of sorted) {
    const last = apart.at(-1);
    if (last !== undefined && part.low <= last.high + 1n) apart[apart.length - 1] = joined(last, part);
    else apart.push(part);
  }
  if (apart.length <= most) return apart;
  const gaps = apart.slice(1).map((range, at) => ({ at, gap: range.low - (apart[at]?.high ?? range.low) }));
  const splits = new Set(
    gaps
      .toSorted((a, b) => (a.gap > b.gap ? -1 : a.gap < b.gap ? 1 : 0))
      .slice(0, most - 1)
      .map(({ at }) => at),
  );
  const covered: DirtyRange[] = [];
  for (const [at, range] of apart.entries()) {
    const last = covered.at(-1);
    if (last === undefined || splits.has(at - 1)) covered.push(range);
    else covered[covered.length - 1] = joined(last, range);
  }
  return covered;
}

function joined(a: DirtyRange, b: DirtyRange): DirtyRange {
  return { low: a.low, high: a.high > b.high ? a.high : b.high, sinceMs: Math.min(a.sinceMs, b.sinceMs) };
}

export function isIn(ranges: readonly DirtyRange[], key: bigint): boolean {
  return ranges.some(({ low, high }) => low <= key && key <= high);
}

/** How many keys there can be in all of them. */
export function widthOf(ranges: readonly DirtyRange[]): bigint {
  return ranges.reduce((sum, { low, high }) => sum + high - low + 1n, 0n);
}
