/**
 * Numbers for sequences of 32-bit words: the same words give the same number, compared in full. Open addressing over their hash, words in
 * one arena; for descriptions that spans share, of which a fleet has thousands. The caller bounds it with `size` and `clear`.
 */
export class WordTable {
  #slots = new Int32Array(initialSlots);
  #mask = initialSlots - 1;
  #hashes = new Int32Array(initialSlots >> 1);
  #starts = new Int32Array((initialSlots >> 1) + 1);
  #arena = new Int32Array(initialSlots * 8);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Bytes of the arrays. */
  get bytes(): number {
    return (this.#slots.length + this.#hashes.length + this.#starts.length + this.#arena.length) * 4;
  }

  /** The number of `count` words, or -1 - n where they are new: then they are number n from now on. */
  find(words: Int32Array, count: number): number {
    let hash = count;
    for (let i = 0; i < count; i += 1) {
      hash = Math.imul(hash ^ (words[i] as number), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    let slot = hash & this.#mask;
    for (;;) {
      const number = (this.#slots[slot] as number) - 1;
      if (number < 0) break;
      if (this.#hashes[number] === hash && this.#isSame(number, words, count)) return number;
      slot = (slot + 1) & this.#mask;
    }
    const added = this.#size;
    this.#size += 1;
    this.#hashes[added] = hash;
    const start = this.#starts[added] as number;
    while (start + count > this.#arena.length) this.#arena = doubled(this.#arena);
    for (let i = 0; i < count; i += 1) this.#arena[start + i] = words[i] as number;
    this.#starts[added + 1] = start + count;
    this.#slots[slot] = added + 1;
    if (this.#size * 2 > this.#mask) this.#grow();
    return -1 - added;
  }

  clear(): void {
    this.#slots.fill(0);
    this.#size = 0;
  }

  #isSame(number: number, words: Int32Array, count: number): boolean {
    const start = this.#starts[number] as number;
    if ((this.#starts[number + 1] as number) - start !== count) return false;
    const arena = this.#arena;
    for (let i = 0; i < count; i += 1) if (arena[start + i] !== words[i]) return false;
    return true;
  }

  #grow(): void {
    this.#mask = (this.#mask + 1) * 2 - 1;
    this.#slots = new Int32Array(this.#mask + 1);
    this.#hashes = doubled(this.#hashes);
    const starts = new Int32Array(this.#hashes.length + 1);
    starts.set(this.#starts);
    this.#starts = starts;
    for (let number = 0; number < this.#size; number += 1) {
      let slot = (this.#hashes[number] as number) & this.#mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & this.#mask;
      this.#slots[slot] = number + 1;
    }
  }
}

const initialSlots = 512;

function doubled(words: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(words.length * 2);
  larger.set(words);
  return larger;
}
