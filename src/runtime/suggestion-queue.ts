import { invariant } from '../base/assert.ts';
import type { Json } from '../base/hash.ts';
import type { SuggestionState } from '../domain/suggestion.ts';
import type { Verdict } from '../domain/verdict.ts';
import { decideOnSuggestion, type SuggestionFacts } from '../guard/suggestion-verdict.ts';
import { appendAudit } from '../io/store/audit.ts';
import type { Queryable } from '../io/store/database.ts';
import { holdDomainState } from '../io/store/domain-state.ts';
import { publishEvent } from '../io/store/events.ts';
import { appendOutbox } from '../io/store/outbox.ts';
import {
  countMoves,
  findInWork,
  listSuggestionApprovers,
  lockSuggestion,
  saveSuggestionApproval,
  setSuggestionState,
  type StoredSuggestion,
} from '../io/store/suggestions.ts';
import type { RuntimeContext } from './context.ts';

/** What a person's decision on a suggestion came to. Nothing happened unless it is `done`. */
export type SuggestionDecision =
  | { readonly is: 'done'; readonly state: SuggestionState; readonly have: number; readonly need: number }
  | { readonly is: 'not-found' }
  | { readonly is: 'conflict'; readonly says: string }
  | { readonly is: 'refused'; readonly rule: string; readonly says: string }
  /** Nothing here can carry it out: the commands are for people. */
  | { readonly is: 'no-target'; readonly says: string; readonly commands: readonly string[] };

const dayMs = 86_400_000;

/** What the guard decides on, read inside `tx`, with the domain's freeze and breaker held until it ends. */
export async function readSuggestionFacts(context: RuntimeContext, tx: Queryable, suggestion: StoredSuggestion): Promise<SuggestionFacts> {
  const domain = context.domains[suggestion.domain];
  const collection = context.collections[suggestion.collection];
  invariant(domain !== undefined && collection !== undefined, 'a suggestion belongs to a configured domain and collection', {
    domain: suggestion.domain,
    collection: suggestion.collection,
  });
  const state = await holdDomainState(tx, suggestion.domain);
  const nowMs = context.clock.nowMs();
  const { target } = suggestion.action;
  return {
    suggestion,
    digest: suggestion.digest,
    domain,
    collection,
    nowMs,
    freeze: state.frozen ? { because: state.frozenReason ?? 'a person froze it' } : null,
    breaker: state.breaker === 'open' ? { because: state.breakerReason ?? 'it was opened' } : null,
    movesLastDay: await countMoves(tx, suggestion.collection, nowMs - dayMs, suggestion.id),
    inWork: target === undefined ? null : await findInWork(tx, target, suggestion.id),
  };
}

/** One person's yes to exactly what the digest names; `approved` once enough people said it. */
export function approveSuggestion(
  context: RuntimeContext,
  id: string,
  input: { readonly digest: string; readonly by: string; readonly comment: string },
): Promise<SuggestionDecision> {
  return context.database.transaction(async (tx) => {
    const suggestion = await lockSuggestion(tx, id);
    if (suggestion === null) return { is: 'not-found' };
    if (suggestion.digest !== input.digest)
      return { is: 'conflict', says: 'The digest is not that of the suggestion as it is now: look at it again.' };
    if (suggestion.state !== 'open') return { is: 'conflict', says: `The suggestion is ${suggestion.state}.` };
    const verdict = decideOnSuggestion(await readSuggestionFacts(context, tx, suggestion), context.policies);
    if (verdict.is !== 'review') return refusal(verdict);
    const nowMs = context.clock.nowMs();
    if (!(await saveSuggestionApproval(tx, { id, digest: suggestion.digest, by: input.by, comment: input.comment }, nowMs)))
      return { is: 'conflict', says: `${input.by} has already approved it: another person is needed.` };
    const have = (await listSuggestionApprovers(tx, id, suggestion.digest, nowMs)).length;
    const state = have >= verdict.approvals ? 'approved' : 'open';
    if (state === 'approved') await setSuggestionState(tx, id, ['open'], 'approved', input.by, input.comment, nowMs);
    await record(tx, suggestion, input.by, 'suggestion.approved', state, { comment: input.comment, have, need: verdict.approvals }, nowMs);
    return { is: 'done', state, have, need: verdict.approvals };
  });
}

export function rejectSuggestion(
  context: RuntimeContext,
  id: string,
  input: { readonly digest: string | undefined; readonly by: string; readonly reason: string },
): Promise<SuggestionDecision> {
  return context.database.transaction(async (tx) => {
    const suggestion = await lockSuggestion(tx, id);
    if (suggestion === null) return { is: 'not-found' };
    if (input.digest !== undefined && suggestion.digest !== input.digest)
      return { is: 'conflict', says: 'The digest is not that of the suggestion as it is now: look at it again.' };
    const nowMs = context.clock.nowMs();
    if (!(await setSuggestionState(tx, id, ['open', 'approved'], 'rejected', input.by, input.reason, nowMs)))
      return { is: 'conflict', says: `The suggestion is ${suggestion.state}.` };
    await record(tx, suggestion, input.by, 'suggestion.rejected', 'rejected', { reason: input.reason }, nowMs);
    return { is: 'done', state: 'rejected', have: 0, need: 0 };
  });
}

/** Hands an approved suggestion to a worker, after asking the guard again and counting the approvals again. */
export function applySuggestion(
  context: RuntimeContext,
  id: string,
  input: { readonly digest: string | undefined; readonly by: string },
): Promise<SuggestionDecision> {
  return context.database.transaction(async (tx) => {
    const suggestion = await lockSuggestion(tx, id);
    if (suggestion === null) return { is: 'not-found' };
    if (input.digest !== undefined && suggestion.digest !== input.digest)
      return { is: 'conflict', says: 'The digest is not that of the suggestion as it is now: look at it again.' };
    if (suggestion.state !== 'approved') return { is: 'conflict', says: `${id} is ${suggestion.state}: approve it first.` };
    const { target, commands } = suggestion.action;
    if (target === undefined || context.targets?.[target] === undefined) {
      const which = target === undefined ? `a ${suggestion.kind}` : `it: the config has no target ${target}`;
      return { is: 'no-target', says: `No target here can carry out ${which}; run the commands by hand.`, commands };
    }
    const verdict = decideOnSuggestion(await readSuggestionFacts(context, tx, suggestion), context.policies);
    if (verdict.is !== 'review') return refusal(verdict);
    const nowMs = context.clock.nowMs();
    const approvers = await listSuggestionApprovers(tx, id, suggestion.digest, nowMs);
    if (approvers.length < verdict.approvals)
      return {
        is: 'refused',
        rule: 'approvals',
        says: `${approvers.length} of ${verdict.approvals} approvals for exactly this digest: reject it, or wait until it is suggested anew.`,
      };
    await setSuggestionState(tx, id, ['approved'], 'applying', input.by, suggestion.decidedReason ?? '', nowMs);
    await appendOutbox(tx, 'suggestion', id, nowMs);
    await record(tx, suggestion, input.by, 'suggestion.applying', 'applying', { target, approvedBy: [...approvers] }, nowMs);
    return { is: 'done', state: 'applying', have: approvers.length, need: verdict.approvals };
  });
}

/** Takes a change back, or stops one that is half-way and takes it back. */
export function undoSuggestion(
  context: RuntimeContext,
  id: string,
  input: { readonly by: string; readonly reason: string },
): Promise<SuggestionDecision> {
  return context.database.transaction(async (tx) => {
    const suggestion = await lockSuggestion(tx, id);
    if (suggestion === null) return { is: 'not-found' };
    const facts = await readSuggestionFacts(context, tx, suggestion);
    // Back to where it was is allowed while the breaker is open or the budget spent; not while people said: nothing moves.
    if (facts.freeze !== null)
      return { is: 'refused', rule: 'frozen', says: `${suggestion.domain} is frozen (${facts.freeze.because}): unfreeze it first.` };
    const { target } = suggestion.action;
    if (target === undefined || context.targets?.[target] === undefined)
      return { is: 'no-target', says: `No target here can take it back. ${suggestion.rollback}`, commands: [] };
    const nowMs = context.clock.nowMs();
    if (!(await setSuggestionState(tx, id, ['applying', 'applied', 'failed'], 'undoing', input.by, input.reason, nowMs)))
      return { is: 'conflict', says: `The suggestion is ${suggestion.state}: there is nothing to take back.` };
    await appendOutbox(tx, 'suggestion', id, nowMs);
    await record(tx, suggestion, input.by, 'suggestion.undoing', 'undoing', { reason: input.reason }, nowMs);
    return { is: 'done', state: 'undoing', have: 0, need: 0 };
  });
}

export async function record(
  tx: Queryable,
  suggestion: StoredSuggestion,
  actor: string,
  action: string,
  state: SuggestionState,
  facts: Readonly<Record<string, Json>>,
  nowMs: number,
): Promise<void> {
  await publishEvent(tx, { kind: 'suggestion', id: suggestion.id, domain: suggestion.domain, state });
  await appendAudit(
    tx,
    {
      actor,
      action,
      subject: suggestion.id,
      domain: suggestion.domain,
      facts: { kind: suggestion.kind, collection: suggestion.collection, digest: suggestion.digest, ...facts },
    },
    nowMs,
  );
}

function refusal(verdict: Exclude<Verdict, { readonly is: 'review' }>): SuggestionDecision {
  const rule = verdict.rules.find(({ effect }) => effect === 'denies');
  return { is: 'refused', rule: rule?.id ?? 'deny', says: rule?.reason ?? 'The guard denies it.' };
}
