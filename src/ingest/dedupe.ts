import { lineWords } from '../base/line-words.ts';

/**
 * Remembers the last spans by (trace id, span id), so that a span that was exported twice counts once. What is kept of a span is 64 bits
 * mixed from all 24 bytes of its ids (all 24 bytes cost three times the memory traffic, which showed at this rate). 21 of them come from
 * the trace alone and say where to look first: spans of a trace, which come together, lie together, and a look-up seldom waits for memory.
 * Taking two different spans for one has a chance of some 10^-13 a span with a million remembered, and of 10^-11 in a trace of a hundred.
 * Bounded: two generations of `capacity` spans; when the younger is full the older is forgotten, so at least the last `capacity` spans
 * are known. 16 bytes a span and generation: 32 MB at the default million.
 */
export class SpanDedupe {
  /** Duplicates seen so far. */
  dropped = 0;
  readonly #capacity: number;
  #young: Generation;
  #old: Generation;
  readonly #low = new Int32Array(blockSize);
  readonly #high = new Int32Array(blockSize);
  /** Where to look first, once for spans of a trace that come together. */
  readonly #places = new Int32Array(blockSize);
  /** What was glanced at, so that the looks are not left out. */
  seen = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#young = new Generation(capacity);
    this.#old = new Generation(0);
  }

  /**
   * Looks up `count` spans, at most {@link blockSize}, of {@link idWordsARow} words each, all at once: each look-up waits for memory,
   * and waiting for many at a time takes as long as waiting for one. `isNewRow` then asks for one after the other. Each place is looked at
   * once: a processor waits for as many at a time as there are in some hundred instructions, so the loop has nothing else in it.
   */
  prepare(ids: Int32Array, count: number): void {
    let places = 0;
    let last = 0;
    for (let i = 0; i < count; i += 1) {
      this.#hash(ids, i * idWordsARow);
      const low = this.#hashLow;
      this.#low[i] = low;
      this.#high[i] = this.#hashHigh;
      if (i > 0 && ((low ^ last) & placeBits) === 0) continue;
      last = low;
      this.#places[places] = low;
      places += 1;
    }
    this.seen = this.#old.glanceAll(this.#places, places) ^ this.#young.glanceAll(this.#places, places);
  }

  /** True the first time; counts and says false afterwards. Of the row that was prepared as number `i` of its block. */
  isNewRow(i: number): boolean {
    return this.#isNew(this.#low[i] as number, this.#high[i] as number);
  }

  /** As {@link isNewRow} of one span; the 24 bytes at `offset` are trace id and span id. */
  isNew(ids: Uint8Array, offset: number): boolean {
    this.#bytes.set(ids.subarray(offset, offset + idWordsARow * 4));
    this.#hash(this.#words, 0);
    return this.#isNew(this.#hashLow, this.#hashHigh);
  }

  readonly #words = new Int32Array(idWordsARow);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  #hashLow = 0;
  #hashHigh = 0;

  #hash(ids: Int32Array, from: number): void {
    let low = 0x243f6a88;
    let high = 0x85a308d3;
    let trace = 0;
    for (let at = from; at < from + idWordsARow; at += 1) {
      const word = ids[at] as number;
      low = Math.imul(low ^ word, 0x9e3779b1);
      low ^= low >>> 15;
      high = Math.imul(high + word, 0x85ebca6b);
      high ^= high >>> 13;
      if (at === from + 3) trace = Math.imul(low ^ (high >>> 7), 0x2c1b3c6d);
    }
    trace ^= trace >>> 12;
    low = Math.imul(low ^ (high >>> 7), 0x2c1b3c6d) ^ (low >>> 12);
    high = Math.imul(high ^ (low >>> 9), 0x297a2d39) ^ (high >>> 15);
    low = (low & ~placeBits) | (trace & placeBits);
    // (0, 0) marks an empty slot.
    if (low === 0 && high === 0) low = 1;
    this.#hashLow = low;
    this.#hashHigh = high;
  }

  #isNew(low: number, high: number): boolean {
    if (this.#old.has(low, high) || !this.#young.add(low, high)) {
      this.dropped += 1;
      return false;
    }
    if (this.#young.size === this.#capacity) {
      const spent = this.#old;
      this.#old = this.#young;
      this.#young = spent.reuse(this.#capacity);
    }
    return true;
  }

  /** The same for ids in hexadecimal. */
  isNewSpan(traceId: string, spanId: string): boolean {
    const bytes = new Uint8Array(idWordsARow * 4);
    bytes.set(Buffer.from(traceId, 'hex').subarray(0, 16));
    bytes.set(Buffer.from(spanId, 'hex').subarray(0, 8), 16);
    return this.isNew(bytes, 0);
  }
}

export function createSpanDedupe(options: { readonly capacity?: number } = {}): SpanDedupe {
  return new SpanDedupe(options.capacity ?? 1 << 20);
}

/** Open addressing in groups of slots, two words a slot; grows up to its capacity, so that a small service holds little. */
class Generation {
  size = 0;
  readonly #mostSlots: number;
  #words: Int32Array<ArrayBuffer>;
  #mask: number;
  #room: number;

  constructor(capacity: number, slots: number = Math.min(slotsFor(capacity), 8192)) {
    this.#mostSlots = slotsFor(capacity);
    this.#words = lineWords(slots * 2);
    this.#mask = slots - 1;
    this.#room = slots >> 1;
  }

  /** This generation emptied, if it is as large as its successor must be; else a new one, which need not grow: the one before has filled up. */
  reuse(capacity: number): Generation {
    if (this.#words.length !== slotsFor(capacity) * 2) return new Generation(capacity, slotsFor(capacity));
    this.#words.fill(0);
    this.size = 0;
    return this;
  }

  /** Touches the places of `count` keys: the first two groups, as the first is full for one in four. */
  glanceAll(lows: Int32Array, count: number): number {
    const words = this.#words;
    const mask = this.#mask & -groupSlots;
    let seen = 0;
    for (let i = 0; i < count; i += 1) {
      const low = lows[i] as number;
      seen ^= (words[(low & mask) * 2] as number) ^ (words[((low + groupSlots) & mask) * 2] as number);
    }
    return seen;
  }

  has(low: number, high: number): boolean {
    if (this.size === 0) return false;
    const words = this.#words;
    for (let nth = 0; nth < mostGroups; nth += 1) {
      const start = this.#group(low, high, nth);
      for (let at = start; at < start + groupWords; at += 2) {
        const first = words[at] as number;
        const second = words[at + 1] as number;
        if (first === low && second === high) return true;
        if (first === 0 && second === 0) return false;
      }
    }
    return false;
  }

  /** False where it is there already. One that finds all its groups full is somebody's crafted ids: it is not remembered. */
  add(low: number, high: number): boolean {
    const words = this.#words;
    for (let nth = 0; nth < mostGroups; nth += 1) {
      const start = this.#group(low, high, nth);
      for (let at = start; at < start + groupWords; at += 2) {
        const first = words[at] as number;
        const second = words[at + 1] as number;
        if (first === low && second === high) return false;
        if (first === 0 && second === 0) {
          words[at] = low;
          words[at + 1] = high;
          this.size += 1;
          if (this.size === this.#room && this.#mask + 1 < this.#mostSlots) this.#grow();
          return true;
        }
      }
    }
    return true;
  }

  /** Where the `nth` group of slots to look through begins: some beside each other for the trace, then some for the span alone. */
  #group(low: number, high: number, nth: number): number {
    const slot = nth < traceGroups ? low + nth * groupSlots : high + (nth - traceGroups) * (((low >>> 21) * groupSlots) | groupSlots);
    return (slot & this.#mask & -groupSlots) * 2;
  }

  #grow(): void {
    const before = this.#words;
    // Fourfold: what is moved each time would be found nowhere near.
    const slots = Math.min(this.#mostSlots, (this.#mask + 1) * 4);
    this.#words = lineWords(slots * 2);
    this.#mask = slots - 1;
    this.#room = slots >> 1;
    this.size = 0;
    for (let at = 0; at < before.length; at += 2) {
      const low = before[at] as number;
      const high = before[at + 1] as number;
      if (low !== 0 || high !== 0) this.add(low, high);
    }
    // Free at once, instead of when everything is collected next.
    before.buffer.transfer(0);
  }
}

/** Bits of `low` that all spans of a trace share: as many as a table of two million slots has places. */
const placeBits = 0x1f_ffff;
/** A group fills one line of the cache, from its first slot on. */
const groupSlots = 8;
const groupWords = groupSlots * 2;
/** With fewer, more spans find theirs full and are looked for far away, each for itself: one in nine with two in a full table, one in 24 now. */
const traceGroups = 4;
const mostGroups = 24;
/** As many look-ups as a processor can have on their way to memory, some times over. */
export const blockSize = 64;
/** A trace id and a span id. */
export const idWordsARow = 6;

/** A power of two, at least twice the entries. */
function slotsFor(entries: number): number {
  let slots = 16;
  while (slots < entries * 2) slots *= 2;
  return slots;
}
