import { Hash64 } from '../base/hash64.ts';
import type { ConsistencyFacts, Operation, SpanIds } from '../domain/operation.ts';
import { grainOf } from './causality.ts';
import {
  isAborted,
  isAlive,
  isCoarse,
  isNamed,
  isNew,
  isOfSession,
  type IsolationTables,
  isUnknown,
  m,
  markStride,
  none,
  serviceShift,
  t,
  transactionStride,
} from './isolation-tables.ts';
import type { StepsAhead } from './isolation-ahead.ts';
import { idsOf, isSpanAt, isTraceAt, writeIds } from './span-ids.ts';

/** Which transaction an operation belongs to, in which order transactions came, and which followed which in a session. */
export class TransactionWindow {
  /** New or changed since the last round. */
  fresh: number[] = [];
  oldest = none;
  /** Called when a transaction that was taken for committed turns out to be aborted or of unknown outcome. */
  onDoubt: (transaction: number) => void = () => undefined;
  readonly #tables: IsolationTables;
  readonly #hash = new Hash64();
  #newest = none;
  /** The transaction of the last operation: operations of one often come together. */
  #last = none;
  #lastName = '';

  constructor(tables: IsolationTables) {
    this.#tables = tables;
  }

  /** `ahead`: the operation's place among the hashes that were made ahead, or -1. */
  transactionOf(operation: Operation, facts: ConsistencyFacts, ahead: StepsAhead, nth: number): number {
    const { byKey } = this.#tables;
    const ids = idsOf(operation);
    // A span with several operations and no id is one transaction. Ids are unique in a trace at least; mostly they are unique at all, so
    // the shorter key is tried first.
    const name = facts.transactionId;
    let known = this.#last;
    const hash = this.#hash;
    if (known === none || this.#lastName !== name || !this.#isOf(known, ids, name === '')) {
      if (nth >= 0) {
        hash.low = ahead.transactionLow[nth] as number;
        hash.high = ahead.transactionHigh[nth] as number;
      } else this.#startName(name, ids).end();
      known = byKey.find(hash.low, hash.high);
      if (known !== none && !this.#isOf(known, ids, false)) {
        this.#startName(name, ids).pair(ids.traceA, ids.traceB).pair(ids.traceC, ids.traceD).end();
        known = byKey.find(hash.low, hash.high);
      }
    }
    if (known === none) known = this.#open(operation, facts, name);
    else this.#join(known, operation, facts.transactionOutcome);
    this.#last = known;
    this.#lastName = name;
    return known;
  }

  /** The hash by which a transaction is looked for first, valid until the next one is asked for. */
  hashOf(operation: Operation, facts: ConsistencyFacts): Hash64 {
    return this.#startName(facts.transactionId, idsOf(operation)).end();
  }

  #startName(name: string, ids: SpanIds): Hash64 {
    return name === '' ? this.#hash.start().pair(ids.spanA, ids.spanB) : this.#hash.start().text(name);
  }

  /** Whether a transaction's first span is of this trace, or is this one. */
  #isOf(row: number, ids: SpanIds, isSpan: boolean): boolean {
    const { words } = this.#tables.transactions;
    const at = row * transactionStride + t.ids;
    return isSpan ? isSpanAt(ids, words, at) : isTraceAt(ids, words, at);
  }

  #join(row: number, operation: Operation, outcome: ConsistencyFacts['transactionOutcome']): void {
    const { words, doubles } = this.#tables.transactions;
    const at = row * transactionStride;
    if (operation.startUs < (doubles[(at + t.startUs) >> 1] as number)) doubles[(at + t.startUs) >> 1] = operation.startUs;
    if (operation.endUs > (doubles[(at + t.endUs) >> 1] as number)) doubles[(at + t.endUs) >> 1] = operation.endUs;
    const state = words[at + t.state] as number;
    // One part that says aborted speaks for the whole.
    const bit = outcome === 'aborted' ? isAborted : outcome === 'unknown' ? isUnknown : 0;
    words[at + t.state] = state | bit | isNew | coarseness(operation);
    if ((state & bit) !== bit) this.onDoubt(row);
    if ((state & isNew) === 0) this.fresh.push(row);
  }

  #open(operation: Operation, facts: ConsistencyFacts, name: string): number {
    const tables = this.#tables;
    const { low, high } = this.#hash;
    const row = tables.takeTransaction(name);
    const { words, doubles } = tables.transactions;
    const at = row * transactionStride;
    tables.byKey.add(low, high, row);
    words[at + t.keyLow] = low;
    words[at + t.keyHigh] = high;
    const outcome = facts.transactionOutcome;
    words[at + t.state] =
      isAlive |
      isNew |
      (outcome === 'aborted' ? isAborted : outcome === 'unknown' ? isUnknown : 0) |
      coarseness(operation) |
      (name === '' ? 0 : isNamed) |
      (tables.services.numberOf(operation.service) << serviceShift);
    words[at + t.lastAccess] = none;
    words[at + t.newer] = none;
    words[at + t.after] = none;
    doubles[(at + t.startUs) >> 1] = operation.startUs;
    doubles[(at + t.endUs) >> 1] = operation.endUs;
    writeIds(idsOf(operation), words, at + t.ids);
    if (this.#newest === none) this.oldest = row;
    else words[this.#newest * transactionStride + t.newer] = row;
    this.#newest = row;
    this.fresh.push(row);
    // Sessions order transactions; single statements are the session detectors' business.
    const isStatement = facts.transactionId === '' && operation.index === 0;
    this.#joinSession(row, isStatement ? '' : facts.sessionId || (operation.session ?? ''));
    return row;
  }

  #joinSession(row: number, session: string): void {
    const { transactions, bySession, marks } = this.#tables;
    if (session === '') return;
    const { words } = transactions;
    const at = row * transactionStride + t.state;
    words[at] = (words[at] as number) | isOfSession;
    const { low, high } = this.#hash.start().text(session).end();
    marks[row * markStride + m.sessionLow] = low;
    marks[row * markStride + m.sessionHigh] = high;
    const before = bySession.find(low, high);
    if (before === none) {
      bySession.add(low, high, row);
      return;
    }
    words[before * transactionStride + t.after] = row;
    bySession.point(low, high, row);
  }

  endRound(): void {
    const { words } = this.#tables.transactions;
    for (const row of this.fresh) {
      const at = row * transactionStride + t.state;
      words[at] = (words[at] as number) & ~isNew;
    }
    this.fresh = [];
  }

  /** Takes the oldest transaction out of the window. What it read and wrote is the caller's to let go of. */
  bury(row: number): void {
    const { transactions, byKey, bySession, marks } = this.#tables;
    const { words } = transactions;
    const at = row * transactionStride;
    this.oldest = words[at + t.newer] as number;
    if (this.oldest === none) this.#newest = none;
    if (this.#last === row) this.#last = none;
    byKey.remove(words[at + t.keyLow] as number, words[at + t.keyHigh] as number);
    if (((words[at + t.state] as number) & isOfSession) !== 0) {
      bySession.removeRow(marks[row * markStride + m.sessionLow] as number, marks[row * markStride + m.sessionHigh] as number, row);
    }
    words[at + t.state] = 0;
    transactions.give(row);
  }
}

const coarseness = (operation: Operation): number => (grainOf(operation) > 0 ? isCoarse : 0);
