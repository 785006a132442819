/**
 * Differing keys from keys and digests, where sketches are not to be had or too much differs for them: in key order from all replicas
 * at once where each can give that (nothing is held but a batch each), else by hash buckets, as many at a time as memory allows.
 */
import { differingRanges, EntrySubtraction } from '../detect/localize.ts';
import type { KeyRange } from '../domain/key-range.ts';
import type { Key, Shape } from '../domain/row.ts';
import { compareKeysInOrder } from '../io/replicas/key-order.ts';
import type { Entry, ReplicaConnection } from '../io/replicas/replica.ts';

export interface EntryOptions {
  readonly shape: Shape;
  readonly connections: readonly ReplicaConnection[];
  readonly range: KeyRange;
  readonly signal: AbortSignal;
  readonly tally: { rounds: number };
  readonly progress: (done: number, of: number) => void;
}

const BUCKETS = 256;
const BATCH_KEYS = 1_000;
/** Keys and digests held while buckets are subtracted: about 300 bytes each. */
const MAX_HELD_ENTRIES = 400_000;

/** Keys of the range whose digests are not the same on all replicas, in batches. */
export async function* differingEntries(options: EntryOptions): AsyncGenerator<readonly Key[]> {
  const { connections, shape, range, signal, tally } = options;
  const streams = connections.flatMap((connection) => (connection.entriesInOrder === undefined ? [] : [connection.entriesInOrder]));
  if (streams.length === connections.length) {
    tally.rounds += 1;
    yield* mergedKeys(
      shape,
      streams.map((open) => open(shape, range, signal)),
    );
    return;
  }
  yield* bucketKeys(options);
}

/** A digest a bucket, then the keys and digests of those that differ. */
export async function* bucketKeys(options: EntryOptions): AsyncGenerator<readonly Key[]> {
  const { connections, shape, range, signal, tally } = options;
  tally.rounds += 1;
  const digests = await Promise.all(connections.map((connection) => connection.digestBuckets(shape, range, BUCKETS, signal)));
  const buckets = differingRanges(digests);
  if (buckets.length > 0) yield* keysOfBuckets(options, buckets);
}

/** Streams ascend by key. Leaves no stream open. */
async function* mergedKeys(shape: Shape, streams: readonly AsyncIterable<readonly Entry[]>[]): AsyncGenerator<readonly Key[]> {
  const cursors = await openAll(streams);
  let differing: Key[] = [];
  try {
    for (;;) {
      const heads = cursors.map((cursor) => cursor.head());
      let least: Entry | undefined;
      for (const head of heads) {
        if (head !== undefined && (least === undefined || compareKeysInOrder(shape, head.key, least.key) < 0)) least = head;
      }
      if (least === undefined) break;
      let isEqual = true;
      for (const [at, head] of heads.entries()) {
        const isHere = head !== undefined && (head === least || compareKeysInOrder(shape, head.key, least.key) === 0);
        if (!isHere || head.digest !== least.digest) isEqual = false;
        // Only where a batch is used up does the merge wait.
        if (isHere && cursors[at]?.advance() === 'empty') await cursors[at]?.refill();
      }
      if (!isEqual) differing.push(least.key);
      if (differing.length === BATCH_KEYS) {
        yield differing;
        differing = [];
      }
    }
    if (differing.length > 0) yield differing;
  } finally {
    await Promise.all(cursors.map((cursor) => cursor.close()));
  }
}

class Cursor {
  readonly #batches: AsyncIterator<readonly Entry[]>;
  #batch: readonly Entry[] = [];
  #at = 0;

  constructor(stream: AsyncIterable<readonly Entry[]>) {
    this.#batches = stream[Symbol.asyncIterator]();
  }

  head(): Entry | undefined {
    return this.#batch[this.#at];
  }

  advance(): 'more' | 'empty' {
    this.#at += 1;
    return this.#at < this.#batch.length ? 'more' : 'empty';
  }

  async refill(): Promise<void> {
    do {
      const next = await this.#batches.next();
      this.#batch = next.done === true ? [] : next.value;
      this.#at = 0;
      if (next.done === true) return;
    } while (this.#batch.length === 0);
  }

  async close(): Promise<void> {
    await this.#batches.return?.();
  }
}

async function openAll(streams: readonly AsyncIterable<readonly Entry[]>[]): Promise<readonly Cursor[]> {
  const cursors = streams.map((stream) => new Cursor(stream));
  const filled = await Promise.allSettled(cursors.map((cursor) => cursor.refill()));
  const failed = filled.find((one) => one.status === 'rejected');
  if (failed === undefined) return cursors;
  await Promise.all(cursors.map((cursor) => cursor.close()));
  throw failed.reason;
}

async function* keysOfBuckets(options: EntryOptions, buckets: readonly number[]): AsyncGenerator<readonly Key[]> {
  const { connections, shape, range, signal, tally, progress } = options;
  let pass = buckets;
  let rest: readonly number[] = [];
  let done = 0;
  while (pass.length > 0) {
    tally.rounds += 1;
    const subtraction = new EntrySubtraction(shape.key, connections.length);
    const isFull = await Promise.all(
      connections.map(async (connection, index) => {
        for await (const batch of connection.entries(shape, range, { buckets: BUCKETS, only: pass }, signal)) {
          for (const entry of batch) subtraction.add(index, entry.key, entry.digest);
          if (subtraction.size > MAX_HELD_ENTRIES && pass.length > 1) return true;
        }
        return false;
      }),
    );
    if (isFull.includes(true)) {
      // Too much differs to hold at once: half the buckets now, the others in a scan of their own.
      const half = Math.ceil(pass.length / 2);
      rest = [...pass.slice(half), ...rest];
      pass = pass.slice(0, half);
      continue;
    }
    done += pass.length;
    progress(done, buckets.length);
    yield subtraction.differing();
    const next = Math.min(rest.length, pass.length);
    pass = rest.slice(0, next);
    rest = rest.slice(next);
  }
}
