import { lineWords } from './line-words.ts';

/**
 * A table up to this size grows four times at once: what nothing was written to yet takes no memory, and every move writes all rows to new
 * memory, of which each page costs as much as a thousand instructions. Beyond it, half as much again: the room is asked for as a whole.
 */
const largeBytes = 64_000_000;

/**
 * A table of rows of 32-bit words, one row beside the other in one buffer, so that what belongs together lies in one or two cache lines
 * (columns of their own cost a cache miss each: with seventeen columns a new row took 300 ns). `stride` is even; a double at word `w` (even)
 * of a row is `doubles[(row * stride + w) / 2]`. Row numbers are given out densely, taken back, given out again. A full table moves: `words`
 * and `doubles` must be read anew after {@link take}, what was read before is empty then.
 */
export class Rows {
  words: Int32Array<ArrayBuffer>;
  doubles: Float64Array<ArrayBuffer>;
  /** Rows in use. */
  count = 0;
  /** One more than the highest row number ever given out. */
  end = 0;
  readonly #stride: number;
  #capacity: number;
  /** Rows given back are a list through their first words. */
  #free = -1;

  constructor(stride: number, capacity = 1024) {
    this.#stride = stride;
    this.#capacity = capacity;
    this.words = lineWords(capacity * stride);
    this.doubles = doublesOf(this.words);
  }

  /** Bytes of the rows in use. Room that was never in use takes no memory; what was in use once is kept. */
  get bytes(): number {
    return this.count * this.#stride * 4;
  }

  /** A row number; the row's words are what they were. */
  take(): number {
    this.count += 1;
    const row = this.#free;
    if (row >= 0) {
      this.#free = this.words[row * this.#stride] as number;
      return row;
    }
    if (this.end === this.#capacity) {
      const isLarge = this.words.byteLength > largeBytes;
      this.#capacity = isLarge ? Math.ceil((this.#capacity * 3) / 2) : this.#capacity * 4;
      const words = lineWords(this.#capacity * this.#stride);
      words.set(this.words);
      // Free at once, instead of when everything is collected next: it is as much as the table.
      this.words.buffer.transfer(0);
      this.words = words;
      this.doubles = doublesOf(words);
    }
    this.end += 1;
    return this.end - 1;
  }

  give(row: number): void {
    this.count -= 1;
    this.words[row * this.#stride] = this.#free;
    this.#free = row;
  }
}

const doublesOf = (words: Int32Array<ArrayBuffer>): Float64Array<ArrayBuffer> =>
  new Float64Array(words.buffer, words.byteOffset, words.length >> 1);
