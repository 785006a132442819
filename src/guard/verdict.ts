import type { MatchedRule, Verdict } from '../domain/verdict.ts';
import type { Policies } from './cedar.ts';
import { evaluatePolicies } from './cedar.ts';
import type { GuardFacts } from './facts.ts';
import { hardInvariants, isReversible } from './invariants.ts';

/** What cannot be undone needs two people, whatever the domain asks for. */
const irreversibleApprovals = 2;

/**
 * The guard's word on one proposal: hard invariants, then policies. Every rule that matched is listed, not only the first,
 * so that a person sees all that stands in the way. Any error while deciding is a deny, and says so: a guard that fails open is
 * none.
 */
export function decide(facts: GuardFacts, policies: Policies | undefined): Verdict {
  const rules: MatchedRule[] = [];
  let approvals = Math.max(1, facts.domain.repair.approvals);
  for (const rule of hardInvariants) {
    try {
      const match = rule.matches(facts);
      if (match !== null) rules.push({ id: rule.id, effect: rule.effect, reason: match.reason, nearestChange: match.nearestChange });
    } catch (error) {
      rules.push(failed(rule.id, error));
    }
  }
  try {
    if (!isReversible(facts.proposal)) approvals = Math.max(approvals, irreversibleApprovals);
    if (policies !== undefined) {
      const said = evaluatePolicies(policies, facts);
      rules.push(...said.rules);
      approvals = Math.max(approvals, said.approvals);
    }
  } catch (error) {
    rules.push(failed('policies', error));
  }
  if (!Number.isSafeInteger(approvals))
    return { is: 'deny', rules: [...rules, failed('approvals', new Error('the number of approvals is not a number'))] };
  if (rules.some(({ effect }) => effect === 'denies')) return { is: 'deny', rules };
  if (rules.some(({ effect }) => effect === 'forbids-auto')) return { is: 'review', approvals, role: 'approver', rules };
  return { is: 'auto', rules };
}

function failed(id: string, error: unknown): MatchedRule {
  return {
    id: `evaluation-error:${id}`,
    effect: 'denies',
    reason: `The rule ${id} could not be evaluated: ${error instanceof Error ? error.message : String(error)}`,
    nearestChange: 'correct the rule, or the facts that it was given',
  };
}
