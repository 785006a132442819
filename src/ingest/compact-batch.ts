import type { PackedBatch } from './packed-batch.ts';
import { type Place, type Regions, regionsOf } from './packed-regions.ts';

/**
 * A packed batch in half of its bytes, for as long as it waits, without loss: {@link BatchCompactor.expand} gives every byte back. Three
 * things that spans of a batch have in common are said once:
 *
 * - ids: a trace's once a batch; a parent that is in the batch too by the number of its row. 12 to 16 bytes a span instead of 32.
 * - layouts, the attributes that a row has, in their order and with their kinds: once a batch.
 * - values: only those that differ from the row of the same layout before it, said by a bit each.
 *
 * In order: words (traces, span ids, parents elsewhere), what stands before the values as it is, 16-bit numbers (layout, trace and parent of
 * each row, changed values, values of resources and events), bytes (kinds, statuses, the rest as it is, changed bits, layouts). Batches with
 * numbers of four bytes, or with rows of many attributes, stay as they are.
 */
export interface CompactBatch<P extends Place = Place> {
  /** What the batch is when expanded, but for its buffer and offset: they are where it is compact. */
  readonly packed: PackedBatch;
  /** Where it is, and what it takes there. */
  readonly place: P;
  readonly bytes: number;
  /** What {@link BatchCompactor.expand} needs to find its way; undefined where the batch was copied as it is. */
  readonly form: Form | undefined;
}

interface Form {
  readonly traces: number;
  /** Parents that are in no row of the batch. */
  readonly parents: number;
  readonly changed: number;
  readonly maskBytes: number;
  readonly layoutBytes: number;
}

const noParent = 0xffff;
const parentElsewhere = 0xfffe;
const mostRows = 0xfffe;
/** What fewer rows would save is not worth the way there and back. */
const fewestRows = 32;
const initialRows = 1024;

export class BatchCompactor {
  /** Ids of the batch as words, eight a row: they need not be aligned where they come from. */
  #ids = new Int32Array(8 * initialRows);
  #idBytes = new Uint8Array(this.#ids.buffer);
  #layoutOf = new Uint16Array(initialRows);
  #traceOf = new Uint16Array(initialRows);
  #parentOf = new Uint16Array(initialRows);
  /** Row of a trace's first span, and of a parent that is elsewhere. */
  #traceRows = new Uint16Array(initialRows);
  #parentRows = new Uint16Array(initialRows);
  #changed = new Uint16Array(initialRows * 8);
  #masks = new Uint8Array(initialRows * 2);
  /** Of each layout: where the attributes of its first row and of its last one begin, how many there are, which layout came after it. */
  #first = new Int32Array(initialRows);
  #last = new Int32Array(initialRows);
  #size = new Uint8Array(initialRows);
  #next = new Uint16Array(initialRows);
  #layouts = 0;
  #traces = 0;
  /** Open addressing, for traces and layouts by what they are, for rows by their span ids: a number more than what stands there, 0 for nothing. */
  #slots = new Int32Array(initialRows * 2);
  #scratch = new ArrayBuffer(0);

  /** A copy of the batch, in memory from `placeOf`. */
  compact<P extends Place>(packed: PackedBatch, placeOf: (bytes: number) => P): CompactBatch<P> {
    const { rows, attributes } = packed;
    if (rows < fewestRows || rows > mostRows || packed.hasLongNumbers || packed.hasManyAttributes) return copied(packed, placeOf);
    const from = regionsOf(packed, packed);
    const form = this.#look(packed, from);
    const restValues = from.values.length - attributes;
    const words = form.traces * 4 + rows * 2 + form.parents * 2;
    const head = from.values.byteOffset - packed.offset;
    const numbers = rows * 3 + form.changed + restValues;
    const tail = packed.offset + packed.bytes - from.eventKind.byteOffset;
    const bytes = words * 4 + head + numbers * 2 + rows * 2 + restValues * 2 + tail + form.maskBytes + form.layoutBytes;
    if (bytes >= packed.bytes) return copied(packed, placeOf);
    const place = placeOf(bytes);
    const { buffer } = place;
    this.#writeIds(new Int32Array(buffer, place.offset, words), rows, form);
    let at = place.offset + words * 4;
    const to = new Uint8Array(buffer);
    to.set(new Uint8Array(packed.buffer, packed.offset, head), at);
    at += head;
    const sixteen = new Uint16Array(buffer, at, numbers);
    sixteen.set(this.#layoutOf.subarray(0, rows));
    sixteen.set(this.#traceOf.subarray(0, rows), rows);
    sixteen.set(this.#parentOf.subarray(0, rows), rows * 2);
    sixteen.set(this.#changed.subarray(0, form.changed), rows * 3);
    sixteen.set(from.values.subarray(attributes), rows * 3 + form.changed);
    at += numbers * 2;
    for (const part of [
      from.kind,
      from.status,
      from.codes.subarray(attributes),
      from.kinds.subarray(attributes),
      new Uint8Array(packed.buffer, from.eventKind.byteOffset, tail),
      this.#masks.subarray(0, form.maskBytes),
    ]) {
      to.set(part, at);
      at += part.length;
    }
    for (let layout = 0; layout < this.#layouts; layout += 1) {
      const start = this.#first[layout] as number;
      const size = this.#size[layout] as number;
      to[at] = size;
      to.set(from.codes.subarray(start, start + size), at + 1);
      to.set(from.kinds.subarray(start, start + size), at + 1 + size);
      at += 1 + size * 2;
    }
    return { packed: { ...packed, buffer, offset: place.offset }, place, bytes, form };
  }

  /** The batch as it was, in memory that the next call writes over. */
  expand({ packed, form }: CompactBatch): PackedBatch {
    if (form === undefined) return packed;
    if (this.#scratch.byteLength < packed.bytes) this.#scratch = new ArrayBuffer(packed.bytes * 2);
    const whole: PackedBatch = { ...packed, buffer: this.#scratch, offset: 0 };
    const to = regionsOf(whole, whole);
    const { rows, attributes, buffer, offset } = packed;
    const restValues = to.values.length - attributes;
    const words = form.traces * 4 + rows * 2 + form.parents * 2;
    const head = to.values.byteOffset;
    const numbers = rows * 3 + form.changed + restValues;
    let at = offset + words * 4;
    new Uint8Array(this.#scratch).set(new Uint8Array(buffer, at, head));
    at += head;
    const sixteen = new Uint16Array(buffer, at, numbers);
    at += numbers * 2;
    const take = (length: number): Uint8Array => {
      at += length;
      return new Uint8Array(buffer, at - length, length);
    };
    to.kind.set(take(rows));
    to.status.set(take(rows));
    to.codes.set(take(restValues), attributes);
    to.kinds.set(take(restValues), attributes);
    const tail = packed.bytes - to.eventKind.byteOffset;
    new Uint8Array(this.#scratch, to.eventKind.byteOffset, tail).set(take(tail));
    to.values.set(sixteen.subarray(rows * 3 + form.changed), attributes);
    this.#readIds(new Int32Array(buffer, offset, words), sixteen, rows, form, to.ids);
    this.#readRows(sixteen, take(form.maskBytes), take(form.layoutBytes), to, rows);
    return whole;
  }

  #look(packed: PackedBatch, from: Regions): Form {
    const { rows } = packed;
    if (this.#layoutOf.length < rows) this.#growRows(rows);
    if (this.#changed.length < packed.attributes) this.#changed = new Uint16Array(packed.attributes * 2);
    if (this.#masks.length < packed.attributes + rows) this.#masks = new Uint8Array((packed.attributes + rows) * 2);
    this.#idBytes.set(from.ids);
    this.#lookAtTraces(rows);
    const parents = this.#lookAtParents(rows);
    return { traces: this.#traces, parents, ...this.#lookAtRows(from, rows) };
  }

  #growRows(rows: number): void {
    const size = rows * 2;
    this.#ids = new Int32Array(8 * size);
    this.#idBytes = new Uint8Array(this.#ids.buffer);
    this.#layoutOf = new Uint16Array(size);
    this.#traceOf = new Uint16Array(size);
    this.#parentOf = new Uint16Array(size);
    this.#traceRows = new Uint16Array(size);
    this.#parentRows = new Uint16Array(size);
    this.#first = new Int32Array(size);
    this.#last = new Int32Array(size);
    this.#size = new Uint8Array(size);
    this.#next = new Uint16Array(size);
  }

  /** Room for twice as many as there are rows, all of it empty; the mask of its places. */
  #emptySlots(rows: number): number {
    let size = 64;
    while (size < rows * 2) size *= 2;
    if (this.#slots.length < size) this.#slots = new Int32Array(size);
    else this.#slots.fill(0, 0, size);
    return size - 1;
  }

  #lookAtTraces(rows: number): void {
    const ids = this.#ids;
    const mask = this.#emptySlots(rows);
    const slots = this.#slots;
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
      this.#traceOf[row] = trace;
    }
    this.#traces = traces;
  }

  /** Finds the rows of parents; how many parents are in no row. */
  #lookAtParents(rows: number): number {
    const ids = this.#ids;
    const mask = this.#emptySlots(rows);
    const slots = this.#slots;
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
      this.#parentOf[row] = parent;
    }
    return elsewhere;
  }

  #lookAtRows(from: Regions, rows: number): Pick<Form, 'changed' | 'maskBytes' | 'layoutBytes'> {
    const { values, attributeCount } = from;
    const changed = this.#changed;
    const masks = this.#masks;
    const mask = this.#emptySlots(rows);
    this.#layouts = 0;
    let start = 0;
    let changes = 0;
    let maskBytes = 0;
    let layoutBytes = 0;
    let layout = 0;
    for (let row = 0; row < rows; row += 1) {
      const size = attributeCount[row] as number;
      const before = layout;
      // Mostly it is the one that came after the former's last time.
      layout = this.#next[before] as number;
      if (row === 0 || !this.#isLayout(layout, from, start, size)) {
        layout = this.#layoutNumber(from, start, size, mask);
        if (layout === this.#layouts) {
          this.#layouts += 1;
          this.#first[layout] = start;
          this.#size[layout] = size;
          this.#next[layout] = layout;
          this.#last[layout] = -1;
          layoutBytes += 1 + size * 2;
        }
        this.#next[before] = layout;
      }
      const last = this.#last[layout] as number;
      let bits = 0;
      for (let i = 0; i < size; i += 1) {
        const value = values[start + i] as number;
        if (last < 0 || values[last + i] !== value) {
          bits |= 1 << (i & 7);
          changed[changes] = value;
          changes += 1;
        }
        if ((i & 7) === 7 || i === size - 1) {
          masks[maskBytes] = bits;
          maskBytes += 1;
          bits = 0;
        }
      }
      this.#last[layout] = start;
      this.#layoutOf[row] = layout;
      start += size;
    }
    return { changed: changes, maskBytes, layoutBytes };
  }

  #isLayout(layout: number, { codes, kinds }: Regions, start: number, size: number): boolean {
    if (this.#size[layout] !== size) return false;
    const first = this.#first[layout] as number;
    for (let i = 0; i < size; i += 1) if (codes[start + i] !== codes[first + i] || kinds[start + i] !== kinds[first + i]) return false;
    return true;
  }

  /** The number of a row's layout: one more than the last where it is new. */
  #layoutNumber(from: Regions, start: number, size: number, mask: number): number {
    const { codes, kinds } = from;
    let hash = size;
    for (let i = start; i < start + size; i += 1) hash = mixed(hash, (codes[i] as number) | ((kinds[i] as number) << 8));
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const known = (this.#slots[slot] as number) - 1;
      if (known >= 0 && !this.#isLayout(known, from, start, size)) continue;
      if (known < 0) this.#slots[slot] = this.#layouts + 1;
      return known < 0 ? this.#layouts : known;
    }
  }

  #writeIds(words: Int32Array, rows: number, form: Form): void {
    const ids = this.#ids;
    let at = 0;
    for (let trace = 0; trace < form.traces; trace += 1) {
      const from = (this.#traceRows[trace] as number) * 8;
      for (let word = 0; word < 4; word += 1) words[at + word] = ids[from + word] as number;
      at += 4;
    }
    for (let row = 0; row < rows; row += 1) {
      words[at] = ids[row * 8 + 4] as number;
      words[at + 1] = ids[row * 8 + 5] as number;
      at += 2;
    }
    for (let parent = 0; parent < form.parents; parent += 1) {
      const from = (this.#parentRows[parent] as number) * 8;
      words[at] = ids[from + 6] as number;
      words[at + 1] = ids[from + 7] as number;
      at += 2;
    }
  }

  #readIds(words: Int32Array, numbers: Uint16Array, rows: number, form: Form, to: Uint8Array): void {
    if (this.#layoutOf.length < rows) this.#growRows(rows);
    const ids = this.#ids;
    const spansAt = form.traces * 4;
    let elsewhereAt = spansAt + rows * 2;
    for (let row = 0; row < rows; row += 1) {
      const at = row * 8;
      const trace = (numbers[rows + row] as number) * 4;
      const span = spansAt + row * 2;
      ids[at] = words[trace] as number;
      ids[at + 1] = words[trace + 1] as number;
      ids[at + 2] = words[trace + 2] as number;
      ids[at + 3] = words[trace + 3] as number;
      ids[at + 4] = words[span] as number;
      ids[at + 5] = words[span + 1] as number;
      const parent = numbers[rows * 2 + row] as number;
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
    to.set(this.#idBytes.subarray(0, rows * 32));
  }

  #readRows(numbers: Uint16Array, masks: Uint8Array, layouts: Uint8Array, to: Regions, rows: number): void {
    const { codes, kinds, values, attributeCount } = to;
    let count = 0;
    for (let at = 0; at < layouts.length; at += 1 + (layouts[at] as number) * 2) {
      this.#first[count] = at;
      this.#last[count] = 0;
      count += 1;
    }
    let changed = rows * 3;
    let mask = 0;
    let start = 0;
    for (let row = 0; row < rows; row += 1) {
      const layout = numbers[row] as number;
      const from = (this.#first[layout] as number) + 1;
      const size = layouts[from - 1] as number;
      const last = this.#last[layout] as number;
      attributeCount[row] = size;
      let bits = 0;
      for (let i = 0; i < size; i += 1) {
        if ((i & 7) === 0) {
          bits = masks[mask] as number;
          mask += 1;
        }
        codes[start + i] = layouts[from + i] as number;
        kinds[start + i] = layouts[from + size + i] as number;
        if ((bits & 1) === 0) values[start + i] = values[last + i] as number;
        else {
          values[start + i] = numbers[changed] as number;
          changed += 1;
        }
        bits >>>= 1;
      }
      this.#last[layout] = start;
      start += size;
    }
  }
}

function copied<P extends Place>(packed: PackedBatch, placeOf: (bytes: number) => P): CompactBatch<P> {
  const place = placeOf(packed.bytes);
  const { buffer, offset } = place;
  new Uint8Array(buffer, offset, packed.bytes).set(new Uint8Array(packed.buffer, packed.offset, packed.bytes));
  return { packed: { ...packed, buffer, offset }, place, bytes: packed.bytes, form: undefined };
}

const isSameTrace = (ids: Int32Array, a: number, b: number): boolean =>
  ids[a + 3] === ids[b + 3] && ids[a + 2] === ids[b + 2] && ids[a + 1] === ids[b + 1] && ids[a] === ids[b];

function mixed(a: number, b: number): number {
  const hash = Math.imul(Math.imul(a, 0x85ebca6b) ^ b, 0x9e3779b1);
  return hash ^ (hash >>> 15);
}
