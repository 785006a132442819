import type { Rows } from './rows.ts';

const noRow = -1;
const sizeMin = 64;

/**
 * Finds rows of a table by 64-bit hashes that the rows hold themselves: three words of each, the hash (low, high) and the next row of its
 * chain (Knuth, The Art of Computer Programming 3, 6.4, algorithm C, with a list a head). Heads take 4 to 8 bytes a row, where a
 * `HashTable` beside the rows takes 20 to 40; and who looks a row up touches it anyway. Hashes are unique: the caller looks before it adds.
 */
export class RowChains {
  readonly #rows: Rows;
  readonly #stride: number;
  readonly #word: number;
  #heads: Int32Array<ArrayBuffer> = new Int32Array(sizeMin).fill(noRow);
  #size = 0;
  #near = new Int32Array(0);
  /** What was glanced at: kept, so that no compiler leaves the looks out. */
  seen = 0;

  /** `word`: where in a row the three words stand. */
  constructor(rows: Rows, stride: number, word: number) {
    this.#rows = rows;
    this.#stride = stride;
    this.#word = word;
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#heads.byteLength;
  }

  /** The row of a hash, or -1. */
  find(low: number, high: number): number {
    const { words } = this.#rows;
    const stride = this.#stride;
    const word = this.#word;
    let row = this.#heads[low & (this.#heads.length - 1)] as number;
    while (row !== noRow) {
      const at = row * stride + word;
      if (words[at] === low && words[at + 1] === high) return row;
      row = words[at + 2] as number;
    }
    return noRow;
  }

  /**
   * Looks at the heads of the chains of `count` hashes and then at the rows that these begin with: for whoever looks many hashes up, to have them
   * near before it does.
   */
  glanceAll(lows: Int32Array, count: number): void {
    const heads = this.#heads;
    const mask = heads.length - 1;
    const near = this.#near.length < count ? (this.#near = new Int32Array(count)) : this.#near;
    for (let i = 0; i < count; i += 1) near[i] = heads[(lows[i] as number) & mask] as number;
    const { words } = this.#rows;
    let seen = 0;
    for (let i = 0; i < count; i += 1) {
      const row = near[i] as number;
      if (row !== noRow) seen ^= words[row * this.#stride + this.#word] as number;
    }
    this.seen = seen;
  }

  add(low: number, high: number, row: number): void {
    if (this.#size >= this.#heads.length) this.#grow();
    const { words } = this.#rows;
    const at = row * this.#stride + this.#word;
    const home = low & (this.#heads.length - 1);
    words[at] = low;
    words[at + 1] = high;
    words[at + 2] = this.#heads[home] as number;
    this.#heads[home] = row;
    this.#size += 1;
  }

  /** Takes out a row that is in. */
  remove(row: number): void {
    const { words } = this.#rows;
    const stride = this.#stride;
    const at = row * stride + this.#word;
    const next = words[at + 2] as number;
    const home = (words[at] as number) & (this.#heads.length - 1);
    this.#size -= 1;
    let before = this.#heads[home] as number;
    if (before === row) {
      this.#heads[home] = next;
      return;
    }
    for (;;) {
      const link = before * stride + this.#word + 2;
      before = words[link] as number;
      if (before !== row) continue;
      words[link] = next;
      return;
    }
  }

  #grow(): void {
    const old = this.#heads;
    const { words } = this.#rows;
    const heads = new Int32Array(old.length * 2).fill(noRow);
    for (const head of old) {
      for (let row = head; row !== noRow; ) {
        const at = row * this.#stride + this.#word;
        const next = words[at + 2] as number;
        const home = (words[at] as number) & (heads.length - 1);
        words[at + 2] = heads[home] as number;
        heads[home] = row;
        row = next;
      }
    }
    this.#heads = heads;
    // Free at once, instead of when everything is collected next.
    old.buffer.transfer(0);
  }
}
