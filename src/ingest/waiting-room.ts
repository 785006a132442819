import { BatchExpander, isDropped, type Sifted } from './compact-batch.ts';
import { type Away, DueMemory, type Held as HeldMemory } from './due-memory.ts';
import { movePacked, type PackedBatch, unpackBatch } from './packed-batch.ts';
import { SpanBatch } from './span-batch.ts';

/**
 * Where spans wait, packed, until the watermark reaches them: late ones may still come before it, and detectors see everything in order of
 * time. They wait here rather than in front of the detectors as operations, because columns take a fifth of the memory and nothing of the
 * garbage collector's time; an operation that is made when it is due lives for moments.
 *
 * A batch leaves whole where its spans end within a short time of each other. Batches of exporters that collect for seconds leave in a few
 * steps, each a little before it is due: detectors take what lies ahead of the watermark.
 *
 * Bounded by bytes: past the bound the oldest leave early, which shortens the time that late spans have and drops nothing.
 */
export class WaitingRoom {
  bytes = 0;
  /** Spans that wait, those of a partly released batch included. */
  rows = 0;
  readonly #mostBytes: number;
  /** A heap by due time. */
  readonly #heap: Held[] = [];
  /** In order of arrival, to know which sequence is still in here. */
  readonly #arrivals: Ticket[] = [];
  #firstArrival = 0;
  readonly #memory: DueMemory;
  readonly #expander = new BatchExpander();
  readonly #batch = new SpanBatch();
  #rowNumbers: Int32Array = new Int32Array(1024);

  /** `away`: where what is more than `mostResident` bytes waits, until it is due; in memory where it is absent. */
  constructor(mostBytes: number, away?: Away, mostResident?: number) {
    this.#mostBytes = mostBytes;
    this.#memory = new DueMemory(2 * shortestStepUs, away, mostResident);
  }

  /** Keeps a copy. `kept`: what `sift` left of the batch; a batch of which nothing is left has no business here. */
  add(sequence: number, packed: PackedBatch, strings: readonly string[], kept: Sifted): void {
    if (kept.rows === 0) return;
    const spreadUs = kept.maxEndUs - kept.minEndUs;
    const ticket: Ticket = { sequence, isGone: false };
    this.#arrivals.push(ticket);
    const place = this.#memory.take(kept.maxEndUs, packed.bytes);
    this.#push({
      ticket,
      packed: { ...movePacked(packed, { buffer: this.#memory.bufferOf(place), offset: place.offset }), buffer: elsewhere },
      place,
      kept,
      strings,
      stepUs: Math.max(shortestStepUs, spreadUs / mostSteps),
      dueUs: kept.minEndUs,
      maxEndUs: kept.maxEndUs,
      releasedUs: Number.NEGATIVE_INFINITY,
    });
    this.bytes += packed.bytes + heldOverheadBytes;
    this.rows += packed.rows;
  }

  /** When the next batch is due, or Infinity. */
  get nextDueUs(): number {
    return this.#heap[0]?.dueUs ?? Number.POSITIVE_INFINITY;
  }

  get isOverBound(): boolean {
    return this.bytes > this.#mostBytes;
  }

  /** The lowest sequence of which something is in here, or `next`. */
  firstSequence(next: number): number {
    while (this.#firstArrival < this.#arrivals.length && this.#arrivals[this.#firstArrival]?.isGone === true) this.#firstArrival += 1;
    if (this.#firstArrival > 1024 && this.#firstArrival * 2 > this.#arrivals.length) {
      this.#arrivals.splice(0, this.#firstArrival);
      this.#firstArrival = 0;
    }
    return this.#arrivals[this.#firstArrival]?.sequence ?? next;
  }

  /**
   * Takes out what is due at `upToUs`, a batch or a part of one a call, into `into()`: `each` gets that and the numbers of `count` rows,
   * which are used again by the next call. False where nothing is due.
   */
  release(upToUs: number, into: () => SpanBatch, each: (batch: SpanBatch, rows: Int32Array, count: number) => void): boolean {
    const held = this.#heap[0];
    if (held === undefined || held.dueUs > upToUs) return false;
    const { place, kept } = held;
    const packed = { ...held.packed, buffer: this.#memory.bufferOf(place) };
    const untilUs = Math.max(held.dueUs, upToUs) + held.stepUs;
    const isLast = untilUs >= held.maxEndUs;
    const isWhole = isLast && held.releasedUs === Number.NEGATIVE_INFINITY;
    const batch = isWhole ? into() : this.#batch;
    unpackBatch(this.#expander.expand(packed), held.strings, batch);
    if (this.#expander.classes > 0) batch.classify(this.#expander.classes, this.#expander.classOf);
    if (this.#rowNumbers.length < packed.rows) this.#rowNumbers = new Int32Array(packed.rows * 2);
    const rows = this.#rowNumbers;
    let count = 0;
    for (let row = 0; row < packed.rows; row += 1) {
      const endUs = batch.endUs[row] as number;
      if (endUs <= held.releasedUs || (endUs > untilUs && !isLast) || isDropped(kept, row)) continue;
      rows[count] = row;
      count += 1;
    }
    this.#pop();
    if (isLast) {
      held.ticket.isGone = true;
      this.bytes -= packed.bytes + heldOverheadBytes;
      this.rows -= packed.rows;
      this.#memory.giveBack(place);
    } else {
      held.releasedUs = untilUs;
      held.dueUs = untilUs;
      this.#push(held);
    }
    if (count === 0) return true;
    if (isWhole) each(batch, rows, count);
    else {
      // A part of a batch goes as one of its own: the rest of its columns is not kept for it.
      const part = into();
      part.copyRows(batch, rows, count);
      for (let row = 0; row < count; row += 1) rows[row] = row;
      each(part, rows, count);
    }
    return true;
  }

  #push(held: Held): void {
    const heap = this.#heap;
    let at = heap.push(held) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Held;
      if (above.dueUs <= held.dueUs) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = held;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && (heap[child + 1] as Held).dueUs < (heap[child] as Held).dueUs) child += 1;
      const below = heap[child] as Held;
      if (below.dueUs >= last.dueUs) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
  }
}

/** Outlives its batch's columns: a batch of slow clocks must not keep those of all that came after it. */
interface Ticket {
  readonly sequence: number;
  isGone: boolean;
}

interface Held {
  readonly ticket: Ticket;
  /** Its columns are where `place` says. */
  readonly packed: PackedBatch;
  readonly place: HeldMemory;
  readonly kept: Sifted;
  readonly strings: readonly string[];
  readonly stepUs: number;
  readonly maxEndUs: number;
  dueUs: number;
  releasedUs: number;
}

const elsewhere = new ArrayBuffer(0);
/** Ends within this of each other leave together: a quarter of a second as operations costs little. */
const shortestStepUs = 250_000;
/** Each step unpacks the batch again. */
const mostSteps = 8;
/** What a batch takes beside its buffer, roughly: its record, its counts, the buffer's own. */
const heldOverheadBytes = 500;
