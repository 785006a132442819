import { HashTable } from '../base/hash-table.ts';

/**
 * The last keys seen, as 64 bits of each: at least `atLeast` of them, at most twice as many. Two generations: when the younger is full the
 * older is forgotten as a whole.
 */
export class RecentKeys {
  readonly #atLeast: number;
  #young = new HashTable();
  #old = new HashTable();

  constructor(atLeast: number) {
    this.#atLeast = atLeast;
  }

  has(low: number, high: number): boolean {
    return this.#young.find(low, high) >= 0 || this.#old.find(low, high) >= 0;
  }

  /** Looks at where `count` keys will be looked for first. */
  glanceAll(lows: Int32Array, count: number): void {
    this.#young.glanceAll(lows, count);
    this.#old.glanceAll(lows, count);
  }

  /** True where the key is news. */
  add(low: number, high: number): boolean {
    if (this.#young.find(low, high) >= 0) return false;
    const isNews = this.#old.find(low, high) < 0;
    if (this.#young.size >= this.#atLeast) {
      const spent = this.#old;
      this.#old = this.#young;
      this.#young = spent;
      spent.clear();
    }
    this.#young.add(low, high, 0);
    return isNews;
  }
}
