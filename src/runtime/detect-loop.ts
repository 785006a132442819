import { setTimeout as delay } from 'node:timers/promises';
import type { Anomaly } from '../domain/anomaly.ts';
import type { LearnedFact } from '../domain/learned-fact.ts';
import type { Sighting } from '../domain/sighting.ts';
import type { ClientLegs } from '../forecast/client-legs.ts';
import type { FeaturePoint } from '../forecast/features.ts';
import type { TracedLook } from '../forecast/read-looks.ts';
import { saveAnomalies } from '../io/store/anomalies.ts';
import { listUnexplainedCases, setCaseCause, setCaseOrigin } from '../io/store/cases.ts';
import { linkAnomaly } from '../io/store/anomalies.ts';
import { listCaseDivergences } from '../io/store/divergences.ts';
import { saveLearned } from '../io/store/learned.ts';
import { publishEvent } from '../io/store/events.ts';
import { saveSightings } from '../io/store/sightings.ts';
import { saveWrites, type StoredWrite } from '../io/store/write-evidence.ts';
import { sayError } from '../io/telemetry/log.ts';
import type { BatchConsumer } from './batch-consumer.ts';
import type { RuntimeContext } from './context.ts';
import { openDetectConsumer } from './detect-consumer.ts';
import type { DetectCounts, DetectReport, DetectStageOptions } from './detect-stage.ts';
import { explainCase } from './explain-case.ts';
import { originOfCase, traceBack } from './trace-back.ts';

/** How often what was found is stored. */
const tickMs = 250;
/** How often cases without a cause are looked at again: findings come after divergences as often as before. */
const explainEveryMs = 2_000;
const casesExplainedAtOnce = 20;
const keysLookedAt = 50;
/** Evidence and findings that the store could not take are kept for it; beyond this the oldest evidence goes, and is counted. */
const pendingWritesLimit = 50_000;

export interface DetectLoop {
  readonly consumer: BatchConsumer;
  /** Points of the load series whose steps were over at `nowMs`. */
  drainFeatures(nowMs: number): Promise<readonly FeaturePoint[]>;
  /** What reads saw of what had just been written, since the last time. */
  drainLooks(): Promise<readonly TracedLook[]>;
  /** Operations of clients that ask every replica themselves, since the last time. */
  drainLegs(): Promise<readonly ClientLegs[]>;
  readonly counts: () => DetectCounts | undefined;
  close(): Promise<void>;
}

/**
 * Hands what was received to the detectors' thread, keeps what they find, and keeps which trace wrote which object, so that a divergence
 * can be tied to the write that caused it. A sequence is settled once the detectors have seen it and what they said by then is stored:
 * findings that a crash took from memory are made again from the journal.
 */
export function startDetectLoop(
  context: RuntimeContext,
  stage: DetectStageOptions,
  /** What is known beside the traces is added to a finding here, before it is kept. */
  explain: (anomaly: Anomaly) => Anomaly = (anomaly) => anomaly,
): DetectLoop {
  const { clock, metrics } = context;
  const stopping = new AbortController();
  let writes: StoredWrite[] = [];
  let findings: Anomaly[] = [];
  let sightings: Sighting[] = [];
  /** As far as the detectors have come, and as far as that is stored. */
  let learned: readonly LearnedFact[] | undefined;
  let seen = 0;
  let settled = 0;

  const onReport = (report: DetectReport): void => {
    for (const finding of report.findings) findings.push(finding);
    for (const write of report.writes) writes.push(write);
    for (const sighting of report.sightings) sightings.push(sighting);
    if (sightings.length > pendingWritesLimit) sightings = sightings.slice(-pendingWritesLimit);
    if (report.learned !== undefined) learned = report.learned;
    seen = Math.max(seen, report.settled);
    metrics.count('homeostat_operations_total', {}, report.newOperations);
    const { counts } = report;
    metrics.gauge('homeostat_waiting_spans', counts.waiting_spans_now);
    metrics.gauge('homeostat_waiting_bytes', counts.waiting_bytes_now);
    metrics.gauge('homeostat_late_spans', counts.lateSpans);
    metrics.gauge('homeostat_future_spans', counts.futureSpans);
    metrics.gauge('homeostat_shortened_waits', counts.shortenedWaits);
    if (writes.length > pendingWritesLimit) {
      metrics.count('homeostat_write_evidence_dropped_total', {}, writes.length - pendingWritesLimit);
      writes = writes.slice(-pendingWritesLimit);
    }
  };
  const consumer = openDetectConsumer({
    stage,
    clock,
    onReport,
    settled: () => settled,
    onDeath: (says) => context.log('error', says),
  });

  const store = async (): Promise<void> => {
    const upTo = seen;
    if (writes.length > 0) {
      const taken = writes;
      writes = [];
      try {
        await saveWrites(context.database, taken, clock.nowMs());
      } catch (error) {
        writes = [...taken, ...writes].slice(-pendingWritesLimit);
        throw error;
      }
    }
    // Before the counts that say which of them have been told.
    if (sightings.length > 0) {
      const taken = sightings;
      sightings = [];
      try {
        await saveSightings(context.database, taken);
      } catch (error) {
        sightings = [...taken, ...sightings].slice(-pendingWritesLimit);
        throw error;
      }
    }
    if (findings.length > 0) {
      const taken = findings;
      findings = [];
      try {
        const fresh = await saveAnomalies(context.database, taken.map(explain), clock.nowMs());
        for (const anomaly of taken) metrics.count('homeostat_findings_total', { kind: anomaly.kind, grade: anomaly.grade });
        for (const fingerprint of fresh) await publishEvent(context.database, { kind: 'anomaly', id: fingerprint });
      } catch (error) {
        // Findings are few, and saving one twice changes nothing.
        findings = [...taken, ...findings];
        throw error;
      }
    }
    if (learned !== undefined) {
      await saveLearned(context.database, learned, clock.nowMs());
      learned = undefined;
    }
    settled = upTo;
  };

  const loop = (async () => {
    let isDown = false;
    let explainedAtMs = Number.NEGATIVE_INFINITY;
    while (!stopping.signal.aborted) {
      await delay(tickMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      try {
        await store();
        if (clock.monotonicMs() - explainedAtMs >= explainEveryMs) {
          await explainOpenCases(context);
          explainedAtMs = clock.monotonicMs();
        }
        isDown = false;
      } catch (error) {
        if (!isDown && !stopping.signal.aborted) context.log('warn', `findings wait for the store: ${sayError(error)}`);
        isDown = true;
      }
    }
  })();

  return {
    consumer,
    drainFeatures: (nowMs) => consumer.drainFeatures(nowMs),
    drainLooks: () => consumer.drainLooks(),
    drainLegs: () => consumer.drainLegs(),
    counts: () => consumer.counts,
    close: async () => {
      stopping.abort();
      await Promise.allSettled([loop]);
      await consumer.close();
      await store();
    },
  };
}

/** Looks for the cause of cases that have none yet. */
async function explainOpenCases(context: RuntimeContext): Promise<void> {
  const { database, clock } = context;
  for (const found of await listUnexplainedCases(database, casesExplainedAtOnce)) {
    const collection = context.collections[found.collection];
    if (collection === undefined) continue;
    const members = await listCaseDivergences(database, found.id, keysLookedAt);
    const explained = await explainCase(database, collection, members, clock.nowMs());
    const { cause } = explained;
    const origin = originOfCase(traceBack(members, explained));
    if (origin !== null) await setCaseOrigin(database, found.id, origin);
    if (cause === undefined) continue;
    await setCaseCause(database, found.id, cause.fingerprint);
    await linkAnomaly(database, cause.fingerprint, found.id);
    await publishEvent(database, { kind: 'case', id: found.id, domain: found.domain, state: found.state });
  }
}
