import { HashTable } from '../base/hash-table.ts';
import { packHex } from '../base/hex-words.ts';
import type { HeldBatch, HeldBatches } from './held-batches.ts';
import { isPlainRow } from './span-reader.ts';
import { compareIds, SortedByTime } from './sorted-by-time.ts';

/**
 * Holds the rows of a trace, as columns, until its spans have been quiet for as long as detectors wait before they judge it. Made into
 * operations only then, and one trace after the other, a span is an object for a moment instead of a second, which is what keeps the
 * garbage collector out of the way.
 *
 * A trace that is simply over (all its parents are here, and no longer than `idleUs`) is given on as a whole, in the order in which
 * detectors judge. Everything else is given on as rows, to whoever cuts traces by event time, and as early as it may be needed: handing on
 * early is always right there, handing on late would not be. That is a trace that is longer, one whose first part went on with parents
 * missing, so that it is still open over there, and one with rows that are several operations.
 */
export class TraceShelf {
  readonly #idleUs: number;
  readonly #patienceUs: number;
  readonly #held: HeldBatches;
  readonly #traces = new HashTable();
  // A trace: its key, ends, first row on the shelf (-1: handed on, open over there until `untilUs`), the slot in which it is looked at.
  #keyLow: Int32Array = new Int32Array(initialTraces);
  #keyHigh: Int32Array = new Int32Array(initialTraces);
  #minEndUs: Float64Array = new Float64Array(initialTraces);
  #maxEndUs: Float64Array = new Float64Array(initialTraces);
  #head: Int32Array = new Int32Array(initialTraces);
  #slot: Float64Array = new Float64Array(initialTraces);
  #freeTrace = -1;
  #traceCount = 0;
  // A row: its batch, its number there, the next row of the trace.
  #rowBatch: Int32Array = new Int32Array(initialRows);
  #rowNumber: Int32Array = new Int32Array(initialRows);
  #rowNext: Int32Array = new Int32Array(initialRows);
  #freeRow = -1;
  #rowCount = 0;
  /** Rows on the shelf. */
  rows = 0;
  readonly #due = new Set<HeldBatch>();
  readonly #timetable = new Map<number, number[]>();
  #nextSlot = Number.POSITIVE_INFINITY;
  readonly #asked = new Int32Array(4);
  readonly #over = new SortedByTime((a, b) => this.#compareTraces(a, b));

  constructor(idleUs: number, patienceUs: number, held: HeldBatches) {
    this.#idleUs = idleUs;
    this.#patienceUs = Math.max(idleUs, patienceUs);
    this.#held = held;
  }

  /** Takes `count` rows of a batch, each of which it holds until it is given on. */
  add(held: HeldBatch, rows: Int32Array, count: number): void {
    for (let i = 0; i < count; i += 1) this.#addRow(held, rows[i] as number);
  }

  /** Shows the rows of a trace that wait here, which they go on to do; `several`: some are several operations, and none was shown. */
  look(traceId: string, each: (held: HeldBatch, row: number) => void): 'none' | 'several' | 'shown' {
    packHex(traceId, this.#asked, 0, 4);
    const high = highOf(this.#asked, 0);
    const trace = this.#traces.find(lowOf(this.#asked, 0, high), high);
    if (trace < 0 || this.#head[trace] === -1) return 'none';
    if (!this.#isPlain(trace)) return 'several';
    for (let row = this.#head[trace] as number; row >= 0; row = this.#rowNext[row] as number)
      each(this.#held.at(this.#rowBatch[row] as number), this.#rowNumber[row] as number);
    return 'shown';
  }

  #addRow(held: HeldBatch, row: number): void {
    const { ids } = held;
    const endUs = held.batch.endUs[row] as number;
    const high = highOf(ids, row * 8);
    const low = lowOf(ids, row * 8, high);
    const known = this.#traces.find(low, high);
    if (known < 0) {
      const trace = this.#newTrace(low, high);
      this.#minEndUs[trace] = endUs;
      this.#maxEndUs[trace] = endUs;
      this.#head[trace] = this.#newRow(held, row, -1);
      this.#schedule(trace, endUs + this.#idleUs);
      return;
    }
    if (endUs < (this.#minEndUs[known] as number)) this.#minEndUs[known] = endUs;
    if (endUs > (this.#maxEndUs[known] as number)) this.#maxEndUs[known] = endUs;
    const isOpenElsewhere = this.#head[known] === -1;
    if (!isOpenElsewhere && (this.#maxEndUs[known] as number) - (this.#minEndUs[known] as number) <= this.#idleUs) {
      this.#head[known] = this.#newRow(held, row, this.#head[known] as number);
      return;
    }
    if (!isOpenElsewhere) this.#handOn(known);
    held.uses += 1;
    this.#giveOn(held, row);
  }

  #giveOn(held: HeldBatch, row: number): void {
    // Counted as one use however many rows are due.
    if (held.due > 0) held.uses -= 1;
    held.rows[held.due] = row;
    held.due += 1;
    this.#due.add(held);
  }

  /**
   * Gives on what must be known at `upToUs` and is not a whole trace, batch by batch: `each` gets a batch and the numbers of `count` of its
   * rows, not to be kept. Whole traces that are over by then come from {@link nextUs} and {@link take} afterwards.
   */
  release(upToUs: number, each: (held: HeldBatch, rows: Int32Array, count: number) => void): void {
    const endSlot = Math.floor(upToUs / slotUs);
    if (this.#nextSlot < endSlot) {
      const slots = [...this.#timetable.keys()].filter((slot) => slot < endSlot);
      for (const slot of slots) {
        const traces = this.#timetable.get(slot) ?? [];
        this.#timetable.delete(slot);
        for (const trace of traces) if (this.#slot[trace] === slot) this.#look(trace, upToUs);
      }
      this.#nextSlot = Number.POSITIVE_INFINITY;
      for (const slot of this.#timetable.keys()) if (slot < this.#nextSlot) this.#nextSlot = slot;
      this.#over.sort();
    }
    this.giveOn(each);
  }

  /** Gives on what was handed on, without moving time. */
  giveOn(each: (held: HeldBatch, rows: Int32Array, count: number) => void): void {
    for (const held of this.#due) {
      const count = held.due;
      held.due = 0;
      each(held, held.rows, count);
      // Rows that come due later take the same places: as many are left as are still held.
      this.#held.leave(held);
    }
    this.#due.clear();
  }

  /** When the next whole trace closes; Infinity where none is left of those that are over. */
  nextUs(): number {
    const trace = this.#over.peek();
    return trace < 0 ? Number.POSITIVE_INFINITY : (this.#maxEndUs[trace] as number) + this.#idleUs;
  }

  /** Takes the next whole trace away: its rows go to `each`, who is done with them when it returns. */
  take(each: (held: HeldBatch, row: number) => void): void {
    const trace = this.#over.next();
    if (trace < 0) return;
    for (let row = this.#head[trace] as number; row >= 0; row = this.#rowNext[row] as number)
      each(this.#held.at(this.#rowBatch[row] as number), this.#rowNumber[row] as number);
    let row = this.#head[trace] as number;
    while (row >= 0) {
      this.#held.leave(this.#held.at(this.#rowBatch[row] as number));
      const next = this.#rowNext[row] as number;
      this.#rowNext[row] = this.#freeRow;
      this.#freeRow = row;
      row = next;
      this.rows -= 1;
    }
    this.#free(trace);
  }

  /** A trace whose time may have come: not before its last end, and what waits for it, say so. */
  #look(trace: number, upToUs: number): void {
    const isOpenElsewhere = this.#head[trace] === -1;
    const dueUs = (this.#maxEndUs[trace] as number) + (isOpenElsewhere ? this.#patienceUs : this.#idleUs);
    if (dueUs > upToUs) return this.#schedule(trace, dueUs);
    if (isOpenElsewhere) return this.#forget(trace);
    if (!this.#isWhole(trace)) {
      this.#handOn(trace);
      this.#schedule(trace, (this.#maxEndUs[trace] as number) + this.#patienceUs);
      return;
    }
    // What has all its parents is judged at once, and a span that comes after it begins anew.
    this.#traces.remove(this.#keyLow[trace] as number, this.#keyHigh[trace] as number);
    this.#slot[trace] = Number.NaN;
    if (this.#isPlain(trace)) this.#over.add(trace, dueUs);
    else {
      this.#handOn(trace);
      this.#free(trace);
    }
  }

  /** Gives on every row that is held: where there are too many, their traces wait as operations, of which there is a bound. */
  handOnAll(): void {
    for (const [slot, traces] of this.#timetable)
      for (const trace of traces) if (this.#slot[trace] === slot && this.#head[trace] !== -1) this.#handOn(trace);
  }

  #handOn(trace: number): void {
    let row = this.#head[trace] as number;
    while (row >= 0) {
      this.#giveOn(this.#held.at(this.#rowBatch[row] as number), this.#rowNumber[row] as number);
      const next = this.#rowNext[row] as number;
      this.#rowNext[row] = this.#freeRow;
      this.#freeRow = row;
      row = next;
      this.rows -= 1;
    }
    this.#head[trace] = -1;
  }

  /** Whether every parent is here; false where that would take long to say. */
  #isWhole(trace: number): boolean {
    const first = this.#head[trace] as number;
    let looks = 0;
    let knownLow = 0;
    let knownHigh = 0;
    for (let row = first; row >= 0; row = this.#rowNext[row] as number) {
      const { ids } = this.#held.at(this.#rowBatch[row] as number);
      const at = (this.#rowNumber[row] as number) * 8;
      const low = ids[at + 6] as number;
      const high = ids[at + 7] as number;
      // A root, or a sister of the row before.
      if ((low === 0 && high === 0) || (low === knownLow && high === knownHigh)) continue;
      let isHere = false;
      for (let other = first; other >= 0 && !isHere; other = this.#rowNext[other] as number) {
        const otherIds = this.#held.at(this.#rowBatch[other] as number).ids;
        const otherAt = (this.#rowNumber[other] as number) * 8;
        isHere = otherIds[otherAt + 4] === low && otherIds[otherAt + 5] === high;
        looks += 1;
        if (looks > mostLooks) return false;
      }
      if (!isHere) return false;
      knownLow = low;
      knownHigh = high;
    }
    return true;
  }

  /** Each row is one operation, and all are of one trace. */
  #isPlain(trace: number): boolean {
    const first = this.#head[trace] as number;
    const { ids } = this.#held.at(this.#rowBatch[first] as number);
    const at = (this.#rowNumber[first] as number) * 8;
    for (let row = first; row >= 0; row = this.#rowNext[row] as number) {
      const held = this.#held.at(this.#rowBatch[row] as number);
      const number = this.#rowNumber[row] as number;
      if (!isPlainRow(held.batch, number)) return false;
      for (let word = 0; word < 4; word += 1) if (held.ids[number * 8 + word] !== ids[at + word]) return false;
    }
    return true;
  }

  /** By the text of their ids. */
  #compareTraces(a: number, b: number): number {
    const [one, two] = [this.#head[a] as number, this.#head[b] as number];
    return compareIds(
      this.#held.at(this.#rowBatch[one] as number).ids,
      (this.#rowNumber[one] as number) * 8,
      this.#held.at(this.#rowBatch[two] as number).ids,
      (this.#rowNumber[two] as number) * 8,
      4,
    );
  }

  #schedule(trace: number, dueUs: number): void {
    const slot = Math.floor(dueUs / slotUs);
    this.#slot[trace] = slot;
    const list = this.#timetable.get(slot);
    if (list === undefined) this.#timetable.set(slot, [trace]);
    else list.push(trace);
    if (slot < this.#nextSlot) this.#nextSlot = slot;
  }

  #newTrace(low: number, high: number): number {
    let trace = this.#freeTrace;
    if (trace >= 0) this.#freeTrace = this.#head[trace] as number;
    else {
      trace = this.#traceCount;
      this.#traceCount += 1;
      if (trace === this.#head.length) {
        this.#keyLow = doubled(this.#keyLow, Int32Array);
        this.#keyHigh = doubled(this.#keyHigh, Int32Array);
        this.#head = doubled(this.#head, Int32Array);
        this.#minEndUs = doubled(this.#minEndUs, Float64Array);
        this.#maxEndUs = doubled(this.#maxEndUs, Float64Array);
        this.#slot = doubled(this.#slot, Float64Array);
      }
    }
    this.#keyLow[trace] = low;
    this.#keyHigh[trace] = high;
    this.#traces.add(low, high, trace);
    return trace;
  }

  #forget(trace: number): void {
    this.#traces.remove(this.#keyLow[trace] as number, this.#keyHigh[trace] as number);
    this.#free(trace);
  }

  #free(trace: number): void {
    this.#slot[trace] = Number.NaN;
    this.#head[trace] = this.#freeTrace;
    this.#freeTrace = trace;
  }

  #newRow(held: HeldBatch, number: number, next: number): number {
    let row = this.#freeRow;
    if (row >= 0) this.#freeRow = this.#rowNext[row] as number;
    else {
      row = this.#rowCount;
      this.#rowCount += 1;
      if (row === this.#rowBatch.length) {
        this.#rowBatch = doubled(this.#rowBatch, Int32Array);
        this.#rowNumber = doubled(this.#rowNumber, Int32Array);
        this.#rowNext = doubled(this.#rowNext, Int32Array);
      }
    }
    this.#rowBatch[row] = held.number;
    this.#rowNumber[row] = number;
    this.#rowNext[row] = next;
    held.uses += 1;
    this.rows += 1;
    return row;
  }
}

/** 64 bits for a trace's id. Those of some tracers are random in one half only. */
function highOf(ids: Int32Array, at: number): number {
  return Math.imul((ids[at + 1] as number) ^ ((ids[at + 2] as number) >>> 15), 0x9e3779b1) ^ (ids[at + 3] as number);
}

function lowOf(ids: Int32Array, at: number, high: number): number {
  const mixed = Math.imul((ids[at] as number) ^ (high >>> 16), 0x85ebca6b) ^ (ids[at + 2] as number);
  return mixed ^ (mixed >>> 13);
}

const initialTraces = 1024;
const initialRows = 8192;
/** Width of the timetable's slots. */
const slotUs = 50_000;
/** Comparisons of ids that a trace is worth; a larger one is taken for one with parents missing, which is never wrong. */
const mostLooks = 4096;

function doubled<T extends Int32Array | Float64Array>(array: T, kind: new (length: number) => T): T {
  const larger = new kind(array.length * 2);
  larger.set(array);
  return larger;
}
