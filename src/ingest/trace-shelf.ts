import type { SpanBatch } from './span-batch.ts';

/**
 * Holds the rows of a trace, as columns, until its spans have been quiet for as long as detectors wait before they judge it; then all of
 * them go on at once. Made into operations only then, a span is an object for a moment instead of a second, which is what keeps the garbage
 * collector out of the way: it had a third of the CPU time before.
 *
 * Handing on early is always right, because whoever gets the rows cuts traces by event time alone; handing on late would not be. So the
 * rows of a trace stay here only as long as nobody can judge it yet (its last end plus `idleUs`), and whatever is not simple goes on at
 * once: a trace that is longer than that, or one whose first part went on with parents missing, so that it is still open over there.
 *
 * Traces are told apart by 30 bits of their ids. Two that share them are handed on together, which is early for one of them.
 */
export class TraceShelf {
  readonly #idleUs: number;
  readonly #patienceUs: number;
  readonly #traces = new Map<number, number>();
  // A trace: its key, ends, first row on the shelf (-1: handed on, open over there until `untilUs`), the slot in which it is looked at.
  #key: Int32Array = new Int32Array(initialTraces);
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
  readonly #batches: (Shelved | undefined)[] = [];
  readonly #freeBatches: number[] = [];
  readonly #spare: SpanBatch[] = [];
  readonly #due = new Set<Shelved>();
  readonly #timetable = new Map<number, number[]>();
  #nextSlot = Number.POSITIVE_INFINITY;

  constructor(idleUs: number, patienceUs: number) {
    this.#idleUs = idleUs;
    this.#patienceUs = Math.max(idleUs, patienceUs);
  }

  /** A batch that is not in use, if there is one: to unpack into. */
  spare(): SpanBatch | undefined {
    return this.#spare.pop();
  }

  /** Takes `count` rows of a batch, which is the shelf's own until it is given out again as a spare. */
  add(batch: SpanBatch, rows: Int32Array, count: number): void {
    const number = this.#freeBatches.pop() ?? this.#batches.length;
    const shelved: Shelved = { number, batch, ids: new Int32Array(batch.ids.buffer), held: 0, rows: new Int32Array(count), due: 0 };
    this.#batches[number] = shelved;
    for (let i = 0; i < count; i += 1) this.#addRow(shelved, rows[i] as number);
    if (shelved.held === 0 && shelved.due === 0) this.#giveBack(shelved);
  }

  #addRow(shelved: Shelved, row: number): void {
    const endUs = shelved.batch.endUs[row] as number;
    const key = (shelved.ids[row * 8] as number) ^ Math.imul(shelved.ids[row * 8 + 3] as number, 0x9e3779b1);
    const short = (key ^ (key >>> 15)) & 0x3fff_ffff;
    const known = this.#traces.get(short);
    if (known === undefined) {
      const trace = this.#newTrace(short);
      this.#minEndUs[trace] = endUs;
      this.#maxEndUs[trace] = endUs;
      this.#head[trace] = this.#newRow(shelved, row, -1);
      this.#schedule(trace, endUs + this.#idleUs);
      return;
    }
    if (endUs < (this.#minEndUs[known] as number)) this.#minEndUs[known] = endUs;
    if (endUs > (this.#maxEndUs[known] as number)) this.#maxEndUs[known] = endUs;
    const isOpenElsewhere = this.#head[known] === -1;
    if (!isOpenElsewhere && (this.#maxEndUs[known] as number) - (this.#minEndUs[known] as number) <= this.#idleUs) {
      this.#head[known] = this.#newRow(shelved, row, this.#head[known] as number);
      return;
    }
    if (!isOpenElsewhere) this.#handOn(known);
    shelved.rows[shelved.due] = row;
    shelved.due += 1;
    this.#due.add(shelved);
  }

  /**
   * Gives on what must be known at `upToUs`, batch by batch: `each` gets a batch and the numbers of `count` of its rows, not to be kept.
   */
  release(upToUs: number, each: (batch: SpanBatch, rows: Int32Array, count: number) => void): void {
    const lastSlot = Math.floor(upToUs / slotUs);
    if (this.#nextSlot <= lastSlot) {
      const slots = [...this.#timetable.keys()].filter((slot) => slot <= lastSlot);
      for (const slot of slots) {
        const traces = this.#timetable.get(slot) ?? [];
        this.#timetable.delete(slot);
        for (const trace of traces) if (this.#slot[trace] === slot) this.#look(trace, upToUs);
      }
      this.#nextSlot = Number.POSITIVE_INFINITY;
      for (const slot of this.#timetable.keys()) if (slot < this.#nextSlot) this.#nextSlot = slot;
    }
    for (const shelved of this.#due) {
      const count = shelved.due;
      shelved.due = 0;
      each(shelved.batch, shelved.rows, count);
      // Rows that come due later take the same places: as many are left as are still held.
      if (shelved.held === 0) this.#giveBack(shelved);
    }
    this.#due.clear();
  }

  /** A trace whose time may have come: not before its last end, and what waits for it, say so. */
  #look(trace: number, upToUs: number): void {
    const isOpenElsewhere = this.#head[trace] === -1;
    const dueUs = (this.#maxEndUs[trace] as number) + (isOpenElsewhere ? this.#patienceUs : this.#idleUs);
    if (dueUs > upToUs) return this.#schedule(trace, dueUs);
    if (isOpenElsewhere) return this.#forget(trace);
    const isWhole = this.#isWhole(trace);
    this.#handOn(trace);
    // What has all its parents is judged at once, and a span that comes after it begins anew.
    if (isWhole) this.#forget(trace);
    else this.#schedule(trace, (this.#maxEndUs[trace] as number) + this.#patienceUs);
  }

  #handOn(trace: number): void {
    let row = this.#head[trace] as number;
    while (row >= 0) {
      const shelved = this.#batches[this.#rowBatch[row] as number] as Shelved;
      shelved.rows[shelved.due] = this.#rowNumber[row] as number;
      shelved.due += 1;
      shelved.held -= 1;
      this.#due.add(shelved);
      const next = this.#rowNext[row] as number;
      this.#rowNext[row] = this.#freeRow;
      this.#freeRow = row;
      row = next;
    }
    this.#head[trace] = -1;
  }

  /** Whether every parent is here; false where that would take long to say. */
  #isWhole(trace: number): boolean {
    const first = this.#head[trace] as number;
    let looks = 0;
    for (let row = first; row >= 0; row = this.#rowNext[row] as number) {
      const ids = (this.#batches[this.#rowBatch[row] as number] as Shelved).ids;
      const at = (this.#rowNumber[row] as number) * 8;
      const [low, high] = [ids[at + 6] as number, ids[at + 7] as number];
      if (low === 0 && high === 0) continue;
      let isHere = false;
      for (let other = first; other >= 0 && !isHere; other = this.#rowNext[other] as number) {
        const otherIds = (this.#batches[this.#rowBatch[other] as number] as Shelved).ids;
        const otherAt = (this.#rowNumber[other] as number) * 8;
        isHere = otherIds[otherAt + 4] === low && otherIds[otherAt + 5] === high;
        looks += 1;
        if (looks > mostLooks) return false;
      }
      if (!isHere) return false;
    }
    return true;
  }

  #schedule(trace: number, dueUs: number): void {
    const slot = Math.floor(dueUs / slotUs);
    this.#slot[trace] = slot;
    const list = this.#timetable.get(slot);
    if (list === undefined) this.#timetable.set(slot, [trace]);
    else list.push(trace);
    if (slot < this.#nextSlot) this.#nextSlot = slot;
  }

  #newTrace(key: number): number {
    let trace = this.#freeTrace;
    if (trace >= 0) this.#freeTrace = this.#head[trace] as number;
    else {
      trace = this.#traceCount;
      this.#traceCount += 1;
      if (trace === this.#key.length) {
        this.#key = doubled(this.#key, Int32Array);
        this.#head = doubled(this.#head, Int32Array);
        this.#minEndUs = doubled(this.#minEndUs, Float64Array);
        this.#maxEndUs = doubled(this.#maxEndUs, Float64Array);
        this.#slot = doubled(this.#slot, Float64Array);
      }
    }
    this.#key[trace] = key;
    this.#traces.set(key, trace);
    return trace;
  }

  #forget(trace: number): void {
    this.#traces.delete(this.#key[trace] as number);
    this.#slot[trace] = Number.NaN;
    this.#head[trace] = this.#freeTrace;
    this.#freeTrace = trace;
  }

  #newRow(shelved: Shelved, number: number, next: number): number {
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
    this.#rowBatch[row] = shelved.number;
    this.#rowNumber[row] = number;
    this.#rowNext[row] = next;
    shelved.held += 1;
    return row;
  }

  #giveBack(shelved: Shelved): void {
    this.#batches[shelved.number] = undefined;
    this.#freeBatches.push(shelved.number);
    if (this.#spare.length < mostSpare) this.#spare.push(shelved.batch);
  }
}

interface Shelved {
  readonly number: number;
  readonly batch: SpanBatch;
  /** The batch's ids, four bytes each. */
  readonly ids: Int32Array;
  /** Rows on the shelf. */
  held: number;
  /** Rows to be given on, `due` of them. */
  readonly rows: Int32Array;
  due: number;
}

const initialTraces = 1024;
const initialRows = 8192;
/** Width of the timetable's slots. */
const slotUs = 50_000;
/** Comparisons of ids that a trace is worth; a larger one is taken for one with parents missing, which is never wrong. */
const mostLooks = 4096;
const mostSpare = 64;

function doubled<T extends Int32Array | Float64Array>(array: T, kind: new (length: number) => T): T {
  const larger = new kind(array.length * 2);
  larger.set(array);
  return larger;
}
