import { hostname } from 'node:os';
import { InvariantError, invariant, unreachable } from '../base/assert.ts';
import { Failure } from '../base/failure.ts';
import type { Collection } from '../domain/collection.ts';
import { invertEffects } from '../domain/effect.ts';
import type { Shape } from '../domain/row.ts';
import { advance, type Progress, type RepairEvent } from '../apply/advance.ts';
import { type Batch, planBatches } from '../apply/plan.ts';
import { checkBeforeApply } from '../guard/before-apply.ts';
import type { ApplyResult, ReplicaConnection } from '../io/replicas/replica.ts';
import { appendAudit } from '../io/store/audit.ts';
import { listApprovals } from '../io/store/approvals.ts';
import { getCase } from '../io/store/cases.ts';
import type { Queryable } from '../io/store/database.ts';
import { countUnconfirmed, listCaseDivergences } from '../io/store/divergences.ts';
import { holdDomainState } from '../io/store/domain-state.ts';
import { publishEvent } from '../io/store/events.ts';
import { getProposal, type StoredProposal } from '../io/store/proposals.ts';
import { claimRepair, getRepair, lockClaimedRepair, releaseRepair, saveRepairProgress, type StoredRepair } from '../io/store/repairs.ts';
import { sayError } from '../io/telemetry/log.ts';
import { stopDomain } from './breaker.ts';
import { changedBeside } from './changed-beside.ts';
import { agreedShape } from './compare.ts';
import type { RuntimeContext } from './context.ts';
import { editorsOf } from './editors.ts';
import { endRepair } from './end-repair.ts';
import { readGuardFacts } from './guard-facts.ts';
import { verifyEffects, wereApplied } from './verify-repair.ts';

/** A claim that is not renewed for this long is free: its worker is gone. Each step renews it. */
export const claimMs = 60_000;
/** Failures of the world in a row after which a repair fails and a person is told: with the waits below, about an hour. */
const attemptsLimit = 12;
const firstRetryMs = 500;
const retryLimitMs = 600_000;

const workerName = `${hostname()}-${process.pid}`;

/** What one step came to: the machine's next event, or a reason to stop here. */
type Stepped =
  /** `isFault`: the target does not keep what is written to it; the domain's breaker opens. */
  | { readonly is: 'event'; readonly event: RepairEvent; readonly says?: string; readonly isFault?: boolean }
  /** The claim went to another worker: it goes on, this one is done. */
  | { readonly is: 'lost' }
  /** Not now: the domain is frozen. */
  | { readonly is: 'hold'; readonly says: string };

interface Work {
  readonly context: RuntimeContext;
  readonly collection: Collection;
  readonly proposal: StoredProposal;
  readonly shape: Shape;
  readonly batches: readonly Batch[];
  readonly connections: readonly ReplicaConnection[];
  readonly signal: AbortSignal;
}

/**
 * Carries a repair on from wherever it is to its end. Claimed by compare-and-set; every step is recorded before the next, and a
 * step that was taken but not recorded is recognised when it is taken again. So it can be killed anywhere.
 */
export async function workOnRepair(context: RuntimeContext, repairId: string, signal: AbortSignal): Promise<void> {
  const { database, clock, metrics } = context;
  const startedMs = clock.nowMs();
  const claimed = await claimRepair(database, repairId, workerName, startedMs + claimMs, startedMs);
  if (claimed === null) return;
  metrics.observe('homeostat_repair_claim_seconds', Math.max(0, startedMs - claimed.createdAtMs) / 1000, {});
  try {
    await carryOut(context, claimed, signal);
  } catch (error) {
    const nowMs = clock.nowMs();
    if (signal.aborted) {
      await releaseRepair(database, repairId, claimed.fence, null, 0, nowMs);
      return;
    }
    metrics.count('homeostat_repair_failures_total', { domain: claimed.domain });
    context.log('warn', `repair ${repairId}: ${sayError(error)}`, { repair: repairId, domain: claimed.domain });
    if (error instanceof InvariantError || claimed.attempts + 1 >= attemptsLimit) {
      if (error instanceof InvariantError) await stopDomain(context, claimed.domain, error.message);
      await giveUp(context, claimed, sayError(error));
      return;
    }
    const retryAtMs = nowMs + Math.min(retryLimitMs, firstRetryMs * 2 ** Math.min(claimed.attempts, 16));
    await releaseRepair(database, repairId, claimed.fence, sayError(error), retryAtMs, nowMs);
  }
}

async function carryOut(context: RuntimeContext, claimed: StoredRepair, signal: AbortSignal): Promise<void> {
  const proposal = await getProposal(context.database, claimed.proposalId);
  const collection = context.collections[claimed.collection];
  invariant(proposal !== null, 'a repair has its proposal', { repair: claimed.id });
  invariant(proposal.digest === claimed.digest, 'a repair carries out the effects that it was planned with', { repair: claimed.id });
  invariant(collection !== undefined, 'a repair’s collection is configured', { collection: claimed.collection });
  const connections = await context.replicas.connections(collection.name);
  const shape = await agreedShape(collection, connections, signal);
  const batches = planBatches(proposal.effects);
  const work: Work = { context, collection, proposal, shape, batches, connections, signal };
  const canaries = batches.filter((batch) => batch.isCanary).length;
  let progress: Progress = { state: claimed.state, batch: claimed.batch, batches: batches.length, canaries };
  // Every step moves the machine on; a batch is applied, verified and at worst undone once.
  const stepsLimit = 4 * batches.length + 8;
  for (let step = 0; ; step += 1) {
    invariant(step <= stepsLimit, 'a repair comes to its end', { repair: claimed.id, state: progress.state });
    if (signal.aborted) {
      await releaseRepair(context.database, claimed.id, claimed.fence, null, 0, context.clock.nowMs());
      return;
    }
    const next = await takeStep(work, claimed, progress);
    if (next === null) return;
    progress = next;
  }
}

/** One step from this state, recorded; the progress after it, or null where there is nothing more to do here. */
async function takeStep(work: Work, claimed: StoredRepair, progress: Progress): Promise<Progress | null> {
  switch (progress.state) {
    case 'planned':
      return record(work, claimed, progress, async () => ({ is: 'event', event: { is: 'claimed' } }));
    case 'applying':
      return record(work, claimed, progress, (tx, repair) => applyBatch(work, repair, tx, progress.batch));
    case 'verifying': {
      // Reads only, and may wait for replicas to settle: outside the transaction, which only records what it found.
      const upTo = work.batches.slice(0, progress.batch + 1).flatMap((batch) => batch.effects);
      const verified = await verifyEffects(work.context, work.collection, upTo, work.signal);
      return record(work, claimed, progress, async () => ({
        is: 'event',
        event: { is: verified.is === 'equal' ? 'verified' : 'not-equal' },
        ...(verified.is === 'equal' ? {} : { says: `${verified.rows} of ${upTo.length} rows are not as the repair left them` }),
      }));
    }
    case 'undoing':
      return record(work, claimed, progress, (tx, repair) => undoBatch(work, repair, tx, progress.batch));
    case 'sealed':
    case 'stale':
    case 'compensated':
    case 'failed':
      return null;
    default:
      return unreachable(progress.state);
  }
}

/** Runs a step under the repair's lock and the fence, and writes what came of it in the same transaction. */
async function record(
  work: Work,
  claimed: StoredRepair,
  progress: Progress,
  step: (tx: Queryable, repair: StoredRepair) => Promise<Stepped>,
): Promise<Progress | null> {
  const { context, batches } = work;
  return context.database.transaction(async (tx) => {
    const repair = await lockClaimedRepair(tx, claimed.id, claimed.fence);
    if (repair === null || repair.state !== progress.state) return null;
    const stepped = await step(tx, repair);
    const nowMs = context.clock.nowMs();
    if (stepped.is === 'lost') return null;
    if (stepped.is === 'hold') {
      await releaseRepair(tx, repair.id, repair.fence, null, nowMs + retryLimitMs / 60, nowMs);
      return null;
    }
    const advanced = advance(progress, stepped.event);
    invariant(advanced.is === 'moved', 'a step of a repair moves it on', {
      repair: repair.id,
      state: progress.state,
      event: stepped.event.is,
    });
    // Undone batch by batch: the machine hears of it when the last one is.
    const next = advanced.progress;
    const isSaved = await saveRepairProgress(tx, repair.id, repair.fence, next, nowMs + claimMs, nowMs);
    invariant(isSaved, 'progress is written under the fence that was locked', { repair: repair.id });
    if (next.state !== progress.state) await publishEvent(tx, { kind: 'repair', id: repair.id, domain: repair.domain, state: next.state });
    if (stepped.event.is === 'batch-applied') {
      context.metrics.count('homeostat_rows_applied_total', { domain: repair.domain }, batches[progress.batch]?.effects.length ?? 0);
    }
    await endRepair(context, tx, {
      repair,
      proposal: work.proposal,
      before: progress,
      after: next,
      event: stepped.event,
      says: stepped.says ?? null,
      isFault: stepped.isFault ?? false,
      nowMs,
    });
    return next;
  });
}

/** Asks the guard once more, inside the transaction, and puts one batch on its replica. */
async function applyBatch(work: Work, repair: StoredRepair, tx: Queryable, index: number): Promise<Stepped> {
  const { context, proposal, signal } = work;
  const batch = work.batches[index];
  invariant(batch !== undefined, 'a repair applies a batch of its plan', { repair: repair.id, index });
  const found = await getCase(tx, repair.caseId);
  // Once a batch is in, the rows differ as the repair left them, not as they were confirmed.
  const isConfirmed = index > 0 || (await countUnconfirmed(tx, repair.caseId)) === 0;
  const facts = await readGuardFacts(context, tx, { proposal, isConfirmed, caseReturns: found?.returns ?? 0, exceptRepair: repair.id });
  const check = checkBeforeApply({
    facts,
    policies: context.policies,
    approvals: await listApprovals(tx, proposal.id),
    approvedDigest: repair.digest,
    fence: repair.fence,
    claimedFence: repair.fence,
    editors: await editorsOf(tx, proposal),
  });
  const target = connectionOf(work, batch.replica);
  if (check.is === 'stop') {
    if (check.retry === 'later') return { is: 'hold', says: check.says };
    // A worker that died took the batch in while it was allowed: it is on record before anything else is said of it.
    if (await wereApplied(target, work.shape, batch.effects, signal)) return { is: 'event', event: { is: 'batch-applied' } };
    return { is: 'event', event: { is: 'changed-since-read' }, says: check.says };
  }
  if (index === 0) {
    const confirmed = await listCaseDivergences(tx, repair.caseId);
    const changed = await changedBeside(work.connections, work.shape, proposal.effects, confirmed, signal);
    // A worker that died took the batch in before: then its rows are judged by what it left.
    if (changed.length > 0 && !(await wereApplied(target, work.shape, batch.effects, signal))) {
      return {
        is: 'event',
        event: { is: 'changed-since-read' },
        says: `${changed.length} ${changed.length === 1 ? 'row' : 'rows'} beside those to be written changed since they were read`,
      };
    }
  }
  let result: ApplyResult;
  try {
    result = await target.apply(work.shape, batch.effects, signal);
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== 'after-image-differs') throw error;
    // The connector took the batch back. What went in before it is undone, and trying again would end the same way.
    return { is: 'event', event: { is: 'changed-since-read' }, says: error.message, isFault: true };
  }
  switch (result.is) {
    case 'applied':
    case 'already-applied':
      return { is: 'event', event: { is: 'batch-applied' } };
    case 'changed-since-read':
      // Killed after the batch went in and before that was on record, and a row was written since: it did go in.
      if (await wereApplied(target, work.shape, batch.effects, signal)) return { is: 'event', event: { is: 'batch-applied' } };
      return {
        is: 'event',
        event: { is: 'changed-since-read' },
        says: `${result.keys.length} rows of ${batch.replica} changed since they were read`,
      };
    default:
      return unreachable(result);
  }
}

/** Takes back the last batch that is still in, by compare-and-set on our own after-image. */
async function undoBatch(work: Work, repair: StoredRepair, tx: Queryable, left: number): Promise<Stepped> {
  // Nothing is written after a freeze was answered, an undo no more than a repair.
  const { frozen, frozenReason } = await holdDomainState(tx, repair.domain);
  if (frozen) return { is: 'hold', says: `Domain ${repair.domain} is frozen: ${frozenReason ?? 'a person froze it'}.` };
  // All batches are undone in one step of the machine; each is one transaction on its replica, and undoing one twice is harmless.
  for (let index = left - 1; index >= 0; index -= 1) {
    const batch = work.batches[index];
    invariant(batch !== undefined, 'undo takes back a batch of the plan', { repair: repair.id, index });
    const result = await connectionOf(work, batch.replica).apply(work.shape, invertEffects(batch.effects), work.signal);
    if (result.is === 'changed-since-read') {
      return {
        is: 'event',
        event: { is: 'undo-changed' },
        says: `${result.keys.length} rows of ${batch.replica} changed after the repair and were left as they are`,
      };
    }
  }
  return { is: 'event', event: { is: 'undone' } };
}

function connectionOf(work: Work, replica: string): ReplicaConnection {
  const connection = work.connections.find((one) => one.replica.id === replica);
  invariant(connection !== undefined, 'an effect names a replica of its collection', { replica });
  return connection;
}

async function giveUp(context: RuntimeContext, claimed: StoredRepair, because: string): Promise<void> {
  const { database, clock } = context;
  await database.transaction(async (tx) => {
    const repair = await getRepair(tx, claimed.id);
    const proposal = await getProposal(tx, claimed.proposalId).catch(() => null);
    if (repair === null || repair.fence !== claimed.fence) return;
    const nowMs = clock.nowMs();
    const before: Progress = { state: repair.state, batch: repair.batch, batches: 1, canaries: 0 };
    const advanced = advance(before, { is: 'gave-up', because });
    if (advanced.is !== 'moved') return;
    await saveRepairProgress(tx, repair.id, repair.fence, advanced.progress, 0, nowMs);
    await publishEvent(tx, { kind: 'repair', id: repair.id, domain: repair.domain, state: 'failed' });
    if (proposal !== null) {
      await endRepair(context, tx, {
        repair,
        proposal,
        before,
        after: advanced.progress,
        event: { is: 'gave-up', because },
        says: because,
        isFault: false,
        nowMs,
      });
    } else {
      await appendAudit(
        tx,
        { actor: 'homeostat', action: 'repair.failed', subject: repair.id, domain: repair.domain, facts: { because } },
        nowMs,
      );
    }
  });
}
