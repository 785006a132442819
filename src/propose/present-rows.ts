import type { ColumnClass } from '../domain/collection.ts';
import type { Divergence } from '../domain/divergence.ts';
import type { Row } from '../domain/row.ts';
import { sourcesOf } from './replica-roles.ts';
import { tombstoneColumn } from './row-clock.ts';
import type { Situation } from './strategy.ts';

export interface PresentRow {
  readonly replica: string;
  readonly row: Row;
}

export type PresentRows =
  | { readonly is: 'rows'; readonly rows: readonly PresentRow[] }
  | { readonly is: 'undecided'; readonly because: string };

/** Columns whose values are joined, never chosen: copying one replica's counter over another's loses what the other counted. */
const joinedClasses: readonly ColumnClass[] = ['counter', 'set', 'register-max', 'register-min'];

/** A column of such a class in which the sources differ; null where copying a whole row loses nothing of that kind. */
export function joinedColumnThatDiffers(divergence: Divergence, situation: Situation): string | null {
  const rows = sourcesOf(divergence, situation.collection).flatMap((replica) => {
    const row = divergence.replicas[replica] ?? null;
    return row === null ? [] : [row];
  });
  const column = situation.shape.columns.find(
    ({ name }) =>
      joinedClasses.includes(situation.collection.columnClasses[name] ?? 'plain') && new Set(rows.map((row) => row[name] ?? null)).size > 1,
  );
  return column?.name ?? null;
}

/**
 * The rows that sources hold, for strategies that decide by comparing rows. An absent row says nothing to compare: it may be an
 * insert that never came or a delete that did. Where deletes leave a tombstone, a row that is absent was never there.
 */
export function presentRows(divergence: Divergence, situation: Situation): PresentRows {
  const sources = sourcesOf(divergence, situation.collection);
  const rows = sources.flatMap((replica) => {
    const row = divergence.replicas[replica] ?? null;
    return row === null ? [] : [{ replica, row }];
  });
  if (rows.length === 0) return { is: 'undecided', because: 'no replica has the row' };
  if (rows.length < sources.length && tombstoneColumn(situation) === null) {
    return { is: 'undecided', because: 'a missing row has no clock, and without a tombstone column it may have been deleted' };
  }
  return { is: 'rows', rows };
}
