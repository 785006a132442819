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
  readonly #onGone: (row: number) => void;

  /** At most `perObject` records of one object: beyond it the oldest goes. `onGone` hears of each record before it goes. */
  constructor(perObject: number, onGone: (row: number) => void = () => undefined) {
    this.#perObject = perObject;
    this.#onGone = onGone;
  }

  get bytes(): number {
    return this.earlier.bytes + this.#lists.byteLength;
  }

  oldest(object: number): number {
    return this.#lists[object * stride + oldestWord] ?? none;
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
      this.#onGone(oldest);
      this.earlier.give(oldest);
    }
    return row;
  }

  forget(object: number): void {
    const at = object * stride;
    if (at >= this.#lists.length) return;
    for (let row = this.#lists[at + oldestWord] as number; row !== none; ) {
      const next = this.earlier.nextOf(row);
      this.#onGone(row);
      this.earlier.give(row);
      row = next;
    }
    for (let word = at; word < at + stride; word += 1) this.#lists[word] = none;
  }
}

/** The first operation of each object with a given version (its own, or its base), among the last few of the object. */
export class VersionRecords {
  readonly records: ObjectRecords;
  readonly #index = new HashTable();
  readonly #hash = new Hash64();

  constructor(perObject: number, onGone: (row: number) => void = () => undefined) {
    const { earlier } = (this.records = new ObjectRecords(perObject, (row) => {
      this.#index.remove(earlier.keyLowOf(row), earlier.keyHighOf(row));
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
    return this.#index.find(low, high);
  }

  /** Keeps the step under the version that {@link find} has just looked for in vain. */
  keep(step: KeyedStep): number {
    const { low, high } = this.#hash;
    const row = this.records.push(step);
    this.records.earlier.mark(row, low, high);
    this.#index.add(low, high, row);
    return row;
  }

  forget(object: number): void {
    this.records.forget(object);
  }
}
