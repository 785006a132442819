/**
 * One store's feed, read by one process at a time: marks what it tells, keeps how far it was dealt with, and lets the store forget what
 * is before that. Whatever goes wrong ends in one of two ways: the feed goes on from where it was dealt with, or the collections are
 * compared as a whole.
 *
 *   leased ─► run ─► started ─► told ... ─► lost ─► waits ─► leased
 *                      └ writes were missed: a full scan, asked for before anything after it is let go of
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from '../base/failure.ts';
import { sha256Hex } from '../base/hash.ts';
import type { Collection, Replica } from '../domain/collection.ts';
import type { ChangeFeed, ChangeSink, WatchedReplica } from '../io/replicas/changes/changes.ts';
import { leaseFeed, releaseFeed, saveFeedGap, saveFeedProgress, saveFeedState, saveReplicaChanges } from '../io/store/change-feeds.ts';
import { sayError } from '../io/telemetry/log.ts';
import { agreedShape } from './compare-shape.ts';
import type { ChangeCheck } from './check-changes.ts';
import type { RuntimeContext } from './context.ts';
import { Settled } from './settled.ts';

/** The replicas that one feed tells: same engine, same URL. */
export interface Source {
  /** A digest of engine and URL: names the store without its credentials. */
  readonly id: string;
  readonly feed: ChangeFeed;
  readonly maxRetainedBytes: number;
  readonly isDurable: boolean;
  readonly replicas: readonly { readonly collection: Collection; readonly replica: Replica }[];
}

export interface WatchOptions {
  readonly source: Source;
  readonly checks: ReadonlyMap<string, ChangeCheck>;
  readonly installation: string;
  /** Names this process. */
  readonly owner: string;
  readonly signal: AbortSignal;
}

const leaseMs = 15_000;
const progressEveryMs = 500;
const firstRetryMs = 1_000;
const maxRetryMs = 30_000;
/** Nothing of the store can be told now; whether that has changed is looked at this often. */
const offMs = 60_000;

export function sourceId(replica: Replica): string {
  return sha256Hex(`${replica.engine} ${replica.url}`).slice(0, 16);
}

/** Until the signal aborts. */
export async function watchSource(context: RuntimeContext, options: WatchOptions): Promise<void> {
  const { source, owner, signal } = options;
  const { database, clock, log } = context;
  let retryMs = firstRetryMs;
  let said = '';
  const pause = (ms: number): Promise<void> => delay(ms, undefined, { signal }).catch(() => undefined);
  while (!signal.aborted) {
    try {
      const feed = await leaseFeed(database, source.id, source.feed.id, owner, leaseMs, clock.nowMs());
      if (feed === null) {
        await pause(leaseMs / 3);
        continue;
      }
      const startedMs = clock.monotonicMs();
      const isStreamed = await new Watch(context, options, feed.position).run();
      if (signal.aborted) break;
      if (clock.monotonicMs() - startedMs > maxRetryMs) retryMs = firstRetryMs;
      await pause(isStreamed ? retryMs : offMs);
    } catch (error) {
      if (signal.aborted) break;
      const says = sayError(error);
      const isAlarm = error instanceof Failure && error.code === 'changes-slot-grew';
      context.metrics.count('homeostat_change_feed_failures_total', { feed: source.feed.id });
      if (says !== said || isAlarm) log(isAlarm ? 'error' : 'warn', says, { source: source.id, feed: source.feed.id });
      said = says;
      await saveFeedState(database, source.id, { state: 'waiting', says }, clock.nowMs()).catch(() => undefined);
      await pause(retryMs);
      retryMs = Math.min(maxRetryMs, retryMs * 2);
    }
  }
  // The next process need not wait for the lease to run out; where the store is away, it has to.
  await releaseFeed(database, source.id, owner).catch(() => undefined);
}

/** One run of the feed. */
class Watch implements ChangeSink {
  readonly #context: RuntimeContext;
  readonly #options: WatchOptions;
  readonly #settled = new Settled();
  readonly #from: string | null;
  /** Collections whose replicas here are told. */
  readonly #told = new Set<string>();
  readonly #refused = new Map<string, string>();
  #watched: readonly WatchedReplica[] = [];
  #savedPosition: string | null;
  #keysTold = 0;
  #retainedBytes = 0;
  #hasStarted = false;
  #toSave: (() => Promise<void>)[] = [];

  constructor(context: RuntimeContext, options: WatchOptions, from: string | null) {
    this.#context = context;
    this.#options = options;
    this.#from = from;
    this.#savedPosition = from;
  }

  /** Returns whether anything was told; false where the store refuses all of it. */
  async run(): Promise<boolean> {
    const { source, installation, signal } = this.#options;
    this.#watched = await this.#describe(signal);
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const saving = this.#keepProgress(both).finally(() => stop.abort());
    const running = source.feed
      .run({
        watched: this.#watched,
        installation,
        maxRetainedBytes: source.maxRetainedBytes,
        isDurable: source.isDurable,
        from: this.#from,
        settled: () => this.#savedPosition,
        sink: this,
        signal: both,
      })
      .finally(() => stop.abort());
    const [saved, ran] = await Promise.allSettled([saving, running]);
    this.#markTold(false);
    await this.#save();
    if (ran.status === 'rejected') throw ran.reason;
    if (saved.status === 'rejected') throw saved.reason;
    return this.#hasStarted;
  }

  async #describe(signal: AbortSignal): Promise<readonly WatchedReplica[]> {
    const shapes = new Map(
      await Promise.all(
        [...new Set(this.#options.source.replicas.map(({ collection }) => collection))].map(async (collection) => {
          const connections = await this.#context.replicas.connections(collection.name);
          return [collection.name, await agreedShape(collection, connections, signal)] as const;
        }),
      ),
    );
    return this.#options.source.replicas.flatMap(({ collection, replica }) => {
      const shape = shapes.get(collection.name);
      return shape === undefined ? [] : [{ collection, replica, shape }];
    });
  }

  started(missed: string | undefined): void {
    const { source } = this.#options;
    const { database, clock, log } = this.#context;
    this.#hasStarted = true;
    this.#markTold(true);
    if (missed !== undefined) {
      this.#savedPosition = null;
      for (const collection of this.#collections()) this.#options.checks.get(collection)?.markEverything(missed);
      this.#toSave.push(() => saveFeedGap(database, source.id, missed, clock.nowMs()));
    }
    this.#toSave.push(async () => {
      await saveFeedState(database, source.id, { state: 'streaming', says: '' }, clock.nowMs());
      await this.#sayWhoIsTold();
    });
    log('info', `${source.feed.title} tells the writes to ${this.#collections().join(', ')}`, { source: source.id, feed: source.feed.id });
  }

  key(watched: WatchedReplica, key: WatchedReplicaKey): void {
    this.#keysTold += 1;
    this.#options.checks.get(watched.collection.name)?.mark(key);
  }

  everything(watched: WatchedReplica, because: string): void {
    this.#options.checks.get(watched.collection.name)?.markEverything(`${because} on ${watched.replica.id}`);
  }

  refused(watched: WatchedReplica, because: string): void {
    const { database, clock, log } = this.#context;
    const { source } = this.#options;
    this.#refused.set(placeOf(watched), because);
    log('info', because, { collection: watched.collection.name, replica: watched.replica.id });
    this.#toSave.push(async () => {
      await this.#sayWhoIsTold();
      if (this.#refused.size === this.#watched.length)
        await saveFeedState(database, source.id, { state: 'off', says: because }, clock.nowMs());
    });
  }

  made(watched: WatchedReplica, statement: string): void {
    const { replica, collection } = watched;
    this.#context.log('info', `to learn of its changes, on ${replica.id}: ${statement}`, {
      collection: collection.name,
      replica: replica.id,
    });
  }

  reached(position: string): void {
    this.#settled.reached(position, this.#context.clock.monotonicMs());
  }

  retained(bytes: number): void {
    this.#retainedBytes = bytes;
    this.#context.metrics.gauge('homeostat_change_feed_retained_bytes', bytes, { source: this.#options.source.id });
  }

  #collections(): readonly string[] {
    const told = this.#watched.filter((one) => !this.#refused.has(placeOf(one))).map((one) => one.collection.name);
    return [...new Set(told)];
  }

  #markTold(isTold: boolean): void {
    for (const one of this.#watched) {
      const place = placeOf(one);
      const check = this.#options.checks.get(one.collection.name);
      if (isTold && !this.#refused.has(place)) {
        this.#told.add(place);
        check?.told.add(one.replica.id);
      } else if (this.#told.delete(place)) check?.told.delete(one.replica.id);
    }
  }

  async #sayWhoIsTold(): Promise<void> {
    const { database, clock } = this.#context;
    for (const one of this.#watched) {
      const because = this.#refused.get(placeOf(one));
      const facts = { collection: one.collection.name, replica: one.replica.id, source: this.#options.source.id };
      await saveReplicaChanges(
        database,
        { ...facts, isTold: because === undefined && this.#hasStarted, says: because ?? '' },
        clock.nowMs(),
      );
    }
  }

  /** Writes down how far the writes were dealt with, and keeps the lease. Ends when the signal aborts or the lease is lost. */
  async #keepProgress(signal: AbortSignal): Promise<void> {
    let renewedMs = this.#context.clock.monotonicMs();
    while (!signal.aborted) {
      await delay(progressEveryMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      const nowMs = this.#context.clock.monotonicMs();
      if (!this.#hasNews() && nowMs - renewedMs < leaseMs / 3) continue;
      renewedMs = nowMs;
      if (!(await this.#save())) return;
    }
  }

  #hasNews(): boolean {
    return this.#toSave.length > 0 || this.#keysTold > 0 || this.#settled.before(this.#oldestMs()) !== undefined;
  }

  async #save(): Promise<boolean> {
    const { database, clock, metrics } = this.#context;
    const { source, owner } = this.#options;
    for (const save of this.#toSave.splice(0)) await save();
    const position = this.#settled.before(this.#oldestMs()) ?? null;
    const keysTold = this.#keysTold;
    const isOurs = await saveFeedProgress(
      database,
      source.id,
      owner,
      { position, keysTold, retainedBytes: this.#retainedBytes, leaseMs },
      clock.nowMs(),
    );
    if (!isOurs) return false;
    this.#keysTold -= keysTold;
    metrics.count('homeostat_changes_told_total', { feed: source.feed.id }, keysTold);
    if (position !== null) {
      this.#settled.forget(position);
      this.#savedPosition = position;
    }
    return true;
  }

  /** Monotonic time of the oldest write of this store that has not been dealt with; infinite where all have. */
  #oldestMs(): number {
    const times = this.#options.source.replicas.flatMap(({ collection }) => this.#options.checks.get(collection.name)?.oldestMs() ?? []);
    return Math.min(Number.POSITIVE_INFINITY, ...times);
  }
}

type WatchedReplicaKey = Parameters<ChangeSink['key']>[1];

const placeOf = (watched: WatchedReplica): string => `${watched.collection.name} ${watched.replica.id}`;
