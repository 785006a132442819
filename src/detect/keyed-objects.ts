import { HashTable } from '../base/hash-table.ts';
import { Rows } from '../base/rows.ts';
import type { ConsistencyFacts, Operation, Version } from '../domain/operation.ts';
import type { KeyedFold, Report } from './detector.ts';
import type { KeyedStep } from './keyed-step.ts';
import { isCacheNews } from './cached-copy.ts';
import { grainOf } from './causality.ts';
import { isHashSampled } from './sample.ts';
import { traceSessionRetainUs } from './session.ts';
import { SessionHistory } from './session-history.ts';
import { blockSize, StepBlock } from './step-block.ts';
import { createVersionOrder, isWriteKind, type VersionOrder } from './version-order.ts';

const stride = 6;
const keyLow = 0;
const keyHigh = 1;
const lastUs = 2;
/** The highest integer version that was read or written. */
const highest = 4;

/** Objects looked at for every new one, to let go of those whose time is over: so at most a third more than those is held. */
const sweptPerNew = 4;
/** A base of an opaque version with its place in its map. */
const bytesPerBase = 160;

/** Types of which many objects were deleted at once. */
const sweptMax = 1000;

/** The life of an object that is over. Integer versions may begin anew in the next. */
interface EarlierLife {
  readonly goneUs: number;
  readonly goneOrder: number;
  /** Where it was deleted; another replica that only now applies older writes does not bring it back. */
  readonly replica: string;
  readonly isGone: boolean;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

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
  readonly #objectFolds: readonly KeyedFolds[];
  readonly #sessionFolds: readonly KeyedFolds[];
  readonly #sessions: SessionHistory;
  readonly #hasSessions: boolean;
  readonly #retainUs: number;
  readonly #maxBytes: number;
  readonly #rows = new Rows(stride);
  readonly #index = new HashTable();
  readonly #block = new StepBlock();
  /** What was looked at before its time: kept, so that no compiler leaves the looking out. */
  seen = 0;
  /** Integers order themselves: only objects with opaque versions have an order of their own. */
  readonly #orders = new Map<number, VersionOrder>();
  readonly #integers = createVersionOrder();
  /** By row: objects that were deleted, or made anew. */
  readonly #lives = new Map<number, EarlierLife>();
  /** By object type: when some of it were deleted by something else than their keys. */
  readonly #swept = new Map<string, number>();
  #bases = 0;
  #cursor = 0;
  #untilCheck = 0;

  constructor(folds: readonly KeyedFolds[], retainUs: number, maxBytes: number, share: number) {
    this.#objectFolds = folds.filter(({ scope }) => scope === 'object');
    this.#sessionFolds = folds.filter(({ scope }) => scope === 'session');
    this.#sessions = new SessionHistory(retainUs, traceSessionRetainUs);
    this.#hasSessions = this.#sessionFolds.length > 0;
    this.#retainUs = retainUs;
    this.#maxBytes = maxBytes;
    this.share = share;
  }

  /** Reads that found nothing, in order of ends, for a millisecond of event time. */
  readonly #absences: Operation[] = [];

  get size(): number {
    return this.#rows.count;
  }

  /** Pairs of a session and an object that are remembered. */
  get pairs(): number {
    return this.#sessions.size;
  }

  get bytes(): number {
    let sum = this.#sessions.bytes + this.#rows.bytes + this.#index.bytes + this.#bases * bytesPerBase + this.#lives.size * bytesPerBase;
    for (const { fold } of this.#objectFolds) sum += fold.bytes();
    return sum;
  }

  /** Takes operations in order of their ends. Those that concern no object are left out. */
  run(operations: readonly Operation[]): void {
    this.#runAll(this.#inTurn(operations));
  }

  /** All that ended before has been taken: runs what waited for that. */
  catchUp(upToUs: number): void {
    let count = 0;
    while (count < this.#absences.length && absenceTurnUs(this.#absences[count] as Operation) < upToUs) count += 1;
    if (count > 0) this.#runAll(this.#absences.splice(0, count));
  }

  /**
   * The operations with those that found nothing where that can be true of a millisecond later: a delete in the same one, of which they
   * are the news, can seem to have ended after them.
   */
  #inTurn(operations: readonly Operation[]): readonly Operation[] {
    if (this.#absences.length === 0 && !hasLateAbsence(operations)) return operations;
    const turns: Operation[] = [];
    for (const operation of operations) {
      let count = 0;
      while (count < this.#absences.length && absenceTurnUs(this.#absences[count] as Operation) < operation.endUs) count += 1;
      if (count > 0) turns.push(...this.#absences.splice(0, count));
      if (isLateAbsence(operation)) this.#absences.push(operation);
      else turns.push(operation);
    }
    return turns;
  }

  #runAll(operations: readonly Operation[]): void {
    const block = this.#block;
    // One instance for all, made anew each time: what is old and points to what is young costs the collector a note at every store.
    let step: Writable<KeyedStep> | undefined;
    for (let from = 0; from < operations.length; from += blockSize) {
      const to = Math.min(operations.length, from + blockSize);
      block.fill(operations, from, to, this.share);
      if (block.hasSweeps) this.#noteSweeps(operations, from, to);
      this.#comeNear(block);
      for (let nth = 0; nth < block.count; nth += 1) {
        const operation = operations[block.at[nth] as number] as Operation;
        const { facts } = operation;
        // The share may have become smaller since the block was filled.
        if (facts === undefined || !isHashSampled(block.objectLow[nth] as number, this.share)) continue;
        step ??= this.#emptyStep(operation, facts);
        step.operation = operation;
        step.facts = facts;
        this.#run(step, block, nth);
      }
    }
  }

  /** One look at all that the block will look up: with a million rows remembered each step would wait for memory three times in a row. */
  #comeNear(block: StepBlock): void {
    let seen = 0;
    for (let nth = 0; nth < block.count; nth += 1) seen ^= this.#index.glance(block.objectLow[nth] as number);
    if (this.#hasSessions) seen ^= this.#sessions.comeNear(block);
    this.seen = seen;
  }

  #emptyStep(operation: Operation, facts: ConsistencyFacts): Writable<KeyedStep> {
    return {
      operation,
      facts,
      object: -1,
      objectLow: 0,
      objectHigh: 0,
      pairLow: 0,
      pairHigh: 0,
      isTraceSession: false,
      order: 0.5,
      isWrite: false,
      isCommittedWrite: false,
      versions: this.#integers,
      goneUs: Number.NEGATIVE_INFINITY,
      goneOrder: Number.NEGATIVE_INFINITY,
      isGone: false,
      sessions: this.#sessions,
    };
  }

  #run(step: Writable<KeyedStep>, block: StepBlock, nth: number): void {
    const { operation, facts } = step;
    const low = block.objectLow[nth] as number;
    const high = block.objectHigh[nth] as number;
    const isOpaque = typeof facts.version === 'string' || typeof facts.versionBase === 'string';
    const isWrite = isWriteKind(operation);
    step.object = this.#rowOf(low, high, operation.endUs);
    step.objectLow = low;
    step.objectHigh = high;
    step.pairLow = block.pairLow[nth] as number;
    step.pairHigh = block.pairHigh[nth] as number;
    step.isTraceSession = block.isTraceSession[nth] === 1;
    step.order = orderOf(facts.version);
    step.isWrite = isWrite;
    step.isCommittedWrite = isWrite && !operation.failed && facts.transactionOutcome === 'committed';
    if (step.isCommittedWrite && operation.kind !== 'delete') this.#noteBirth(step);
    step.versions = isOpaque ? this.#learn(step.object, operation) : this.#orderOf(step.object);
    this.#tellLife(step);
    for (const { fold, report } of this.#objectFolds) fold.step(step, report);
    if (this.#hasSessions) {
      this.#sessions.open(step);
      if (this.#sessions.mayBeOlder(step)) for (const { fold, report } of this.#sessionFolds) fold.step(step, report);
      this.#sessions.note(step);
    }
    if (operation.kind === 'delete') this.#noteDelete(step);
    else if (operation.kind === 'read' ? !operation.failed : step.isCommittedWrite) this.#noteVersion(step);
    this.#bound();
  }

  #noteVersion(step: KeyedStep): void {
    const at = (step.object * stride + highest) >> 1;
    if (step.order > (this.#rows.doubles[at] as number)) this.#rows.doubles[at] = step.order;
  }

  /** What was deleted by something else than a key: which objects it were is not known. */
  #noteSweeps(operations: readonly Operation[], from: number, to: number): void {
    for (let i = from; i < to; i += 1) {
      const { kind, facts, endUs, failed } = operations[i] as Operation;
      if (kind !== 'delete' || facts === undefined || facts.objectKey !== '' || facts.objectType === '' || failed) continue;
      if (facts.transactionOutcome === 'aborted' || isCacheNews(operations[i] as Operation)) continue;
      if (this.#swept.size < sweptMax || this.#swept.has(facts.objectType)) this.#swept.set(facts.objectType, endUs);
    }
  }

  #tellLife(step: Writable<KeyedStep>): void {
    const life = this.#lives.size > 0 ? this.#lives.get(step.object) : undefined;
    step.goneUs = life?.goneUs ?? Number.NEGATIVE_INFINITY;
    step.goneOrder = life?.goneOrder ?? Number.NEGATIVE_INFINITY;
    step.isGone = life?.isGone ?? false;
    if (step.facts.version !== '' || this.#swept.size === 0) return;
    const sweptUs = this.#swept.get(step.facts.objectType) ?? Number.NEGATIVE_INFINITY;
    if (sweptUs <= step.goneUs) return;
    step.goneUs = sweptUs;
    step.goneOrder = Number.POSITIVE_INFINITY;
  }

  /** Also where nobody knows whether it was committed: then it may be gone. */
  #noteDelete(step: KeyedStep): void {
    const { operation, facts, object } = step;
    if (operation.failed || facts.transactionOutcome === 'aborted') return;
    const base = orderOf(facts.versionBase);
    const known = Math.max(
      this.#lives.get(object)?.goneOrder ?? Number.NEGATIVE_INFINITY,
      this.#rows.doubles[(object * stride + highest) >> 1] as number,
      Number.isNaN(step.order) ? Number.NEGATIVE_INFINITY : step.order,
      Number.isNaN(base) ? Number.NEGATIVE_INFINITY : base,
    );
    const goneOrder = known === Number.NEGATIVE_INFINITY ? Number.POSITIVE_INFINITY : known;
    this.#lives.set(object, { goneUs: operation.endUs + grainOf(operation), goneOrder, replica: facts.replicaId, isGone: true });
  }

  /** A write of what was deleted before, or of what did not exist though it was seen: a life begins, and what was known is of another. */
  #noteBirth(step: KeyedStep): void {
    const { operation, facts, object } = step;
    const life = this.#lives.size > 0 ? this.#lives.get(object) : undefined;
    if (life?.isGone === true && (facts.versionBase === undefined || facts.versionBase === '')) {
      if (facts.replicaId !== '' && facts.replicaId !== life.replica) return;
      if (this.#orders.size > 0) this.#forgetOrder(object);
      for (const { fold } of this.#objectFolds) fold.forget?.(object);
      this.#lives.set(object, { ...life, isGone: false });
      this.#rows.doubles[(object * stride + highest) >> 1] = Number.NEGATIVE_INFINITY;
      return;
    }
    // A peer that takes over what another made writes it from nothing, too.
    if (facts.versionBase !== '' || (facts.replicaId !== '' && facts.replicaRole !== 'leader')) return;
    const known = this.#rows.doubles[(object * stride + highest) >> 1] as number;
    if (!(step.order < known)) return;
    this.#lives.set(object, {
      goneUs: Math.max(life?.goneUs ?? operation.startUs, operation.startUs),
      goneOrder: Math.max(life?.goneOrder ?? known, known),
      replica: facts.replicaId,
      isGone: false,
    });
  }

  #orderOf(object: number): VersionOrder {
    return (this.#orders.size > 0 ? this.#orders.get(object) : undefined) ?? this.#integers;
  }

  #rowOf(low: number, high: number, atUs: number): number {
    let row = this.#index.find(low, high);
    // Forgetting is decided by event times alone, so that it does not matter when the sweep comes by.
    if (row >= 0 && atUs - (this.#rows.doubles[(row * stride + lastUs) >> 1] as number) > this.#retainUs) {
      this.#forget(row);
      row = -1;
    }
    if (row < 0) {
      this.#sweep(atUs);
      row = this.#rows.take();
      this.#rows.words[row * stride + keyLow] = low;
      this.#rows.words[row * stride + keyHigh] = high;
      this.#rows.doubles[(row * stride + lastUs) >> 1] = atUs;
      this.#rows.doubles[(row * stride + highest) >> 1] = Number.NEGATIVE_INFINITY;
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
    this.#letGo(row);
  }

  /** Forgets an object that is in the index no more, or will not be. */
  #letGo(row: number): void {
    const { words } = this.#rows;
    this.#forgetOrder(row);
    if (this.#lives.size > 0) this.#lives.delete(row);
    for (const { fold } of this.#objectFolds) fold.forget?.(row);
    words[row * stride + keyHigh] = 0;
    words[row * stride + keyLow] = 0;
    this.#rows.give(row);
    // The free list runs through the first word; (x, 0) with the time of never marks a row that is free.
    this.#rows.doubles[(row * stride + lastUs) >> 1] = Number.POSITIVE_INFINITY;
  }

  #forgetOrder(row: number): void {
    const order = this.#orders.get(row);
    if (order === undefined) return;
    this.#bases -= order.size;
    this.#orders.delete(row);
  }

  #sweep(atUs: number): void {
    for (let i = 0; i < sweptPerNew && this.#rows.end > 0; i += 1) {
      if (this.#cursor >= this.#rows.end) this.#cursor = 0;
      const row = this.#cursor;
      this.#cursor += 1;
      if (atUs - (this.#rows.doubles[(row * stride + lastUs) >> 1] as number) > this.#retainUs) this.#forget(row);
    }
  }

  #bound(): void {
    this.#untilCheck -= 1;
    if (this.#untilCheck > 0) return;
    this.#untilCheck = 2048;
    if (this.bytes <= this.#maxBytes) return;
    this.share /= 2;
    const keep = (low: number): boolean => isHashSampled(low, this.share);
    for (let row = 0; row < this.#rows.end; row += 1) {
      const isFree = this.#rows.doubles[(row * stride + lastUs) >> 1] === Number.POSITIVE_INFINITY;
      if (!isFree && !keep(this.#rows.words[row * stride + keyLow] as number)) this.#letGo(row);
    }
    this.#index.retain(keep);
    this.#sessions.narrow(keep);
  }
}

function isLateAbsence(operation: Operation): boolean {
  return operation.facts?.version === '' && operation.kind === 'read' && grainOf(operation) > 0;
}

/** A loop, because a built-in one calls for every operation that comes. */
function hasLateAbsence(operations: readonly Operation[]): boolean {
  for (const operation of operations) if (isLateAbsence(operation)) return true;
  return false;
}

const absenceTurnUs = (operation: Operation): number => operation.endUs + grainOf(operation);

const version64 = new BigInt64Array(1);
const versionHalves = new Int32Array(version64.buffer);

/**
 * A version as a number; NaN where it is opaque, absent, or an integer that a double does not hold. By way of memory, because `Number` of a
 * bigint is a call out of compiled code. Versions have at most 19 digits: one past 64 bits' end turns into one that no double holds either.
 */
function orderOf(version: Version | undefined): number {
  if (typeof version !== 'bigint') return Number.NaN;
  version64[0] = version;
  const number = (versionHalves[1] as number) * 0x1_0000_0000 + ((versionHalves[0] as number) >>> 0);
  return Number.isSafeInteger(number) ? number : Number.NaN;
}
