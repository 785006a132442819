import type { ConsistencyFacts, Operation } from '../domain/operation.ts';
import type { SessionHistory } from './session-history.ts';
import type { VersionOrder } from './version-order.ts';

/** One operation on one object, with what its detectors would each compute again. The engine fills one instance anew for every operation. */
export interface KeyedStep {
  readonly operation: Operation;
  readonly facts: ConsistencyFacts;
  /** Row of the object while it is remembered; given out again when it has been forgotten. */
  readonly object: number;
  /** 64 bits that stand for object type and key, and for those with the session. */
  readonly objectLow: number;
  readonly objectHigh: number;
  readonly pairLow: number;
  readonly pairHigh: number;
  /** Nothing names the session: it is the trace. */
  readonly isTraceSession: boolean;
  /** The version as a number; NaN where it is opaque, absent, or an integer that a double does not hold. */
  readonly order: number;
  readonly isWrite: boolean;
  /** A write of a transaction that committed, as far as is known. */
  readonly isCommittedWrite: boolean;
  readonly versions: VersionOrder;
  /**
   * When the object had surely been deleted for the last time, as far as is known, or may have been where the step found nothing; -Infinity where it was not. Versions
   * of its life before say nothing of the one that follows.
   */
  readonly goneUs: number;
  /** The highest integer version that the life before may have had; -Infinity where there was none. */
  readonly goneOrder: number;
  /** Deleted, and not seen to have been made again. */
  readonly isGone: boolean;
  /** What the session did on the object before. */
  readonly sessions: SessionHistory;
}
