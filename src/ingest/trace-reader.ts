import type { OrderedTrace, TraceShape } from '../domain/ordered-trace.ts';
import type { HeldBatch } from './held-batches.ts';
import { compareIds } from './sorted-by-time.ts';
import type { SpanOperation } from './span-operation.ts';
import type { SpanReader } from './span-reader.ts';
import { TraceShapes } from './trace-shapes.ts';

/**
 * The rows of one trace, one operation each, into its operations in order of start with their parents: the order and the links are found in
 * the columns, before there is any object. Equals what `detect/trace-view.ts` makes of the operations in any order. O(n log n).
 */
export class TraceReader {
  readonly #reader: SpanReader;
  readonly #shapes = new TraceShapes();
  readonly #held: HeldBatch[] = [];
  #row: Int32Array = new Int32Array(64);
  #startUs: Float64Array = new Float64Array(64);
  #endUs: Float64Array = new Float64Array(64);
  #order: Int32Array = new Int32Array(64);
  /** Span and parent of each, in order: four words. */
  #ids: Int32Array = new Int32Array(256);
  /** Positions by span, open addressing; one more than the position. */
  #places: Int32Array = new Int32Array(256);
  #count = 0;

  constructor(reader: SpanReader) {
    this.#reader = reader;
  }

  /** Adds a row to the trace that {@link finish} makes. */
  readonly add = (held: HeldBatch, row: number): void => {
    const at = this.#count;
    if (at === this.#row.length) this.#grow();
    this.#held[at] = held;
    this.#row[at] = row;
    const startUs = held.batch.startUs[row] as number;
    const endUs = held.batch.endUs[row] as number;
    this.#startUs[at] = startUs;
    this.#endUs[at] = endUs < startUs ? startUs : endUs;
    this.#order[at] = at;
    this.#count = at + 1;
  };

  finish(): OrderedTrace {
    const count = this.#count;
    this.#count = 0;
    this.#sort(count);
    // oxlint-disable-next-line unicorn/no-new-array -- what is pushed to takes room for seventeen, and Array.from is slow
    const operations = new Array<SpanOperation>(count);
    let size = 0;
    const ids = this.#ids;
    const mask = this.#openPlaces(count);
    let duplicates = 0;
    for (let i = 0; i < count; i += 1) {
      const at = this.#order[i] as number;
      const held = this.#held[at] as HeldBatch;
      const row = this.#row[at] as number;
      const word = row * 8;
      const spanA = held.ids[word + 4] as number;
      const spanB = held.ids[word + 5] as number;
      if (!this.#note(spanA, spanB, size, mask)) {
        duplicates += 1;
        continue;
      }
      const to = size * 4;
      ids[to] = spanA;
      ids[to + 1] = spanB;
      ids[to + 2] = held.ids[word + 6] as number;
      ids[to + 3] = held.ids[word + 7] as number;
      operations[size] = this.#reader.read(held, row);
      size += 1;
    }
    // Setting a length is a call out of compiled code.
    if (size < count) operations.length = size;
    // oxlint-disable-next-line unicorn/no-new-array -- as above
    const parentOf = new Array<number>(size);
    let missingParents = 0;
    for (let i = 0; i < size; i += 1) {
      const parentA = ids[i * 4 + 2] as number;
      const parentB = ids[i * 4 + 3] as number;
      if (parentA === 0 && parentB === 0) {
        parentOf[i] = -1;
        continue;
      }
      const parent = this.#find(parentA, parentB, size, mask);
      if (parent < 0) missingParents += 1;
      parentOf[i] = parent === i ? -1 : parent;
    }
    const shape = missingParents === 0 ? this.#shapes.of(operations, parentOf) : undefined;
    return new ReadTrace(operations, parentOf, missingParents, duplicates, shape);
  }

  #sort(count: number): void {
    const order = this.#order;
    if (count > shortTrace) {
      order.subarray(0, count).sort((a, b) => this.#compare(a, b));
      return;
    }
    for (let i = 1; i < count; i += 1) {
      const one = order[i] as number;
      let at = i;
      while (at > 0 && this.#compare(order[at - 1] as number, one) > 0) {
        order[at] = order[at - 1] as number;
        at -= 1;
      }
      order[at] = one;
    }
  }

  #compare(a: number, b: number): number {
    const byTime = (this.#startUs[a] as number) - (this.#startUs[b] as number) || (this.#endUs[a] as number) - (this.#endUs[b] as number);
    if (byTime !== 0) return byTime;
    const one = this.#held[a] as HeldBatch;
    const two = this.#held[b] as HeldBatch;
    return compareIds(one.ids, (this.#row[a] as number) * 8 + 4, two.ids, (this.#row[b] as number) * 8 + 4, 2);
  }

  /** The mask of the places, or 0 for a trace so short that it is looked through. */
  #openPlaces(count: number): number {
    if (count <= shortTrace) return 0;
    let size = 64;
    while (size < count * 2) size *= 2;
    if (this.#places.length < size) this.#places = new Int32Array(size);
    else this.#places.fill(0, 0, size);
    return size - 1;
  }

  /** False where the span is there already. */
  #note(a: number, b: number, position: number, mask: number): boolean {
    if (mask === 0) return this.#find(a, b, position, 0) < 0;
    const ids = this.#ids;
    for (let slot = placeOf(a, b) & mask; ; slot = (slot + 1) & mask) {
      const known = (this.#places[slot] as number) - 1;
      if (known < 0) {
        this.#places[slot] = position + 1;
        return true;
      }
      if (ids[known * 4] === a && ids[known * 4 + 1] === b) return false;
    }
  }

  #find(a: number, b: number, count: number, mask: number): number {
    const ids = this.#ids;
    if (mask === 0) {
      for (let i = 0; i < count; i += 1) if (ids[i * 4] === a && ids[i * 4 + 1] === b) return i;
      return -1;
    }
    for (let slot = placeOf(a, b) & mask; ; slot = (slot + 1) & mask) {
      const known = (this.#places[slot] as number) - 1;
      if (known < 0 || (ids[known * 4] === a && ids[known * 4 + 1] === b)) return known;
    }
  }

  #grow(): void {
    const size = this.#row.length * 2;
    this.#row = grown(this.#row, new Int32Array(size));
    this.#order = grown(this.#order, new Int32Array(size));
    this.#startUs = grown(this.#startUs, new Float64Array(size));
    this.#endUs = grown(this.#endUs, new Float64Array(size));
    this.#ids = grown(this.#ids, new Int32Array(size * 4));
  }
}

class ReadTrace implements OrderedTrace {
  readonly operations: readonly SpanOperation[];
  readonly parentOf: readonly number[];
  readonly missingParents: number;
  readonly duplicates: number;
  readonly shape: TraceShape | undefined;

  constructor(
    operations: readonly SpanOperation[],
    parentOf: readonly number[],
    missingParents: number,
    duplicates: number,
    shape: TraceShape | undefined,
  ) {
    this.operations = operations;
    this.parentOf = parentOf;
    this.missingParents = missingParents;
    this.duplicates = duplicates;
    this.shape = shape;
  }

  get traceId(): string {
    return this.operations[0]?.traceId ?? '';
  }
}

/** Up to here sorting by insertion and looking through a list beat sorting by a call a comparison and a table. */
const shortTrace = 16;

const placeOf = (a: number, b: number): number => {
  const mixed = Math.imul(a ^ (b >>> 16), 0x9e3779b1) ^ b;
  return mixed ^ (mixed >>> 15);
};

function grown<T extends Int32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
