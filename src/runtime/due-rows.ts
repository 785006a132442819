import { factSlotUs } from '../detect/fact-queue.ts';
import type { Detection, DueInput } from '../detect/run.ts';
import { traceSlotUs } from '../detect/trace-buffer.ts';
import type { Anomaly } from '../domain/anomaly.ts';
import type { Operation } from '../domain/operation.ts';
import { FactRows } from '../ingest/fact-rows.ts';
import { type HeldBatch, HeldBatches } from '../ingest/held-batches.ts';
import { OperationReader } from '../ingest/operation-from-span.ts';
import type { SpanBatch } from '../ingest/span-batch.ts';
import { isPlainRow, SpanReader } from '../ingest/span-reader.ts';
import { TraceReader } from '../ingest/trace-reader.ts';
import { TraceShelf } from '../ingest/trace-shelf.ts';
import { isConsistencyCode } from '../ingest/wanted-attributes.ts';

export interface DueRowsOptions {
  /** As `createDetection` has them, milliseconds. */
  readonly traceIdleMs?: number | undefined;
  readonly tracePatienceMs?: number | undefined;
  /** Rows of open traces that are held as columns; beyond it they are the engine's, which has its own bound. */
  readonly maxRows?: number | undefined;
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
  /** Of the batch at hand: whether rows of a class hold facts. */
  #classFacts: Uint8Array = new Uint8Array(64);
  #watermarkUs = Number.NEGATIVE_INFINITY;
  #fact: Operation | undefined;
  /** Operations that the detectors have been shown in their traces, and those that came twice. */
  operations = 0;
  /** Rows that came after the watermark had passed their end. */
  late = 0;

  constructor(detection: Detection, options: DueRowsOptions) {
    const { traceIdleMs = defaultTraceIdleMs, tracePatienceMs = defaultTracePatienceMs, maxRows = defaultMaxRows } = options;
    this.#detection = detection;
    this.#maxRows = maxRows;
    this.#shelf = new TraceShelf(traceIdleMs * 1000, tracePatienceMs * 1000, this.#held);
  }

  /** A batch to unpack into, for {@link hold}. */
  readonly spare = (): SpanBatch => this.#held.spare();

  /** Takes `count` rows of the batch, which is given back once nothing of it is left. */
  readonly hold = (batch: SpanBatch, rows: Int32Array, count: number): void => {
    const held = this.#held.hold(batch, count);
    let several = 0;
    if (batch.classes > this.#classFacts.length) this.#classFacts = new Uint8Array(batch.classes * 2);
    this.#classFacts.fill(0, 0, batch.classes);
    for (let i = 0; i < count; i += 1) {
      const row = rows[i] as number;
      if ((batch.endUs[row] as number) <= this.#watermarkUs) this.late += 1;
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
    this.#shelf.add(held, rows, count);
    this.#held.leave(held);
    if (this.#shelf.rows <= this.#maxRows) return;
    this.#shelf.handOnAll();
    this.#shelf.giveOn(this.#detectRows);
  };

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
const defaultMaxRows = 2_000_000;
/** Operations made at a time. */
const rowsAtOnce = 2048;
