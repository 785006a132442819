import { createDetection, type Detection, type DetectionOptions, type DetectionStats } from '../detect/run.ts';
import type { Anomaly } from '../domain/anomaly.ts';
import type { LearnedFact } from '../domain/learned-fact.ts';
import { sift } from '../ingest/compact-batch.ts';
import { createSpanDedupe } from '../ingest/dedupe.ts';
import type { PackedBatch } from '../ingest/packed-batch.ts';
import { type StringsAdded, StringTablesTwin } from '../ingest/string-tables.ts';
import { WaitingRoom } from '../ingest/waiting-room.ts';
import { DueRows } from './due-rows.ts';

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
  readonly #due: DueRows;
  readonly #dedupe = createSpanDedupe({});
  readonly #found = new Map<string, Anomaly>();
  #batches = 0;
  #newestUs = Number.NEGATIVE_INFINITY;

  constructor(options: DetectionOptions) {
    this.#detection = createDetection(options);
    this.#due = new DueRows(this.#detection, options);
  }

  take({ packed, strings }: CheckBatch): void {
    const table = this.#tables.take(strings);
    const dedupe = this.#dedupe;
    const kept = sift(packed, (ids, nth, count) => {
      if (packed.isLog) return true;
      if (nth === 0) dedupe.prepare(ids, count);
      return dedupe.isNewRow(nth);
    });
    if (kept.maxEndUs > this.#newestUs) this.#newestUs = kept.maxEndUs;
    this.#room.add(this.#batches, packed, table, kept);
    this.#batches += 1;
    while (this.#room.isOverBound) this.#advance();
  }

  finish(): CheckResult {
    while (this.#room.nextDueUs !== Number.POSITIVE_INFINITY) this.#advance();
    this.#keep(this.#due.finish());
    const { stats } = this.#detection;
    return {
      anomalies: [...this.#found.values()],
      learned: this.#detection.learned(),
      duplicates: this.#dedupe.dropped + stats.duplicates,
      stats: { ...stats, operations: this.#due.operations, late: this.#due.late },
    };
  }

  /** Lets go of the oldest step of time that waits. */
  #advance(): void {
    // Not beyond the newest span: no more time than that has passed for the detectors.
    const upToUs = Math.min(this.#room.nextDueUs + stepUs, this.#newestUs);
    while (this.#room.release(upToUs, this.#due.spare, this.#due.hold));
    this.#keep(this.#due.advance(upToUs));
    // The room keeps a note of each batch until somebody asks which are still in there.
    this.#room.firstSequence(this.#batches);
  }

  #keep(anomalies: readonly Anomaly[]): void {
    for (const anomaly of anomalies) this.#found.set(anomaly.fingerprint, anomaly);
  }
}
