import type { EffectDigest } from '../domain/effect.ts';
import type { Proposal } from '../domain/proposal.ts';
import type { Verdict } from '../domain/verdict.ts';

/** One person's word on one proposal. */
export interface Approval {
  readonly proposalId: string;
  /** What the person saw and approved. */
  readonly digest: EffectDigest;
  readonly by: string;
  /** From the authenticated principal, never from the request's body: agents and models have no vote. */
  readonly isHuman: boolean;
  readonly is: 'approve' | 'reject';
  readonly atMs: number;
  readonly comment?: string;
}

export type ApprovalState =
  | { readonly is: 'waiting'; readonly have: number; readonly need: number }
  | { readonly is: 'approved'; readonly by: readonly string[] }
  | { readonly is: 'rejected'; readonly by: string; readonly reason: string }
  | { readonly is: 'expired' }
  /** The guard denies it: no number of approvals releases it. */
  | { readonly is: 'denied'; readonly rule: string };

/** Who wrote the proposal or a version that it was edited from. Nobody approves their own. */
export interface Authorship {
  readonly editors?: readonly string[];
}

export type WeighedApproval =
  | { readonly is: 'accepted'; readonly state: ApprovalState }
  | { readonly is: 'refused'; readonly status: 403 | 409; readonly rule: string; readonly says: string };

/** Whether one more approval or rejection counts, and where the proposal stands with it. */
export function weighApproval(input: {
  readonly proposal: Proposal;
  readonly verdict: Verdict;
  readonly given: readonly Approval[];
  readonly approval: Approval;
  readonly nowMs: number;
  readonly editors?: readonly string[];
}): WeighedApproval {
  const { proposal, verdict, given, approval, nowMs } = input;
  const refuse = (status: 403 | 409, rule: string, says: string): WeighedApproval => ({ is: 'refused', status, rule, says });
  if (approval.proposalId !== proposal.id || approval.digest !== proposal.digest) {
    return refuse(409, 'digest-identity', 'The digest is not that of the proposal as it is now: look at it again.');
  }
  const standing = approvalState(proposal, verdict, given, nowMs, input);
  if (standing.is === 'expired') return refuse(409, 'expired', 'The proposal has expired: it was rejected for want of approvals.');
  if (standing.is === 'rejected') return refuse(409, 'already-rejected', `${standing.by} has rejected it.`);
  if (standing.is === 'approved') return refuse(409, 'already-approved', 'It already has the approvals that it needs.');
  if (!approval.isHuman) return refuse(403, 'human-approver', 'Only people approve or reject; this principal is not one.');
  if (approval.is === 'reject') return { is: 'accepted', state: { is: 'rejected', by: approval.by, reason: approval.comment ?? '' } };
  if (standing.is === 'denied') return refuse(403, standing.rule, 'The guard denies it: no approval can release it.');
  if (!isEligible(proposal, approval.by, input)) {
    return refuse(403, 'not-own-proposal', `${approval.by} wrote or edited this proposal: somebody else must approve it.`);
  }
  if (given.some((other) => other.is === 'approve' && other.by === approval.by && other.digest === proposal.digest)) {
    return refuse(409, 'distinct-approvers', `${approval.by} has already approved it: another person is needed.`);
  }
  return { is: 'accepted', state: approvalState(proposal, verdict, [...given, approval], nowMs, input) };
}

/**
 * Where a proposal stands. Only distinct people count who approved exactly this digest before it expired and did not write it;
 * whatever else is in the list, however it got there, counts for nothing. Expiry rejects.
 */
export function approvalState(
  proposal: Proposal,
  verdict: Verdict,
  given: readonly Approval[],
  nowMs: number,
  authorship: Authorship = {},
): ApprovalState {
  const valid = given.filter(
    (each) => each.proposalId === proposal.id && each.digest === proposal.digest && each.isHuman && each.atMs < proposal.expiresAtMs,
  );
  const rejection = valid.find((each) => each.is === 'reject');
  if (rejection !== undefined) return { is: 'rejected', by: rejection.by, reason: rejection.comment ?? '' };
  const by = [
    ...new Set(valid.filter((each) => each.is === 'approve' && isEligible(proposal, each.by, authorship)).map((each) => each.by)),
  ].toSorted();
  if (verdict.is === 'deny') return { is: 'denied', rule: denyingRule(verdict) };
  // An automatic one that is asked about all the same needs one person.
  const need = verdict.is === 'review' ? Math.max(1, verdict.approvals) : 1;
  if (by.length >= need) return { is: 'approved', by };
  return nowMs >= proposal.expiresAtMs ? { is: 'expired' } : { is: 'waiting', have: by.length, need };
}

function denyingRule(verdict: Verdict): string {
  return verdict.rules.find(({ effect }) => effect === 'denies')?.id ?? 'deny';
}

function isEligible(proposal: Proposal, person: string, authorship: Authorship): boolean {
  if (person === '' || person === proposal.author) return false;
  if (proposal.choice.by === 'person' && proposal.choice.name === person) return false;
  return !(authorship.editors ?? []).includes(person);
}
