/**
 * Numbers with a time, in whole microseconds, which come out in order of time: sorted at once in a typed array, without a call a comparison.
 * Only where times are equal does `compare` decide. Filled, sorted, emptied, filled again.
 */
export class SortedByTime {
  readonly #compare: (a: number, b: number) => number;
  #numbers: Int32Array = new Int32Array(1024);
  #times: Float64Array = new Float64Array(1024);
  #keys: Float64Array = new Float64Array(1024);
  #count = 0;
  #at = 0;
  #leastUs = Number.POSITIVE_INFINITY;
  #mostUs = Number.NEGATIVE_INFINITY;

  constructor(compare: (a: number, b: number) => number) {
    this.#compare = compare;
  }

  add(number: number, us: number): void {
    if (this.#count === this.#numbers.length) this.#grow();
    this.#numbers[this.#count] = number;
    this.#times[this.#count] = us;
    this.#count += 1;
    if (us < this.#leastUs) this.#leastUs = us;
    if (us > this.#mostUs) this.#mostUs = us;
  }

  /** Puts in order all that was added and not taken. */
  sort(): void {
    const count = this.#count;
    const keys = this.#keys.subarray(0, count);
    if (this.#mostUs - this.#leastUs < longestUs && count < placesMax) {
      // Time in the upper bits, place in the lower: both exact in a double.
      for (let i = 0; i < count; i += 1) keys[i] = ((this.#times[i] as number) - this.#leastUs) * placesMax + i;
      keys.sort();
      for (let i = 0; i < count; i += 1) {
        const key = keys[i] as number;
        // The remainder of a double is a loop in the processor; a power of two divides without rounding.
        keys[i] = key - Math.floor(key / placesMax) * placesMax;
      }
    } else {
      for (let i = 0; i < count; i += 1) keys[i] = i;
      keys.sort((a, b) => (this.#times[a] as number) - (this.#times[b] as number));
    }
    this.#settleTies(keys);
  }

  /** The first number, or -1. */
  peek(): number {
    return this.#at < this.#count ? (this.#numbers[this.#keys[this.#at] as number] as number) : -1;
  }

  /** Takes the first number away; -1 where none is left. */
  next(): number {
    const number = this.peek();
    if (number < 0) return number;
    this.#at += 1;
    if (this.#at === this.#count) this.#clear();
    return number;
  }

  #settleTies(order: Float64Array): void {
    for (let i = 1; i < order.length; i += 1) {
      const index = order[i] as number;
      let at = i;
      while (at > 0) {
        const before = order[at - 1] as number;
        if (this.#times[before] !== this.#times[index]) break;
        if (this.#compare(this.#numbers[before] as number, this.#numbers[index] as number) <= 0) break;
        order[at] = before;
        at -= 1;
      }
      order[at] = index;
    }
  }

  #clear(): void {
    this.#count = 0;
    this.#at = 0;
    this.#leastUs = Number.POSITIVE_INFINITY;
    this.#mostUs = Number.NEGATIVE_INFINITY;
  }

  #grow(): void {
    const size = this.#numbers.length * 2;
    const numbers = new Int32Array(size);
    numbers.set(this.#numbers);
    this.#numbers = numbers;
    const times = new Float64Array(size);
    times.set(this.#times);
    this.#times = times;
    this.#keys = new Float64Array(size);
  }
}

const placesMax = 2 ** 20;
const longestUs = 2 ** 32;

/** Order of two ids by their text, `count` words at `a` and `b`. */
export function compareIds(one: Int32Array, a: number, two: Int32Array, b: number, count: number): number {
  for (let word = 0; word < count; word += 1) {
    const first = one[a + word] as number;
    const second = two[b + word] as number;
    if (first !== second) return asText(first) < asText(second) ? -1 : 1;
  }
  return 0;
}

/** The word with the byte first that comes first in the text. */
function asText(word: number): number {
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}
