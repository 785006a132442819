import { closeCase, lockCase } from '../io/store/cases.ts';
import type { Queryable } from '../io/store/database.ts';
import { countCaseDivergences } from '../io/store/divergences.ts';
import { publishEvent } from '../io/store/events.ts';
import { saveOutcome } from '../io/store/outcomes.ts';
import { getLiveProposalOfCase, moveProposal, type ProposalSummary } from '../io/store/proposals.ts';
import { appendAudit } from '../io/store/audit.ts';
import { outcomeOf } from '../verify/outcome.ts';

/** A key that is repaired and differs again the same way within this time has come back: its cause is not fixed. */
export const returnWindowMs = 3_600_000;

/** Closes a case that has no open divergence left; a proposal that waits for people has nothing left to do and becomes stale. */
export async function closeEmptyCase(tx: Queryable, caseId: string, as: 'repaired' | 'gone', nowMs: number): Promise<boolean> {
  const found = await lockCase(tx, caseId);
  if (found === null || found.state === 'closed') return false;
  if ((await countCaseDivergences(tx, caseId)) > 0) return false;
  const live = await getLiveProposalOfCase(tx, caseId);
  // A repair is on its way: it ends the case itself.
  if (live?.state === 'planned' && as === 'gone') return false;
  if (live?.state === 'waiting') await endProposal(tx, live, 'stale', 'homeostat', 'the difference went away by itself', nowMs);
  await closeCase(tx, caseId, as, nowMs);
  await publishEvent(tx, { kind: 'case', id: caseId, domain: found.domain, state: 'closed' });
  await appendAudit(tx, { actor: 'homeostat', action: 'case.closed', subject: caseId, domain: found.domain, facts: { as } }, nowMs);
  return true;
}

/** Ends a proposal that will not be carried out, with its outcome and its audit record. */
export async function endProposal(
  tx: Queryable,
  proposal: ProposalSummary,
  is: 'stale' | 'expired' | 'rejected',
  actor: string,
  reason: string,
  nowMs: number,
): Promise<boolean> {
  if (!(await moveProposal(tx, proposal.id, ['waiting', 'planned'], is, reason, nowMs))) return false;
  await saveOutcome(tx, outcomeOf({ proposal, rows: proposal.rows, is, atMs: nowMs, reason }));
  await publishEvent(tx, { kind: 'proposal', id: proposal.id, domain: proposal.domain, state: is });
  await appendAudit(
    tx,
    {
      actor,
      action: `proposal.${is}`,
      subject: proposal.id,
      domain: proposal.domain,
      facts: { digest: proposal.digest, reason, case: proposal.caseId },
    },
    nowMs,
  );
  return true;
}
