/** Compares ranges of written keys: a sketch of each on every replica, and the rows of what differs, as suspects. */
import type { Clock } from '../base/clock.ts';
import type { Collection } from '../domain/collection.ts';
import type { Divergence } from '../domain/divergence.ts';
import type { Key, Shape } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';
import { compareReplicas } from './compare.ts';
import { type DirtyRange, widthOf } from './dirty-ranges.ts';

/** Ranges that take up more of the keys than this are no cheaper than all of them. */
const mostOfAll = 0.5;

/** Why all has to be compared instead, in half a sentence; undefined where the ranges are worth it. */
export async function whyNotRanges(
  shape: Shape,
  ranges: readonly DirtyRange[],
  connections: readonly ReplicaConnection[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const [name, another] = shape.key;
  const isWhole = another === undefined && shape.columns.find((column) => column.name === name)?.type === 'int';
  if (!isWhole) return 'more keys were written than are compared one by one, and their order says nothing of what lies between them';
  const spans = await Promise.all(
    connections.map(async ({ sketching }) =>
      sketching === undefined || !(await sketching.slicesByKey(shape, signal))
        ? undefined
        : sketching.keySpan(shape, { after: null, upTo: null }, signal),
    ),
  );
  const widths = spans.flatMap((span) => (span === undefined ? [] : [Number(span.high - span.low + 1n)]));
  if (widths.length === 0) return 'more keys were written than are compared one by one, and no replica has them in order';
  return Number(widthOf(ranges)) > mostOfAll * Math.max(...widths)
    ? 'more keys were written than are compared one by one, all over the collection'
    : undefined;
}

export interface RangesOptions {
  readonly collection: Collection;
  readonly connections: readonly ReplicaConnection[];
  readonly shape: Shape;
  readonly ranges: readonly DirtyRange[];
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** What differs in them, at first sight. */
export async function* compareRanges(
  options: RangesOptions,
): AsyncGenerator<{ readonly divergences: readonly Divergence[]; readonly sinceMs: number }> {
  const { collection, connections, clock, signal, shape } = options;
  const [name = ''] = shape.key;
  const keyOf = (value: bigint): Key => ({ [name]: value.toString() });
  for (const { low, high, sinceMs } of options.ranges) {
    const range = { after: keyOf(low - 1n), upTo: keyOf(high) };
    let batch: Divergence[] = [];
    for await (const one of compareReplicas({ collection, connections, stalenessMs: 0, clock, signal, confirm: 'none', range })) {
      batch.push(one);
      if (batch.length < 500) continue;
      yield { divergences: batch, sinceMs };
      batch = [];
    }
    if (batch.length > 0) yield { divergences: batch, sinceMs };
  }
}
