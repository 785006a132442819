/**
 * Strings by their bytes: the same bytes give the same number without making a string. Open addressing over a hash that reads four
 * bytes at a time; entries keep their bytes in an arena, so a hit costs a hash and a compare, some 20 ns for a span name.
 *
 * Bounded: once the table is half full or the arena is spent, new strings are still numbered, but not remembered; `renew` then starts a
 * fresh generation with a new `strings` array, so that batches that hold the old one stay valid. Call it between batches only.
 */
export class ByteInterner {
  /** String of each number of this generation. Number 0 is ''. */
  strings: string[] = [''];
  readonly #slots: Int32Array;
  readonly #mask: number;
  readonly #arena: Uint8Array;
  readonly #arenaView: DataView;
  readonly #limit: number;
  /** Of each number: hash, length, where its bytes are; beside each other, because each look would wait for memory. */
  readonly #entries: Int32Array;
  #remembered = 1;
  #used = 0;

  /** `capacity`: distinct strings remembered, a power of two; `arenaBytes`: bytes of all of them. */
  constructor(capacity: number, arenaBytes: number) {
    this.#slots = new Int32Array(capacity * 2);
    this.#mask = capacity * 2 - 1;
    this.#limit = capacity;
    this.#entries = new Int32Array((capacity + 1) * entryWords);
    this.#arena = new Uint8Array(arenaBytes);
    this.#arenaView = new DataView(this.#arena.buffer);
  }

  /** Starts a new generation if this one is spent. True where it did. */
  renew(): boolean {
    if (this.strings.length <= this.#limit && this.#used + longestRemembered <= this.#arena.length) return false;
    this.strings = [''];
    this.#slots.fill(0);
    this.#remembered = 1;
    this.#used = 0;
    return true;
  }

  /** Number of the string in `bytes[start, end)`; `view` looks at the same bytes, from the same origin. */
  intern(bytes: Buffer, view: DataView, start: number, end: number): number {
    const length = end - start;
    if (length === 0) return 0;
    if (length > longestRemembered) return this.strings.push(bytes.toString('utf8', start, end)) - 1;
    // What is new (an id) often comes again at once.
    const newest = this.#remembered - 1;
    if (this.#isSame(newest, bytes, view, start, length)) return newest;
    const hash = hashBytes(bytes, view, start, length);
    let slot = hash & this.#mask;
    for (let probe = 0; probe < mostProbes; probe += 1) {
      const number = this.#slots[slot] as number;
      if (number === 0) return this.#add(bytes, start, end, hash, slot);
      if (this.#entries[number * entryWords] === hash && this.#isSame(number, bytes, view, start, length)) return number;
      slot = (slot + 1) & this.#mask;
    }
    return this.strings.push(bytes.toString('utf8', start, end)) - 1;
  }

  /** True where string `number` is remembered and is `bytes[start, end)`: a guess that saves the hash. */
  isSameAs(number: number, bytes: Buffer, view: DataView, start: number, end: number): boolean {
    return number < this.#remembered && this.#isSame(number, bytes, view, start, end - start);
  }

  #isSame(number: number, bytes: Buffer, view: DataView, start: number, length: number): boolean {
    const entry = number * entryWords;
    return (
      this.#entries[entry + 1] === length &&
      isSame(this.#arena, this.#arenaView, this.#entries[entry + 2] as number, bytes, view, start, length)
    );
  }

  #add(bytes: Buffer, start: number, end: number, hash: number, slot: number): number {
    const number = this.strings.push(textOf(bytes, start, end)) - 1;
    const length = end - start;
    // Numbers of remembered strings stay dense only until the first string that is not remembered; after it the table takes no more.
    if (number !== this.#remembered || number > this.#limit || this.#used + length > this.#arena.length) return number;
    // By hand: most are short, and two calls out of JavaScript would take longer.
    for (let i = 0; i < length; i += 1) this.#arena[this.#used + i] = bytes[start + i] as number;
    const entry = number * entryWords;
    this.#entries[entry] = hash;
    this.#entries[entry + 1] = length;
    this.#entries[entry + 2] = this.#used;
    this.#slots[slot] = number;
    this.#used += length;
    this.#remembered += 1;
    return number;
  }
}

const entryWords = 4;
/** Longer strings (a large statement) are made anew each time: they would spend the arena. */
const longestRemembered = 4096;
/** Beyond this, somebody builds collisions on purpose; the string is then simply not remembered. */
const mostProbes = 32;

/** Up to 64 bytes are read in full; longer strings by length and 16 samples of four bytes, then compared in full. */
function hashBytes(bytes: Uint8Array, view: DataView, start: number, length: number): number {
  let hash = length ^ 0x5bd1e995;
  if (length >= 4) {
    const last = start + length - 4;
    const step = length <= 64 ? 4 : length >> 4;
    for (let at = start; at < last; at += step) {
      hash = Math.imul(hash ^ view.getInt32(at, true), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash ^ view.getInt32(last, true), 0x9e3779b1);
  } else {
    for (let at = start; at < start + length; at += 1) hash = Math.imul(hash ^ (bytes[at] as number), 0x9e3779b1);
  }
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  return hash ^ (hash >>> 13);
}

function isSame(
  arena: Uint8Array,
  arenaView: DataView,
  offset: number,
  bytes: Uint8Array,
  view: DataView,
  start: number,
  length: number,
): boolean {
  if (length >= 4) {
    const last = length - 4;
    for (let i = 0; i < last; i += 4) {
      if (arenaView.getInt32(offset + i, true) !== view.getInt32(start + i, true)) return false;
    }
    return arenaView.getInt32(offset + last, true) === view.getInt32(start + last, true);
  }
  for (let i = 0; i < length; i += 1) {
    if (arena[offset + i] !== bytes[start + i]) return false;
  }
  return true;
}

/** UTF-8; latin1 where every byte is ASCII, which is faster and keeps one byte a character. Broken UTF-8 becomes U+FFFD. */
function textOf(bytes: Buffer, start: number, end: number): string {
  for (let at = start; at < end; at += 1) {
    if ((bytes[at] as number) > 127) return bytes.toString('utf8', start, end);
  }
  return bytes.toString('latin1', start, end);
}
