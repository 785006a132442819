/**
 * Sizes and times of receipt of consecutive records, twelve bytes each: what a journal needs to know of its records without touching them.
 * Looking at a record only for its length would map its pages.
 */
export class RecordSizes {
  #sizes: Uint32Array = new Uint32Array(256);
  #times: Float64Array = new Float64Array(256);
  /** Sequence of the first size, and where it stands. */
  #first: number;
  #head = 0;
  #count = 0;

  constructor(first: number) {
    this.#first = first;
  }

  /** The next sequence. */
  push(size: number, receivedAtMs: number): void {
    if (this.#count === this.#sizes.length) {
      const sizes = new Uint32Array(this.#count * 2);
      const times = new Float64Array(this.#count * 2);
      for (let i = 0; i < this.#count; i += 1) {
        sizes[i] = this.#at(i);
        times[i] = this.#times[(this.#head + i) % this.#times.length] as number;
      }
      this.#sizes = sizes;
      this.#times = times;
      this.#head = 0;
    }
    const at = (this.#head + this.#count) % this.#sizes.length;
    this.#sizes[at] = size;
    this.#times[at] = receivedAtMs;
    this.#count += 1;
  }

  /** 0 where it is not known or was never there. */
  of(sequence: number): number {
    const i = sequence - this.#first;
    return i < 0 || i >= this.#count ? 0 : this.#at(i);
  }

  /** 0 where it is not known. */
  receivedAtMs(sequence: number): number {
    const i = sequence - this.#first;
    return i < 0 || i >= this.#count ? 0 : (this.#times[(this.#head + i) % this.#times.length] as number);
  }

  set(sequence: number, size: number): void {
    const i = sequence - this.#first;
    if (i >= 0 && i < this.#count) this.#sizes[(this.#head + i) % this.#sizes.length] = size;
  }

  between(from: number, to: number): number {
    let bytes = 0;
    for (let sequence = Math.max(from, this.#first); sequence < Math.min(to, this.#first + this.#count); sequence += 1)
      bytes += this.of(sequence);
    return bytes;
  }

  /** Forgets everything before `sequence`. */
  drop(sequence: number): void {
    const gone = Math.min(Math.max(0, sequence - this.#first), this.#count);
    this.#head = (this.#head + gone) % this.#sizes.length;
    this.#first += gone;
    this.#count -= gone;
  }

  #at(i: number): number {
    return this.#sizes[(this.#head + i) % this.#sizes.length] as number;
  }
}
