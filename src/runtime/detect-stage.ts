import type { Clock } from '../base/clock.ts';
import type { Anomaly } from '../domain/anomaly.ts';
import type { Collection } from '../domain/collection.ts';
import type { ConsistencyDomain } from '../domain/consistency-domain.ts';
import type { LearnedFact } from '../domain/learned-fact.ts';
import type { Sighting } from '../domain/sighting.ts';
import { createPlaces } from '../detect/object-place.ts';
import { createDetection, type DetectionOptions, type DetectionStats } from '../detect/run.ts';
import { type ClientLegs, type ClientReplicas, createClientLegs } from '../forecast/client-legs.ts';
import { createFeatures, type FeatureOptions, type FeaturePoint } from '../forecast/features.ts';
import { createReadLooks, type TracedLook } from '../forecast/read-looks.ts';
import { BatchExpander, isDropped, sift, type Sifted } from '../ingest/compact-batch.ts';
import { ConcernedRows } from '../ingest/concerned-rows.ts';
import { createSpanDedupe } from '../ingest/dedupe.ts';
import { OperationReader } from '../ingest/operation-from-span.ts';
import { type PackedBatch, unpackBatch } from '../ingest/packed-batch.ts';
import { SpanBatch } from '../ingest/span-batch.ts';
import { type StringsAdded, StringTablesTwin } from '../ingest/string-tables.ts';
import { WaitingRoom } from '../ingest/waiting-room.ts';
import { openAwayFile } from '../io/away-file.ts';
import type { StoredWrite } from '../io/store/write-evidence.ts';
import { DueRows } from './due-rows.ts';
import { forecastSources } from './forecast-sources.ts';
import { giveBack } from './shared-slabs.ts';
import { writeOf } from './write-of-operation.ts';

/** Everything that the stage needs to know; plain values, so that it can be handed to a thread. */
export interface DetectStageOptions {
  readonly detection: Omit<DetectionOptions, 'only' | 'domains' | 'collections'>;
  readonly domains: readonly ConsistencyDomain[];
  readonly collections: readonly Collection[];
  /** Absent: no load series are kept. */
  readonly features?: Omit<FeatureOptions, 'collectionOf' | 'regionOf' | 'originOf'>;
  /** Whose clients ask every replica themselves; looked at where load series are kept. */
  readonly clientReplicas?: readonly ClientReplicas[];
  readonly latenessMs: number;
  /**
   * After a start time stands still for this long from the first payload on that is fresh, and for half of the time that we were away: what
   * other exporters hold back comes in beside what is fresh, and would be late if the fresh moved time on. Exporters wait half as long again
   * before each further try, so that the next one comes within half the time for which they have tried. The same where a stream of spans
   * that never paused stops and comes back: then what brings it was away, a Collector that restarts or our own disk. 0: not at all.
   */
  readonly graceMs: number;
  /** Bytes of spans that wait for the watermark. */
  readonly waitingBytes?: number;
  /** What is more than some 16 MB of them waits in a file here; in memory where it is absent. */
  readonly waitingDirectory?: string;
  readonly dedupeCapacity?: number;
}

/** A decoded payload on its way from the receiver. */
export interface SentBatch {
  readonly sequence: number;
  readonly packed: PackedBatch;
  readonly strings: StringsAdded;
}

export interface DetectReport {
  readonly findings: readonly Anomaly[];
  readonly writes: readonly StoredWrite[];
  readonly sightings: readonly Sighting[];
  readonly newOperations: number;
  /** Everything before this sequence has been through the detectors. */
  readonly settled: number;
  /** Everything before this sequence has been taken. */
  readonly taken: number;
  readonly counts: DetectCounts;
  /** What has been learned of the fleet, now and then. */
  readonly learned?: readonly LearnedFact[];
}

/** Monotonic but for what ends in `_now`. */
export interface DetectCounts {
  readonly operations: number;
  readonly duplicateSpans: number;
  /** Spans that end further ahead than any clock should be: they are not looked at. */
  readonly futureSpans: number;
  /** Spans that came after time had passed their end: detectors see them out of order. */
  readonly lateSpans: number;
  /** How often spans had to go to the detectors before late ones could come, because too many waited. */
  readonly shortenedWaits: number;
  readonly waiting_bytes_now: number;
  readonly waiting_spans_now: number;
  readonly stats: DetectionStats;
}

/**
 * From decoded payloads to findings, write evidence and load series, in one thread and without one of its own: `take` when a payload
 * comes, `work` until it says that nothing is left, `report` to carry away what came of it.
 *
 * Time is event time: the watermark follows the newest span less the lateness bound and, when none comes, the clock; not at once where a
 * stream stops that never paused, for what did not come in then is not what did not happen.
 */
export class DetectStage {
  readonly #clock: Clock;
  readonly #detection: ReturnType<typeof createDetection>;
  readonly #dedupe: ReturnType<typeof createSpanDedupe>;
  readonly #tables = new StringTablesTwin();
  readonly #room: WaitingRoom;
  readonly #due: DueRows;
  readonly #concerned: ConcernedRows;
  readonly #concernedReader = new OperationReader();
  readonly #expander = new BatchExpander();
  readonly #batch = new SpanBatch();
  readonly #places: ReturnType<typeof createPlaces>;
  readonly #features: ReturnType<typeof createFeatures> | undefined;
  readonly #looks: ReturnType<typeof createReadLooks> | undefined;
  readonly #legs: ReturnType<typeof createClientLegs> | undefined;
  readonly #latenessMs: number;
  readonly #graceMs: number;
  readonly #startedMs: number;
  /** Until when time stands still, and what was newest when it began to. */
  #holdUntilMs: number;
  #heldUs = 0;
  /** The furthest behind the clock that the newest span has been since the start; undefined once it is beside it. */
  #behindMs: number | undefined = 0;
  #findings: Anomaly[] = [];
  #writes: StoredWrite[] = [];
  #taken = 0;
  #reportedOperations = 0;
  #futureSpans = 0;
  #shortenedWaits = 0;
  #newestUs = 0;
  #newestAtMs = 0;
  /** When something came last, and since when it has come without a pause. */
  #arrivedMs = 0;
  #steadySinceMs = 0;
  #watermarkUs = Number.NEGATIVE_INFINITY;
  #learnedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: DetectStageOptions, clock: Clock) {
    this.#clock = clock;
    this.#detection = createDetection({ ...options.detection, domains: options.domains, collections: options.collections });
    this.#dedupe = createSpanDedupe(options.dedupeCapacity === undefined ? {} : { capacity: options.dedupeCapacity });
    const { waitingBytes = defaultWaitingBytes, waitingDirectory } = options;
    this.#room = new WaitingRoom(
      waitingBytes,
      waitingDirectory === undefined ? undefined : openAwayFile(waitingDirectory),
      mostResidentBytes,
    );
    this.#due = new DueRows(this.#detection, options.detection);
    this.#concerned = new ConcernedRows(
      options.collections.flatMap((collection) => [collection.name, ...collection.replicas.map((replica) => replica.table ?? '')]),
    );
    this.#places = createPlaces(options.domains, options.collections);
    this.#features =
      options.features === undefined ? undefined : createFeatures({ ...options.features, ...forecastSources(options.collections) });
    this.#looks = options.features === undefined ? undefined : createReadLooks(forecastSources(options.collections).collectionOf);
    const { clientReplicas = [] } = options;
    this.#legs =
      options.features === undefined || clientReplicas.length === 0
        ? undefined
        : createClientLegs(clientReplicas, forecastSources(options.collections).collectionOf, options.latenessMs);
    this.#latenessMs = options.latenessMs;
    this.#graceMs = options.graceMs;
    this.#startedMs = clock.monotonicMs();
    this.#holdUntilMs = this.#startedMs + options.graceMs;
  }

  /** Whether another batch may be taken: what waits is within its bound. */
  get hasRoom(): boolean {
    return !this.#room.isOverBound;
  }

  /** Drops what was seen before, keeps what the store and the forecasts want of it, and lets the rest wait for its time. */
  take(sent: SentBatch): void {
    const { packed } = sent;
    this.#noteArrival(this.#clock.monotonicMs());
    const { isLog } = packed;
    const dedupe = this.#dedupe;
    const strings = this.#tables.take(sent.strings);
    const futureUs = (this.#clock.nowMs() + futureLimitMs) * 1000;
    let newestUs = this.#newestUs;
    const kept = sift(packed, (ids, nth, count, endUs) => {
      if (!isLog && nth === 0) dedupe.prepare(ids, count);
      if (endUs > futureUs) {
        this.#futureSpans += 1;
        return false;
      }
      if (!isLog && !dedupe.isNewRow(nth)) return false;
      if (endUs > newestUs) newestUs = endUs;
      return true;
    });
    if (newestUs > this.#newestUs) {
      const nowMs = this.#clock.monotonicMs();
      if (this.#behindMs !== undefined) this.#holdUntilCaughtUp(this.#clock.nowMs() - newestUs / 1000, nowMs);
      this.#newestUs = newestUs;
      this.#newestAtMs = nowMs;
    }
    if (!this.#concerned.isEmpty && kept.rows > 0) this.#keepConcerned(packed, strings, kept);
    this.#room.add(sent.sequence, packed, strings, kept);
    giveBack(packed);
    this.#taken = sent.sequence + 1;
  }

  #noteArrival(nowMs: number): void {
    const quietMs = nowMs - this.#arrivedMs;
    if (quietMs > pauseMs) {
      if (this.#steadyForMs() > 0) {
        this.#heldUs = this.#newestUs;
        this.#holdUntilMs = Math.max(this.#holdUntilMs, nowMs + Math.min(longestHoldMs, this.#graceMs + quietMs / 2));
      }
      this.#steadySinceMs = nowMs;
    }
    this.#arrivedMs = nowMs;
  }

  /** For how long spans came without a pause; 0 where that is too short to mean anything. */
  #steadyForMs(): number {
    const ms = this.#arrivedMs - this.#steadySinceMs;
    return this.#graceMs > 0 && ms >= steadyMs ? ms : 0;
  }

  /** Holds time while what comes after a start leads up to the present, and a little longer. `behindMs`: how far it still is from it. */
  #holdUntilCaughtUp(behindMs: number, nowMs: number): void {
    if (this.#graceMs === 0 || nowMs > this.#startedMs + startingMs) {
      this.#behindMs = undefined;
      return;
    }
    if (behindMs > archivedMs) return;
    if (nowMs >= this.#holdUntilMs) this.#heldUs = this.#newestUs;
    this.#behindMs = Math.max(this.#behindMs ?? 0, behindMs);
    if (behindMs > besideMs) this.#holdUntilMs = Math.max(this.#holdUntilMs, this.#startedMs + longestHoldMs);
    else {
      this.#holdUntilMs = nowMs + Math.min(longestHoldMs, this.#graceMs + this.#behindMs / 2);
      this.#behindMs = undefined;
    }
  }

  #keepConcerned(packed: PackedBatch, strings: readonly string[], kept: Sifted): void {
    const batch = this.#batch;
    unpackBatch(this.#expander.expand(packed), strings, batch);
    this.#concerned.find(
      batch,
      (row) => !isDropped(kept, row),
      (rows, count) => {
        const operations = this.#concernedReader.readRows(batch, rows, count);
        this.#features?.fold(operations);
        this.#looks?.fold(operations);
        this.#legs?.fold(operations, this.#clock.monotonicMs());
        for (const operation of operations) {
          const write = writeOf(operation, this.#places);
          if (write !== undefined) this.#writes.push(write);
        }
      },
    );
  }

  /** Moves time on as far as it goes, for about `budgetMs`; true where more is left to do. */
  work(budgetMs: number): boolean {
    const untilMs = this.#clock.monotonicMs() + budgetMs;
    for (;;) {
      const isShortened = this.#room.isOverBound;
      const targetUs = isShortened ? Math.max(this.#watermarkUs, this.#room.nextDueUs) + smallestStepUs : this.#targetUs();
      // The last step waits until it is worth its cost.
      if (targetUs === Number.NEGATIVE_INFINITY || targetUs < this.#watermarkUs + smallestStepUs) return false;
      if (isShortened) this.#shortenedWaits += 1;
      const fromUs = Math.max(this.#watermarkUs, Math.min(this.#room.nextDueUs, targetUs) - largestStepUs);
      const toUs = Math.min(targetUs, fromUs + largestStepUs);
      while (this.#room.release(toUs, this.#due.spare, this.#due.hold));
      for (const finding of this.#due.advance(toUs)) this.#findings.push(finding);
      this.#watermarkUs = toUs;
      if (this.#clock.monotonicMs() >= untilMs) return true;
    }
  }

  /** How far time has come. */
  #targetUs(): number {
    const nowMs = this.#clock.monotonicMs();
    if (this.#newestUs === 0) return Number.NEGATIVE_INFINITY;
    if (nowMs < this.#holdUntilMs) return this.#heldUs === 0 ? Number.NEGATIVE_INFINITY : this.#heldUs - this.#latenessMs * 1000;
    const idleMs = nowMs - this.#newestAtMs;
    const isCutOff = nowMs - this.#arrivedMs < Math.min(longestCutOffMs, this.#steadyForMs() * cutOffShare);
    return this.#newestUs + ((idleMs > idleAfterMs && !isCutOff ? idleMs : 0) - this.#latenessMs) * 1000;
  }

  /** What has come of it since the last report. */
  report(): DetectReport {
    const findings = this.#findings;
    const writes = this.#writes;
    this.#findings = [];
    this.#writes = [];
    const operationsBefore = this.#reportedOperations;
    this.#reportedOperations = this.#due.operations;
    const nowMs = this.#clock.monotonicMs();
    const isLearnedDue = nowMs - this.#learnedAtMs >= learnedEveryMs;
    if (isLearnedDue) this.#learnedAtMs = nowMs;
    return {
      findings,
      writes,
      sightings: this.#detection.takeSightings(),
      newOperations: this.#due.operations - operationsBefore,
      settled: this.#room.firstSequence(this.#taken),
      taken: this.#taken,
      ...(isLearnedDue ? { learned: this.#detection.learned() } : {}),
      counts: {
        operations: this.#due.operations,
        duplicateSpans: this.#dedupe.dropped,
        futureSpans: this.#futureSpans,
        lateSpans: this.#due.late,
        shortenedWaits: this.#shortenedWaits,
        waiting_bytes_now: this.#room.bytes,
        waiting_spans_now: this.#room.rows,
        stats: this.#detection.stats,
      },
    };
  }

  /** Points of the load series whose steps were over at `nowMs`. */
  drainFeatures(nowMs: number): readonly FeaturePoint[] {
    return this.#features?.drain(nowMs) ?? [];
  }

  /** What reads saw of what had just been written, since the last time. */
  drainLooks(): readonly TracedLook[] {
    return this.#looks?.drain() ?? [];
  }

  /** Operations of clients that ask every replica themselves, since the last time; those whose spans may still come stay. */
  drainLegs(): readonly ClientLegs[] {
    return this.#legs?.drain(this.#clock.monotonicMs()) ?? [];
  }
}

/** What is learned changes slowly. */
const learnedEveryMs = 5_000;
/** About a million and a half spans of ordinary instrumentation: ten seconds of what one thread can look at. */
const defaultWaitingBytes = 160 * 1024 * 1024;
const mostResidentBytes = 16 * 1024 * 1024;
/** Clocks of services that run further ahead than this are wrong; time does not follow them. */
const futureLimitMs = 300_000;
/** For so long after a start spans may come that nobody could send before it. */
const startingMs = 120_000;
/** What ended longer ago than this is an archive, or our journal after a long absence: nobody holds back what belongs beside it. */
const archivedMs = 60_000;
/** The newest span of a busy fleet is no further behind the clock than this. */
const besideMs = 1_000;
/** The longest that exporters wait between two tries. */
const longestHoldMs = 30_000;
/** Without a span for this long, time follows the clock. */
const idleAfterMs = 500;
/** A stream without a pause of this length for so long is that of a busy fleet, which does not fall silent by itself. */
const pauseMs = 5_000;
const steadyMs = 60_000;
/** Its silence is taken for one of whatever brings it for this share of that time, at most so long; then for its own. */
const cutOffShare = 1 / 3;
const longestCutOffMs = 300_000;
/** Moving time has a cost of its own, and findings are not wanted to the millisecond. */
const smallestStepUs = 100_000;
/** What is made into operations before detectors let go of it again: bounds what is held at once when time jumps. */
const largestStepUs = 250_000;
