/**
 * A comparison in chunks of key ranges: each takes about `TARGET_MS`, so that a statement stays below the server's time limit, snapshots
 * stay short, progress can be told, and what was done is not lost when the comparison is. Small tables, and stores whose keys no index
 * gives in order, are one chunk. Before each chunk servers that are busy with others, or whose replication is behind, are left alone
 * for a while: no snapshot is open then. Who stays busy gets smaller chunks.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import type { Throttle } from '../domain/collection.ts';
import type { KeyRange } from '../domain/key-range.ts';
import type { Key, Shape } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';

export interface ChunkOptions {
  readonly shape: Shape;
  readonly stores: readonly ReplicaConnection[];
  readonly range: KeyRange;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly throttle?: Throttle;
  /** Called while it waits, with what for, in half a sentence. */
  readonly onPause?: (says: string) => void;
}

export interface Chunk {
  readonly range: KeyRange;
  /** Rows that it was made for on the store that was asked; fewer in the last one. */
  readonly rows: number;
}

const TARGET_MS = 10_000;
/** Tables up to this size are one chunk: a summary each time would cost more than it saves. */
const SINGLE_CHUNK_ROWS = 8_000_000;
const FIRST_CHUNK_ROWS = 1_000_000;
/** Below this a time limit is not a matter of size. */
const LEAST_CHUNK_ROWS = 10_000;
const MOST_CHUNK_ROWS = 64_000_000;
/** As other tools have it. */
const DEFAULT_THROTTLE: Throttle = { maxLagMs: 10_000, maxStatements: 25, maxPauseMs: 60_000 };
/** Between two questions to a server that is given a rest. */
const ASK_MS = 500;

export class ChunkWalk {
  readonly #options: ChunkOptions;
  readonly #guide: ReplicaConnection | undefined;
  #rows: number;
  /** What a time limit has ended is not tried again. */
  #most = MOST_CHUNK_ROWS;
  #after: Key | null;
  #current: { readonly chunk: Chunk; readonly startedMs: number } | undefined;
  #isOver = false;

  private constructor(options: ChunkOptions, guide: ReplicaConnection | undefined, rows: number) {
    this.#options = options;
    this.#guide = guide;
    this.#rows = rows;
    this.#after = options.range.after;
  }

  /** `singleRows`: what is one chunk without asking, for tests. */
  static async open(options: ChunkOptions, singleRows = SINGLE_CHUNK_ROWS): Promise<ChunkWalk> {
    const { stores, signal } = options;
    const [guide] = stores;
    const isOrdered = stores.length > 0 && stores.every((store) => store.boundary !== undefined);
    const most = isOrdered
      ? Math.max(...(await Promise.all(stores.map(async (store) => (await store.estimatedRows?.(signal)) ?? Infinity))))
      : 0;
    const first = Math.min(FIRST_CHUNK_ROWS, singleRows);
    return most > singleRows ? new ChunkWalk(options, guide, first) : new ChunkWalk(options, guide, Infinity);
  }

  /** The next chunk; undefined after the last. */
  async next(): Promise<Chunk | undefined> {
    const { clock, range } = this.#options;
    const last = this.#current;
    if (last !== undefined) {
      const tookMs = Math.max(1, clock.monotonicMs() - last.startedMs);
      const wanted = Number.isFinite(this.#rows) ? this.#rows * Math.min(4, TARGET_MS / tookMs) : this.#rows;
      this.#rows = Number.isFinite(wanted) ? Math.round(Math.min(this.#most, Math.max(LEAST_CHUNK_ROWS, wanted))) : wanted;
      this.#after = last.chunk.range.upTo;
      if (this.#isOver) return undefined;
    }
    if (!(await rested(this.#options)) && Number.isFinite(this.#rows)) this.#rows = Math.max(LEAST_CHUNK_ROWS, Math.round(this.#rows / 2));
    const bound = await this.#bound();
    this.#isOver = bound === undefined;
    const chunk = { range: { after: this.#after, upTo: bound ?? range.upTo }, rows: this.#rows };
    this.#current = { chunk, startedMs: clock.monotonicMs() };
    return chunk;
  }

  /** Finding the bound walks over all keys before it: it can take too long as well. */
  async #bound(): Promise<Key | undefined> {
    const { shape, range, signal } = this.#options;
    while (Number.isFinite(this.#rows)) {
      try {
        return await this.#guide?.boundary?.(shape, { ...range, after: this.#after }, this.#rows, signal);
      } catch (error) {
        if (!(await this.shrink(error))) throw error;
      }
    }
    return undefined;
  }

  /** After a failure of the chunk: true where a smaller one is worth trying, which the next call of `next` gives. */
  async shrink(error: unknown): Promise<boolean> {
    if (!(error instanceof Failure) || error.code !== 'statement-timeout' || this.#guide?.boundary === undefined) return false;
    const known = Number.isFinite(this.#rows) ? this.#rows : ((await this.#guide.estimatedRows?.(this.#options.signal)) ?? 0);
    const half = Math.floor(Math.max(known, LEAST_CHUNK_ROWS * 2) / 4);
    if (half < LEAST_CHUNK_ROWS || this.#rows <= LEAST_CHUNK_ROWS) return false;
    this.#rows = half;
    this.#most = half;
    this.#current = undefined;
    return true;
  }
}

/** Waits until all stores have time for us; false where one of them had none for as long as we wait. */
async function rested({ stores, clock, signal, throttle = DEFAULT_THROTTLE, onPause }: ChunkOptions): Promise<boolean> {
  const untilMs = clock.monotonicMs() + throttle.maxPauseMs;
  if (throttle.maxPauseMs === 0) return true;
  for (;;) {
    const reasons = await Promise.all(stores.map((store) => whyBusy(store, throttle, signal)));
    const because = reasons.find((reason) => reason !== undefined);
    if (because === undefined) return true;
    if (clock.monotonicMs() >= untilMs) return false;
    onPause?.(because);
    await sleep(Math.max(1, Math.min(ASK_MS, untilMs - clock.monotonicMs())), undefined, { signal });
  }
}

async function whyBusy(store: ReplicaConnection, throttle: Throttle, signal: AbortSignal): Promise<string | undefined> {
  const pressure = await store.pressure?.(signal);
  if (pressure === undefined) return undefined;
  if (pressure.statements > throttle.maxStatements) return `${store.replica.id} runs ${pressure.statements} statements of others`;
  if (pressure.lagMs !== undefined && pressure.lagMs > throttle.maxLagMs)
    return `replication of ${store.replica.id} is ${Math.round(pressure.lagMs / 1_000)} s behind`;
  return undefined;
}
