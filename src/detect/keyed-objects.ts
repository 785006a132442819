import { Hash64 } from '../base/hash64.ts';
import { HashTable } from '../base/hash-table.ts';
import { Rows } from '../base/rows.ts';
import type { ConsistencyFacts, Operation, Version } from '../domain/operation.ts';
import type { KeyedFold, Report } from './detector.ts';
import type { KeyedStep } from './keyed-step.ts';
import { isHashSampled } from './sample.ts';
import { sessionOf, traceSessionRetainUs } from './session.ts';
import { SessionHistory } from './session-history.ts';
import { createVersionOrder, isWriteKind, type VersionOrder } from './version-order.ts';

const stride = 4;
const keyLow = 0;
const keyHigh = 1;
const lastUs = 2;

/** Objects looked at for every operation, to let go of those whose time is over. */
const sweptPerStep = 2;
/** A base of an opaque version with its place in its map. */
const bytesPerBase = 160;

export interface KeyedFolds {
  readonly scope: 'object' | 'session';
  readonly fold: KeyedFold;
  readonly report: Report;
}

/**
 * The objects that keyed detectors remember, each as a row: what is kept of one is 64 bits of its name and when it was last touched. Hands
 * every operation on an object to every keyed detector. When they hold more than `maxBytes` the share of objects looked at is halved: the
 * objects that remain keep their whole history, and what is dropped is not looked at again.
 */
export class KeyedObjects {
  share: number;
  readonly #folds: readonly KeyedFolds[];
  readonly #sessions: SessionHistory;
  readonly #hasSessions: boolean;
  readonly #needsRows: boolean;
  readonly #retainUs: number;
  readonly #maxBytes: number;
  readonly #rows = new Rows(stride);
  readonly #index = new HashTable();
  readonly #hash = new Hash64();
  #step: { -readonly [K in keyof KeyedStep]: KeyedStep[K] } | undefined;
  /** Integers order themselves: only objects with opaque versions have an order of their own. */
  readonly #orders = new Map<number, VersionOrder>();
  readonly #integers = createVersionOrder();
  #bases = 0;
  #cursor = 0;
  #untilCheck = 0;

  constructor(folds: readonly KeyedFolds[], retainUs: number, maxBytes: number, share: number) {
    this.#folds = folds;
    this.#sessions = new SessionHistory(retainUs, traceSessionRetainUs);
    this.#needsRows = folds.some(({ scope }) => scope === 'object');
    this.#hasSessions = folds.some(({ scope }) => scope === 'session');
    this.#retainUs = retainUs;
    this.#maxBytes = maxBytes;
    this.share = share;
  }

  get size(): number {
    return this.#rows.count;
  }

  get bytes(): number {
    let sum = this.#sessions.bytes + this.#rows.bytes + this.#index.bytes + this.#bases * bytesPerBase;
    for (const { fold } of this.#folds) sum += fold.bytes();
    return sum;
  }

  step(operation: Operation, facts: ConsistencyFacts): void {
    const { low, high } = this.#hash.start().text(facts.objectType).text(facts.objectKey).end();
    if (!isHashSampled(low, this.share)) return;
    const isOpaque = typeof facts.version === 'string' || typeof facts.versionBase === 'string';
    // Session detectors need no row of the object, unless the order of its versions is kept there.
    const object = this.#needsRows || isOpaque || this.#orders.size > 0 ? this.#rowOf(low, high, operation.endUs) : -1;
    const session = sessionOf(operation);
    const hash = this.#hash.start().text(session).end();
    const isWrite = isWriteKind(operation);
    const versions = isOpaque ? this.#learn(object, operation) : (this.#orders.get(object) ?? this.#integers);
    const step = (this.#step ??= {
      operation,
      facts,
      object,
      objectLow: low,
      objectHigh: high,
      sessionLow: 0,
      sessionHigh: 0,
      isTraceSession: false,
      order: 0.5,
      isWrite,
      isCommittedWrite: false,
      versions,
      sessions: this.#sessions,
    });
    step.operation = operation;
    step.facts = facts;
    step.object = object;
    step.objectLow = low;
    step.objectHigh = high;
    step.isTraceSession = session === operation.traceId;
    step.sessionLow = hash.low;
    step.sessionHigh = hash.high;
    step.order = orderOf(facts.version);
    step.isWrite = isWrite;
    step.isCommittedWrite = isWrite && !operation.failed && facts.transactionOutcome === 'committed';
    step.versions = versions;
    if (this.#hasSessions) this.#sessions.open(step);
    for (const { fold, report } of this.#folds) fold.step(step, report);
    if (this.#hasSessions) this.#sessions.note(step);
    this.#sweep(operation.endUs);
    this.#bound();
  }

  #rowOf(low: number, high: number, atUs: number): number {
    let row = this.#index.find(low, high);
    // Forgetting is decided by event times alone, so that it does not matter when the sweep comes by.
    if (row >= 0 && atUs - (this.#rows.doubles[(row * stride + lastUs) >> 1] as number) > this.#retainUs) {
      this.#forget(row);
      row = -1;
    }
    if (row < 0) {
      row = this.#rows.take();
      this.#rows.words[row * stride + keyLow] = low;
      this.#rows.words[row * stride + keyHigh] = high;
      this.#rows.doubles[(row * stride + lastUs) >> 1] = atUs;
      this.#index.add(low, high, row);
    } else if (atUs > (this.#rows.doubles[(row * stride + lastUs) >> 1] as number)) this.#rows.doubles[(row * stride + lastUs) >> 1] = atUs;
    return row;
  }

  #learn(object: number, operation: Operation): VersionOrder {
    let order = this.#orders.get(object);
    if (order === undefined) {
      order = createVersionOrder();
      this.#orders.set(object, order);
    }
    const before = order.size;
    order.learn(operation);
    this.#bases += order.size - before;
    return order;
  }

  #forget(row: number): void {
    const { words } = this.#rows;
    this.#index.remove(words[row * stride + keyLow] as number, words[row * stride + keyHigh] as number);
    const order = this.#orders.get(row);
    if (order !== undefined) {
      this.#bases -= order.size;
      this.#orders.delete(row);
    }
    for (const { fold } of this.#folds) fold.forget?.(row);
    words[row * stride + keyHigh] = 0;
    words[row * stride + keyLow] = 0;
    this.#rows.give(row);
    // The free list runs through the first word; (x, 0) with the time of never marks a row that is free.
    this.#rows.doubles[(row * stride + lastUs) >> 1] = Number.POSITIVE_INFINITY;
  }

  #sweep(atUs: number): void {
    for (let i = 0; i < sweptPerStep && this.#rows.end > 0; i += 1) {
      if (this.#cursor >= this.#rows.end) this.#cursor = 0;
      const row = this.#cursor;
      this.#cursor += 1;
      if (atUs - (this.#rows.doubles[(row * stride + lastUs) >> 1] as number) > this.#retainUs) this.#forget(row);
    }
  }

  #bound(): void {
    this.#untilCheck -= 1;
    if (this.#untilCheck > 0) return;
    this.#untilCheck = 4096;
    if (this.bytes <= this.#maxBytes) return;
    this.share /= 2;
    const keep = (low: number): boolean => isHashSampled(low, this.share);
    for (let row = 0; row < this.#rows.end; row += 1) {
      const isFree = this.#rows.doubles[(row * stride + lastUs) >> 1] === Number.POSITIVE_INFINITY;
      if (!isFree && !keep(this.#rows.words[row * stride + keyLow] as number)) this.#forget(row);
    }
    this.#sessions.narrow(keep);
  }
}

/** A version as a number; NaN where it is opaque, absent, or an integer that a double does not hold. */
function orderOf(version: Version | undefined): number {
  if (typeof version !== 'bigint') return Number.NaN;
  const number = Number(version);
  return Number.isSafeInteger(number) ? number : Number.NaN;
}
