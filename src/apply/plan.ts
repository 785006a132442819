import { invariant } from '../base/assert.ts';
import type { Effect } from '../domain/effect.ts';

/** One transaction on one replica. */
export interface Batch {
  readonly index: number;
  readonly replica: string;
  readonly effects: readonly Effect[];
  /** Canary batches come first and are verified before anything else is touched. */
  readonly isCanary: boolean;
}

export interface BatchOptions {
  /** Rows a replica tries first. A fault in a strategy or a mapping shows in the first rows; ten are cheap to undo. */
  readonly canaryRows?: number;
  /** Rows in one transaction. Long transactions hold locks and swell the log; 500 rows take a few tens of ms. */
  readonly batchRows?: number;
}

/**
 * Canary rows on every replica, then batches, in the order of the effects: the same effects always give the same batches, so that
 * a worker that starts again finds each batch either applied as a whole or not at all. A repair no larger than its canary is one
 * batch a replica.
 */
export function planBatches(effects: readonly Effect[], options: BatchOptions = {}): readonly Batch[] {
  const canaryRows = options.canaryRows ?? 10;
  const batchRows = options.batchRows ?? 500;
  invariant(canaryRows >= 1 && batchRows >= 1, 'batches hold at least one row', { canaryRows, batchRows });
  const byReplica = [...Map.groupBy(effects, (effect) => effect.replica)].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const canaries = byReplica.map(([replica, list]) => ({
    replica,
    effects: list.slice(0, canaryRows),
    isCanary: list.length > canaryRows,
  }));
  const rest = byReplica.flatMap(([replica, list]) =>
    chunks(list.slice(canaryRows), batchRows).map((chunk) => ({ replica, effects: chunk, isCanary: false })),
  );
  const batches = [...canaries, ...rest].map((batch, index) => ({ index, ...batch }));
  invariant(batches.reduce((sum, batch) => sum + batch.effects.length, 0) === effects.length, 'every effect is in exactly one batch');
  return batches;
}

function chunks<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  const parts: (readonly T[])[] = [];
  for (let start = 0; start < items.length; start += size) parts.push(items.slice(start, start + size));
  return parts;
}
