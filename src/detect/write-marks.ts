import { Hash64 } from '../base/hash64.ts';
import type { ConsistencyFacts } from '../domain/operation.ts';

/** What tells that two writes are one. */
export type Marks = Pick<ConsistencyFacts, 'transactionId' | 'idempotencyKey' | 'valueDigest'>;

/** Which marks two writes share; undefined where one of them has none. */
export interface SharedMarks {
  readonly transaction: boolean | undefined;
  readonly idempotency: boolean | undefined;
  readonly digest: boolean | undefined;
}

/** 64 bits of each mark, both halves 0 where there is none. */
const transactionWord = 0;
const idempotencyWord = 2;
const digestWord = 4;
const stride = 6;

/**
 * Marks of remembered writes by their rows, as 64 bits of each text: as texts in a map of objects they took eight times as much, and most of
 * the time that a write took went into filling and collecting that map.
 */
export class WriteMarks {
  #words = new Int32Array(0);
  readonly #hash = new Hash64();
  /** The writes of a transaction come one after the other. */
  #last = '';
  #lastLow = 0;
  #lastHigh = 0;

  get bytes(): number {
    return this.#words.byteLength;
  }

  /** The row is that of a write with these marks from now on. */
  set(row: number, { transactionId, idempotencyKey, valueDigest }: Marks): void {
    const at = row * stride;
    if (at >= this.#words.length) {
      // Most services mark nothing.
      if (transactionId === '' && idempotencyKey === '' && valueDigest === '') return;
      const longer = new Int32Array(Math.ceil((row + 1) * 1.5) * stride);
      longer.set(this.#words);
      this.#words = longer;
    }
    this.#write(at + transactionWord, transactionId);
    this.#write(at + idempotencyWord, idempotencyKey);
    this.#write(at + digestWord, valueDigest);
  }

  sharedWith(row: number, { transactionId, idempotencyKey, valueDigest }: Marks): SharedMarks {
    const at = row * stride;
    return {
      transaction: this.#isSame(at + transactionWord, transactionId),
      idempotency: this.#isSame(at + idempotencyWord, idempotencyKey),
      digest: this.#isSame(at + digestWord, valueDigest),
    };
  }

  #write(at: number, text: string): void {
    if (text !== '') this.#turnTo(text);
    this.#words[at] = text === '' ? 0 : this.#lastLow;
    this.#words[at + 1] = text === '' ? 0 : this.#lastHigh;
  }

  #isSame(at: number, text: string): boolean | undefined {
    const low = this.#words[at] ?? 0;
    const high = this.#words[at + 1] ?? 0;
    if (text === '' || (low === 0 && high === 0)) return undefined;
    this.#turnTo(text);
    return low === this.#lastLow && high === this.#lastHigh;
  }

  #turnTo(text: string): void {
    if (text === this.#last) return;
    const { low, high } = this.#hash.start().text(text).end();
    this.#last = text;
    this.#lastLow = low;
    this.#lastHigh = high;
  }
}

/** The same of two writes whose marks are there as texts. */
export function sharedMarks(one: Marks, other: Marks): SharedMarks {
  const isSame = (first: string, second: string): boolean | undefined => (first === '' || second === '' ? undefined : first === second);
  return {
    transaction: isSame(one.transactionId, other.transactionId),
    idempotency: isSame(one.idempotencyKey, other.idempotencyKey),
    digest: isSame(one.valueDigest, other.valueDigest),
  };
}
