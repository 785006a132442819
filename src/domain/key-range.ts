import type { Key } from './row.ts';

/** Keys with `after` < key <= `upTo` in the collection's key order; a null bound is open. */
export interface KeyRange {
  readonly after: Key | null;
  readonly upTo: Key | null;
}

export const everyKey: KeyRange = { after: null, upTo: null };
