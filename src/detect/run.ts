import type { Anomaly } from '../domain/anomaly.ts';
import type { Collection } from '../domain/collection.ts';
import type { ConsistencyDomain } from '../domain/consistency-domain.ts';
import type { Operation } from '../domain/operation.ts';
import type { OrderedTrace } from '../domain/ordered-trace.ts';
import type { Sighting } from '../domain/sighting.ts';
import {
  type DetectionContext,
  type Detector,
  defaultOptions,
  type HistoryFold,
  type Report,
  type TraceAspect,
  type TraceFold,
} from './detector.ts';
import { compareFacts, createFactQueue } from './fact-queue.ts';
import { createFindings, type ToldFinding } from './findings.ts';
import { type KeyedFolds, KeyedObjects } from './keyed-objects.ts';
import type { LearnedFact } from '../domain/learned-fact.ts';
import { createLearner, type DeclaredStructure } from './learned-structure.ts';
import { OpenClaims } from './open-claims.ts';
import { createPlaces } from './object-place.ts';
import { detectors as everyDetector } from './registry.ts';
import { isSampled } from './sample.ts';
import { SentMessages } from './sent-messages.ts';
import { blockSize } from './step-block.ts';
import { knownOf } from './shape-knowledge.ts';
import { createTraceBuffer } from './trace-buffer.ts';
import { TracesAhead } from './traces-ahead.ts';
import type { TraceView } from './trace-view.ts';
import { viewAlike } from './view-plan.ts';

export interface DetectionOptions {
  /** How late, in event time, an operation may come after one that ended later. */
  readonly latenessMs?: number;
  /** Quiet after which a trace without missing parents is over. */
  readonly traceIdleMs?: number;
  /** Quiet after which a trace is over although parents are missing. */
  readonly tracePatienceMs?: number;
  /** How long an object is remembered after its last operation, event time. */
  readonly retainMs?: number;
  /** Share of keys (traces, objects) to look at from the start. */
  readonly share?: number;
  /** Operations that may wait in memory; beyond it the share of traces is halved, never single traces evicted. */
  readonly maxOperations?: number;
  /** Bytes for messages, rows and the like remembered of traces that are over; beyond it the share of traces is halved. */
  readonly maxHeldBytes?: number;
  /** Bytes for what is remembered of objects and sessions; beyond it the share of objects is halved. */
  readonly maxKeyBytes?: number;
  /** Options by detector id; `enabled: false` leaves one out. */
  readonly detectors?: Readonly<Record<string, Readonly<Record<string, number | boolean | string | readonly string[]>>>>;
  readonly only?: readonly Detector[];
  readonly domains?: readonly ConsistencyDomain[];
  readonly collections?: readonly Collection[];
  readonly declared?: DeclaredStructure;
  /** What earlier processes have learned of the fleet's structure. */
  readonly known?: readonly LearnedFact[];
  /** What earlier processes have told of findings, so that counts go on after a restart. */
  readonly told?: readonly ToldFinding[];
}

export interface DetectionStats {
  readonly operations: number;
  readonly duplicates: number;
  /** Came after the watermark had passed their end. */
  readonly late: number;
  readonly openTraces: number;
  readonly buffered: number;
  readonly keys: number;
  readonly traceShare: number;
  readonly keyShare: number;
  /** Bytes that messages, rows and the like take that are remembered of traces that are over. */
  readonly heldBytes: number;
  /** Bytes that what is remembered of objects and sessions takes. */
  readonly stateBytes: number;
  /** Objects whose versions have no known order, of which the isolation checker can say nothing. */
  readonly unordered: number;
  readonly findings: number;
  readonly newestUs: number;
  readonly watermarkUs: number;
}

/**
 * Input that is in order already, and made only when its turn comes: what somebody else holds, and knows to be due. It is looked at beside
 * what was added.
 */
export interface DueInput {
  /** Makes ready the operations with facts that ended before `upToUs`, each of which comes once, with the order of a fact queue. */
  openFacts(upToUs: number): void;
  nextFact(): Operation | undefined;
  /** When the next whole trace closes, Infinity where none is left: those that close by the watermark, in the order of a trace buffer. */
  nextTraceUs(): number;
  takeTrace(): OrderedTrace;
  /** What waits of a trace and has not been given on: `unseen` where that cannot be said in order, undefined where nothing does. */
  lookAt(traceId: string): OrderedTrace | 'unseen' | undefined;
}

export interface Detection {
  /**
   * Takes operations in any order; duplicates by (trace, span, index) are dropped. `part`: only what they say of objects, or only what
   * they are in their traces. Whoever gives both apart gives the first before the watermark passes an operation's end, and the second
   * before it passes the trace's last end so far by `traceIdleMs`, or at once where an earlier stretch of the trace is still open.
   */
  add(operations: readonly Operation[], part?: 'facts' | 'traces'): void;
  /** Input is complete up to `watermarkUs` (event time): returns what is new or has changed. Counts are cumulative. */
  advance(watermarkUs: number, due?: DueInput): readonly Anomaly[];
  /** {@link advance} to the newest end seen less the lateness bound. */
  advanceToLateness(): readonly Anomaly[];
  /** The share of traces that are looked at, by the hash of their ids. */
  readonly traceShare: number;
  /** Halves it: whoever holds traces until they are due has too many. */
  halveTraceShare(): void;
  /** End of input, `due` with all that is left of it. */
  finish(due?: DueInput): readonly Anomaly[];
  learned(): readonly LearnedFact[];
  /** At which writes of configured collections findings were seen since the last call: each once, also across restarts. */
  takeSightings(): readonly Sighting[];
  readonly stats: DetectionStats;
}

/** A detector of traces, and how it says what it finds. */
export interface Told {
  readonly fold: TraceFold;
  readonly report: Report;
  readonly concerns: number;
}

const minimumShare = 1 / 65_536;
/** Event time between two looks at how much is held, and between two halvings of the share. */
const boundEveryUs = 1_000_000;
const lowerEveryUs = 20_000_000;
/** Aspects of a trace as bits, so that showing a trace to those whom it concerns costs nothing beyond what they do. */
const aspectBits: Readonly<Record<TraceAspect, number>> = { writes: 1, messages: 2, failures: 4, calls: 8, facts: 16, sessions: 32 };
const everyTrace = 64;

function aspectsOf(concerns: readonly TraceAspect[] | 'every trace'): number {
  return concerns === 'every trace' ? everyTrace : concerns.reduce((bits, aspect) => bits | aspectBits[aspect], 0);
}

function aspectsIn(trace: TraceView): number {
  return (
    (trace.hasWrites ? aspectBits.writes : 0) |
    (trace.hasMessages ? aspectBits.messages : 0) |
    (trace.hasFailures ? aspectBits.failures : 0) |
    (trace.hasCalls ? aspectBits.calls : 0) |
    (trace.hasFacts ? aspectBits.facts : 0) |
    (trace.hasSessions ? aspectBits.sessions : 0)
  );
}

/** Operations with facts that are made before they are looked at: some blocks of what looks them up together. */
const factsAtOnce = 256;
const defaultHeldBytes = 64_000_000;
/** How long messages of a topic that nobody is seen to take from are remembered: consumers that are not behind come within that time. */
const untakenUs = 30_000_000;
/** Some half a million operations on objects; the whole service is to stay under 512 MB. */
const defaultKeyBytes = 64_000_000;

/**
 * The engine: one fold over operations in event time. Traces wait in a buffer until they are over, operations that carry
 * `consistency.*` facts until the watermark passes them; then detectors see them in an order that only event times decide. So splitting a
 * batch, sending it twice or reordering it within the lateness bound changes nothing. Cost: O(log n) an operation, of the waiting part.
 */
export function createDetection(options: DetectionOptions = {}): Detection {
  const latenessUs = (options.latenessMs ?? 10_000) * 1000;
  const idleUs = (options.traceIdleMs ?? 1000) * 1000;
  const patienceUs = Math.max(idleUs, (options.tracePatienceMs ?? 10_000) * 1000);
  const retainUs = (options.retainMs ?? 600_000) * 1000;
  const maxHeldBytes = options.maxHeldBytes ?? defaultHeldBytes;
  const maxOperations = options.maxOperations ?? 2_000_000;
  let traceShare = options.share ?? 1;

  const learner = createLearner(options.declared, options.known);
  const messages = new SentMessages(untakenUs);
  const context: DetectionContext = { learned: learner, messages, placeOf: createPlaces(options.domains ?? [], options.collections ?? []) };
  const findings = createFindings(options.told, context.placeOf);
  const claims = new OpenClaims(patienceUs, retainUs);

  const traceFolds: Told[] = [];
  const keyedFolds: KeyedFolds[] = [];
  const historyFolds: { readonly fold: HistoryFold; readonly report: Report }[] = [];
  for (const detector of options.only ?? everyDetector) {
    const given = options.detectors?.[detector.id];
    if (given?.['enabled'] === false) continue;
    const values = { ...defaultOptions(detector.options), ...given } as Record<string, number | readonly string[]>;
    const tell: Report = (finding) =>
      findings.add(detector, finding, detector.scope === 'trace' || detector.scope === 'message' ? traceShare : objects.share);
    const report: Report = (finding) => (finding.restsOn === undefined ? tell(finding) : claims.hold(finding, tell));
    switch (detector.scope) {
      case 'trace':
      case 'message':
        traceFolds.push({ fold: detector.start(values, context), report, concerns: aspectsOf(detector.concerns) });
        break;
      case 'object':
      case 'session':
        keyedFolds.push({ scope: detector.scope, fold: detector.start(values, context), report });
        break;
      case 'history':
        historyFolds.push({ fold: detector.start(values, context), report });
        break;
    }
  }

  const advancing = traceFolds.filter(({ fold }) => fold.advance !== undefined);
  const traces = createTraceBuffer(idleUs, patienceUs);
  const objects = new KeyedObjects(keyedFolds, retainUs, options.maxKeyBytes ?? defaultKeyBytes, options.share ?? 1);
  const facts = createFactQueue();
  const ahead = new TracesAhead();
  let operationCount = 0;
  let duplicates = 0;
  let late = 0;
  let newestUs = 0;
  let watermarkUs = Number.NEGATIVE_INFINITY;
  let held = 0;
  let boundedUs = Number.NEGATIVE_INFINITY;
  let loweredUs = Number.NEGATIVE_INFINITY;

  /** Some at a time, so that none has to live for long. */
  const stepFacts = (some: readonly Operation[]): void => {
    objects.run(some);
    for (const { fold, report } of historyFolds)
      for (let from = 0; from < some.length; from += blockSize) {
        const to = Math.min(some.length, from + blockSize);
        fold.comeNear(some, from, to);
        for (let i = from; i < to; i += 1) fold.step(some[i] as Operation, report);
      }
  };

  const runFacts = (upToUs: number, due: DueInput | undefined): void => {
    const queued = facts.take(upToUs);
    if (due === undefined) stepFacts(queued);
    else {
      due.openFacts(facts.takenUs);
      let some: Operation[] = [];
      const add = (operation: Operation): void => {
        some.push(operation);
        if (some.length < factsAtOnce) return;
        stepFacts(some);
        some = [];
      };
      let next = due.nextFact();
      for (const operation of queued) {
        for (; next !== undefined && compareFacts(next, operation) < 0; next = due.nextFact()) add(next);
        add(operation);
      }
      for (; next !== undefined; next = due.nextFact()) add(next);
      stepFacts(some);
    }
    objects.catchUp(Math.min(upToUs, facts.takenUs));
    for (const { fold, report } of historyFolds) fold.advance(Math.min(upToUs, facts.takenUs), report);
  };

  const inspect = (view: TraceView, closesUs: number): void => {
    // At the end of input no time passes beyond the newest operation: what has not come by then is unknown, not missing.
    const atUs = Math.min(closesUs, newestUs);
    for (const { fold, report } of advancing) fold.advance?.(atUs, report);
    duplicates += view.duplicates;
    learner.learn(view);
    claims.learn(view);
    const known = view.hasSessions ? undefined : knownOf(view.shape);
    if (known === undefined) {
      const has = everyTrace | aspectsIn(view);
      for (const { fold, report, concerns } of traceFolds) if ((has & concerns) !== 0) fold.inspect(view, report);
      return;
    }
    known.folds ??= foldsOf(view);
    for (const { fold, report } of known.folds) fold.inspect(view, report);
  };

  /** Whom a trace concerns that names no session, and all that are alike. */
  const foldsOf = (view: TraceView): readonly Told[] => {
    const has = everyTrace | aspectsIn(view);
    return traceFolds.filter(({ fold, concerns }) => (has & concerns) !== 0 && fold.mayConcern?.(view) !== false);
  };

  /** Takes some of the whole traces that are due, and has a look at what will be looked up for each of them. */
  const fillAhead = (due: DueInput): void => {
    while (!ahead.isFull) {
      const closesUs = due.nextTraceUs();
      if (closesUs === Number.POSITIVE_INFINITY) break;
      const trace = due.takeTrace();
      operationCount += trace.operations.length;
      if (traceShare < 1 && !isSampled(trace.traceId, traceShare)) continue;
      ahead.add(viewAlike(trace), closesUs);
    }
    learner.comeNear(ahead.views);
    messages.comeNear(ahead.views);
  };

  const runTraces = (toUs: number, due: DueInput | undefined): void => {
    const { closed: over, upToUs } = traces.close(toUs);
    let nextUs = Number.POSITIVE_INFINITY;
    let next: TraceView | undefined;
    const pull = (): void => {
      if (ahead.isEmpty && due !== undefined) fillAhead(due);
      nextUs = ahead.nextUs;
      next = ahead.take();
    };
    pull();
    for (const { view, closesUs } of over) {
      while (next !== undefined && (nextUs < closesUs || (nextUs === closesUs && next.traceId < view.traceId))) {
        inspect(next, nextUs);
        pull();
      }
      inspect(view, closesUs);
    }
    while (next !== undefined) {
      inspect(next, nextUs);
      pull();
    }
    if (upToUs !== Number.POSITIVE_INFINITY) for (const { fold, report } of advancing) fold.advance?.(upToUs, report);
    claims.settle(upToUs, (traceId) => {
      const open = traces.lookAt(traceId);
      if (open !== undefined) return open;
      const waiting = due?.lookAt(traceId);
      return typeof waiting === 'object' ? viewAlike(waiting) : waiting;
    });
  };

  const halveTraceShare = (): void => {
    if (traceShare <= minimumShare) return;
    traceShare /= 2;
    traces.narrow((traceId) => isSampled(traceId, traceShare));
  };

  /** What trace detectors remember of traces that are over: past the bound fewer traces are looked at, and the memory follows. */
  const boundMemory = (atUs: number): void => {
    if (atUs < boundedUs + boundEveryUs || atUs === Number.POSITIVE_INFINITY) return;
    boundedUs = atUs;
    messages.sweep(atUs);
    held = messages.bytes;
    for (const { fold } of traceFolds) held += fold.bytes?.() ?? 0;
    // It takes a while until what is remembered has gone: halving again before that would overshoot.
    if (held <= maxHeldBytes || atUs < loweredUs + lowerEveryUs) return;
    loweredUs = atUs;
    halveTraceShare();
  };

  const advance = (toUs: number, due?: DueInput): readonly Anomaly[] => {
    if (toUs > watermarkUs) {
      watermarkUs = toUs;
      // Whoever holds operations back until they are due has seen time go on, too.
      if (toUs > newestUs) newestUs = toUs;
      runFacts(toUs, due);
      runTraces(toUs, due);
      boundMemory(toUs);
    }
    return findings.take();
  };

  return {
    add(operations, part) {
      for (let i = 0; i < operations.length; i += 1) {
        const operation = operations[i] as Operation;
        if (operation.endUs > newestUs) newestUs = operation.endUs;
        if (part !== 'facts') {
          operationCount += 1;
          if (traceShare >= 1 || isSampled(operation.traceId, traceShare)) traces.add(operation);
        }
        if (part !== 'traces') {
          if (operation.endUs <= watermarkUs) late += 1;
          if (operation.facts !== undefined) facts.add(operation);
        }
      }
      while (traces.buffered > maxOperations && traceShare > minimumShare) halveTraceShare();
    },
    advance,
    get traceShare() {
      return traceShare;
    },
    halveTraceShare,
    advanceToLateness: () => advance(newestUs - latenessUs),
    finish(due) {
      watermarkUs = Number.POSITIVE_INFINITY;
      runFacts(Number.POSITIVE_INFINITY, due);
      runTraces(Number.POSITIVE_INFINITY, due);
      learner.settle();
      for (const { fold, report } of historyFolds) fold.finish(newestUs, report);
      for (const { fold, report } of traceFolds) fold.finish?.(newestUs, report);
      claims.settle(Number.POSITIVE_INFINITY, () => undefined);
      return findings.take();
    },
    learned: () => learner.facts(),
    takeSightings: () => findings.takeSightings(),
    get stats() {
      return {
        operations: operationCount,
        duplicates,
        late,
        openTraces: traces.traces,
        buffered: traces.buffered + facts.size,
        keys: objects.size,
        traceShare,
        keyShare: objects.share,
        heldBytes: held,
        stateBytes: objects.bytes,
        unordered: historyFolds.reduce((sum, { fold }) => sum + fold.unordered(), 0),
        findings: findings.size,
        newestUs,
        watermarkUs,
      };
    },
  };
}
