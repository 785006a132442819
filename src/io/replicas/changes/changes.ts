import type { Collection, Engine, Replica } from '../../../domain/collection.ts';
import type { Key, Shape } from '../../../domain/row.ts';

/** One replica whose writes are told. `shape` gives the key columns their canonical types. */
export interface WatchedReplica {
  readonly collection: Collection;
  readonly replica: Replica;
  readonly shape: Shape;
}

/** What a feed tells. Calls come in commit order, and only of transactions that committed. */
export interface ChangeSink {
  /**
   * From here on every write is told. `missed`: why writes since the position that the feed was asked to go on from are not, in half a
   * sentence; undefined where none was lost.
   */
  started(missed: string | undefined): void;
  /** A row was written. The key is in canonical text. */
  key(watched: WatchedReplica, key: Key): void;
  /** Any row of this replica can have changed: a truncate, a change that does not say which row it is. */
  everything(watched: WatchedReplica, because: string): void;
  /** This replica is not watched, and why, with what to do; the others of the store are. */
  refused(watched: WatchedReplica, because: string): void;
  /** Something was made in the store, by this statement; it stays there. */
  made(watched: WatchedReplica, statement: string): void;
  /** Everything up to this position has been told. */
  reached(position: string): void;
  /** How much the store keeps for us because we have not let go of it, bytes. */
  retained(bytes: number): void;
}

export interface FeedOptions {
  /** Replicas in one store: the same engine and url. One or more. */
  readonly watched: readonly WatchedReplica[];
  /** Names what is made in the store: eight hexadecimal digits, the same for all processes of one installation. */
  readonly installation: string;
  /** Beyond this many bytes kept for us the feed gives up, with a failure that says so, before the store's disk is full. */
  readonly maxRetainedBytes: number;
  /**
   * Whether what is made in the store outlives our connection although the store itself puts no limit to what it keeps for us: a service
   * that never comes back then fills its disk.
   */
  readonly isDurable: boolean;
  /** The last position that was dealt with, or null where there is none. */
  readonly from: string | null;
  /** The furthest position that the store may forget, asked for now and then; null where none is yet. */
  readonly settled: () => string | null;
  readonly sink: ChangeSink;
  readonly signal: AbortSignal;
}

/** How one engine tells its writes. Each is tried by `test/conformance/change-feed.test.ts`. */
export interface ChangeFeed {
  readonly engine: Engine;
  /** `pgoutput`, `binlog` ... */
  readonly id: string;
  readonly title: string;
  readonly sentence: string;
  /** What the store must allow, in one line for the documentation. */
  readonly needs: string;
  /** Whether what was written while nobody listened is told afterwards. */
  readonly survivesRestart: boolean;
  /** Tells writes until the signal aborts (then it returns) or the feed is lost: throws `Failure`, and can be run again. */
  run(options: FeedOptions): Promise<void>;
  /** Why these replicas' writes would not be told, with what to do; undefined where they would. Changes nothing in the store. */
  whyNot(watched: WatchedReplica, signal: AbortSignal): Promise<string | undefined>;
  /** Takes away whatever an earlier `run` of this installation made in the store of this replica. */
  remove(replica: Replica, installation: string, signal: AbortSignal): Promise<void>;
}
