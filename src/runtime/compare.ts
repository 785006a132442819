/**
 * One comparison of a collection's replicas: digests of hash buckets from one scan each; keys and digests of the buckets that differ;
 * rows of the keys that differ; and, where the caller waits, a second look at those keys once every replica has passed the positions
 * at which they were seen. Values travel only for keys that differ.
 */
import type { Clock } from '../base/clock.ts';
import type { Collection } from '../domain/collection.ts';
import type { Divergence } from '../domain/divergence.ts';
import { everyKey, type KeyRange } from '../domain/key-range.ts';
import { type Key, keyText, type Shape } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';
import { confirmDivergences } from './compare-confirm.ts';
import { readDivergences } from './compare-keys.ts';
import { agreedShape } from './compare-shape.ts';
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
  readonly phase: 'digests' | 'keys' | 'rows' | 'confirm';
  readonly done: number;
  readonly of: number;
  readonly differing: number;
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
}

const KEYS_PER_READ = 1_000;
/** Differences that wait for confirmation at once; a comparison with more confirms in between. */
const MAX_WAITING = 20_000;

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

  const progress = (phase: CompareProgress['phase'], done: number, of: number): void =>
    options.onProgress?.({ phase, done, of, differing: tally.suspected });

  let waiting: Divergence[] = [];
  async function* confirmWaiting(): AsyncGenerator<Divergence> {
    if (waiting.length === 0) return;
    progress('confirm', 0, waiting.length);
    tally.rounds += 1;
    const stalenessMs = options.confirm === 'once' ? undefined : options.stalenessMs;
    const result = await confirmDivergences({ collection, connections, divergences: waiting, shape, stalenessMs, clock, signal });
    waiting = [];
    if (options.confirm !== 'once') tally.confirmed += result.confirmed.length;
    tally.healed += result.healed.length;
    tally.flapping += result.flapping.length;
    yield* result.confirmed;
    yield* result.flapping;
  }

  const { stores, caches } = byRole(connections);
  const found = [
    differingKeys(shape, stores, everyKey, signal, tally, progress),
    ...caches.map((cache) => cachedKeys(shape, cache, stores, signal, tally, progress)),
  ];
  // A key can differ among the stores and in a cache: it is one divergence.
  const told = new Set<string>();
  for await (const all of inTurn(found)) {
    const keys = caches.length === 0 ? all : all.filter((key) => !told.has(keyText(shape.key, key)));
    if (caches.length > 0) for (const key of keys) told.add(keyText(shape.key, key));
    for (let at = 0; at < keys.length; at += KEYS_PER_READ) {
      const batch = keys.slice(at, at + KEYS_PER_READ);
      progress('rows', at, keys.length);
      const { divergences } = await readDivergences({ collection, connections, keys: batch, shape, clock, signal });
      tally.suspected += divergences.length;
      for (const divergence of divergences) {
        if (options.confirm !== 'once') yield divergence;
        if (options.confirm !== 'none') waiting.push(divergence);
      }
      if (waiting.length >= MAX_WAITING) yield* confirmWaiting();
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

type Progress = (phase: CompareProgress['phase'], done: number, of: number) => void;

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

/** Keys that a cache holds otherwise than the first store, or that the store does not have. */
async function* cachedKeys(
  shape: Shape,
  cache: ReplicaConnection,
  stores: readonly ReplicaConnection[],
  signal: AbortSignal,
  tally: { rounds: number },
  progress: Progress,
): AsyncGenerator<readonly Key[]> {
  const [store] = stores;
  if (store === undefined) return;
  tally.rounds += 1;
  let done = 0;
  for await (const batch of cache.entries(shape, everyKey, { buckets: 1 }, signal)) {
    const rows = await store.readRows(
      shape,
      batch.map((entry) => entry.key),
      signal,
    );
    const digests = new Map(rows.map((row) => [keyText(shape.key, row.key), row.digest]));
    done += batch.length;
    progress('keys', done, done);
    const differing = batch.filter((entry) => digests.get(keyText(shape.key, entry.key)) !== entry.digest);
    if (differing.length > 0) yield differing.map((entry) => entry.key);
  }
}

/** Keys whose rows are not the same on all replicas, in batches. */
async function* differingKeys(
  shape: Shape,
  connections: readonly ReplicaConnection[],
  range: KeyRange,
  signal: AbortSignal,
  tally: { rounds: number },
  progress: Progress,
): AsyncGenerator<readonly Key[]> {
  if (connections.length < 2) return;
  const options = { shape, connections, signal, tally, progress: (done: number, of: number) => progress('keys', done, of) };
  const hash = await commonHash(shape, connections, signal);
  if (hash === undefined) {
    yield* bucketKeys({ ...options, range });
    return;
  }
  const sketched = await sketchDifference(shape, connections, range, hash, signal, tally);
  if (sketched.is === 'keys') yield sketched.keys;
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
