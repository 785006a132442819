import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Failure } from '../base/failure.ts';
import { type Collection, isCompared } from '../domain/collection.ts';
import type { Divergence } from '../domain/divergence.ts';
import { keyText } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';
import { assignToCase, listUnseen, nextScanNumber, resolveKeys, saveDivergences, unassignFromCase } from '../io/store/divergences.ts';
import { openCase, refreshCase } from '../io/store/cases.ts';
import type { Queryable } from '../io/store/database.ts';
import { appendAudit } from '../io/store/audit.ts';
import { publishEvent } from '../io/store/events.ts';
import { appendOutbox } from '../io/store/outbox.ts';
import {
  getCollectionState,
  releaseScan,
  renewScan,
  saveReplicaState,
  saveScanProgress,
  saveScanResult,
  scanLeaseMs,
  type ScanProgress,
  takeScan,
} from '../io/store/scans.ts';
import { sayError } from '../io/telemetry/log.ts';
import { closeEmptyCase, returnWindowMs } from './close-case.ts';
import { compareKeys, compareReplicas } from './compare.ts';
import type { RuntimeContext } from './context.ts';
import { shapeOf, titleOf } from './group-divergence.ts';

/** How often a collection is looked at for being due; the comparison itself is as often as the configuration says. */
const tickMs = 250;
/** Findings are recorded in transactions of this many, and at least this often. */
const batchRows = 500;
const batchMs = 300;
/** Known divergences that one round looks at once more; the next round goes on. */
const goneLimit = 50_000;
/** A replica that takes longer to say where it is does not answer. */
const positionTimeoutMs = 10_000;

export interface ScanLoop {
  close(): Promise<void>;
}

/** Compares each collection when it is due, one comparison of it at a time; several processes share the work by compare-and-set. */
export function startScanLoop(context: RuntimeContext): ScanLoop {
  const stopping = new AbortController();
  const owner = `${process.pid}-${randomBytes(6).toString('hex')}`;
  const compared = Object.values(context.collections).filter(isCompared);
  const loops = compared.map(async (collection) => {
    while (!stopping.signal.aborted) {
      try {
        if (await takeScan(context.database, collection.name, collection.scanEveryMs, owner, context.clock.nowMs())) {
          await holdingScan(context, collection, owner, stopping.signal);
        }
      } catch (error) {
        // Our own store is away: what was found is found again by the next comparison.
        if (!stopping.signal.aborted)
          context.log('warn', `the comparison of ${collection.name} could not be recorded: ${sayError(error)}`, {
            collection: collection.name,
          });
      }
      await delay(tickMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  });
  return {
    close: async () => {
      stopping.abort();
      await Promise.allSettled(loops);
    },
  };
}

/** A comparison under a lease that is renewed while it lasts; one that has lost it ends. */
async function holdingScan(context: RuntimeContext, collection: Collection, owner: string, signal: AbortSignal): Promise<void> {
  const { database, clock } = context;
  const lost = new AbortController();
  const ended = new AbortController();
  const renewing = (async () => {
    for (;;) {
      await delay(scanLeaseMs / 3, undefined, { signal: ended.signal }).catch(() => undefined);
      if (ended.signal.aborted) return;
      // Our own store being away is no reason to stop: while it is, nobody else can take the collection either.
      const isOurs = await renewScan(database, collection.name, owner, clock.nowMs()).catch(() => true);
      if (!isOurs) lost.abort(new Failure('scan-taken', `another process compares ${collection.name} now`, 'later'));
    }
  })();
  try {
    await scanCollection(context, collection, AbortSignal.any([signal, lost.signal]));
  } finally {
    ended.abort();
    await renewing;
    await releaseScan(database, collection.name, owner);
  }
}

/** One comparison of one collection, recorded: divergences, cases, and what went away. Failures of replicas are recorded too. */
export async function scanCollection(context: RuntimeContext, collection: Collection, signal: AbortSignal): Promise<void> {
  const { database, clock, metrics } = context;
  const startedMs = clock.monotonicMs();
  const nothing = { equal: null, rowsScanned: 0, bytesMoved: 0, rowsFetched: 0, rounds: 0 };
  try {
    const connections = await context.replicas.connections(collection.name);
    await recordReplicaStates(context, collection, connections, signal);
    const scan = await nextScanNumber(database);
    const resumed = await resumable(context, collection);
    const summary = await recordComparison(context, collection, connections, scan, resumed, signal);
    // What an earlier part has found is read again here, by its keys.
    const gone = await closeGone(context, collection, connections, scan, signal);
    const equal = summary.suspected === 0 && summary.confirmed === 0 && (resumed?.differing ?? 0) === 0;
    await saveScanProgress(database, collection.name, null);
    await saveScanResult(
      database,
      collection.name,
      {
        equal,
        rowsScanned: summary.rowsScanned,
        bytesMoved: summary.bytesMoved,
        rowsFetched: summary.rowsFetched,
        rounds: summary.rounds,
        error: null,
      },
      clock.nowMs(),
    );
    await publishEvent(database, { kind: 'scan', id: collection.name, domain: collection.domain, state: equal ? 'equal' : 'differs' });
    metrics.count('homeostat_rows_scanned_total', { collection: collection.name }, summary.rowsScanned);
    metrics.count('homeostat_divergences_gone_total', { collection: collection.name }, gone);
  } catch (error) {
    if (signal.aborted) return;
    metrics.count('homeostat_scan_failures_total', { collection: collection.name });
    context.log('warn', sayError(error), { collection: collection.name, code: error instanceof Failure ? error.code : 'unexpected' });
    await saveScanResult(database, collection.name, { ...nothing, error: sayError(error) }, clock.nowMs());
    await publishEvent(database, { kind: 'scan', id: collection.name, domain: collection.domain, state: 'failed' });
  } finally {
    metrics.observe('homeostat_scan_seconds', (clock.monotonicMs() - startedMs) / 1000, { collection: collection.name });
  }
}

/**
 * Closes known divergences that the comparison has not seen, after reading exactly those keys once more: that a comparison did not see
 * a difference is no proof that there is none, and a case that is closed wrongly takes its waiting proposal with it.
 */
async function closeGone(
  context: RuntimeContext,
  collection: Collection,
  connections: readonly ReplicaConnection[],
  scan: number,
  signal: AbortSignal,
): Promise<number> {
  const { database, clock } = context;
  let gone = 0;
  const unseen = await listUnseen(database, collection.name, scan, goneLimit);
  for (let start = 0; start < unseen.length; start += batchRows) {
    const keys = unseen.slice(start, start + batchRows).map((divergence) => divergence.key);
    const now = await compareKeys({ collection, connections, keys, clock, signal });
    await database.transaction(async (tx) => {
      const nowMs = clock.nowMs();
      const equal = now.equalKeys.map((key) => keyText(now.shape.key, key));
      for (const caseId of await resolveKeys(tx, collection.name, equal, nowMs)) await closeEmptyCase(tx, caseId, 'gone', nowMs);
      await recordFound(tx, collection, now.divergences, scan, nowMs);
      if (equal.length > 0)
        await publishEvent(tx, { kind: 'divergence', id: collection.name, domain: collection.domain, state: 'resolved' });
    });
    gone += now.equalKeys.length;
    if (now.divergences.length > 0) {
      context.log(
        'warn',
        `a comparison of ${collection.name} did not see ${now.divergences.length} known divergences that are still there`,
        { collection: collection.name },
      );
    }
  }
  return gone;
}

/** Asks every replica where it is, and records which answer. Throws the first failure: a comparison without a replica would blame the others. */
export async function recordReplicaStates(
  context: RuntimeContext,
  collection: Collection,
  connections: readonly ReplicaConnection[],
  signal: AbortSignal,
): Promise<void> {
  const answers = await Promise.allSettled(
    connections.map((connection) => connection.position(AbortSignal.any([signal, AbortSignal.timeout(positionTimeoutMs)]))),
  );
  let failure: unknown;
  for (const [index, answer] of answers.entries()) {
    const connection = connections[index];
    if (connection === undefined) continue;
    const isUp = answer.status === 'fulfilled';
    if (!isUp) failure ??= answer.reason;
    await saveReplicaState(context.database, {
      collection: collection.name,
      replica: connection.replica.id,
      isUp,
      says: isUp ? 'answers' : sayError(answer.reason),
      position: isUp ? answer.value : null,
      atMs: context.clock.nowMs(),
    });
  }
  if (failure !== undefined) throw failure;
}

type Summary = Awaited<ReturnType<ReturnType<typeof compareReplicas>['return']>> extends { value: infer S } ? S : never;

/** Where a comparison of the same replicas by the same key ended early. */
async function resumable(context: RuntimeContext, collection: Collection): Promise<ScanProgress | undefined> {
  const left = (await getCollectionState(context.database, collection.name))?.progress ?? undefined;
  const { key, replicas } = progressOf(collection);
  return left !== undefined && JSON.stringify([left.key, left.replicas]) === JSON.stringify([key, replicas]) ? left : undefined;
}

function progressOf(collection: Collection): Pick<ScanProgress, 'key' | 'replicas'> {
  return { key: collection.key, replicas: collection.replicas.map((replica) => replica.id).toSorted() };
}

async function recordComparison(
  context: RuntimeContext,
  collection: Collection,
  connections: readonly ReplicaConnection[],
  scan: number,
  resumed: ScanProgress | undefined,
  signal: AbortSignal,
): Promise<Exclude<Summary, Divergence>> {
  const { clock, metrics, writes } = context;
  const stalenessMs = context.domains[collection.domain]?.stalenessMs ?? 0;
  const comparison = compareReplicas({
    collection,
    connections,
    stalenessMs,
    clock,
    signal,
    confirm: 'wait',
    ...(writes === undefined
      ? {}
      : { wasToldSince: (text: string, sinceMs: number) => writes.wasToldSince(collection.name, text, sinceMs) }),
    ...(resumed === undefined ? {} : { range: { after: resumed.after, upTo: null } }),
    onCheckpoint: async ({ after, rowsDone, rowsOf, suspected }) => {
      // What differs up to here is on record before anything builds on it.
      await flush();
      const [before, differing] = [resumed?.rowsDone ?? 0, (resumed?.differing ?? 0) + suspected];
      await saveScanProgress(context.database, collection.name, {
        ...progressOf(collection),
        after,
        rowsDone: before + rowsDone,
        rowsOf,
        differing,
      });
    },
  });
  // Keyed by nothing but order: a key can come twice, suspected and then confirmed, never twice in one transaction.
  let batch: Divergence[] = [];
  let flushing: Promise<void> = Promise.resolve();
  const flush = (): Promise<void> => (flushing = flushing.then(record));
  const record = async (): Promise<void> => {
    if (batch.length === 0) return;
    const taken = batch;
    batch = [];
    for (const status of ['suspected', 'confirmed'] as const) {
      const found = taken.filter((divergence) => divergence.status === status);
      if (found.length === 0) continue;
      await context.database.transaction((tx) => recordFound(tx, collection, found, scan, clock.nowMs()));
      metrics.count('homeostat_divergences_total', { collection: collection.name, status }, found.length);
    }
  };
  for (let next = comparison.next(), wait = clock.monotonicMs() + batchMs; ; ) {
    // What is found is on record while the rest is still compared, or waits to be confirmed.
    const timeLeftMs = Math.max(1, wait - clock.monotonicMs());
    const step = batch.length === 0 ? await next : await Promise.race([next, delay(timeLeftMs)]);
    if (step === undefined) {
      await flush();
      continue;
    }
    if (step.done === true) {
      await flush();
      return step.value;
    }
    if (batch.length === 0) wait = clock.monotonicMs() + batchMs;
    batch.push(step.value);
    if (batch.length >= batchRows) await flush();
    next = comparison.next();
  }
}

/** Records divergences and puts confirmed ones into their cases; each case that needs a proposal is rung for in the same transaction. */
export async function recordFound(
  tx: Queryable,
  collection: Collection,
  found: readonly Divergence[],
  scan: number,
  nowMs: number,
): Promise<void> {
  const saved = await saveDivergences(tx, collection.domain, collection.key, found, scan, nowMs);
  const changed = saved.filter((divergence) => divergence.status === 'suspected' && divergence.caseId !== null);
  await unassignFromCase(
    tx,
    changed.map((divergence) => divergence.id),
  );
  for (const caseId of new Set(changed.map((divergence) => divergence.caseId)))
    if (caseId !== null) await closeEmptyCase(tx, caseId, 'gone', nowMs);
  const loose = saved.filter((divergence) => divergence.status === 'confirmed' && divergence.caseId === null);
  const shaped = loose.map((divergence) => ({ id: divergence.id, shape: shapeOf({ ...divergence, status: 'confirmed' }) }));
  // In one order everywhere: two scans that open the same two cases must not lock them crosswise.
  const groups = [...Map.groupBy(shaped, ({ shape }) => shape.fingerprint).entries()].toSorted(([a], [b]) => (a < b ? -1 : 1));
  for (const [fingerprint, members] of groups) {
    const shape = members[0]?.shape;
    if (shape === undefined) continue;
    const title = titleOf(collection.name, shape, members.length);
    const opened = await openCase(tx, { domain: collection.domain, collection: collection.name, fingerprint, title }, nowMs);
    await assignToCase(
      tx,
      members.map(({ id }) => id),
      opened.case.id,
    );
    await refreshCase(
      tx,
      opened.case.id,
      titleOf(collection.name, shape, opened.case.rows + members.length),
      nowMs - returnWindowMs,
      nowMs,
    );
    if (opened.case.state === 'open') await appendOutbox(tx, 'propose', opened.case.id, nowMs);
    await publishEvent(tx, { kind: 'case', id: opened.case.id, domain: collection.domain, state: opened.case.state });
    if (opened.isNew) {
      await appendAudit(
        tx,
        {
          actor: 'homeostat',
          action: 'case.opened',
          subject: opened.case.id,
          domain: collection.domain,
          facts: { title, collection: collection.name },
        },
        nowMs,
      );
    }
  }
  if (saved.length > 0)
    await publishEvent(tx, { kind: 'divergence', id: collection.name, domain: collection.domain, state: saved[0]?.status ?? 'suspected' });
}
