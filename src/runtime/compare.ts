/**
 * One comparison of a collection's replicas: digests of hash buckets from one scan each; keys and digests of the buckets that differ;
 * rows of the keys that differ; and, where the caller waits, a second look at those keys once every replica has passed the positions
 * at which they were seen. Values travel only for keys that differ.
 */
import type { Clock } from '../base/clock.ts';
import type { Collection, Throttle } from '../domain/collection.ts';
import type { Divergence } from '../domain/divergence.ts';
import { everyKey, type KeyRange } from '../domain/key-range.ts';
import { type Key, keyText, type Shape } from '../domain/row.ts';
import { compareKeysInOrder } from '../io/replicas/key-order.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';
import { confirmDivergences } from './compare-confirm.ts';
import { readDivergences } from './compare-keys.ts';
import { agreedShape } from './compare-shape.ts';
import { ChunkWalk } from './compare-chunks.ts';
import { bucketKeys, differingEntries } from './compare-entries.ts';
import { commonHash, sketchDifference } from './compare-sketch.ts';

export { agreedShape } from './compare-shape.ts';
export { compareKeys } from './compare-keys.ts';
export { confirmDivergences } from './compare-confirm.ts';

export interface CompareSummary {
  readonly collection: string;
  readonly replicas: readonly string[];
  readonly shape: Shape;
  readonly rowsScanned: number;
  readonly bytesMoved: number;
  readonly rowsFetched: number;
  readonly rounds: number;
  readonly suspected: number;
  readonly confirmed: number;
  readonly healed: number;
  readonly flapping: number;
  readonly startedAtMs: number;
  readonly seconds: number;
}

export interface CompareProgress {
  readonly phase: 'pause' | 'digests' | 'keys' | 'rows' | 'confirm';
  readonly done: number;
  readonly of: number;
  readonly differing: number;
  /** Rows of the chunks that are done, and of all, by the statistics of the largest store; 0 where there are none. */
  readonly rowsDone: number;
  readonly rowsOf: number;
  /** What a pause is for. */
  readonly says?: string;
}

/** How far a comparison has come: all keys up to `after` have been compared, and what differed there has been yielded. */
export interface Checkpoint {
  readonly after: Key;
  readonly rowsDone: number;
  readonly rowsOf: number;
  readonly suspected: number;
}

export interface CompareOptions {
  readonly collection: Collection;
  readonly connections: readonly ReplicaConnection[];
  readonly stalenessMs: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** `wait`: until positions or the staleness budget have passed; `once`: one second look at once; `none`: first sight is all. */
  readonly confirm?: 'wait' | 'once' | 'none';
  readonly onProgress?: (progress: CompareProgress) => void;
  /** Only keys in this range; everything where absent. A comparison that was cut short goes on after its last checkpoint's key. */
  readonly range?: KeyRange;
  /** After each chunk but the last; the comparison waits for it. */
  readonly onCheckpoint?: (checkpoint: Checkpoint) => Promise<void> | void;
  /** Tables up to this many rows are compared in one chunk. */
  readonly singleChunkRows?: number;
  /** Whether a feed has told that the key with this text was written at this monotonic time or later. */
  readonly wasToldSince?: (text: string, sinceMs: number) => boolean;
}

const KEYS_PER_READ = 1_000;
/** Differences that wait for confirmation at once; a comparison with more confirms in between. Where nothing is waited for, fewer are held. */
const MAX_WAITING = { wait: 20_000, once: 2_000, none: 1 };

/**
 * `wait`: yields each difference as suspected when it is seen, and later again, as confirmed or (still in motion) as suspected with
 * its latest rows. `once` and `none`: yields each once, as suspected.
 */
export async function* compareReplicas(options: CompareOptions): AsyncGenerator<Divergence, CompareSummary> {
  const { collection, connections, clock, signal } = options;
  const startedAtMs = clock.nowMs();
  const startedMonotonicMs = clock.monotonicMs();
  const before = totals(connections);
  const shape = await agreedShape(collection, connections, signal);
  const tally = { rounds: 0, suspected: 0, confirmed: 0, healed: 0, flapping: 0 };

  const { stores, caches } = byRole(connections);
  const chunks = { rowsDone: 0, rowsOf: 0 };
  if (options.onProgress !== undefined || options.onCheckpoint !== undefined)
    chunks.rowsOf = Math.max(0, ...(await Promise.all(stores.map(async (store) => (await store.estimatedRows?.(signal)) ?? 0))));
  const progress: Progress = (phase, done, of, says) =>
    options.onProgress?.({ phase, done, of, differing: tally.suspected, ...chunks, ...(says === undefined ? {} : { says }) });

  let waiting: Divergence[] = [];
  let seenSinceMs = startedMonotonicMs;
  async function* confirmWaiting(): AsyncGenerator<Divergence> {
    if (waiting.length === 0) return;
    progress('confirm', 0, waiting.length);
    tally.rounds += 1;
    const stalenessMs = options.confirm === 'once' ? undefined : options.stalenessMs;
    const { wasToldSince } = options;
    const feeds = wasToldSince === undefined ? {} : { wasToldSince, seenSinceMs };
    const result = await confirmDivergences({ collection, connections, divergences: waiting, shape, stalenessMs, clock, signal, ...feeds });
    waiting = [];
    if (options.confirm !== 'once') tally.confirmed += result.confirmed.length;
    tally.healed += result.healed.length;
    tally.flapping += result.flapping.length;
    yield* result.confirmed;
    yield* result.flapping;
  }

  const range = options.range ?? everyKey;
  const comparing: Comparing = { shape, clock, signal, tally, progress };
  const found = [
    differingInChunks(comparing, stores, range, collection.throttle, options.singleChunkRows),
    ...caches.map((cache) => cachedKeys(comparing, cache, stores, range)),
  ];
  // A key can differ among the stores and in a cache: it is one divergence.
  const told = new Set<string>();
  for await (const one of inTurn(found)) {
    if ('after' in one) {
      // What differs in the chunk has been told before anybody builds on its being done.
      if (options.onCheckpoint !== undefined) yield* confirmWaiting();
      chunks.rowsDone += one.rows;
      await options.onCheckpoint?.({ after: one.after, ...chunks, suspected: tally.suspected });
      continue;
    }
    const all = one.keys;
    const keys = caches.length === 0 ? all : all.filter((key) => !told.has(keyText(shape.key, key)));
    if (caches.length > 0) for (const key of keys) told.add(keyText(shape.key, key));
    for (let at = 0; at < keys.length; at += KEYS_PER_READ) {
      const batch = keys.slice(at, at + KEYS_PER_READ);
      progress('rows', at, keys.length);
      if (waiting.length === 0) seenSinceMs = clock.monotonicMs();
      const { divergences } = await readDivergences({ collection, connections, keys: batch, shape, clock, signal });
      tally.suspected += divergences.length;
      for (const divergence of divergences) {
        if (options.confirm !== 'once') yield divergence;
        if (options.confirm !== 'none') waiting.push(divergence);
      }
      if (waiting.length >= MAX_WAITING[options.confirm ?? 'wait']) yield* confirmWaiting();
    }
    if (keys.length > 0) tally.rounds += 1;
  }
  yield* confirmWaiting();

  const after = totals(connections);
  return {
    collection: collection.name,
    replicas: connections.map((connection) => connection.replica.id),
    shape,
    rowsScanned: after.rowsScanned - before.rowsScanned,
    bytesMoved: after.bytesMoved - before.bytesMoved,
    rowsFetched: after.rowsFetched - before.rowsFetched,
    ...tally,
    startedAtMs,
    seconds: (clock.monotonicMs() - startedMonotonicMs) / 1000,
  };
}

type Progress = (phase: CompareProgress['phase'], done: number, of: number, says?: string) => void;

/** A cache may lack rows, so its digests say nothing: it is asked what it has. Caches alone are compared with each other like stores. */
function byRole(connections: readonly ReplicaConnection[]): {
  readonly stores: readonly ReplicaConnection[];
  readonly caches: readonly ReplicaConnection[];
} {
  const stores = connections.filter((connection) => connection.replica.role !== 'cache');
  return stores.length === 0
    ? { stores: connections, caches: [] }
    : { stores, caches: connections.filter((connection) => connection.replica.role === 'cache') };
}

async function* inTurn<T>(generators: readonly AsyncGenerator<T>[]): AsyncGenerator<T> {
  for (const generator of generators) yield* generator;
}

interface Comparing {
  readonly shape: Shape;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly tally: { rounds: number };
  readonly progress: Progress;
}

type Step = { readonly keys: readonly Key[] } | { readonly after: Key; readonly rows: number };

/** Keys that a cache holds otherwise than the first store, or that the store does not have. */
async function* cachedKeys(
  { shape, signal, tally, progress }: Comparing,
  cache: ReplicaConnection,
  stores: readonly ReplicaConnection[],
  range: KeyRange,
): AsyncGenerator<Step> {
  const [store] = stores;
  if (store === undefined) return;
  tally.rounds += 1;
  let done = 0;
  for await (const batch of cache.entries(shape, range, { buckets: 1 }, signal)) {
    const rows = await store.readRows(
      shape,
      batch.map((entry) => entry.key),
      signal,
    );
    const digests = new Map(rows.map((row) => [keyText(shape.key, row.key), row.digest]));
    done += batch.length;
    progress('keys', done, done);
    const differing = batch.filter((entry) => digests.get(keyText(shape.key, entry.key)) !== entry.digest);
    if (differing.length > 0) yield { keys: differing.map((entry) => entry.key) };
  }
}

/** Chunk after chunk; one that a server's time limit has ended, before anything was found in it, is tried in smaller ones. */
async function* differingInChunks(
  comparing: Comparing,
  stores: readonly ReplicaConnection[],
  range: KeyRange,
  throttle: Throttle | undefined,
  singleChunkRows: number | undefined,
): AsyncGenerator<Step> {
  if (stores.length < 2) return;
  const { shape, clock, signal, progress } = comparing;
  const onPause = (says: string): void => progress('pause', 0, 1, says);
  const walk = await ChunkWalk.open(
    { shape, stores, range, clock, signal, onPause, ...(throttle === undefined ? {} : { throttle }) },
    singleChunkRows,
  );
  for (let chunk = await walk.next(); chunk !== undefined; chunk = await walk.next()) {
    progress('digests', 0, 1);
    let hasYielded = false;
    try {
      for await (const keys of differingKeys(comparing, stores, chunk.range)) {
        hasYielded = true;
        yield { keys };
      }
    } catch (error) {
      if (hasYielded || !(await walk.shrink(error))) throw error;
      continue;
    }
    progress('digests', 1, 1);
    if (chunk.range.upTo !== null && chunk.range.upTo !== range.upTo) yield { after: chunk.range.upTo, rows: chunk.rows };
  }
}

/** Keys whose rows are not the same on all replicas, in batches. */
async function* differingKeys(
  { shape, signal, tally, progress }: Comparing,
  connections: readonly ReplicaConnection[],
  range: KeyRange,
): AsyncGenerator<readonly Key[]> {
  const options = { shape, connections, signal, tally, progress: (done: number, of: number) => progress('keys', done, of) };
  const hash = await commonHash(shape, connections, signal);
  if (hash === undefined) {
    yield* bucketKeys({ ...options, range });
    return;
  }
  const sketched = await sketchDifference(shape, connections, range, hash, signal, tally);
  if (sketched.is === 'keys') yield sketched.keys.toSorted((a, b) => compareKeysInOrder(shape, a, b));
  if (sketched.is === 'too-many') for (const part of sketched.ranges) yield* differingEntries({ ...options, range: part });
}

function totals(connections: readonly ReplicaConnection[]): { rowsScanned: number; bytesMoved: number; rowsFetched: number } {
  const sum = { rowsScanned: 0, bytesMoved: 0, rowsFetched: 0 };
  for (const { counters } of connections) {
    sum.rowsScanned += counters.rowsScanned;
    sum.bytesMoved += counters.bytesMoved;
    sum.rowsFetched += counters.rowsFetched;
  }
  return sum;
}
