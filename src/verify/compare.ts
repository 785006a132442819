import type { RowDigest } from '../domain/digest.ts';
import type { Effect } from '../domain/effect.ts';
import type { Key } from '../domain/row.ts';

export type Comparison =
  | { readonly is: 'equal' }
  /** Effects whose row is not what they leave. */
  | { readonly is: 'not-equal'; readonly effects: readonly Effect[] };

/** What was left against what is found on a fresh read. `found` answers null for an absent row. */
export function compareAfter(effects: readonly Effect[], found: (replica: string, key: Key) => RowDigest | null): Comparison {
  const wrong = effects.filter((effect) => found(effect.replica, effect.key) !== effect.leaves);
  return wrong.length === 0 ? { is: 'equal' } : { is: 'not-equal', effects: wrong };
}
