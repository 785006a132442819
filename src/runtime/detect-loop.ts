import { setTimeout as delay } from 'node:timers/promises';
import type { Anomaly } from '../domain/anomaly.ts';
import type { Operation } from '../domain/operation.ts';
import { createPlaces } from '../detect/object-place.ts';
import type { Detection } from '../detect/run.ts';
import { saveAnomalies } from '../io/store/anomalies.ts';
import { listUnexplainedCases, setCaseCause } from '../io/store/cases.ts';
import { linkAnomaly } from '../io/store/anomalies.ts';
import { listCaseDivergences } from '../io/store/divergences.ts';
import { publishEvent } from '../io/store/events.ts';
import { saveWrites, type StoredWrite } from '../io/store/write-evidence.ts';
import { sayError } from '../io/telemetry/log.ts';
import type { RuntimeContext } from './context.ts';
import { explainCase } from './explain-case.ts';

/** How often time moves on while no operation comes: findings that wait for the end of a trace are due then. */
const tickMs = 500;
/** How often cases without a cause are looked at again: findings come after divergences as often as before. */
const explainEveryMs = 2_000;
const casesExplainedAtOnce = 20;
const keysLookedAt = 50;
/** Clocks of services that run further ahead than this are wrong; time does not follow them. */
const futureLimitMs = 300_000;
/** Evidence and findings that the store could not take are kept for it; beyond this the oldest evidence goes, and is counted. */
const pendingWritesLimit = 50_000;

export interface DetectLoop {
  /** Operations as they come, in any order. Cheap: what has to be stored is stored by the loop. */
  observe(operations: readonly Operation[]): Promise<void>;
  close(): Promise<void>;
}

/**
 * Feeds operations to the detectors, keeps what they find, and keeps which trace wrote which object, so that a divergence can be
 * tied to the write that caused it. Event time follows the newest operation and, when none comes, the clock.
 */
export function startDetectLoop(context: RuntimeContext, detection: Detection, latenessMs: number): DetectLoop {
  const { clock, metrics } = context;
  const places = createPlaces(Object.values(context.domains), Object.values(context.collections));
  const stopping = new AbortController();
  let writes: StoredWrite[] = [];
  let findings: Anomaly[] = [];
  let newestUs = 0;
  let newestAtMs = 0;

  const observe = async (operations: readonly Operation[]): Promise<void> => {
    const futureUs = (clock.nowMs() + futureLimitMs) * 1000;
    for (const operation of operations) {
      if (operation.endUs > newestUs && operation.endUs < futureUs) {
        newestUs = operation.endUs;
        newestAtMs = clock.monotonicMs();
      }
      const write = writeOf(operation, places);
      if (write !== undefined) writes.push(write);
    }
    detection.add(operations);
    metrics.count('homeostat_operations_total', {}, operations.length);
    findings.push(...detection.advanceToLateness());
    if (writes.length > pendingWritesLimit) {
      metrics.count('homeostat_write_evidence_dropped_total', {}, writes.length - pendingWritesLimit);
      writes = writes.slice(-pendingWritesLimit);
    }
  };

  const store = async (): Promise<void> => {
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
    if (findings.length === 0) return;
    const taken = findings;
    findings = [];
    try {
      const fresh = await saveAnomalies(context.database, taken, clock.nowMs());
      for (const anomaly of taken) metrics.count('homeostat_findings_total', { kind: anomaly.kind, grade: anomaly.grade });
      for (const fingerprint of fresh) await publishEvent(context.database, { kind: 'anomaly', id: fingerprint });
    } catch (error) {
      // Findings are few, and saving one twice changes nothing.
      findings = [...taken, ...findings];
      throw error;
    }
  };

  const loop = (async () => {
    let isDown = false;
    let explainedAtMs = Number.NEGATIVE_INFINITY;
    while (!stopping.signal.aborted) {
      await delay(tickMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      try {
        const idleMs = clock.monotonicMs() - newestAtMs;
        if (newestUs > 0 && idleMs > tickMs) findings.push(...detection.advance(newestUs + (idleMs - latenessMs) * 1000));
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
    observe,
    close: async () => {
      stopping.abort();
      await Promise.allSettled([loop]);
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
    const { cause } = await explainCase(
      database,
      collection,
      members.map((member) => member.key),
      clock.nowMs(),
    );
    if (cause === undefined) continue;
    await setCaseCause(database, found.id, cause.fingerprint);
    await linkAnomaly(database, cause.fingerprint, found.id);
    await publishEvent(database, { kind: 'case', id: found.id, domain: found.domain, state: found.state });
  }
}

/** What an operation says of a write to an object; undefined where it says nothing of one. */
function writeOf(operation: Operation, places: ReturnType<typeof createPlaces>): StoredWrite | undefined {
  const { facts, kind } = operation;
  const isWrite = kind === 'write' || kind === 'append' || kind === 'delete' || kind === 'compensate';
  if (!isWrite && !(kind === 'publish' && operation.failed)) return undefined;
  const objectType = facts === undefined || facts.objectType === '' ? operation.target : facts.objectType;
  const objectKey = facts === undefined || facts.objectKey === '' ? (operation.key ?? '') : facts.objectKey;
  if (objectType === '' || objectKey === '') return undefined;
  const place = places(objectType, facts?.domain ?? '');
  // Writes to objects that nobody compares explain nothing, and there is no bound on how many there are.
  if (place.collection === undefined) return undefined;
  return {
    collection: place.collection,
    objectKey,
    kind: kind === 'publish' ? 'publish-failed' : (kind as StoredWrite['kind']),
    version: facts?.version,
    versionBase: facts?.versionBase,
    hlc: facts?.hlc ?? '',
    valueDigest: facts?.valueDigest ?? '',
    replicaId: facts?.replicaId ?? '',
    service: operation.service,
    traceId: operation.traceId,
    spanId: operation.spanId,
    spanIndex: operation.index,
    failed: operation.failed,
    outcome: facts?.transactionOutcome ?? (operation.failed ? 'aborted' : 'committed'),
    atUs: operation.endUs,
  };
}
