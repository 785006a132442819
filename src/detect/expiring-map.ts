import { Hash64 } from '../base/hash64.ts';
import { HashTable } from '../base/hash-table.ts';
import { Rows } from '../base/rows.ts';

/** Entries held at most, whatever the input: beyond it new keys are not taken (their hash order is arbitrary, so this samples). */
const entriesMax = 200_000;

const stride = 4;
const keyLow = 0;
const keyHigh = 1;
const lastUs = 2;

/** Shared by all maps: each call is done with it before it returns. */
const hash = new Hash64();

/**
 * A map whose entries are forgotten when they have not been touched for `retainUs` of event time. Whether an entry is still there depends
 * on event times only, never on when {@link ExpiringMap.sweep} ran: a late sweep must not let a finding through that an early one hides.
 * Keys are kept as 64 bits, beside the time, in typed arrays: as strings and objects, hundreds of thousands of them were a quarter of the
 * whole time of detection, in the garbage collector.
 */
export class ExpiringMap<V> {
  readonly #retainUs: number;
  readonly #rows = new Rows(stride, 16);
  readonly #byKey = new HashTable();
  readonly #valueOf: (V | undefined)[] = [];
  #sweptUs = Number.NEGATIVE_INFINITY;

  constructor(retainUs: number) {
    this.#retainUs = retainUs;
  }

  /** The value if it was touched within `retainUs` before `atUs`; touches it. */
  get(key: string, atUs: number): V | undefined {
    if (this.#rows.count === 0) return undefined;
    const { low, high } = hash.start().text(key).end();
    return this.getAt(low, high, atUs);
  }

  /** The same for keys that are hashed already; a map has keys of one sort. */
  getAt(low: number, high: number, atUs: number): V | undefined {
    if (this.#rows.count === 0) return undefined;
    const row = this.#byKey.find(low, high);
    if (row < 0) return undefined;
    const { doubles } = this.#rows;
    const at = (row * stride + lastUs) >> 1;
    const last = doubles[at] as number;
    if (atUs - last > this.#retainUs) return undefined;
    if (atUs > last) doubles[at] = atUs;
    return this.#valueOf[row];
  }

  set(key: string, value: V, atUs: number): void {
    const { low, high } = hash.start().text(key).end();
    this.setAt(low, high, value, atUs);
  }

  setAt(low: number, high: number, value: V, atUs: number): void {
    let row = this.#byKey.find(low, high);
    if (row < 0) {
      if (this.#rows.count >= entriesMax) return;
      row = this.#rows.take();
      this.#rows.words[row * stride + keyLow] = low;
      this.#rows.words[row * stride + keyHigh] = high;
      this.#byKey.add(low, high, row);
    }
    this.#rows.doubles[(row * stride + lastUs) >> 1] = atUs;
    this.#valueOf[row] = value;
  }

  delete(key: string): void {
    if (this.#rows.count === 0) return;
    const { low, high } = hash.start().text(key).end();
    this.deleteAt(low, high);
  }

  deleteAt(low: number, high: number): void {
    const row = this.#byKey.find(low, high);
    if (row >= 0) this.#remove(row);
  }

  /** Drops entries whose time is over at `atUs`, and calls `gone` with each. Does so now and then: calling it often costs nothing. */
  sweep(atUs: number, gone?: (value: V) => void): void {
    if (this.#rows.count === 0 || atUs - this.#sweptUs < Math.min(this.#retainUs / 4, 30_000_000)) return;
    this.#sweptUs = atUs;
    for (let row = 0; row < this.#rows.end; row += 1) {
      const value = this.#valueOf[row];
      if (value === undefined || atUs - (this.#rows.doubles[(row * stride + lastUs) >> 1] as number) <= this.#retainUs) continue;
      this.#remove(row);
      gone?.(value);
    }
  }

  *values(): Generator<V> {
    for (const value of this.#valueOf) if (value !== undefined) yield value;
  }

  get size(): number {
    return this.#rows.count;
  }

  #remove(row: number): void {
    this.#byKey.remove(this.#rows.words[row * stride + keyLow] as number, this.#rows.words[row * stride + keyHigh] as number);
    this.#valueOf[row] = undefined;
    this.#rows.give(row);
  }
}

export function createExpiringMap<V extends NonNullable<unknown>>(retainUs: number): ExpiringMap<V> {
  return new ExpiringMap<V>(retainUs);
}
