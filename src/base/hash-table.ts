const emptyRow = -1;
const sizeMin = 64;

/**
 * From 64-bit hashes to row numbers: open addressing with linear probing in one typed array (12 bytes a place, at most 60 % full), removal by
 * shifting back, so that it never fills with graves. Keys are unique: the caller looks before it adds.
 */
export class HashTable {
  #places = new Int32Array(sizeMin * 3).fill(emptyRow);
  #mask = sizeMin - 1;
  #size = 0;
  /** What was glanced at: kept, so that no compiler leaves the looks out. */
  seen = 0;

  get size(): number {
    return this.#size;
  }

  /** Bytes of what is in use, with its share of the places that must stay empty. */
  get bytes(): number {
    return this.#size * 30;
  }

  /** Forgets all keys and keeps the room. */
  clear(): void {
    this.#places.fill(emptyRow);
    this.#size = 0;
  }

  /** The row of a key, or -1. */
  find(low: number, high: number): number {
    const places = this.#places;
    const mask = this.#mask;
    for (let at = low & mask; ; at = (at + 1) & mask) {
      const row = places[at * 3] as number;
      if (row === emptyRow || (places[at * 3 + 1] === low && places[at * 3 + 2] === high)) return row;
    }
  }

  /** What stands at the home of a key, often its row: for whoever looks many keys up, to have their places near before it does. */
  glance(low: number): number {
    return this.#places[(low & this.#mask) * 3] as number;
  }

  /**
   * {@link glance} of `count` keys: a processor waits for as many places at a time as there are in some hundred instructions, so the loop has
   * nothing else in it.
   */
  glanceAll(lows: Int32Array, count: number): void {
    const places = this.#places;
    const mask = this.#mask;
    let seen = 0;
    for (let i = 0; i < count; i += 1) seen ^= places[((lows[i] as number) & mask) * 3] as number;
    this.seen = seen;
  }

  add(low: number, high: number, row: number): void {
    if (this.#size * 5 >= (this.#mask + 1) * 3) this.#grow();
    this.#place(low, high, row);
    this.#size += 1;
  }

  /** Points a key that is there to another row. */
  point(low: number, high: number, row: number): void {
    const places = this.#places;
    const mask = this.#mask;
    for (let at = low & mask; places[at * 3] !== emptyRow; at = (at + 1) & mask) {
      if (places[at * 3 + 1] !== low || places[at * 3 + 2] !== high) continue;
      places[at * 3] = row;
      return;
    }
  }

  remove(low: number, high: number): void {
    const at = this.#placeOf(low, high);
    if (this.#places[at * 3] !== emptyRow) this.#empty(at);
  }

  /** Removes a key that points to this row; one that points to another stays. */
  removeRow(low: number, high: number, row: number): void {
    const at = this.#placeOf(low, high);
    if (row !== emptyRow && this.#places[at * 3] === row) this.#empty(at);
  }

  /** Where a key stands, or the empty place where it would. */
  #placeOf(low: number, high: number): number {
    const places = this.#places;
    const mask = this.#mask;
    let at = low & mask;
    while (places[at * 3] !== emptyRow && (places[at * 3 + 1] !== low || places[at * 3 + 2] !== high)) at = (at + 1) & mask;
    return at;
  }

  #empty(from: number): void {
    const places = this.#places;
    const mask = this.#mask;
    let at = from;
    this.#size -= 1;
    // Knuth, The Art of Computer Programming 3, 6.4, algorithm R: what follows moves back unless it stands at or after its own place.
    let hole = at;
    for (;;) {
      at = (at + 1) & mask;
      if (places[at * 3] === emptyRow) break;
      const home = (places[at * 3 + 1] as number) & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      places[hole * 3] = places[at * 3] as number;
      places[hole * 3 + 1] = places[at * 3 + 1] as number;
      places[hole * 3 + 2] = places[at * 3 + 2] as number;
      hole = at;
    }
    places[hole * 3] = emptyRow;
  }

  /** Keeps the keys that `keeps` says, and removes all others: in order of places, where removing one after the other waits for each. */
  retain(keeps: (low: number, row: number) => boolean): void {
    const old = this.#places;
    this.#places = new Int32Array(old.length).fill(emptyRow);
    this.#size = 0;
    for (let at = 0; at < old.length; at += 3) {
      const row = old[at] as number;
      const low = old[at + 1] as number;
      if (row === emptyRow || !keeps(low, row)) continue;
      this.#place(low, old[at + 2] as number, row);
      this.#size += 1;
    }
    // Free at once, instead of when everything is collected next.
    old.buffer.transfer(0);
  }

  #grow(): void {
    const old = this.#places;
    this.#mask = (this.#mask + 1) * 2 - 1;
    this.#places = new Int32Array((this.#mask + 1) * 3).fill(emptyRow);
    for (let at = 0; at < old.length; at += 3) {
      if (old[at] !== emptyRow) this.#place(old[at + 1] as number, old[at + 2] as number, old[at] as number);
    }
    old.buffer.transfer(0);
  }

  #place(low: number, high: number, row: number): void {
    const places = this.#places;
    const mask = this.#mask;
    let at = low & mask;
    while (places[at * 3] !== emptyRow) at = (at + 1) & mask;
    places[at * 3] = row;
    places[at * 3 + 1] = low;
    places[at * 3 + 2] = high;
  }
}
