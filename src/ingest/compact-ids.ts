const noParent = 0xffff;
const parentElsewhere = 0xfffe;
/** Rows that two bytes number. */
export const mostRows = 0xfffe;

export interface IdCounts {
  readonly traces: number;
  /** Parents that are in no row of the batch. */
  readonly parents: number;
}

/** Words of what {@link CompactIds} writes. */
export const idWords = (rows: number, { traces, parents }: IdCounts): number => traces * 4 + rows * 2 + parents * 2;

/**
 * The ids of a batch with each trace's once, and each parent that is in the batch by its row: words for the traces, the spans and the parents
 * elsewhere, and two numbers a row.
 */
export class CompactIds {
  /** Of the batch that is looked at: eight words a row. */
  #ids: Int32Array = new Int32Array(0);
  /** What is read, before it goes to where it need not be aligned. */
  #words = new Int32Array(0);
  #bytes = new Uint8Array(0);
  traceOf: Uint16Array = new Uint16Array(0);
  parentOf: Uint16Array = new Uint16Array(0);
  /** Row of a trace's first span, and of a parent that is elsewhere. */
  #traceRows = new Uint16Array(0);
  #parentRows = new Uint16Array(0);
  /** Open addressing; a number more than what stands there, 0 for nothing. */
  #slots = new Int32Array(0);

  /** Looks through eight words a row; `ids` must stay as they are until {@link write}. */
  look(ids: Int32Array, rows: number): IdCounts {
    this.#hold(rows);
    this.#ids = ids;
    return { traces: this.#lookAtTraces(rows), parents: this.#lookAtParents(rows) };
  }

  /** Writes what was looked at last. */
  write(words: Int32Array, rows: number, { traces, parents }: IdCounts): void {
    const ids = this.#ids;
    let at = 0;
    for (let trace = 0; trace < traces; trace += 1) {
      const from = (this.#traceRows[trace] as number) * 8;
      for (let word = 0; word < 4; word += 1) words[at + word] = ids[from + word] as number;
      at += 4;
    }
    for (let row = 0; row < rows; row += 1) {
      words[at] = ids[row * 8 + 4] as number;
      words[at + 1] = ids[row * 8 + 5] as number;
      at += 2;
    }
    for (let parent = 0; parent < parents; parent += 1) {
      const from = (this.#parentRows[parent] as number) * 8;
      words[at] = ids[from + 6] as number;
      words[at + 1] = ids[from + 7] as number;
      at += 2;
    }
  }

  /** Writes 32 bytes a row to `to`. */
  read(words: Int32Array, traceOf: Uint16Array, parentOf: Uint16Array, { traces }: IdCounts, to: Uint8Array): void {
    const rows = traceOf.length;
    if (this.#words.length < rows * 8) {
      this.#words = new Int32Array(rows * 16);
      this.#bytes = new Uint8Array(this.#words.buffer);
    }
    const ids = this.#words;
    const spansAt = traces * 4;
    let elsewhereAt = spansAt + rows * 2;
    for (let row = 0; row < rows; row += 1) {
      const at = row * 8;
      const trace = (traceOf[row] as number) * 4;
      const span = spansAt + row * 2;
      ids[at] = words[trace] as number;
      ids[at + 1] = words[trace + 1] as number;
      ids[at + 2] = words[trace + 2] as number;
      ids[at + 3] = words[trace + 3] as number;
      ids[at + 4] = words[span] as number;
      ids[at + 5] = words[span + 1] as number;
      const parent = parentOf[row] as number;
      if (parent === noParent) {
        ids[at + 6] = 0;
        ids[at + 7] = 0;
        continue;
      }
      const parentAt = parent === parentElsewhere ? elsewhereAt : spansAt + parent * 2;
      if (parent === parentElsewhere) elsewhereAt += 2;
      ids[at + 6] = words[parentAt] as number;
      ids[at + 7] = words[parentAt + 1] as number;
    }
    to.set(this.#bytes.subarray(0, rows * 32));
  }

  #hold(rows: number): void {
    if (this.traceOf.length >= rows) return;
    const size = rows * 2;
    this.traceOf = new Uint16Array(size);
    this.parentOf = new Uint16Array(size);
    this.#traceRows = new Uint16Array(size);
    this.#parentRows = new Uint16Array(size);
  }

  #lookAtTraces(rows: number): number {
    const ids = this.#ids;
    this.#slots = emptySlots(this.#slots, rows);
    const slots = this.#slots;
    const mask = slots.length - 1;
    let traces = 0;
    let trace = -1;
    for (let row = 0; row < rows; row += 1) {
      const at = row * 8;
      // Spans of a trace often come together.
      if (trace < 0 || !isSameTrace(ids, at, (this.#traceRows[trace] as number) * 8)) {
        let slot = mixed(ids[at + 1] as number, ids[at + 3] as number) & mask;
        for (;;) {
          trace = (slots[slot] as number) - 1;
          if (trace < 0 || isSameTrace(ids, at, (this.#traceRows[trace] as number) * 8)) break;
          slot = (slot + 1) & mask;
        }
        if (trace < 0) {
          trace = traces;
          traces += 1;
          slots[slot] = traces;
          this.#traceRows[trace] = row;
        }
      }
      this.traceOf[row] = trace;
    }
    return traces;
  }

  /** Finds the rows of parents; how many parents are in no row. Of two rows with one span id either tells it. */
  #lookAtParents(rows: number): number {
    const ids = this.#ids;
    this.#slots = emptySlots(this.#slots, rows);
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let row = 0; row < rows; row += 1) {
      let slot = mixed(ids[row * 8 + 4] as number, ids[row * 8 + 5] as number) & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = row + 1;
    }
    let elsewhere = 0;
    for (let row = 0; row < rows; row += 1) {
      const first = ids[row * 8 + 6] as number;
      const second = ids[row * 8 + 7] as number;
      let parent = noParent;
      if (first !== 0 || second !== 0) {
        for (let slot = mixed(first, second) & mask; ; slot = (slot + 1) & mask) {
          parent = (slots[slot] as number) - 1;
          if (parent < 0 || (ids[parent * 8 + 4] === first && ids[parent * 8 + 5] === second)) break;
        }
        if (parent < 0) {
          parent = parentElsewhere;
          this.#parentRows[elsewhere] = row;
          elsewhere += 1;
        }
      }
      this.parentOf[row] = parent;
    }
    return elsewhere;
  }
}

/** Slots of open addressing for so many, all 0: these or others, as many as a power of two, at most half of them to be filled. */
export function emptySlots(slots: Int32Array<ArrayBuffer>, entries: number): Int32Array<ArrayBuffer> {
  let size = 64;
  while (size < entries * 2) size *= 2;
  return slots.length === size ? slots.fill(0) : new Int32Array(size);
}

export function mixed(a: number, b: number): number {
  const hash = Math.imul(Math.imul(a, 0x85ebca6b) ^ b, 0x9e3779b1);
  return hash ^ (hash >>> 15);
}

const isSameTrace = (ids: Int32Array, a: number, b: number): boolean =>
  ids[a + 3] === ids[b + 3] && ids[a + 2] === ids[b + 2] && ids[a + 1] === ids[b + 1] && ids[a] === ids[b];
