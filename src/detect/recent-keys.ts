/**
 * The last keys seen: at least `atLeast` of them, at most twice as many. Two generations: when the younger is full the older is forgotten as a
 * whole. (A set that lets its oldest key go for each new one walks over the graves of those before it: that was a microsecond a span.)
 */
export class RecentKeys {
  readonly #atLeast: number;
  #young = new Set<string>();
  #old = new Set<string>();

  constructor(atLeast: number) {
    this.#atLeast = atLeast;
  }

  has(key: string): boolean {
    return this.#young.has(key) || this.#old.has(key);
  }

  add(key: string): void {
    if (this.#young.size >= this.#atLeast) {
      this.#old = this.#young;
      this.#young = new Set();
    }
    this.#young.add(key);
  }
}
