import { SpanBatch } from './span-batch.ts';

/** A batch whose rows wait in several places: it is given back once none of them holds it. */
export interface HeldBatch {
  readonly number: number;
  readonly batch: SpanBatch;
  /** The batch's ids as words, eight a row: trace, span, parent. */
  readonly ids: Int32Array;
  uses: number;
  /** Rows to be given on, `due` of them: for whoever gives rows on batch by batch. */
  readonly rows: Int32Array;
  due: number;
}

/** Batches by number, so that a row that waits is two integers; what is given back is unpacked into again. */
export class HeldBatches {
  readonly #batches: (HeldBatch | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #spare: SpanBatch[] = [];

  /** A batch that is not in use: to unpack into. */
  spare(): SpanBatch {
    return this.#spare.pop() ?? new SpanBatch();
  }

  /** Takes a batch with one use, which is the caller's until `leave`. `rows`: how many of it may become due. */
  hold(batch: SpanBatch, rows: number): HeldBatch {
    const number = this.#free.pop() ?? this.#batches.length;
    const held: HeldBatch = { number, batch, ids: new Int32Array(batch.ids.buffer), uses: 1, rows: new Int32Array(rows), due: 0 };
    this.#batches[number] = held;
    return held;
  }

  at(number: number): HeldBatch {
    return this.#batches[number] as HeldBatch;
  }

  leave(held: HeldBatch): void {
    held.uses -= 1;
    if (held.uses > 0) return;
    this.#batches[held.number] = undefined;
    this.#free.push(held.number);
    this.giveBack(held.batch);
  }

  /** Takes a batch back that nobody holds. */
  giveBack(batch: SpanBatch): void {
    if (this.#spare.length < mostSpare) this.#spare.push(batch);
  }
}

/** What a step of time lets go of is unpacked into by the next; dropped, it would wait for a collection of the whole heap. */
const mostSpare = 64;
