import type { Operation } from './operation.ts';

/** The operations of one trace, or of a stretch of it, without duplicates and in order of start. */
export interface OrderedTrace {
  readonly traceId: string;
  readonly operations: readonly Operation[];
  /** Position of the parent of each operation, -1 where it has none here. */
  readonly parentOf: readonly number[];
  /** Operations whose parent is not here. */
  readonly missingParents: number;
  /** Dropped because they were there already. */
  readonly duplicates: number;
}
