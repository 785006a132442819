import type { Hash64 } from '../base/hash64.ts';
import { hexOf } from '../base/hex-words.ts';
import type { SpanRef } from '../domain/anomaly.ts';
import type { Operation } from '../domain/operation.ts';
import { idsOf } from './span-ids.ts';

const words = new Int32Array(6);

/** What is kept of an operation that is only a witness later: a tenth of the operation. Its ids are text only when someone asks. */
export class SpanNote implements SpanRef {
  readonly #a: number;
  readonly #b: number;
  readonly #c: number;
  readonly #d: number;
  readonly #e: number;
  readonly #f: number;
  readonly service: string;
  readonly startUs: number;
  readonly endUs: number;

  constructor(a: number, b: number, c: number, d: number, e: number, f: number, service: string, startUs: number, endUs: number) {
    this.#a = a;
    this.#b = b;
    this.#c = c;
    this.#d = d;
    this.#e = e;
    this.#f = f;
    this.service = service;
    this.startUs = startUs;
    this.endUs = endUs;
  }

  get traceId(): string {
    words[0] = this.#a;
    words[1] = this.#b;
    words[2] = this.#c;
    words[3] = this.#d;
    return hexOf(words, 0, 4);
  }

  get spanId(): string {
    words[4] = this.#e;
    words[5] = this.#f;
    return hexOf(words, 4, 2);
  }

  /** The hash by which the trace is known, as `hashTrace` gives it. */
  hashTrace(hash: Hash64): Hash64 {
    return hash.start().pair(this.#a, this.#b).pair(this.#c, this.#d).end();
  }

  isSpan(other: SpanNote): boolean {
    return (
      this.#e === other.#e &&
      this.#f === other.#f &&
      this.#a === other.#a &&
      this.#b === other.#b &&
      this.#c === other.#c &&
      this.#d === other.#d
    );
  }
}

export function noteOf(operation: Operation): SpanNote {
  const ids = idsOf(operation);
  return new SpanNote(
    ids.traceA,
    ids.traceB,
    ids.traceC,
    ids.traceD,
    ids.spanA,
    ids.spanB,
    operation.service,
    operation.startUs,
    operation.endUs,
  );
}

export function spanOfNote(note: SpanNote): SpanRef {
  return { traceId: note.traceId, spanId: note.spanId };
}
