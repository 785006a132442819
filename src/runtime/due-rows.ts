import { hexOf } from '../base/hex-words.ts';
import { factSlotUs } from '../detect/fact-queue.ts';
import type { Detection, DueInput } from '../detect/run.ts';
import { isSampled } from '../detect/sample.ts';
import { traceSlotUs } from '../detect/trace-buffer.ts';
import type { Anomaly } from '../domain/anomaly.ts';
import type { Operation } from '../domain/operation.ts';
import { FactRows } from '../ingest/fact-rows.ts';
import { type HeldBatch, HeldBatches } from '../ingest/held-batches.ts';
import { OperationReader } from '../ingest/operation-from-span.ts';
import type { SpanBatch } from '../ingest/span-batch.ts';
import { isPlainRow, SpanReader } from '../ingest/span-reader.ts';
import { TraceReader } from '../ingest/trace-reader.ts';
import { isSameTrace, TraceShelf } from '../ingest/trace-shelf.ts';
import { isConsistencyCode } from '../ingest/wanted-attributes.ts';

export interface DueRowsOptions {
  /** As `createDetection` has them, milliseconds. */
  readonly traceIdleMs?: number | undefined;
  readonly tracePatienceMs?: number | undefined;
  /** Of open traces; twice as many rows are held as columns. Beyond it the share of traces that are looked at is halved. */
  readonly maxOperations?: number | undefined;
}

/**
 * Rows that the waiting room let go of, on their way to the detectors: what spans say of objects is due with their end, what they are in
 * their trace once the trace is quiet. Until then they stay columns, and each is made an operation for a moment.
 */
export class DueRows {
  readonly #detection: Detection;
  readonly #held = new HeldBatches();
  readonly #shelf: TraceShelf;
  readonly #facts = new FactRows(factSlotUs, this.#held);
  readonly #spans = new SpanReader();
  readonly #traces = new TraceReader(this.#spans);
  /** For rows that are several operations. */
  readonly #reader = new OperationReader();
  readonly #factRows: Int32Array = new Int32Array(rowsAtOnce);
  readonly #maxRows: number;
  #lookedAt: Int32Array = new Int32Array(rowsAtOnce);
  /** Of the batch at hand: whether rows of a class hold facts. */
  #classFacts: Uint8Array = new Uint8Array(64);
  #watermarkUs = Number.NEGATIVE_INFINITY;
  #fact: Operation | undefined;
  /** Operations that the detectors have been shown in their traces, and those that came twice. */
  operations = 0;
  /** Rows that came after the watermark had passed their end. */
  late = 0;

  constructor(detection: Detection, options: DueRowsOptions) {
    const { traceIdleMs = defaultTraceIdleMs, tracePatienceMs = defaultTracePatienceMs, maxOperations = defaultMaxOperations } = options;
    this.#detection = detection;
    this.#maxRows = rowsPerOperation * maxOperations;
    this.#shelf = new TraceShelf(traceIdleMs * 1000, tracePatienceMs * 1000, this.#held);
  }

  /** A batch to unpack into, for {@link hold}. */
  readonly spare = (): SpanBatch => this.#held.spare();

  /** Takes `count` rows of the batch, which is given back once nothing of it is left. `rows` is written over. */
  readonly hold = (batch: SpanBatch, rows: Int32Array, count: number): void => {
    if (batch.classes > this.#classFacts.length) this.#classFacts = new Uint8Array(batch.classes * 2);
    this.#classFacts.fill(0, 0, batch.classes);
    for (let i = 0; i < count; i += 1) if ((batch.endUs[rows[i] as number] as number) <= this.#watermarkUs) this.late += 1;
    if (this.#detection.traceShare < 1) this.#holdSome(batch, rows, count);
    else this.#holdAll(batch, rows, count, rows, count);
    while (this.#shelf.rows > this.#maxRows) {
      const before = this.#detection.traceShare;
      this.#detection.halveTraceShare();
      if (this.#detection.traceShare === before) return;
      this.#shelf.narrow((traceId) => isSampled(traceId, this.#detection.traceShare));
    }
  };

  /** Holds those that are looked at in their traces, and those that say something of objects, as a batch of their own. */
  #holdSome(batch: SpanBatch, rows: Int32Array, count: number): void {
    const { traceShare } = this.#detection;
    const ids = new Int32Array(batch.ids.buffer);
    if (this.#lookedAt.length < count) this.#lookedAt = new Int32Array(count * 2);
    let kept = 0;
    let lookedAt = 0;
    let before = -1;
    let isLookedAt = false;
    for (let i = 0; i < count; i += 1) {
      const row = rows[i] as number;
      const at = row * 8;
      if (before < 0 || !isSameTrace(ids, before, ids, at)) isLookedAt = isSampled(hexOf(ids, at, 4), traceShare);
      before = at;
      if (isLookedAt) this.#lookedAt[lookedAt++] = kept;
      else if (!this.#hasFacts(batch, row)) continue;
      rows[kept] = row;
      kept += 1;
    }
    if (kept > 0) {
      const part = this.#held.spare();
      part.copyRows(batch, rows, kept);
      for (let row = 0; row < kept; row += 1) rows[row] = row;
      this.#holdAll(part, rows, kept, this.#lookedAt, lookedAt);
    }
    this.#held.giveBack(batch);
  }

  /** Holds the rows for what they say of objects, and `inTraces` of them for what they are in their traces. */
  #holdAll(batch: SpanBatch, rows: Int32Array, count: number, lookedAt: Int32Array, inTraces: number): void {
    const held = this.#held.hold(batch, count);
    let several = 0;
    for (let i = 0; i < count; i += 1) {
      const row = rows[i] as number;
      if (!this.#hasFacts(batch, row)) continue;
      if (isPlainRow(batch, row)) {
        this.#facts.add(held, row);
        continue;
      }
      this.#factRows[several] = row;
      several += 1;
      if (several < this.#factRows.length) continue;
      this.#detection.add(this.#reader.readRows(batch, this.#factRows, several), 'facts');
      several = 0;
    }
    if (several > 0) this.#detection.add(this.#reader.readRows(batch, this.#factRows, several), 'facts');
    this.#shelf.add(held, lookedAt, inTraces);
    this.#held.leave(held);
  }

  /** Moves the detectors' time on; every row that ended before it is held. */
  advance(toUs: number): readonly Anomaly[] {
    // As far as whole slots of the engine's timetable go, so that what is given on as a trace and what as rows is judged in one order.
    this.#shelf.release(Math.floor(toUs / traceSlotUs) * traceSlotUs, this.#detectRows);
    const found = this.#detection.advance(toUs, this.#due);
    this.#watermarkUs = toUs;
    return found;
  }

  /** End of input. */
  finish(): readonly Anomaly[] {
    this.#shelf.release(Number.POSITIVE_INFINITY, this.#detectRows);
    return this.#detection.finish(this.#due);
  }

  /** Whether a row holds `consistency.*`, on the span or on an event. */
  #hasFacts(batch: SpanBatch, row: number): boolean {
    if ((batch.eventStart[row + 1] as number) > (batch.eventStart[row] as number)) return true;
    if (batch.classes === 0) return hasFactsItself(batch, row);
    // Rows of one class have the same attributes.
    const number = batch.classOf[row] as number;
    const known = this.#classFacts[number] as number;
    if (known !== notLooked) return known === withFacts;
    const has = hasFactsItself(batch, row);
    this.#classFacts[number] = has ? withFacts : withoutFacts;
    return has;
  }

  readonly #detectRows = ({ batch }: HeldBatch, rows: Int32Array, count: number): void => {
    for (let from = 0; from < count; from += rowsAtOnce) {
      const part = rows.subarray(from, Math.min(count, from + rowsAtOnce));
      const operations = this.#reader.readRows(batch, part, part.length);
      this.operations += operations.length;
      this.#detection.add(operations, 'traces');
    }
  };

  readonly #due: DueInput = {
    openFacts: (upToUs) => this.#facts.open(upToUs),
    nextFact: () => {
      this.#fact = undefined;
      this.#facts.next(this.#readFact);
      return this.#fact;
    },
    lookAt: (traceId) => {
      const is = this.#shelf.look(traceId, this.#traces.add);
      return is === 'shown' ? this.#traces.finish() : is === 'none' ? undefined : 'unseen';
    },
    nextTraceUs: () => this.#shelf.nextUs(),
    takeTrace: () => {
      this.#shelf.take(this.#traces.add);
      const trace = this.#traces.finish();
      this.operations += trace.operations.length + trace.duplicates;
      return trace;
    },
  };

  readonly #readFact = (held: HeldBatch, row: number): void => {
    this.#fact = this.#spans.read(held, row);
  };
}

function hasFactsItself(batch: SpanBatch, row: number): boolean {
  const end = batch.attributeStart[row + 1] as number;
  for (let at = batch.attributeStart[row] as number; at < end; at += 1)
    if (isConsistencyCode(batch.attributes.code[at] as number)) return true;
  return false;
}

/** What is known of a class of rows. */
const notLooked = 0;
const withoutFacts = 1;
const withFacts = 2;

/** As `createDetection` has them. */
const defaultTraceIdleMs = 1_000;
const defaultTracePatienceMs = 10_000;
const defaultMaxOperations = 2_000_000;
/** A row takes a fifth of the memory of an operation, and there are rows and operations at once. */
const rowsPerOperation = 2;
/** Operations made at a time. */
const rowsAtOnce = 2048;
