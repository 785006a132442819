import type { Replica } from '../../domain/collection.ts';
import type { RangeDigest, RowDigest } from '../../domain/digest.ts';
import type { Position } from '../../domain/divergence.ts';
import type { Effect } from '../../domain/effect.ts';
import type { KeyRange } from '../../domain/key-range.ts';
import type { Key, Row, Shape } from '../../domain/row.ts';

/** What became of a batch of effects on the target. All of them, or none. */
export type ApplyResult =
  | { readonly is: 'applied'; readonly rows: number }
  /** Every row already is as the effects leave it: an earlier attempt went through. */
  | { readonly is: 'already-applied'; readonly rows: number }
  | { readonly is: 'changed-since-read'; readonly keys: readonly Key[] };

/** A row and the digest that compare-and-set checks. */
export interface ReadRow {
  readonly key: Key;
  readonly row: Row;
  readonly digest: RowDigest;
}

/**
 * An open connection to one replica of one collection: the port that each connector implements and
 * `test/conformance/replica.ts` tries. Every call takes an AbortSignal; failures of the world throw `Failure`.
 */
export interface ReplicaConnection {
  readonly replica: Replica;
  /** The compared columns. Throws `Failure('no-key' | 'unsupported-column' | 'no-table' ...)`, one sentence each. */
  describe(signal: AbortSignal): Promise<Shape>;
  /** How far this replica has come. */
  position(signal: AbortSignal): Promise<Position>;
  /** Whether this replica has passed a position read on another one. Wall-clock positions pass when the staleness budget is over. */
  hasPassed(position: Position, stalenessMs: number, signal: AbortSignal): Promise<boolean>;
  /** One digest a range, computed inside the store. */
  digest(shape: Shape, ranges: readonly KeyRange[], signal: AbortSignal): Promise<readonly RangeDigest[]>;
  /** The rows of `keys` that exist. */
  readRows(shape: Shape, keys: readonly Key[], signal: AbortSignal): Promise<readonly ReadRow[]>;
  /**
   * All effects in one transaction, each with compare-and-set on the digest of the row; marked so that replication does not echo
   * it where the engine can. A batch that was applied before answers `already-applied`.
   */
  apply(shape: Shape, effects: readonly Effect[], signal: AbortSignal): Promise<ApplyResult>;
  close(): Promise<void>;
}
