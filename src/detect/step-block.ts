import { Hash64 } from '../base/hash64.ts';
import type { Operation, SpanIds } from '../domain/operation.ts';
import { isCacheNews } from './cached-copy.ts';
import { isHashSampled } from './sample.ts';
import { namedSessionOf } from './session.ts';
import { hashLinkedTrace, hashTrace, idsOf, idWords, isTraceAt, spanAt, writeIds } from './span-ids.ts';
import { TypeDomains } from './type-domains.ts';

/** Steps prepared at once: as many lookups as a processor can have on their way to memory, some times over; what they touch stays near. */
export const blockSize = 64;

/** A session may be named after a trace. */
const traceId = /^[0-9a-f]{32}$/;
const traceIdLength = 32;

/** Some operations on objects with the hashes by which objects and sessions are known, made before any of them is judged. */
export class StepBlock {
  /** Positions of the operations in the list that they came from. */
  readonly at = new Int32Array(blockSize);
  readonly objectLow = new Int32Array(blockSize);
  readonly objectHigh = new Int32Array(blockSize);
  readonly pairLow = new Int32Array(blockSize);
  readonly pairHigh = new Int32Array(blockSize);
  readonly isTraceSession = new Uint8Array(blockSize);
  readonly isRead = new Uint8Array(blockSize);
  /** Records that the steps may write over. */
  readonly near = new Int32Array(blockSize);
  count = 0;
  /** What was looked at before its time: kept, so that no compiler leaves the looking out. */
  seen = 0;
  /** Something was deleted by something else than its key. */
  hasSweeps = false;
  readonly #hash = new Hash64();
  /** Neighbours often share type and session, and the texts are the same where they do. */
  #type = '';
  #domain = '';
  readonly #domains = new TypeDomains();
  #typeLow = 0;
  #typeHigh = 0;
  #session = '';
  /** The trace of the operation that was turned to last; no trace has the first id. */
  readonly #trace = new Int32Array(idWords);
  #isTrace = 0;
  #sessionLow = 0;
  #sessionHigh = 0;

  constructor() {
    this.#turnToType('', '');
  }

  /** At most {@link blockSize} operations; those that concern no object, or none of the `share` that is looked at, are left out. */
  fill(operations: readonly Operation[], from: number, to: number, share: number): void {
    const hash = this.#hash;
    let count = 0;
    this.hasSweeps = false;
    // Keys of operations that came one after the other lie far apart: in a loop with nothing else the waits for memory overlap.
    let seen = 0;
    for (let i = from; i < to; i += 1) seen += operations[i]?.facts?.objectKey.length ?? 0;
    this.seen = seen;
    for (let i = from; i < to; i += 1) {
      const operation = operations[i] as Operation;
      const { facts } = operation;
      if (facts === undefined) continue;
      if (facts.objectKey === '') {
        if (operation.kind === 'delete') this.hasSweeps = true;
        continue;
      }
      if ((operation.kind === 'delete' || facts.version === '') && isCacheNews(operation)) continue;
      if (facts.objectType !== this.#type || facts.domain !== this.#domain) this.#turnToType(facts.objectType, facts.domain);
      hash.low = this.#typeLow;
      hash.high = this.#typeHigh;
      const { low, high } = hash.text(facts.objectKey).end();
      if (!isHashSampled(low, share)) continue;
      const session = namedSessionOf(operation);
      // The ids of a named session's spans are not looked at: where an operation holds them as text, reading them costs more than the rest.
      if (session !== this.#session || (session === '' && !isTraceAt(idsOf(operation), this.#trace, 0)))
        this.#turnToSession(session, idsOf(operation));
      this.at[count] = i;
      this.isRead[count] = operation.kind === 'read' ? 1 : 0;
      this.objectLow[count] = low;
      this.objectHigh[count] = high;
      hash.low = low;
      hash.high = high;
      // Both halves are mixed already: no need to finish again.
      hash.pair(this.#sessionLow, this.#sessionHigh);
      this.pairLow[count] = hash.low;
      this.pairHigh[count] = hash.high;
      this.isTraceSession[count] = this.#isTrace;
      count += 1;
    }
    this.count = count;
  }

  #turnToType(type: string, domain: string): void {
    const salt = this.#domains.saltOf(type, domain);
    this.#hash.start().text(type);
    if (salt !== '') this.#hash.text(salt);
    const { low, high } = this.#hash;
    this.#type = type;
    this.#domain = domain;
    this.#typeLow = low;
    this.#typeHigh = high;
  }

  /** A session that nothing names is its trace; one that is named as its trace is the same. */
  #turnToSession(session: string, ids: SpanIds): void {
    writeIds(ids, this.#trace, 0);
    const mayBeTrace = session.length === traceIdLength && traceId.test(session);
    const isTrace = session === '' || (mayBeTrace && session === spanAt(this.#trace, 0).traceId);
    const { low, high } = isTrace
      ? hashTrace(this.#hash, ids)
      : mayBeTrace
        ? hashLinkedTrace(this.#hash, session)
        : this.#hash.start().text(session).end();
    this.#session = session;
    this.#isTrace = isTrace ? 1 : 0;
    this.#sessionLow = low;
    this.#sessionHigh = high;
  }
}
