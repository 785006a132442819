import * as cedar from '@cedar-policy/cedar-wasm/nodejs';
import type { Policy } from './cedar.ts';

export interface PolicyWords {
  readonly id: string;
  /** What it does when it matches. */
  readonly does: string;
  readonly reason: string;
  readonly approvals: number;
  /** Facts that its conditions look at: `context.rows`, `resource.risk`. */
  readonly looksAt: readonly string[];
  readonly text: string;
}

/** What a policy says, for a reader who does not know Cedar. */
export function policyWords(policy: Policy): PolicyWords {
  const answer = cedar.policyToJson(policy.text);
  const json = answer.type === 'success' ? answer.json : null;
  const formatted = cedar.formatPolicies({ policyText: policy.text, lineWidth: 100, indentWidth: 2 });
  return {
    id: policy.id,
    does: policy.effect === 'permit' ? 'adds nothing: everything that no guard forbids is allowed already' : consequence(json),
    reason: policy.reason,
    approvals: policy.approvals,
    looksAt: json === null ? [] : [...new Set(json.conditions.flatMap(({ body }) => factsIn(body)))].toSorted(),
    text: formatted.type === 'success' ? formatted.formatted_policy.trim() : policy.text.trim(),
  };
}

function consequence(json: cedar.PolicyJson | null): string {
  const action = json?.action;
  if (action === undefined || action.op === 'All') return 'denies the repair';
  const named = JSON.stringify(action);
  return named.includes('"repair"') ? 'denies the repair' : 'keeps it from running by itself: people decide';
}

/** Walks Cedar's JSON for attribute reads on `context` and `resource`, at any depth. */
function factsIn(expression: unknown): readonly string[] {
  if (Array.isArray(expression)) return expression.flatMap(factsIn);
  if (typeof expression !== 'object' || expression === null) return [];
  return Object.entries(expression).flatMap(([operator, operand]: [string, unknown]) => {
    if (operator === '.' && isRead(operand)) return [`${operand.left.Var}.${operand.attr}`];
    return factsIn(operand);
  });
}

function isRead(operand: unknown): operand is { readonly left: { readonly Var: string }; readonly attr: string } {
  if (typeof operand !== 'object' || operand === null || !('left' in operand) || !('attr' in operand)) return false;
  const { left, attr } = operand;
  return typeof attr === 'string' && typeof left === 'object' && left !== null && 'Var' in left && typeof left.Var === 'string';
}
