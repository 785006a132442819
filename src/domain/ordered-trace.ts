import type { Operation } from './operation.ts';

/**
 * One for all traces alike: spans of the same descriptions in the same order of start and with the same parents, none of which is missing, and
 * `consistency.*` on the same of them. What follows from that alone is the same for each: whoever looks at traces keeps it here.
 */
export interface TraceShape {
  known: unknown;
}

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
  /** Absent where the trace is like no other, or that is not known. */
  readonly shape?: TraceShape | undefined;
}
