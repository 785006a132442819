import { isOwn } from './attribute-roles.ts';
import { emptySlots, mixed } from './compact-ids.ts';
import type { Regions } from './packed-regions.ts';
import type { SpanBatch } from './span-batch.ts';

export interface ClassCounts {
  readonly classes: number;
  /** Values of rows that are not said by their class or the row of it before. */
  readonly changed: number;
  /** Bits for those, in bytes. */
  readonly maskBytes: number;
  /** Attributes of all classes. */
  readonly attributes: number;
}

/** Numbers and bytes of the classes themselves. */
export const classNumbers = ({ classes, attributes }: ClassCounts): number => classes + attributes;
export const classBytes = ({ classes, attributes }: ClassCounts): number => classes * 3 + attributes * 2;

const text = 1;

/** What rows are looked at by: their batch, and its attributes as they are packed. */
export interface RowColumns {
  readonly batch: SpanBatch;
  readonly codes: Uint8Array;
  readonly kinds: Uint8Array;
  readonly values: Uint16Array;
}

/**
 * What the rows of a batch are, once a class, and which of their own values changed from one row of a class to the next: see `classes` of a
 * `SpanBatch`. A class's numbers are its name and its attributes' values, its bytes kind, status, how many attributes, their codes and kinds.
 */
export class CompactClasses {
  classOf: Uint16Array = new Uint16Array(0);
  changed: Uint16Array = new Uint16Array(0);
  masks: Uint8Array = new Uint8Array(0);
  /** Of each class: its first row, where the attributes of its last one begin (of the first one, while reading), which class came after it. */
  #firstRow = new Int32Array(0);
  #first = new Int32Array(0);
  #last = new Int32Array(0);
  #next = new Uint16Array(0);
  #slots = new Int32Array(0);
  #columns: RowColumns | undefined;
  #classes = 0;
  #changes = 0;
  #maskBytes = 0;

  look(columns: RowColumns, rows: number, attributes: number): ClassCounts {
    this.#columns = columns;
    this.#hold(rows, attributes);
    this.#slots = emptySlots(this.#slots, rows);
    this.#classes = 0;
    this.#changes = 0;
    this.#maskBytes = 0;
    const { attributeStart } = columns.batch;
    let ofClasses = 0;
    let number = 0;
    for (let row = 0; row < rows; row += 1) {
      const before = number;
      // Mostly it is the one that came after the former's last time.
      number = this.#next[before] as number;
      if (row === 0 || !this.#takes(number, columns, row)) {
        number = this.#numberOf(columns, row);
        if (number === this.#classes) {
          this.#begin(columns, row);
          ofClasses += (attributeStart[row + 1] as number) - (attributeStart[row] as number);
        }
        this.#next[before] = number;
      }
      this.#last[number] = attributeStart[row] as number;
      this.classOf[row] = number;
    }
    return { classes: this.#classes, changed: this.#changes, maskBytes: this.#maskBytes, attributes: ofClasses };
  }

  /** A class of which the row is the first: all its own values are said. */
  #begin({ batch, codes, values }: RowColumns, row: number): void {
    const number = this.#classes;
    this.#classes += 1;
    this.#firstRow[number] = row;
    this.#next[number] = number;
    let bits = 0;
    const end = batch.attributeStart[row + 1] as number;
    for (let at = batch.attributeStart[row] as number; at < end; at += 1) {
      if (isOwn[codes[at] as number] === 0) continue;
      this.changed[this.#changes] = values[at] as number;
      this.#changes += 1;
      bits += 1;
    }
    for (; bits > 0; bits -= 8) {
      this.masks[this.#maskBytes] = bits < 8 ? (1 << bits) - 1 : 255;
      this.#maskBytes += 1;
    }
  }

  /** Whether the row is of the class; if it is, notes which of its own values are not those of the class's last row. */
  #takes(number: number, { batch, codes, kinds, values }: RowColumns, row: number): boolean {
    const { attributeStart, name, kind, status, resource } = batch;
    const other = this.#firstRow[number] as number;
    const start = attributeStart[row] as number;
    const end = attributeStart[row + 1] as number;
    if (
      (attributeStart[other + 1] as number) - (attributeStart[other] as number) !== end - start ||
      name[other] !== name[row] ||
      kind[other] !== kind[row] ||
      status[other] !== status[row] ||
      resource[other] !== resource[row]
    )
      return false;
    const { changed, masks } = this;
    let changes = this.#changes;
    let maskBytes = this.#maskBytes;
    let bits = 0;
    let bit = 1;
    for (let at = start, known = this.#last[number] as number; at < end; at += 1, known += 1) {
      const code = codes[at] as number;
      const ofValue = kinds[at] as number;
      if (code !== codes[known] || ofValue !== kinds[known]) return false;
      const value = values[at] as number;
      const before = values[known] as number;
      if (isOwn[code] === 0) {
        if (value !== before) return false;
        continue;
      }
      if (value !== before) {
        // Of its own values a class says only whether they are empty.
        if (ofValue === text && (value === 0 || before === 0)) return false;
        bits |= bit;
        changed[changes] = value;
        changes += 1;
      }
      bit <<= 1;
      if (bit < 256) continue;
      masks[maskBytes] = bits;
      maskBytes += 1;
      bits = 0;
      bit = 1;
    }
    if (bit > 1) {
      masks[maskBytes] = bits;
      maskBytes += 1;
    }
    this.#changes = changes;
    this.#maskBytes = maskBytes;
    return true;
  }

  /** Writes the classes that were looked at last. */
  write(numbers: Uint16Array, bytes: Uint8Array): void {
    const { batch, codes, kinds, values } = this.#columns as RowColumns;
    let at = 0;
    let value = 0;
    for (let number = 0; number < this.#classes; number += 1) {
      const row = this.#firstRow[number] as number;
      const start = batch.attributeStart[row] as number;
      const end = batch.attributeStart[row + 1] as number;
      const size = end - start;
      numbers[value] = batch.name[row] as number;
      numbers.set(values.subarray(start, end), value + 1);
      value += 1 + size;
      bytes[at] = batch.kind[row] as number;
      bytes[at + 1] = batch.status[row] as number;
      bytes[at + 2] = size;
      bytes.set(codes.subarray(start, end), at + 3);
      bytes.set(kinds.subarray(start, end), at + 3 + size);
      at += 3 + size * 2;
    }
    this.#columns = undefined;
  }

  /** Writes name, kind, status and attributes of every row to `to`. */
  read(
    classOf: Uint16Array,
    { changed, masks, numbers, bytes }: Record<'changed' | 'numbers', Uint16Array> & Record<'masks' | 'bytes', Uint8Array>,
    to: Regions,
  ): void {
    this.#hold(classOf.length, 0);
    let value = 0;
    let number = 0;
    for (let at = 0; at < bytes.length; number += 1) {
      const size = bytes[at + 2] as number;
      this.#firstRow[number] = value;
      this.#first[number] = at;
      this.#last[number] = 0;
      value += 1 + size;
      at += 3 + size * 2;
    }
    const { codes, kinds, values } = to;
    let change = 0;
    let mask = 0;
    let start = 0;
    for (let row = 0; row < classOf.length; row += 1) {
      const ofRow = classOf[row] as number;
      const at = this.#first[ofRow] as number;
      const ofClass = this.#firstRow[ofRow] as number;
      const last = this.#last[ofRow] as number;
      const size = bytes[at + 2] as number;
      to.name[row] = numbers[ofClass] as number;
      to.kind[row] = bytes[at] as number;
      to.status[row] = bytes[at + 1] as number;
      to.attributeCount[row] = size;
      let bits = 0;
      let bit = 256;
      for (let i = 0; i < size; i += 1) {
        const code = bytes[at + 3 + i] as number;
        codes[start + i] = code;
        kinds[start + i] = bytes[at + 3 + size + i] as number;
        if (isOwn[code] === 0) {
          values[start + i] = numbers[ofClass + 1 + i] as number;
          continue;
        }
        if (bit === 256) {
          bits = masks[mask] as number;
          mask += 1;
          bit = 1;
        }
        if ((bits & bit) === 0) values[start + i] = values[last + i] as number;
        else {
          values[start + i] = changed[change] as number;
          change += 1;
        }
        bit <<= 1;
      }
      this.#last[ofRow] = start;
      start += size;
    }
  }

  #hold(rows: number, attributes: number): void {
    if (this.classOf.length < rows) {
      const size = rows * 2;
      this.classOf = new Uint16Array(size);
      this.#firstRow = new Int32Array(size);
      this.#first = new Int32Array(size);
      this.#last = new Int32Array(size);
      this.#next = new Uint16Array(size);
    }
    if (this.changed.length < attributes) this.changed = new Uint16Array(attributes * 2);
    // A row's bits begin a byte.
    if (this.masks.length < attributes + rows) this.masks = new Uint8Array((attributes + rows) * 2);
  }

  /** The number of a row's class, which has taken it; one more than the last where it is new. */
  #numberOf(columns: RowColumns, row: number): number {
    const { batch, codes, kinds, values } = columns;
    let hash = mixed(batch.name[row] as number, ((batch.resource[row] as number) << 8) | (batch.kind[row] as number));
    const end = batch.attributeStart[row + 1] as number;
    for (let at = batch.attributeStart[row] as number; at < end; at += 1) {
      const code = codes[at] as number;
      hash = mixed(hash, code | ((kinds[at] as number) << 8) | (isOwn[code] === 0 ? (values[at] as number) << 16 : 0));
    }
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const known = (this.#slots[slot] as number) - 1;
      if (known >= 0 && !this.#takes(known, columns, row)) continue;
      if (known < 0) this.#slots[slot] = this.#classes + 1;
      return known < 0 ? this.#classes : known;
    }
  }
}
