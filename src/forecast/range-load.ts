import { slots, slotsOfBucket } from './key-slot.ts';
import type { Subject } from './suggester.ts';

/** A part of the key space that one node serves, with the load of each of its buckets, all regions together. */
export interface RangeLoad {
  /** Id of the node; empty where the collection is taken to be one range. */
  readonly node: string;
  readonly says: string;
  /** Bucket -> load of each step. */
  readonly buckets: ReadonlyMap<number, readonly number[]>;
  readonly total: readonly number[];
  /** Whether its slots are one unbroken stretch, and which. */
  readonly stretch: readonly [number, number] | null;
}

/** Under this many steps nothing is suggested: what was just changed has not shown itself yet, and what is new has no past. */
export const leastSteps = 48;

/** One range a node where the cluster says who serves what, else one for the whole collection. */
export function rangesOf(subject: Subject): readonly RangeLoad[] {
  const steps = subject.latencyP95Ms.length;
  const byBucket = new Map<number, number[]>();
  for (const { bucket, operations } of subject.history) {
    if (bucket < 0) continue;
    const sum = byBucket.get(bucket) ?? Array.from({ length: steps }, () => 0);
    for (let i = 0; i < steps; i += 1) sum[i] = (sum[i] ?? 0) + (operations[i] ?? 0);
    byBucket.set(bucket, sum);
  }
  const order = [...byBucket].toSorted(([a], [b]) => a - b);
  const rangeOf = (node: string, says: string, own: typeof order, stretch: RangeLoad['stretch']): RangeLoad => ({
    node,
    says,
    buckets: new Map(own),
    total: sumOfLists(
      own.map(([, values]) => values),
      steps,
    ),
    stretch,
  });
  if (subject.cluster === undefined) return [rangeOf('', '', order, [0, slots - 1])];
  return subject.cluster.nodes.map(({ id, says, slots: served }) => {
    // A bucket belongs to the node that serves its first slot: bucket borders are finer than those of most clusters.
    const own = order.filter(([bucket]) => {
      const [first] = slotsOfBucket(bucket, subject.buckets);
      return served.some(([from, to]) => first >= from && first <= to);
    });
    const [only] = served;
    return rangeOf(id, says, own, served.length === 1 && only !== undefined ? [only[0], only[1]] : null);
  });
}

/** Whether the placement was changed so lately that what it brought is not in the record yet. */
export function isYoung(subject: Subject): boolean {
  if (subject.latencyP95Ms.length < leastSteps) return true;
  return subject.movedAtMs !== undefined && subject.nowMs - subject.movedAtMs < leastSteps * subject.stepMs;
}

/** The largest load of the last day: memory over the window, not the last value. */
export function recentHigh(load: readonly number[], stepMs: number): number {
  return Math.max(0, ...load.slice(-Math.max(12, Math.round(86_400_000 / stepMs))));
}

export function sumOfLists(lists: readonly (readonly number[])[], steps: number): number[] {
  return Array.from({ length: steps }, (_, i) => lists.reduce((sum, list) => sum + (list[i] ?? 0), 0));
}

export const sumOf = (list: readonly number[]): number => list.reduce((sum, value) => sum + value, 0);

export const sayRate = (perSecond: number): string => `${perSecond >= 100 ? Math.round(perSecond) : perSecond.toPrecision(2)} operations/s`;

export const sayPercent = (part: number, whole: number): string => `${whole > 0 ? Math.min(100, Math.round((100 * part) / whole)) : 0} %`;

/** Load per step of the key that is hottest over the whole record, per bucket at most one. */
export function hottestKeyLoad(subject: Subject): { readonly bucket: number; readonly load: readonly number[] } | null {
  let best: { bucket: number; load: readonly number[]; sum: number } | null = null;
  for (const { bucket, operations, hottestKeyShare } of subject.history) {
    if (bucket < 0) continue;
    const load = operations.map((value, i) => value * (hottestKeyShare[i] ?? 0));
    const sum = sumOf(load);
    if (best === null || sum > best.sum) best = { bucket, load, sum };
  }
  return best;
}
