import type { HeldBatch, HeldBatches } from './held-batches.ts';
import { compareIds, SortedByTime } from './sorted-by-time.ts';

/**
 * Rows whose spans say something of objects, until the watermark has passed their end: then they come out in the order of ends in which
 * detectors see them, one by one, so that each is an operation for a moment. Whole slots only, so that none is sorted twice.
 */
export class FactRows {
  readonly #slotUs: number;
  readonly #held: HeldBatches;
  readonly #slots = new Map<number, Slot>();
  readonly #spare: Slot[] = [];
  #firstSlot = Number.POSITIVE_INFINITY;
  // What is due: the batch and the row of each.
  #batch: Int32Array = new Int32Array(1024);
  #row: Int32Array = new Int32Array(1024);
  #count = 0;
  readonly #due = new SortedByTime((a, b) => this.#compare(a, b));
  size = 0;

  constructor(slotUs: number, held: HeldBatches) {
    this.#slotUs = slotUs;
    this.#held = held;
  }

  /** Holds the batch until the row has been taken. */
  add(held: HeldBatch, row: number): void {
    const number = Math.floor((held.batch.endUs[row] as number) / this.#slotUs);
    let slot = this.#slots.get(number);
    if (slot === undefined) {
      slot = this.#spare.pop() ?? { batch: new Int32Array(256), row: new Int32Array(256), count: 0 };
      this.#slots.set(number, slot);
      if (number < this.#firstSlot) this.#firstSlot = number;
    }
    if (slot.count === slot.row.length) {
      slot.batch = doubled(slot.batch);
      slot.row = doubled(slot.row);
    }
    slot.batch[slot.count] = held.number;
    slot.row[slot.count] = row;
    slot.count += 1;
    held.uses += 1;
    this.size += 1;
  }

  /** Makes ready what ended in slots that are over at `upToUs`. What was ready before has been taken. */
  open(upToUs: number): void {
    const endSlot = Math.floor(upToUs / this.#slotUs);
    if (this.#firstSlot >= endSlot) return;
    this.#count = 0;
    for (const [number, slot] of this.#slots) {
      if (number >= endSlot) continue;
      this.#slots.delete(number);
      while (this.#count + slot.count > this.#row.length) {
        this.#batch = doubled(this.#batch);
        this.#row = doubled(this.#row);
      }
      for (let i = 0; i < slot.count; i += 1) {
        this.#batch[this.#count] = slot.batch[i] as number;
        this.#row[this.#count] = slot.row[i] as number;
        this.#due.add(this.#count, this.#endUs(this.#count));
        this.#count += 1;
      }
      slot.count = 0;
      if (this.#spare.length < mostSpare) this.#spare.push(slot);
    }
    this.#firstSlot = Number.POSITIVE_INFINITY;
    for (const number of this.#slots.keys()) if (number < this.#firstSlot) this.#firstSlot = number;
    this.#due.sort();
  }

  /** The next row in order, which `each` is done with when it returns; false where none is left. */
  next(each: (held: HeldBatch, row: number) => void): boolean {
    const at = this.#due.next();
    if (at < 0) return false;
    this.size -= 1;
    const held = this.#held.at(this.#batch[at] as number);
    each(held, this.#row[at] as number);
    this.#held.leave(held);
    return true;
  }

  #endUs(at: number): number {
    return this.#held.at(this.#batch[at] as number).batch.endUs[this.#row[at] as number] as number;
  }

  #compare(a: number, b: number): number {
    const one = this.#held.at(this.#batch[a] as number);
    const two = this.#held.at(this.#batch[b] as number);
    const first = this.#row[a] as number;
    const second = this.#row[b] as number;
    return (
      (one.batch.startUs[first] as number) - (two.batch.startUs[second] as number) || compareIds(one.ids, first * 8, two.ids, second * 8, 6)
    );
  }
}

interface Slot {
  batch: Int32Array<ArrayBuffer>;
  row: Int32Array<ArrayBuffer>;
  count: number;
}

const mostSpare = 64;

function doubled(words: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(words.length * 2);
  larger.set(words);
  return larger;
}
