import type { Replica } from '../../domain/collection.ts';
import type { RangeDigest, RowDigest } from '../../domain/digest.ts';
import type { Position } from '../../domain/divergence.ts';
import type { Effect } from '../../domain/effect.ts';
import type { KeyRange } from '../../domain/key-range.ts';
import type { Key, Row, Shape } from '../../domain/row.ts';
import type { SketchTable, Summary } from '../../domain/sketch.ts';
import type { SliceRun, Slicing } from '../../domain/slicing.ts';

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
  /** The store's own mark of this version of the row, another after every write; absent where it has none. */
  readonly stamp?: string;
}

/** Which version of a row there is, without its values. */
export type RowMark = Omit<ReadRow, 'row'>;

/** What a row is compared by before it is fetched. */
export interface Entry {
  readonly key: Key;
  readonly digest: RowDigest;
}

/**
 * Rows by the place of their key: bucket = (first 64 bits of the key digest) modulo `buckets`. `only`: the buckets that are wanted,
 * all where it is absent.
 */
export interface BucketChoice {
  readonly buckets: number;
  readonly only?: readonly number[];
}

/** `native`: the engine's own, fast, for replicas of one family; `canonical`: row encoding v1, the same everywhere. */
export type SketchHash = 'native' | 'canonical';

/** Sketches (`domain/sketch.ts`), for stores that can make them: bytes then grow with the differences, not with the rows. */
export interface Sketching {
  /** Replicas with the same text here have the same native hash for this shape; 'none': no sketches of this shape are made here. */
  family(shape: Shape, signal: AbortSignal): Promise<string>;
  /** Whether the key is one integer that an index orders. */
  slicesByKey(shape: Shape, signal: AbortSignal): Promise<boolean>;
  /** The lowest and highest key of the range, where rows can be sliced by key and there are any. */
  keySpan(shape: Shape, range: KeyRange, signal: AbortSignal): Promise<{ readonly low: bigint; readonly high: bigint } | undefined>;
  /** Scans the range in a snapshot that stays until the scan is closed. */
  scan(shape: Shape, range: KeyRange, hash: SketchHash, slicing: Slicing, signal: AbortSignal): Promise<SketchScan>;
  /** p of a key word, for peeling. */
  placeOf(shape: Shape, hash: SketchHash): (key: bigint) => bigint;
  /** One hash of the row a key, in order, computed in the store; null where it has no such row. Absent: rows have to be read. */
  hashKeys?(shape: Shape, hash: SketchHash, keys: readonly Key[], signal: AbortSignal): Promise<readonly (string | null)[]>;
  /** The keys that this replica holds behind key words. */
  locate(shape: Shape, range: KeyRange, hash: SketchHash, words: readonly bigint[], signal: AbortSignal): Promise<readonly Key[]>;
}

/** One scanned range of one replica. Calls come one after the other; the caller closes it. */
export interface SketchScan {
  readonly summary: Summary;
  /** Fingerprints of the parts (a power of two, at most the slices of a bucket) of each of these buckets, in order. */
  refine(buckets: readonly number[], parts: number): Promise<Uint16Array>;
  /** A table of the rows in these slices. */
  table(runs: readonly SliceRun[], cells: number): Promise<SketchTable>;
  close(): Promise<void>;
}

/** What a comparison gives way to. */
export interface Pressure {
  /** Statements of others that the server is busy with. */
  readonly statements: number;
  /**
   * How far it is behind what it follows, or its followers are behind it, milliseconds, less what they are meant to be behind; undefined
   * where it is not told to this user, or where nothing follows.
   */
  readonly lagMs: number | undefined;
}

/** What a connector has moved and looked at since it was opened. */
export interface ReplicaCounters {
  rowsScanned: number;
  /** Bytes received from the store, protocol included where it can be measured. */
  bytesMoved: number;
  rowsFetched: number;
}

/**
 * An open connection to one replica of one collection: the port that each connector implements and
 * `test/conformance/replica.test.ts` tries. Every call takes an AbortSignal; failures of the world throw `Failure`.
 */
export interface ReplicaConnection {
  readonly replica: Replica;
  readonly counters: Readonly<ReplicaCounters>;
  /** The compared columns. Throws `Failure('no-key' | 'unsupported-column' | 'no-table' ...)`, one sentence each. */
  describe(signal: AbortSignal): Promise<Shape>;
  /** How far this replica has come. */
  position(signal: AbortSignal): Promise<Position>;
  /** Whether this replica has passed a position read on another one. Wall-clock positions pass when the staleness budget is over. */
  hasPassed(position: Position, stalenessMs: number, signal: AbortSignal): Promise<boolean>;
  /** One digest a range, computed inside the store. */
  digest(shape: Shape, ranges: readonly KeyRange[], signal: AbortSignal): Promise<readonly RangeDigest[]>;
  /** One digest a bucket of the range (index = bucket), from one scan inside the store. */
  digestBuckets(shape: Shape, range: KeyRange, buckets: number, signal: AbortSignal): Promise<readonly RangeDigest[]>;
  /** Absent where the store computes nothing. */
  readonly sketching?: Sketching;
  /** Keys and row digests of the chosen buckets of the range, in batches, in no particular order. */
  entries(shape: Shape, range: KeyRange, choice: BucketChoice, signal: AbortSignal): AsyncIterable<readonly Entry[]>;
  /** All entries of the range in key order, in batches; absent where the store has no order. */
  readonly entriesInOrder?: (shape: Shape, range: KeyRange, signal: AbortSignal) => AsyncIterable<readonly Entry[]>;
  /**
   * The key that is `rows` keys after the lower bound of the range, so that a comparison can go by chunks; undefined where fewer are
   * left, or no index gives keys in order. Absent where the store has no order.
   */
  readonly boundary?: (shape: Shape, range: KeyRange, rows: number, signal: AbortSignal) => Promise<Key | undefined>;
  /** Rows by the engine's statistics; 0 where it has none. */
  readonly estimatedRows?: (signal: AbortSignal) => Promise<number>;
  /** What the server has to do beside us; absent where it does not tell. */
  readonly pressure?: (signal: AbortSignal) => Promise<Pressure>;
  /** The rows of `keys` that exist. */
  readRows(shape: Shape, keys: readonly Key[], signal: AbortSignal): Promise<readonly ReadRow[]>;
  /** The same without values, for a second look: absent where the store computes no digests. */
  readonly readMarks?: (shape: Shape, keys: readonly Key[], signal: AbortSignal) => Promise<readonly RowMark[]>;
  /**
   * All effects in one transaction, each with compare-and-set on the digest of the row; marked so that replication does not echo
   * it where the engine can. A batch that was applied before answers `already-applied`.
   */
  apply(shape: Shape, effects: readonly Effect[], signal: AbortSignal): Promise<ApplyResult>;
  close(): Promise<void>;
}
