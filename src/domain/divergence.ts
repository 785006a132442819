import type { Key, Row } from './row.ts';

/** `missing`: some replica lacks the row; `extra`: the authority lacks it; `different`: all have it, values differ. */
export type DivergenceKind = 'missing' | 'extra' | 'different';

/** A replica's own measure of how far it has come: a PostgreSQL LSN, a GTID set, or a wall clock where it has neither. */
export interface Position {
  readonly is: 'lsn' | 'gtid' | 'wall-clock';
  readonly text: string;
  /** Wall clock of the reading, milliseconds. */
  readonly atMs: number;
}

export interface Divergence {
  readonly collection: string;
  readonly key: Key;
  readonly is: DivergenceKind;
  /** Replica id -> its row, or null where it has none. */
  readonly replicas: Readonly<Record<string, Row | null>>;
  /** Columns whose values differ; empty for missing and extra. */
  readonly columns: readonly string[];
  /** `suspected` until each replica has passed the position at which it was seen and it is still there, unchanged. */
  readonly status: 'suspected' | 'confirmed';
  readonly seenAt: Readonly<Record<string, Position>>;
  readonly firstSeenMs: number;
  /** Replica id -> the store's mark of the version of the row that was read, where it has one. Not kept: it only tells two looks apart. */
  readonly stamps?: Readonly<Record<string, string>>;
}
