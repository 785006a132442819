import type { Json } from '../base/hash.ts';
import type { Outcome } from '../domain/outcome.ts';
import { keyText } from '../domain/row.ts';
import type { Progress, RepairEvent } from '../apply/advance.ts';
import { appendAudit } from '../io/store/audit.ts';
import { countCaseDivergences, resolveCaseKeys } from '../io/store/divergences.ts';
import { moveCase, reopenCase } from '../io/store/cases.ts';
import type { Queryable } from '../io/store/database.ts';
import { publishEvent } from '../io/store/events.ts';
import { getOutcome, saveOutcome } from '../io/store/outcomes.ts';
import { appendOutbox } from '../io/store/outbox.ts';
import { moveProposal, type StoredProposal } from '../io/store/proposals.ts';
import { noteRepair, type StoredRepair } from '../io/store/repairs.ts';
import { outcomeOf } from '../verify/outcome.ts';
import { tellBreaker } from './breaker.ts';
import { closeEmptyCase, endProposal } from './close-case.ts';
import type { RuntimeContext } from './context.ts';

/** A case whose repair was taken back or failed is looked at again after this: people come first. */
const afterFailureMs = 60_000;

export interface RepairStep {
  readonly repair: StoredRepair;
  readonly proposal: StoredProposal;
  readonly before: Progress;
  readonly after: Progress;
  readonly event: RepairEvent;
  readonly says: string | null;
  /** The target does not keep what is written to it. */
  readonly isFault: boolean;
  readonly nowMs: number;
}

/**
 * What a step of a repair means for its case, its proposal, its outcome, the breaker and the audit chain, in the transaction of
 * the step. Last in it: the chain's lock is taken here.
 */
export async function endRepair(context: RuntimeContext, tx: Queryable, step: RepairStep): Promise<void> {
  const { repair, proposal, after, before, nowMs, says } = step;
  const { domain } = repair;
  const note = async (action: string, facts: Readonly<Record<string, Json>> = {}): Promise<void> => {
    await appendAudit(
      tx,
      { actor: repair.undoAskedBy ?? 'homeostat', action, subject: repair.id, domain, facts: withBase(repair, facts, says) },
      nowMs,
    );
  };
  const judge = (is: Outcome['is'], reason: string | null = null): Promise<void> =>
    saveOutcome(tx, outcomeOf({ proposal, rows: proposal.effects.length, is, atMs: nowMs, ...(reason === null ? {} : { reason }) }));
  if (says !== null) await noteRepair(tx, repair.id, says);
  if (step.event.is === 'batch-applied') {
    await note('repair.batch-applied', { batch: before.batch, of: before.batches });
    return;
  }
  if (after.state === before.state || after.state === 'applying') {
    if (step.event.is === 'claimed' && before.state === 'planned')
      await note('repair.started', { approvedBy: repair.approvedBy, automatic: repair.automatic });
    return;
  }
  switch (after.state) {
    case 'sealed': {
      await moveProposal(tx, proposal.id, ['planned'], 'done', null, nowMs);
      await judge('verified');
      const keyColumns = context.collections[repair.collection]?.key ?? [];
      const keys = [...new Set(proposal.effects.map((effect) => keyText(keyColumns, effect.key)))];
      await resolveCaseKeys(tx, repair.caseId, keys, 'repaired', nowMs);
      await note('repair.sealed', { rows: proposal.effects.length, keys: keys.length });
      if (!(await closeEmptyCase(tx, repair.caseId, 'repaired', nowMs))) await proposeAgain(tx, repair, null, 0, nowMs);
      context.metrics.count('homeostat_rows_repaired_total', { domain, automatic: String(repair.automatic) }, proposal.effects.length);
      context.metrics.observe('homeostat_repair_seconds', Math.max(0, nowMs - repair.createdAtMs) / 1000, { domain });
      return;
    }
    case 'stale':
      await endProposal(tx, proposal, 'stale', 'homeostat', says ?? 'a row changed since it was read', nowMs);
      await note('repair.stale');
      if (!step.isFault) {
        await proposeAgain(tx, repair, null, 0, nowMs);
        return;
      }
      await judge('verification-failed', says);
      await proposeAgain(tx, repair, says, afterFailureMs, nowMs);
      await tellBreaker(
        tx,
        domain,
        { is: 'repair-failed', repairId: repair.id, because: says ?? 'the target did not keep its rows' },
        'homeostat',
        nowMs,
      );
      return;
    case 'undoing':
      if (step.event.is === 'not-equal' || step.isFault) {
        await judge('verification-failed', says);
        await note('repair.verification-failed');
        await tellBreaker(tx, domain, { is: 'verification-failed', repairId: repair.id }, 'homeostat', nowMs);
      } else {
        await note('repair.undoing');
      }
      return;
    case 'compensated': {
      await moveProposal(tx, proposal.id, ['planned'], 'done', says, nowMs);
      // Taken back because a row changed half-way: that says nothing about the choice. A failed verification is on record already.
      const failed = (await getOutcome(tx, proposal.id))?.is === 'verification-failed';
      if (repair.undoAskedBy !== null) await judge('undone', repair.undoReason);
      else if (!failed) await judge('stale');
      await note('repair.compensated', { rows: proposal.effects.length });
      await proposeAgain(tx, repair, `Repair ${repair.id} was undone.`, failed || repair.undoAskedBy !== null ? afterFailureMs : 0, nowMs);
      return;
    }
    case 'failed': {
      const because = step.event.is === 'gave-up' ? step.event.because : (says ?? 'it could not be undone');
      await moveProposal(tx, proposal.id, ['planned'], 'done', because, nowMs);
      await judge('verification-failed', because);
      await note('repair.failed', { because });
      await proposeAgain(tx, repair, `Repair ${repair.id} failed: ${because}.`, afterFailureMs, nowMs);
      const event =
        step.event.is === 'undo-changed'
          ? ({ is: 'undo-failed', repairId: repair.id } as const)
          : ({ is: 'repair-failed', repairId: repair.id, because } as const);
      await tellBreaker(tx, domain, event, 'homeostat', nowMs);
      return;
    }
    case 'planned':
    case 'verifying':
      return;
    default:
      return after.state satisfies never;
  }
}

async function proposeAgain(tx: Queryable, repair: StoredRepair, note: string | null, waitMs: number, nowMs: number): Promise<void> {
  const left = await countCaseDivergences(tx, repair.caseId);
  await reopenCase(tx, repair.caseId, note, nowMs + waitMs, nowMs);
  if (left === 0) {
    // Nothing differs on record any more (it went away while the repair ran): the next comparison opens what is still there.
    await closeEmptyCase(tx, repair.caseId, 'gone', nowMs);
    return;
  }
  await moveCase(tx, repair.caseId, ['repairing', 'waiting', 'proposed'], 'open', nowMs);
  if (waitMs === 0) await appendOutbox(tx, 'propose', repair.caseId, nowMs);
  await publishEvent(tx, { kind: 'case', id: repair.caseId, domain: repair.domain, state: 'open' });
}

function withBase(repair: StoredRepair, facts: Readonly<Record<string, Json>>, says: string | null): Json {
  return {
    proposal: repair.proposalId,
    case: repair.caseId,
    digest: repair.digest,
    fence: repair.fence,
    ...(says === null ? {} : { says }),
    ...facts,
  };
}
