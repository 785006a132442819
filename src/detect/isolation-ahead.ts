import type { Operation } from '../domain/operation.ts';
import { blockSize } from './step-block.ts';

/** The next steps of the isolation checker, with the hashes by which their transactions and objects are known. */
export class StepsAhead {
  readonly transactionLow = new Int32Array(blockSize);
  readonly transactionHigh = new Int32Array(blockSize);
  readonly objectLow = new Int32Array(blockSize);
  readonly objectHigh = new Int32Array(blockSize);
  count = 0;
  /** Positions of the operations in the list that they came from. */
  readonly #at = new Int32Array(blockSize);
  #operations: readonly Operation[] = [];
  #next = 0;

  open(operations: readonly Operation[]): void {
    this.#operations = operations;
    this.count = 0;
    this.#next = 0;
  }

  /** The place of the operation at `at` of the list. */
  add(at: number): number {
    this.#at[this.count] = at;
    this.count += 1;
    return this.count - 1;
  }

  /** The place of an operation, where it is the next one or came behind those that were not asked for; else -1. */
  take(operation: Operation): number {
    let nth = this.#next;
    while (nth < this.count && this.#operations[this.#at[nth] as number] !== operation) nth += 1;
    if (nth === this.count) return -1;
    this.#next = nth + 1;
    // The last one lets go of the list.
    if (this.#next === this.count) this.#operations = [];
    return nth;
  }
}
