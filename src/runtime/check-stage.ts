import { createDetection, type Detection, type DetectionOptions, type DetectionStats } from '../detect/run.ts';
import type { Anomaly } from '../domain/anomaly.ts';
import type { LearnedFact } from '../domain/learned-fact.ts';
import { createSpanDedupe } from '../ingest/dedupe.ts';
import { OperationReader } from '../ingest/operation-from-span.ts';
import { dropRows, type PackedBatch } from '../ingest/packed-batch.ts';
import { type StringsAdded, StringTablesTwin } from '../ingest/string-tables.ts';
import { SpanBatch } from '../ingest/span-batch.ts';
import { WaitingRoom } from '../ingest/waiting-room.ts';

/** Spans that were read, packed, on their way to the detectors. */
export interface CheckBatch {
  readonly packed: PackedBatch;
  readonly strings: StringsAdded;
}

/** What files hold, once all of them have been read. */
export interface CheckResult {
  readonly anomalies: readonly Anomaly[];
  readonly learned: readonly LearnedFact[];
  readonly duplicates: number;
  readonly stats: DetectionStats;
}

/**
 * Bytes of spans that wait, packed, before the oldest are judged: about 600,000 spans. Files are often ordered by service or by exporter
 * rather than by time, so as much as fits is kept together. A span that comes after what ended 10 s (the lateness bound) later has left is
 * late: it is looked at, and counted.
 */
const waitingBytes = 64 * 1024 * 1024;
/** Event time that is made into operations at once. */
const stepUs = 250_000;

/** From packed spans to findings, in order of time, each span once. */
export class CheckStage {
  readonly #detection: Detection;
  readonly #room = new WaitingRoom(waitingBytes);
  readonly #tables = new StringTablesTwin();
  readonly #reader = new OperationReader();
  readonly #due = new SpanBatch();
  readonly #dedupe = createSpanDedupe({});
  readonly #found = new Map<string, Anomaly>();
  #batches = 0;

  constructor(options: DetectionOptions) {
    this.#detection = createDetection(options);
  }

  take({ packed, strings }: CheckBatch): void {
    const table = this.#tables.take(strings);
    const kept = dropRows(packed, (ids, row) => packed.isLog || this.#dedupe.isNew(ids, row * 32));
    this.#room.add(this.#batches, packed, table, kept);
    this.#batches += 1;
    while (this.#room.isOverBound) this.#advance();
  }

  finish(): CheckResult {
    while (this.#room.nextDueUs !== Number.POSITIVE_INFINITY) this.#advance();
    this.#keep(this.#detection.finish());
    return {
      anomalies: [...this.#found.values()],
      learned: this.#detection.learned(),
      duplicates: this.#dedupe.dropped + this.#detection.stats.duplicates,
      stats: this.#detection.stats,
    };
  }

  /** Lets go of the oldest step of time that waits. */
  #advance(): void {
    const upToUs = this.#room.nextDueUs + stepUs;
    const into = (): SpanBatch => this.#due;
    const add = (batch: SpanBatch, rows: Int32Array, count: number): void => this.#detection.add(this.#reader.readRows(batch, rows, count));
    while (this.#room.release(upToUs, into, add));
    this.#keep(this.#detection.advance(upToUs));
    // The room keeps a note of each batch until somebody asks which are still in there.
    this.#room.firstSequence(this.#batches);
  }

  #keep(anomalies: readonly Anomaly[]): void {
    for (const anomaly of anomalies) this.#found.set(anomaly.fingerprint, anomaly);
  }
}
