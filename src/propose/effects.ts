import { invariant } from '../base/assert.ts';
import type { RowDigest } from '../domain/digest.ts';
import type { Effect } from '../domain/effect.ts';
import { type Key, keyText, type Row, type Shape } from '../domain/row.ts';
import { rowDigest } from '../domain/row-encoding.ts';
import type { Situation } from './strategy.ts';

export interface Decision {
  readonly key: Key;
  /** null: the key should be absent. */
  readonly wanted: Row | null;
  readonly on?: readonly string[];
}

/**
 * The effects that bring each decided key to the wanted row on the replicas concerned: one effect for each replica whose row
 * differs, none where it is right already. In key order, then replica order, so that the same decisions have the same digest.
 * A cache is emptied, never written: what it loads next is newer than anything that a repair could have read.
 */
export function effectsToward(situation: Situation, decisions: readonly Decision[]): readonly Effect[] {
  const { collection, shape } = situation;
  const caches = new Set(collection.replicas.filter((replica) => replica.role === 'cache').map((replica) => replica.id));
  const rowsByKey = new Map(situation.divergences.map((divergence) => [keyText(shape.key, divergence.key), divergence.replicas]));
  const effects: { readonly order: string; readonly effect: Effect }[] = [];
  for (const decision of decisions) {
    const text = keyText(shape.key, decision.key);
    const replicas = rowsByKey.get(text);
    invariant(replicas !== undefined, 'a strategy decides only keys of its case', { collection: collection.name });
    const right = digestOrAbsent(shape, decision.wanted);
    for (const replica of (decision.on ?? Object.keys(replicas)).toSorted()) {
      const before = replicas[replica];
      invariant(before !== undefined, 'a strategy decides only replicas that were compared', { collection: collection.name, replica });
      const expects = digestOrAbsent(shape, before);
      if (expects === right || (before === null && caches.has(replica))) continue;
      const after = caches.has(replica) ? null : decision.wanted;
      effects.push({
        order: text,
        effect: {
          replica,
          collection: collection.name,
          key: decision.key,
          kind: before === null ? 'insert' : after === null ? 'delete' : 'update',
          expects,
          before,
          after,
          leaves: after === null ? null : right,
        },
      });
    }
  }
  return effects.toSorted((a, b) => (a.order < b.order ? -1 : a.order > b.order ? 1 : 0)).map(({ effect }) => effect);
}

export function digestOrAbsent(shape: Shape, row: Row | null): RowDigest | null {
  return row === null ? null : rowDigest(shape, row);
}
