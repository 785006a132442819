/**
 * Compares what was written, and nothing else: the keys that feeds and traces tell are read on every replica a moment later; what
 * differs waits as a suspect. More keys than are worth that are ranges, and compared as such (`compare-ranges.ts`). A round with nothing written reads nothing; one with a thousand keys written reads a thousand keys.
 *
 * While a replica lags, so that most of what was written differs there, keys wait until it has passed where the others were, and only
 * then are read: a key that waits is a few hundred bytes, a suspect is its rows.
 */
import type { Collection } from '../domain/collection.ts';
import type { Position } from '../domain/divergence.ts';
import { type Key, keyText, type Shape } from '../domain/row.ts';
import type { ReplicaConnection, SketchHash } from '../io/replicas/replica.ts';
import { hasOpenDivergences, listSuspectedKeys, listUnseen, nextScanNumber, resolveKeys } from '../io/store/divergences.ts';
import { askForScan } from '../io/store/scans.ts';
import { countKeysChecked, takeTouchedKeys } from '../io/store/write-evidence.ts';
import { type ChangedBatch, type ChangedKey, ChangedKeys, maxChangedKeys } from './changed-keys.ts';
import { closeEmptyCase } from './close-case.ts';
import { agreedShape, compareKeys } from './compare.ts';
import { unequalKeys } from './compare-keys.ts';
import { compareRanges, whyNotRanges } from './compare-ranges.ts';
import { commonHash } from './compare-sketch.ts';
import type { RuntimeContext } from './context.ts';
import { type DirtyRange, isIn } from './dirty-ranges.ts';
import { parseObjectKey } from './explain-case.ts';
import { recordFound } from './scan-loop.ts';
import { RecentWrites } from './recent-writes.ts';
import { havePassed, type Suspect, Suspects } from './suspects.ts';

/** A write gets this long to reach every replica before it is first looked at; a shorter staleness budget shortens it. */
const settleMs = 150;
/** Keys of one round, and of one read on each replica. */
const keysAtOnce = 4_000;
const keysPerRead = 1_000;
/**
 * With more suspects than this, keys wait for positions before they are read; what is really different is then confirmed only after a
 * second wait as long.
 */
const manySuspects = 20_000;
/** A suspect older than this is on record as one; most are gone by then. */
const recordAfterMs = 1_000;
/** Where a replica lags, most suspects are lag: with this many of them, only what stays for long is worth a record. */
const laggingSuspects = 1_000;
const recordLaggingAfterMs = 60_000;
/** How long a shape is believed; a change of the table's columns that a feed tells ends it at once. */
const shapeForMs = 10_000;
/** Spans show a write before the transaction that it is part of has ended: they wait a little longer. */
const touchedSettleMs = 1_000;

/** What the replicas have in common, believed for a while. */
interface Agreement {
  readonly shape: Shape;
  /** undefined: rows have to be read. */
  readonly hash: SketchHash | undefined;
  readonly untilMs: number;
}

interface Held {
  readonly batch: ChangedBatch;
  readonly positions: Readonly<Record<string, Position>>;
}

export interface Round {
  /** Keys that were compared. */
  readonly keys: number;
  readonly confirmed: number;
}

/** The rounds of one collection in one process. */
export class ChangeCheck {
  readonly #context: RuntimeContext;
  readonly #collection: Collection;
  readonly changed: ChangedKeys;
  readonly #suspects: Suspects;
  readonly #writes: RecentWrites;
  #held: Held[] = [];
  #inWork: ChangedBatch = new Map();
  #rangesInWork: readonly DirtyRange[] = [];
  #agreement: Agreement | undefined;
  /** Replicas whose writes a feed tells now, by id. */
  readonly told = new Set<string>();

  constructor(context: RuntimeContext, collection: Collection, changed = new ChangedKeys(collection.key)) {
    this.#context = context;
    this.#collection = collection;
    this.changed = changed;
    this.#writes = context.writes ?? new RecentWrites();
    this.#suspects = new Suspects(collection.key);
  }

  mark(key: Key): void {
    const nowMs = this.#context.clock.monotonicMs();
    this.changed.mark(key, nowMs);
    this.#writes.note(this.#collection.name, keyText(this.#collection.key, key), nowMs);
  }

  markEverything(because: string): void {
    this.#agreement = undefined;
    this.changed.markEverything(because, this.#context.clock.monotonicMs());
  }

  /** Monotonic time of the oldest write that has not been dealt with: marks before it have. */
  oldestMs(): number | undefined {
    const times = [
      this.changed.oldestMs(),
      ...[this.#inWork, ...this.#held.map(({ batch }) => batch)].map((batch) => oldestOf(batch)),
      ...this.#rangesInWork.map(({ sinceMs }) => sinceMs),
      this.#suspects.oldestUnrecordedMs(),
    ].filter((time) => time !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Suspects that an earlier process left in the store are looked at again. */
  async resume(): Promise<void> {
    const keys = await listSuspectedKeys(this.#context.database, this.#collection.name, keysAtOnce);
    for (const key of keys) this.mark(key);
  }

  /** Keys that spans showed written, where feeds do not tell them anyway. */
  async takeTouched(signal: AbortSignal): Promise<number> {
    const { database, clock } = this.#context;
    const beforeMs = clock.nowMs() - Math.min(this.#stalenessMs(), touchedSettleMs);
    const texts = await database.transaction((tx) => takeTouchedKeys(tx, this.#collection.name, beforeMs, keysPerRead));
    if (texts.length === 0 || this.#collection.replicas.every((replica) => this.told.has(replica.id))) return 0;
    const { shape } = await this.#agree(await this.#context.replicas.connections(this.#collection.name), signal);
    for (const text of texts) {
      const key = parseObjectKey(shape, text);
      if (key !== undefined) this.mark(key);
    }
    return texts.length;
  }

  /** One round. Throws the failure of a replica, with everything that was to be compared still to be compared. */
  async round(signal: AbortSignal): Promise<Round> {
    await this.#askForScanWhereNeeded();
    const { clock } = this.#context;
    const isIdle = this.changed.size === 0 && !this.changed.hasRanges && this.#suspects.size === 0 && this.#held.length === 0;
    if (isIdle) return { keys: 0, confirmed: 0 };
    const connections = await this.#context.replicas.connections(this.#collection.name);
    const agreement = await this.#agree(connections, signal);
    const { shape } = agreement;
    const stalenessMs = this.#stalenessMs();
    const step = await this.#suspects.step({
      collection: this.#collection,
      connections,
      shape,
      stalenessMs,
      clock,
      signal,
      wasToldSince: (text, sinceMs) => this.#writes.wasToldSince(this.#collection.name, text, sinceMs),
      areAllTold: this.#collection.replicas.every((replica) => this.told.has(replica.id)),
    });
    await this.#record(
      shape,
      step.confirmed,
      step.healed.map(({ divergence, sinceMs }) => ({ key: divergence.key, sinceMs })),
    );
    let keys = 0;
    for (let first = this.#held[0]; first !== undefined; first = this.#held[0]) {
      if (!(await havePassed(connections, first.positions, stalenessMs, signal))) break;
      await this.#look(first.batch, agreement, connections, signal);
      keys += first.batch.size;
      this.#held.shift();
    }
    const batch = this.changed.take(clock.monotonicMs() - Math.min(settleMs, stalenessMs), keysAtOnce);
    if (batch.size > 0) {
      this.#inWork = batch;
      try {
        if (this.#suspects.size > manySuspects) await this.#hold(batch, connections, signal);
        else {
          await this.#look(batch, agreement, connections, signal);
          keys += batch.size;
        }
      } catch (error) {
        this.changed.putBack(batch, clock.monotonicMs());
        throw error;
      } finally {
        this.#inWork = new Map();
      }
    }
    await this.#compareRanges(agreement, connections, signal);
    await this.#record(shape, [], []);
    if (keys > 0) await countKeysChecked(this.#context.database, this.#collection.name, keys);
    this.#context.metrics.count('homeostat_keys_checked_total', { collection: this.#collection.name }, keys);
    return { keys, confirmed: step.confirmed.length };
  }

  async #compareRanges({ shape }: Agreement, connections: readonly ReplicaConnection[], signal: AbortSignal): Promise<void> {
    const { clock, database, metrics } = this.#context;
    const ranges = this.changed.takeRanges(clock.monotonicMs() - Math.min(settleMs, this.#stalenessMs()));
    if (ranges.length === 0) return;
    this.#rangesInWork = ranges;
    try {
      const because = await whyNotRanges(shape, ranges, connections, signal);
      if (because !== undefined) return this.markEverything(because);
      for await (const { divergences, sinceMs } of compareRanges({
        collection: this.#collection,
        connections,
        shape,
        ranges,
        clock,
        signal,
      }))
        this.#suspects.offer(
          shape,
          divergences.map((divergence) => ({ divergence, sinceMs })),
          clock.monotonicMs(),
        );
      metrics.count('homeostat_ranges_checked_total', { collection: this.#collection.name }, ranges.length);
      if (this.#suspects.isFull) return this.markEverything('more differences wait for a replica than are held at once');
      // What was known to differ there, and was not seen to, is read by its keys.
      for (const { key } of await listUnseen(database, this.#collection.name, Number.MAX_SAFE_INTEGER, keysAtOnce))
        if (isIn(ranges, BigInt(key[shape.key[0] ?? ''] ?? 0))) this.mark(key);
    } catch (error) {
      this.changed.putBackRanges(ranges);
      throw error;
    } finally {
      this.#rangesInWork = [];
    }
  }

  async #hold(batch: ChangedBatch, connections: readonly ReplicaConnection[], signal: AbortSignal): Promise<void> {
    const positions = await Promise.all(connections.map(async (one) => [one.replica.id, await one.position(signal)] as const));
    this.#held.push({ batch, positions: Object.fromEntries(positions) });
    if (this.#held.reduce((sum, held) => sum + held.batch.size, 0) <= maxChangedKeys) return;
    this.markEverything('a replica is so far behind that more keys wait for it than are held at once');
    this.#held = [];
  }

  /** Compares a batch now: by hashes where the stores have one in common, and by the rows of what differs, which becomes suspect. */
  async #look(
    batch: ChangedBatch,
    { shape, hash }: Agreement,
    connections: readonly ReplicaConnection[],
    signal: AbortSignal,
  ): Promise<void> {
    const { clock } = this.#context;
    const changed = [...batch.values()];
    const sinceOf = (key: Key): number => batch.get(keyText(shape.key, key))?.sinceMs ?? clock.monotonicMs();
    for (let at = 0; at < changed.length; at += keysPerRead) {
      const all = changed.slice(at, at + keysPerRead).map(({ key }) => key);
      const keys = hash === undefined ? all : await unequalKeys({ connections, keys: all, shape, hash, signal });
      const differing = new Set(keys);
      const lookedMs = clock.monotonicMs();
      const seen = await compareKeys({ collection: this.#collection, connections, keys, shape, clock, signal });
      this.#suspects.offer(
        shape,
        seen.divergences.map((divergence) => ({ divergence, sinceMs: sinceOf(divergence.key) })),
        lookedMs,
      );
      const equal = [...all.filter((key) => !differing.has(key)), ...seen.equalKeys];
      this.#suspects.drop(equal);
      await this.#record(
        shape,
        [],
        equal.map((key) => ({ key, sinceMs: sinceOf(key) })),
      );
    }
    // What is suspected goes on waiting; what is written from now on, a scan compares.
    if (this.#suspects.isFull) this.markEverything('more differences wait for a replica than are held at once');
  }

  /** Everything that was found, in one transaction. Where that fails, it is still to be compared. */
  async #record(shape: Shape, confirmed: readonly Suspect[], equal: readonly ChangedKey[]): Promise<void> {
    const { database, clock, metrics } = this.#context;
    const afterMs = this.#suspects.size > laggingSuspects ? recordLaggingAfterMs : recordAfterMs;
    const late = this.#suspects.unrecorded(clock.monotonicMs() - afterMs);
    try {
      const isKnown = equal.length > 0 && (await hasOpenDivergences(database, this.#collection.name));
      if (confirmed.length === 0 && late.length === 0 && !isKnown) return;
      const scan = await nextScanNumber(database);
      const texts = isKnown ? equal.map(({ key }) => keyText(shape.key, key)) : [];
      await database.transaction(async (tx) => {
        const nowMs = clock.nowMs();
        for (const caseId of await resolveKeys(tx, this.#collection.name, texts, nowMs)) await closeEmptyCase(tx, caseId, 'gone', nowMs);
        for (const found of [confirmed, late])
          if (found.length > 0)
            await recordFound(
              tx,
              this.#collection,
              found.map((suspect) => suspect.divergence),
              scan,
              nowMs,
            );
      });
    } catch (error) {
      const lost = [...confirmed.map(({ divergence, sinceMs }) => ({ key: divergence.key, sinceMs })), ...equal];
      this.changed.putBack(new Map(lost.map((one) => [keyText(shape.key, one.key), one])), clock.monotonicMs());
      throw error;
    }
    for (const suspect of late) suspect.isRecorded = true;
    for (const [status, found] of [
      ['confirmed', confirmed],
      ['suspected', late],
    ] as const)
      if (found.length > 0) metrics.count('homeostat_divergences_total', { collection: this.#collection.name, status }, found.length);
  }

  /** The request is in the store before the marks that it stands for go. */
  async #askForScanWhereNeeded(): Promise<void> {
    const because = this.changed.everything;
    if (because === undefined) return;
    const { database, clock, log, metrics } = this.#context;
    await askForScan(database, this.#collection.name, clock.nowMs());
    this.changed.clearEverything();
    metrics.count('homeostat_change_gaps_total', { collection: this.#collection.name });
    log('info', `${this.#collection.name} is compared as a whole: ${because}`, { collection: this.#collection.name });
  }

  #stalenessMs(): number {
    return this.#context.domains[this.#collection.domain]?.stalenessMs ?? 0;
  }

  async #agree(connections: readonly ReplicaConnection[], signal: AbortSignal): Promise<Agreement> {
    const nowMs = this.#context.clock.monotonicMs();
    if (this.#agreement !== undefined && this.#agreement.untilMs > nowMs) return this.#agreement;
    const shape = await agreedShape(this.#collection, connections, signal);
    this.#agreement = { shape, hash: await commonHash(shape, connections, signal), untilMs: nowMs + shapeForMs };
    return this.#agreement;
  }
}

function oldestOf(batch: ChangedBatch): number | undefined {
  const [first] = batch.values();
  return first?.sinceMs;
}
