import { type EffectDigest, effectDigest } from '../domain/effect.ts';
import type { Verdict } from '../domain/verdict.ts';
import { type Approval, approvalState } from './approvals.ts';
import type { Policies } from './cedar.ts';
import type { GuardFacts } from './facts.ts';
import { decide } from './verdict.ts';

export type BeforeApply =
  | { readonly is: 'go'; readonly verdict: Verdict; readonly approvedBy: readonly string[] }
  | { readonly is: 'stop'; readonly rule: string; readonly says: string; readonly retry: 'later' | 'never' };

/**
 * The executor's own check, inside its transaction, right before the first row is touched: nothing that was true when the
 * repair was planned is taken on trust. The claim must still be the newest, the effects must be the approved ones, the guard
 * must still allow them, and the approvals must still be enough. An approval stays good past the proposal's expiry only if it
 * was complete before.
 */
export function checkBeforeApply(input: {
  readonly facts: GuardFacts;
  readonly policies: Policies | undefined;
  readonly approvals: readonly Approval[];
  /** The digest that the repair was planned with. */
  readonly approvedDigest: EffectDigest;
  /** The fence in the store, and the one that this worker claimed with. */
  readonly fence: number;
  readonly claimedFence: number;
  readonly editors?: readonly string[];
}): BeforeApply {
  const { proposal, nowMs } = input.facts;
  const stop = (rule: string, says: string, retry: 'later' | 'never'): BeforeApply => ({ is: 'stop', rule, says, retry });
  if (input.fence !== input.claimedFence) return stop('fence', 'Another worker has claimed the repair since.', 'never');
  if (input.approvedDigest !== proposal.digest || effectDigest(proposal.effects) !== input.approvedDigest) {
    return stop('digest-identity', 'The effects are not those that were approved.', 'never');
  }
  const authorship = input.editors === undefined ? {} : { editors: input.editors };
  // Expiry ends the wait for approvals; a proposal that had them in time is carried out even if the queue was slow.
  const unexpired = { ...input.facts, proposal: { ...proposal, expiresAtMs: Math.max(proposal.expiresAtMs, nowMs + 1) } };
  const verdict = decide(unexpired, input.policies);
  switch (verdict.is) {
    case 'deny': {
      const rule = verdict.rules.find(({ effect }) => effect === 'denies');
      return stop(rule?.id ?? 'deny', rule?.reason ?? 'The guard denies it.', rule?.id === 'frozen' ? 'later' : 'never');
    }
    case 'auto':
      return { is: 'go', verdict, approvedBy: [] };
    case 'review': {
      const state = approvalState(proposal, verdict, input.approvals, nowMs, authorship);
      if (state.is === 'approved') return { is: 'go', verdict, approvedBy: state.by };
      const rule = verdict.rules.find(({ effect }) => effect === 'forbids-auto');
      return stop(
        rule?.id ?? 'approvals',
        state.is === 'waiting' ? `${state.have} of ${state.need} approvals. ${rule?.reason ?? ''}`.trim() : `The proposal is ${state.is}.`,
        'never',
      );
    }
    default:
      return verdict satisfies never;
  }
}
