import { invariant } from '../base/assert.ts';
import { Hash64 } from '../base/hash64.ts';
import { HashTable } from '../base/hash-table.ts';
import type { Version } from '../domain/operation.ts';
import { EarlierOperations, noRecord as none } from './earlier-operations.ts';
import type { KeyedStep } from './keyed-step.ts';

const oldestWord = 0;
const newestWord = 1;
const countWord = 2;
const stride = 3;

/** The last operations of each object that a detector keeps, oldest first, by the object's row. */
export class ObjectRecords {
  readonly earlier = new EarlierOperations();
  #lists = new Int32Array(1024 * stride).fill(none);
  readonly #perObject: number;
  readonly #onGone: (row: number, count: number) => void;

  /**
   * At most `perObject` records of one object: beyond it the oldest goes. `onGone` hears of each record before it goes, and how many the object
   * has with it.
   */
  constructor(perObject: number, onGone: (row: number, count: number) => void = () => undefined) {
    this.#perObject = perObject;
    this.#onGone = onGone;
  }

  get bytes(): number {
    return this.earlier.bytes + this.#lists.byteLength;
  }

  oldest(object: number): number {
    return this.#lists[object * stride + oldestWord] ?? none;
  }

  /** How many records the object has. */
  countOf(object: number): number {
    const at = object * stride;
    return (this.#lists[at + oldestWord] ?? none) === none ? 0 : (this.#lists[at + countWord] as number);
  }

  push(step: KeyedStep): number {
    const at = step.object * stride;
    while (at >= this.#lists.length) {
      const longer = new Int32Array(Math.ceil((this.#lists.length * 3) / 2 / stride) * stride).fill(none);
      longer.set(this.#lists);
      this.#lists = longer;
    }
    const row = this.earlier.take(step, none);
    const newest = this.#lists[at + newestWord] as number;
    if (newest === none) {
      this.#lists[at + oldestWord] = row;
      this.#lists[at + countWord] = 0;
    } else this.earlier.link(newest, row);
    this.#lists[at + newestWord] = row;
    const count = (this.#lists[at + countWord] as number) + 1;
    this.#lists[at + countWord] = count;
    if (count > this.#perObject) {
      const oldest = this.#lists[at + oldestWord] as number;
      this.#lists[at + oldestWord] = this.earlier.nextOf(oldest);
      this.#lists[at + countWord] = count - 1;
      this.#onGone(oldest, count);
      this.earlier.give(oldest);
    }
    return row;
  }

  forget(object: number): void {
    const at = object * stride;
    if (at >= this.#lists.length) return;
    const count = this.#lists[at + countWord] as number;
    for (let row = this.#lists[at + oldestWord] as number; row !== none; ) {
      const next = this.earlier.nextOf(row);
      this.#onGone(row, count);
      this.earlier.give(row);
      row = next;
    }
    for (let word = at; word < at + stride; word += 1) this.#lists[word] = none;
  }
}

/** An object with more records than this finds them by an index instead of looking through them. */
const walkMax = 4;

/**
 * The first operation of each object with a given version (its own, or its base), among the last few of the object. Most objects have one or
 * two: for them an index would be a miss of the cache when a record comes, and another when it goes.
 */
export class VersionRecords {
  readonly records: ObjectRecords;
  readonly #index = new HashTable();
  readonly #hash = new Hash64();

  /** `perObject`: more than those that are looked through. */
  constructor(perObject: number, onGone: (row: number) => void = () => undefined) {
    invariant(perObject > walkMax, 'an object has room for more records than are looked through', { perObject });
    const { earlier } = (this.records = new ObjectRecords(perObject, (row, count) => {
      if (count > walkMax) this.#index.remove(earlier.keyLowOf(row), earlier.keyHighOf(row));
      onGone(row);
    }));
  }

  get bytes(): number {
    return this.records.bytes + this.#index.bytes;
  }

  /** The record with this version, or -1. */
  find(step: KeyedStep, version: Version): number {
    const hash = this.#hash.start().pair(step.objectLow, step.objectHigh);
    if (typeof version === 'string') hash.text(version);
    else {
      const number = Number(version);
      if (Number.isSafeInteger(number)) hash.pair(number | 0, Math.floor(number / 0x1_0000_0000) | 0);
      else hash.text(`${version}n`);
    }
    const { low, high } = hash.end();
    const { records } = this;
    if (records.countOf(step.object) > walkMax) return this.#index.find(low, high);
    const { earlier } = records;
    for (let row = records.oldest(step.object); row !== none; row = earlier.nextOf(row))
      if (earlier.keyLowOf(row) === low && earlier.keyHighOf(row) === high) return row;
    return none;
  }

  /** Keeps the step under the version that {@link find} has just looked for in vain. */
  keep(step: KeyedStep): number {
    const { low, high } = this.#hash;
    const { records } = this;
    const before = records.countOf(step.object);
    const row = records.push(step);
    records.earlier.mark(row, low, high);
    if (before === walkMax) this.#indexAll(step.object);
    else if (before > walkMax) this.#index.add(low, high, row);
    return row;
  }

  /** From now on this object's records are found by the index. */
  #indexAll(object: number): void {
    const { earlier } = this.records;
    for (let row = this.records.oldest(object); row !== none; row = earlier.nextOf(row))
      this.#index.add(earlier.keyLowOf(row), earlier.keyHighOf(row), row);
  }

  forget(object: number): void {
    this.records.forget(object);
  }
}
