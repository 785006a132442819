import type { Anomaly } from '../domain/anomaly.ts';
import type { Collection } from '../domain/collection.ts';
import type { ConsistencyDomain } from '../domain/consistency-domain.ts';
import type { Operation } from '../domain/operation.ts';
import {
  type DetectionContext,
  type Detector,
  defaultOptions,
  type HistoryFold,
  type KeyedFold,
  type Report,
  type TraceFold,
} from './detector.ts';
import { createFindings, type ToldFinding } from './findings.ts';
import { createLearner, type DeclaredStructure, type LearnedFact } from './learned-structure.ts';
import { createPlaces } from './object-place.ts';
import { detectors as everyDetector } from './registry.ts';
import { isSampled } from './sample.ts';
import { createTraceBuffer } from './trace-buffer.ts';
import { viewTrace } from './trace-view.ts';
import { createVersionOrder, type VersionOrder } from './version-order.ts';

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
  /** Objects remembered; beyond it the share of objects is halved. */
  readonly maxKeys?: number;
  /** Options by detector id; `enabled: false` leaves one out. */
  readonly detectors?: Readonly<Record<string, Readonly<Record<string, number | boolean | string | readonly string[]>>>>;
  readonly only?: readonly Detector[];
  readonly domains?: readonly ConsistencyDomain[];
  readonly collections?: readonly Collection[];
  readonly declared?: DeclaredStructure;
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
  readonly findings: number;
  readonly newestUs: number;
  readonly watermarkUs: number;
}

export interface Detection {
  /** Takes operations in any order; duplicates by (trace, span, index) are dropped. */
  add(operations: readonly Operation[]): void;
  /** Input is complete up to `watermarkUs` (event time): returns what is new or has changed. Counts are cumulative. */
  advance(watermarkUs: number): readonly Anomaly[];
  /** {@link advance} to the newest end seen less the lateness bound. */
  advanceToLateness(): readonly Anomaly[];
  /** Like `advance`, but lets go of about half of what waits: for input whose order says nothing about time. */
  advanceByHalf(): readonly Anomaly[];
  /** End of input. */
  finish(): readonly Anomaly[];
  learned(): readonly LearnedFact[];
  readonly stats: DetectionStats;
}

interface KeyEntry {
  lastUs: number;
  readonly versions: VersionOrder;
  readonly states: unknown[];
}

const sweepEveryUs = 60_000_000;
const minimumShare = 1 / 65_536;

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
  const maxOperations = options.maxOperations ?? 2_000_000;
  const maxKeys = options.maxKeys ?? 500_000;
  let traceShare = options.share ?? 1;
  let keyShare = options.share ?? 1;

  const learner = createLearner(options.declared);
  const context: DetectionContext = { learned: learner, placeOf: createPlaces(options.domains ?? [], options.collections ?? []) };
  const findings = createFindings(options.told);

  const traceFolds: { readonly fold: TraceFold; readonly report: Report }[] = [];
  const objectFolds: { readonly fold: KeyedFold<unknown>; readonly report: Report }[] = [];
  const historyFolds: { readonly fold: HistoryFold; readonly report: Report }[] = [];
  for (const detector of options.only ?? everyDetector) {
    const given = options.detectors?.[detector.id];
    if (given?.['enabled'] === false) continue;
    const values = { ...defaultOptions(detector.options), ...given } as Record<string, number | readonly string[]>;
    const report: Report = (finding) =>
      findings.add(detector, finding, detector.scope === 'trace' || detector.scope === 'message' ? traceShare : keyShare);
    switch (detector.scope) {
      case 'trace':
      case 'message':
        traceFolds.push({ fold: detector.start(values, context), report });
        break;
      case 'object':
      case 'session':
        objectFolds.push({ fold: detector.start(values, context), report });
        break;
      case 'history':
        historyFolds.push({ fold: detector.start(values, context), report });
        break;
    }
  }

  const traces = createTraceBuffer(idleUs, patienceUs);
  /** Operations with facts, by the second of their end. */
  const pending = new Map<number, Operation[]>();
  let pendingCount = 0;
  const objects = new Map<string, KeyEntry>();
  let operationCount = 0;
  let duplicates = 0;
  let late = 0;
  let newestUs = 0;
  let watermarkUs = Number.NEGATIVE_INFINITY;
  let sweptUs = Number.NEGATIVE_INFINITY;

  const stepFacts = (operation: Operation): void => {
    const facts = operation.facts;
    if (facts === undefined) return;
    if (historyFolds.length > 0) for (const { fold, report } of historyFolds) fold.step(operation, report);
    if (facts.objectKey === '') return;
    const key = `${facts.objectType}\0${facts.objectKey}`;
    if (!isSampled(key, keyShare)) return;
    let entry = objects.get(key);
    // Forgetting is decided by event times alone, so that it does not matter when the sweep comes by.
    if (entry === undefined || operation.endUs - entry.lastUs > retainUs) {
      entry = { lastUs: 0, versions: createVersionOrder(), states: objectFolds.map(({ fold }) => fold.start()) };
      objects.set(key, entry);
    }
    if (operation.endUs > entry.lastUs) entry.lastUs = operation.endUs;
    entry.versions.learn(operation);
    for (let i = 0; i < objectFolds.length; i += 1) {
      const { fold, report } = objectFolds[i] as (typeof objectFolds)[number];
      fold.step(entry.states[i], operation, entry.versions, report);
    }
  };

  const runFacts = (upToUs: number): void => {
    const ready: Operation[] = [];
    const lastSlot = Math.floor(upToUs / 1_000_000);
    for (const [slot, list] of pending) {
      if (slot > lastSlot) continue;
      if (slot < lastSlot) {
        for (const operation of list) ready.push(operation);
        pending.delete(slot);
        continue;
      }
      const later: Operation[] = [];
      for (const operation of list) (operation.endUs <= upToUs ? ready : later).push(operation);
      if (later.length === 0) pending.delete(slot);
      else pending.set(slot, later);
    }
    pendingCount -= ready.length;
    ready.sort(byEnd);
    let previous: Operation | undefined;
    for (const operation of ready) {
      if (
        previous !== undefined &&
        previous.endUs === operation.endUs &&
        previous.spanId === operation.spanId &&
        previous.traceId === operation.traceId &&
        previous.index === operation.index
      )
        continue;
      previous = operation;
      stepFacts(operation);
    }
    for (const { fold, report } of historyFolds) fold.advance(upToUs, report);
  };

  const runTraces = (upToUs: number): void => {
    for (const closed of traces.close(upToUs)) {
      // At the end of input no time passes beyond the newest operation: what has not come by then is unknown, not missing.
      const atUs = Math.min(closed.closesUs, newestUs);
      for (const { fold, report } of traceFolds) fold.advance?.(atUs, report);
      const view = viewTrace(closed.traceId, closed.operations);
      duplicates += view.duplicates;
      learner.learn(view);
      for (const { fold, report } of traceFolds) fold.inspect(view, report);
    }
    if (upToUs !== Number.POSITIVE_INFINITY) for (const { fold, report } of traceFolds) fold.advance?.(upToUs, report);
  };

  const sweep = (): void => {
    if (watermarkUs - sweptUs < sweepEveryUs || watermarkUs === Number.POSITIVE_INFINITY) return;
    sweptUs = watermarkUs;
    for (const [key, entry] of objects) if (entry.lastUs + retainUs < watermarkUs) objects.delete(key);
  };

  const bound = (): void => {
    while (traces.buffered > maxOperations && traceShare > minimumShare) {
      traceShare /= 2;
      traces.narrow((traceId) => isSampled(traceId, traceShare));
    }
    while (objects.size > maxKeys && keyShare > minimumShare) {
      keyShare /= 2;
      for (const key of objects.keys()) if (!isSampled(key, keyShare)) objects.delete(key);
    }
  };

  const advance = (toUs: number): readonly Anomaly[] => {
    if (toUs > watermarkUs) {
      watermarkUs = toUs;
      // Whoever holds operations back until they are due has seen time go on, too.
      if (toUs > newestUs) newestUs = toUs;
      runFacts(toUs);
      runTraces(toUs);
      sweep();
    }
    return findings.take();
  };

  return {
    add(operations) {
      for (let i = 0; i < operations.length; i += 1) {
        const operation = operations[i] as Operation;
        operationCount += 1;
        if (operation.endUs > newestUs) newestUs = operation.endUs;
        if (operation.endUs <= watermarkUs) late += 1;
        if (traceShare >= 1 || isSampled(operation.traceId, traceShare)) traces.add(operation);
        if (operation.facts !== undefined) {
          const slot = Math.floor(operation.endUs / 1_000_000);
          const list = pending.get(slot);
          if (list === undefined) pending.set(slot, [operation]);
          else list.push(operation);
          pendingCount += 1;
        }
      }
      if (traces.buffered > maxOperations || objects.size > maxKeys) bound();
    },
    advance,
    advanceToLateness: () => advance(newestUs - latenessUs),
    advanceByHalf() {
      // The middle of the waiting time range; never nearer to the newest end than the lateness bound.
      const oldestUs = Math.max(watermarkUs, Math.min(...pending.keys()) * 1_000_000, traces.oldestUs);
      return advance(Math.min(newestUs - latenessUs, (oldestUs + newestUs) / 2));
    },
    finish() {
      watermarkUs = Number.POSITIVE_INFINITY;
      runFacts(Number.POSITIVE_INFINITY);
      runTraces(Number.POSITIVE_INFINITY);
      for (const { fold, report } of historyFolds) fold.finish(newestUs, report);
      for (const { fold, report } of traceFolds) fold.finish?.(newestUs, report);
      return findings.take();
    },
    learned: () => learner.facts(),
    get stats() {
      return {
        operations: operationCount,
        duplicates,
        late,
        openTraces: traces.traces,
        buffered: traces.buffered + pendingCount,
        keys: objects.size,
        traceShare,
        keyShare,
        findings: findings.size,
        newestUs,
        watermarkUs,
      };
    },
  };
}

function byEnd(a: Operation, b: Operation): number {
  return (
    a.endUs - b.endUs ||
    a.startUs - b.startUs ||
    (a.traceId < b.traceId ? -1 : a.traceId > b.traceId ? 1 : 0) ||
    (a.spanId < b.spanId ? -1 : a.spanId > b.spanId ? 1 : 0) ||
    a.index - b.index
  );
}
