import { HashTable } from '../base/hash-table.ts';
import { hexOf, packHex } from '../base/hex-words.ts';
import { Rows } from '../base/rows.ts';
import type { HeldBatch, HeldBatches } from './held-batches.ts';
import { isPlainRow } from './span-reader.ts';
import { compareIds, SortedByTime } from './sorted-by-time.ts';

const traceStride = 16;
/** The id: four words. The first one belongs to the table where the record is free. */
const idAt = 0;
/** What is known of the trace: bits. */
const flagsAt = 4;
/** The run before the newest one, or {@link noRun}. */
const earlierAt = 5;
const minEndAt = 6;
const maxEndAt = 8;
/** The slot in which the trace is looked at; NaN where it is not. */
const slotAt = 10;
/** The newest run: its batch, its first row and how many there are; none where the trace was handed on. */
const batchAt = 12;
const firstAt = 13;
const countAt = 14;

/** Handed on, and open over there until it was quiet for long. */
const isElsewhere = 1;
/** Some rows are several operations, or of another trace. */
const isMixed = 2;

const runStride = 4;
/** Batch, first row and count, and the run before. The batch belongs to the table where the record is free. */
const runBatch = 0;
const runFirst = 1;
const runCount = 2;
const runEarlier = 3;
const noRun = -1;

/**
 * Holds the rows of a trace, as columns, until its spans have been quiet for as long as detectors wait before they judge it. Made into
 * operations only then, and one trace after the other, a span is an object for a moment instead of a second, which is what keeps the
 * garbage collector out of the way.
 *
 * A trace that is simply over (all its parents are here, and no longer than `idleUs`) is given on as a whole, in the order in which
 * detectors judge. Everything else is given on as rows, to whoever cuts traces by event time, and as early as it may be needed: handing on
 * early is always right there, handing on late would not be. That is a trace that is longer, one whose first part went on with parents
 * missing, so that it is still open over there, and one with rows that are several operations.
 */
export class TraceShelf {
  readonly #idleUs: number;
  readonly #patienceUs: number;
  readonly #held: HeldBatches;
  readonly #traces = new HashTable();
  /** A line of the cache for each trace, with the newest of its runs: rows that stand one behind the other in a batch. */
  readonly #records = new Rows(traceStride);
  readonly #runs = new Rows(runStride);
  /** Rows on the shelf. */
  rows = 0;
  readonly #due = new Set<HeldBatch>();
  readonly #timetable = new Map<number, number[]>();
  #nextSlot = Number.POSITIVE_INFINITY;
  readonly #asked = new Int32Array(4);
  readonly #over = new SortedByTime((a, b) =>
    compareIds(this.#records.words, a * traceStride + idAt, this.#records.words, b * traceStride + idAt, 4),
  );

  constructor(idleUs: number, patienceUs: number, held: HeldBatches) {
    this.#idleUs = idleUs;
    this.#patienceUs = Math.max(idleUs, patienceUs);
    this.#held = held;
  }

  /** Takes `count` rows of a batch, each of which it holds until it is given on. */
  add(held: HeldBatch, rows: Int32Array, count: number): void {
    const { ids } = held;
    let trace = -1;
    let before = -1;
    for (let i = 0; i < count; i += 1) {
      const row = rows[i] as number;
      const at = row * 8;
      // Spans of a trace often stand together.
      if (before < 0 || !isSameTrace(ids, before, ids, at)) {
        const high = highOf(ids, at);
        const low = lowOf(ids, at, high);
        trace = this.#traces.find(low, high);
        if (trace < 0) trace = this.#newTrace(held, row, low, high);
        else this.#addRow(trace, held, row);
      } else this.#addRow(trace, held, row);
      before = at;
    }
  }

  /** Shows the rows of a trace that wait here, which they go on to do; `several`: some are several operations, and none was shown. */
  look(traceId: string, each: (held: HeldBatch, row: number) => void): 'none' | 'several' | 'shown' {
    packHex(traceId, this.#asked, 0, 4);
    const high = highOf(this.#asked, 0);
    const trace = this.#traces.find(lowOf(this.#asked, 0, high), high);
    const flags = trace < 0 ? isElsewhere : this.#flagsOf(trace);
    if ((flags & isElsewhere) !== 0) return 'none';
    if ((flags & isMixed) !== 0) return 'several';
    this.#eachRow(trace, each);
    return 'shown';
  }

  /** Rows of a trace, the last that was added first. */
  #eachRow(trace: number, each: (held: HeldBatch, row: number) => void): void {
    const { words } = this.#records;
    const at = trace * traceStride;
    let held = this.#held.at(words[at + batchAt] as number);
    let first = words[at + firstAt] as number;
    let row = first + (words[at + countAt] as number) - 1;
    let run = words[at + earlierAt] as number;
    for (;;) {
      for (; row >= first; row -= 1) each(held, row);
      if (run === noRun) return;
      const from = run * runStride;
      held = this.#held.at(this.#runs.words[from + runBatch] as number);
      first = this.#runs.words[from + runFirst] as number;
      row = first + (this.#runs.words[from + runCount] as number) - 1;
      run = this.#runs.words[from + runEarlier] as number;
    }
  }

  /** Takes the runs of a trace away; `each` gets the batch of each, with the use that the run was, the newest first. */
  #leaveRuns(trace: number, each: (held: HeldBatch, first: number, count: number) => void): void {
    const { words } = this.#records;
    const at = trace * traceStride;
    let run = words[at + earlierAt] as number;
    this.rows -= words[at + countAt] as number;
    each(this.#held.at(words[at + batchAt] as number), words[at + firstAt] as number, words[at + countAt] as number);
    while (run !== noRun) {
      const from = run * runStride;
      const batch = this.#runs.words[from + runBatch] as number;
      const count = this.#runs.words[from + runCount] as number;
      const earlier = this.#runs.words[from + runEarlier] as number;
      this.rows -= count;
      each(this.#held.at(batch), this.#runs.words[from + runFirst] as number, count);
      this.#runs.give(run);
      run = earlier;
    }
  }

  #newTrace(held: HeldBatch, row: number, low: number, high: number): number {
    const trace = this.#records.take();
    const { words, doubles } = this.#records;
    const at = trace * traceStride;
    const { ids } = held;
    const endUs = held.batch.endUs[row] as number;
    for (let word = 0; word < 4; word += 1) words[at + idAt + word] = ids[row * 8 + word] as number;
    words[at + flagsAt] = isPlainRow(held.batch, row) ? 0 : isMixed;
    words[at + earlierAt] = noRun;
    doubles[(at + minEndAt) >> 1] = endUs;
    doubles[(at + maxEndAt) >> 1] = endUs;
    words[at + batchAt] = held.number;
    words[at + firstAt] = row;
    words[at + countAt] = 1;
    held.uses += 1;
    this.rows += 1;
    this.#traces.add(low, high, trace);
    this.#schedule(trace, endUs + this.#idleUs);
    return trace;
  }

  #addRow(trace: number, held: HeldBatch, row: number): void {
    const { words, doubles } = this.#records;
    const at = trace * traceStride;
    const endUs = held.batch.endUs[row] as number;
    let minUs = doubles[(at + minEndAt) >> 1] as number;
    let maxUs = doubles[(at + maxEndAt) >> 1] as number;
    if (endUs < minUs) doubles[(at + minEndAt) >> 1] = minUs = endUs;
    if (endUs > maxUs) doubles[(at + maxEndAt) >> 1] = maxUs = endUs;
    const flags = words[at + flagsAt] as number;
    if ((flags & isElsewhere) === 0 && maxUs - minUs <= this.#idleUs) {
      if ((flags & isMixed) === 0 && !(isPlainRow(held.batch, row) && isSameTrace(words, at + idAt, held.ids, row * 8)))
        words[at + flagsAt] = flags | isMixed;
      this.#putRow(words, at, held, row);
      return;
    }
    if ((flags & isElsewhere) === 0) this.#handOn(trace);
    held.uses += 1;
    this.#giveOn(held, row);
  }

  /** Adds a row to the newest run, or begins another one. */
  #putRow(words: Int32Array, at: number, held: HeldBatch, row: number): void {
    const count = words[at + countAt] as number;
    this.rows += 1;
    if (words[at + batchAt] === held.number && (words[at + firstAt] as number) + count === row) {
      words[at + countAt] = count + 1;
      return;
    }
    const run = this.#runs.take();
    const earlier = this.#runs.words;
    earlier[run * runStride + runBatch] = words[at + batchAt] as number;
    earlier[run * runStride + runFirst] = words[at + firstAt] as number;
    earlier[run * runStride + runCount] = count;
    earlier[run * runStride + runEarlier] = words[at + earlierAt] as number;
    words[at + earlierAt] = run;
    words[at + batchAt] = held.number;
    words[at + firstAt] = row;
    words[at + countAt] = 1;
    held.uses += 1;
  }

  /** Whoever gives a row on holds the batch for it, which then is held as long as rows of it are due. */
  #giveOn(held: HeldBatch, row: number): void {
    // Counted as one use however many rows are due.
    if (held.due > 0) held.uses -= 1;
    held.rows[held.due] = row;
    held.due += 1;
    this.#due.add(held);
  }

  /**
   * Gives on what must be known at `upToUs` and is not a whole trace, batch by batch: `each` gets a batch and the numbers of `count` of its
   * rows, not to be kept. Whole traces that are over by then come from {@link nextUs} and {@link take} afterwards.
   */
  release(upToUs: number, each: (held: HeldBatch, rows: Int32Array, count: number) => void): void {
    const endSlot = Math.floor(upToUs / slotUs);
    if (this.#nextSlot < endSlot) {
      const slots = [...this.#timetable.keys()].filter((slot) => slot < endSlot);
      for (const slot of slots) {
        const traces = this.#timetable.get(slot) ?? [];
        this.#timetable.delete(slot);
        for (const trace of traces) if (this.#slotOf(trace) === slot) this.#look(trace, upToUs);
      }
      this.#nextSlot = Number.POSITIVE_INFINITY;
      for (const slot of this.#timetable.keys()) if (slot < this.#nextSlot) this.#nextSlot = slot;
      this.#over.sort();
    }
    this.giveOn(each);
  }

  /** Gives on what was handed on, without moving time. */
  giveOn(each: (held: HeldBatch, rows: Int32Array, count: number) => void): void {
    for (const held of this.#due) {
      const count = held.due;
      held.due = 0;
      each(held, held.rows, count);
      // Rows that come due later take the same places: as many are left as are still held.
      this.#held.leave(held);
    }
    this.#due.clear();
  }

  /** When the next whole trace closes; Infinity where none is left of those that are over. */
  nextUs(): number {
    const trace = this.#over.peek();
    return trace < 0 ? Number.POSITIVE_INFINITY : this.#maxEndUs(trace) + this.#idleUs;
  }

  /** Takes the next whole trace away: its rows go to `each`, who is done with them when it returns. */
  take(each: (held: HeldBatch, row: number) => void): void {
    const trace = this.#over.next();
    if (trace < 0) return;
    this.#eachRow(trace, each);
    this.#leaveRuns(trace, this.#leave);
    this.#free(trace);
  }

  readonly #leave = (held: HeldBatch): void => this.#held.leave(held);

  /** A trace whose time may have come: not before its last end, and what waits for it, say so. */
  #look(trace: number, upToUs: number): void {
    const flags = this.#flagsOf(trace);
    const isOpenElsewhere = (flags & isElsewhere) !== 0;
    const dueUs = this.#maxEndUs(trace) + (isOpenElsewhere ? this.#patienceUs : this.#idleUs);
    if (dueUs > upToUs) return this.#schedule(trace, dueUs);
    if (isOpenElsewhere) {
      this.#remove(trace);
      this.#free(trace);
      return;
    }
    if (!this.#isWhole(trace)) {
      this.#handOn(trace);
      this.#schedule(trace, this.#maxEndUs(trace) + this.#patienceUs);
      return;
    }
    // What has all its parents is judged at once, and a span that comes after it begins anew.
    this.#remove(trace);
    this.#records.doubles[(trace * traceStride + slotAt) >> 1] = Number.NaN;
    if ((flags & isMixed) === 0) this.#over.add(trace, dueUs);
    else {
      this.#handOn(trace);
      this.#free(trace);
    }
  }

  /** Forgets the traces that `keep` refuses, but for what was handed on of them. */
  narrow(keep: (traceId: string) => boolean): void {
    for (const [slot, traces] of this.#timetable)
      for (const trace of traces) {
        if (this.#slotOf(trace) !== slot || (this.#flagsOf(trace) & isElsewhere) !== 0) continue;
        if (keep(hexOf(this.#records.words, trace * traceStride + idAt, 4))) continue;
        this.#leaveRuns(trace, this.#leave);
        this.#remove(trace);
        this.#free(trace);
      }
  }

  #handOn(trace: number): void {
    this.#leaveRuns(trace, this.#giveRunOn);
    const { words } = this.#records;
    const at = trace * traceStride;
    words[at + flagsAt] = (words[at + flagsAt] as number) | isElsewhere;
  }

  readonly #giveRunOn = (held: HeldBatch, first: number, count: number): void => {
    // The run is one use, as is whatever is due of the batch.
    if (held.due > 0) held.uses -= 1;
    for (let row = first + count - 1; row >= first; row -= 1) {
      held.rows[held.due] = row;
      held.due += 1;
    }
    this.#due.add(held);
  };

  /** Whether every parent is here; false where that would take long to say. */
  #isWhole(trace: number): boolean {
    const { words } = this.#records;
    const at = trace * traceStride;
    let looks = 0;
    let knownLow = 0;
    let knownHigh = 0;
    let batch = words[at + batchAt] as number;
    let first = words[at + firstAt] as number;
    let row = first + (words[at + countAt] as number) - 1;
    let run = words[at + earlierAt] as number;
    for (;;) {
      const { ids } = this.#held.at(batch);
      for (; row >= first; row -= 1) {
        const low = ids[row * 8 + 6] as number;
        const high = ids[row * 8 + 7] as number;
        // A root, or a sister of the row before.
        if ((low === 0 && high === 0) || (low === knownLow && high === knownHigh)) continue;
        looks = this.#find(trace, low, high, looks);
        if (looks < 0) return false;
        knownLow = low;
        knownHigh = high;
      }
      if (run === noRun) return true;
      const { words: runs } = this.#runs;
      const from = run * runStride;
      batch = runs[from + runBatch] as number;
      first = runs[from + runFirst] as number;
      row = first + (runs[from + runCount] as number) - 1;
      run = runs[from + runEarlier] as number;
    }
  }

  /** How many looks there were once the span is found; -1 where it is not here, or there were too many. */
  #find(trace: number, low: number, high: number, before: number): number {
    const { words } = this.#records;
    const at = trace * traceStride;
    let looks = before;
    let batch = words[at + batchAt] as number;
    let first = words[at + firstAt] as number;
    let row = first + (words[at + countAt] as number) - 1;
    let run = words[at + earlierAt] as number;
    for (;;) {
      const { ids } = this.#held.at(batch);
      for (; row >= first; row -= 1) {
        looks += 1;
        if (looks > mostLooks) return -1;
        if (ids[row * 8 + 4] === low && ids[row * 8 + 5] === high) return looks;
      }
      if (run === noRun) return -1;
      const { words: runs } = this.#runs;
      const from = run * runStride;
      batch = runs[from + runBatch] as number;
      first = runs[from + runFirst] as number;
      row = first + (runs[from + runCount] as number) - 1;
      run = runs[from + runEarlier] as number;
    }
  }

  #flagsOf(trace: number): number {
    return this.#records.words[trace * traceStride + flagsAt] as number;
  }
  #maxEndUs(trace: number): number {
    return this.#records.doubles[(trace * traceStride + maxEndAt) >> 1] as number;
  }
  #slotOf(trace: number): number {
    return this.#records.doubles[(trace * traceStride + slotAt) >> 1] as number;
  }

  #schedule(trace: number, dueUs: number): void {
    const slot = Math.floor(dueUs / slotUs);
    this.#records.doubles[(trace * traceStride + slotAt) >> 1] = slot;
    const list = this.#timetable.get(slot);
    if (list === undefined) this.#timetable.set(slot, [trace]);
    else list.push(trace);
    if (slot < this.#nextSlot) this.#nextSlot = slot;
  }

  /** Another span of the trace will begin it anew. */
  #remove(trace: number): void {
    const { words } = this.#records;
    const high = highOf(words, trace * traceStride + idAt);
    this.#traces.remove(lowOf(words, trace * traceStride + idAt, high), high);
  }

  #free(trace: number): void {
    this.#records.doubles[(trace * traceStride + slotAt) >> 1] = Number.NaN;
    this.#records.give(trace);
  }
}

/** Whether two rows of ids, eight words each, are of one trace. */
export function isSameTrace(one: Int32Array, a: number, two: Int32Array, b: number): boolean {
  return one[a] === two[b] && one[a + 1] === two[b + 1] && one[a + 2] === two[b + 2] && one[a + 3] === two[b + 3];
}

/** 64 bits for a trace's id. Those of some tracers are random in one half only. */
function highOf(ids: Int32Array, at: number): number {
  return Math.imul((ids[at + 1] as number) ^ ((ids[at + 2] as number) >>> 15), 0x9e3779b1) ^ (ids[at + 3] as number);
}

function lowOf(ids: Int32Array, at: number, high: number): number {
  const mixed = Math.imul((ids[at] as number) ^ (high >>> 16), 0x85ebca6b) ^ (ids[at + 2] as number);
  return mixed ^ (mixed >>> 13);
}

/** Width of the timetable's slots. */
const slotUs = 50_000;
/** Comparisons of ids that a trace is worth; a larger one is taken for one with parents missing, which is never wrong. */
const mostLooks = 4096;
