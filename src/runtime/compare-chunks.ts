/**
 * A comparison in chunks of key ranges: each takes about `TARGET_MS`, so that a statement stays below the server's time limit, snapshots
 * stay short, progress can be told, and what was done is not lost when the comparison is. Small tables, and stores whose keys no index
 * gives in order, are one chunk. Between chunks servers that are busy with others are left alone for a while.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import type { KeyRange } from '../domain/key-range.ts';
import type { Key, Shape } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';

export interface ChunkOptions {
  readonly shape: Shape;
  readonly stores: readonly ReplicaConnection[];
  readonly range: KeyRange;
  readonly clock: Clock;
  readonly signal: AbortSignal;
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
/** As other tools have it: a server that runs more statements than this at a time is given a rest. */
const BUSY_STATEMENTS = 25;
const REST_MS = 1_000;
const LONGEST_REST_MS = 60_000;

export class ChunkWalk {
  readonly #options: ChunkOptions;
  readonly #guide: ReplicaConnection | undefined;
  #rows: number;
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
    const { clock, signal, shape, range, stores } = this.#options;
    const last = this.#current;
    if (last !== undefined) {
      const tookMs = Math.max(1, clock.monotonicMs() - last.startedMs);
      const wanted = Number.isFinite(this.#rows) ? this.#rows * Math.min(4, TARGET_MS / tookMs) : this.#rows;
      this.#rows = Number.isFinite(wanted) ? Math.round(Math.min(MOST_CHUNK_ROWS, Math.max(LEAST_CHUNK_ROWS, wanted))) : wanted;
      this.#after = last.chunk.range.upTo;
      if (this.#isOver) return undefined;
      for (const store of stores) await rest(store, clock, signal);
    }
    const bound = Number.isFinite(this.#rows)
      ? await this.#guide?.boundary?.(shape, { ...range, after: this.#after }, this.#rows, signal)
      : undefined;
    this.#isOver = bound === undefined;
    const chunk = { range: { after: this.#after, upTo: bound ?? range.upTo }, rows: this.#rows };
    this.#current = { chunk, startedMs: clock.monotonicMs() };
    return chunk;
  }

  /** After a failure of the chunk: true where a smaller one is worth trying, which the next call of `next` gives. */
  async shrink(error: unknown): Promise<boolean> {
    if (!(error instanceof Failure) || error.code !== 'statement-timeout' || this.#guide?.boundary === undefined) return false;
    const known = Number.isFinite(this.#rows) ? this.#rows : ((await this.#guide.estimatedRows?.(this.#options.signal)) ?? 0);
    const half = Math.floor(Math.max(known, LEAST_CHUNK_ROWS * 2) / 4);
    if (half < LEAST_CHUNK_ROWS || this.#rows <= LEAST_CHUNK_ROWS) return false;
    this.#rows = half;
    this.#current = undefined;
    return true;
  }
}

async function rest(store: ReplicaConnection, clock: Clock, signal: AbortSignal): Promise<void> {
  const untilMs = clock.monotonicMs() + LONGEST_REST_MS;
  while (clock.monotonicMs() < untilMs) {
    const running = await store.runningStatements?.(signal);
    if (running === undefined || running <= BUSY_STATEMENTS) return;
    await sleep(REST_MS, undefined, { signal });
  }
}
