import { Failure } from '../base/failure.ts';
import { decideOnSuggestion } from '../guard/suggestion-verdict.ts';
import {
  claimSuggestion,
  endSuggestionWork,
  keepSuggestionClaim,
  listSuggestionApprovers,
  putBackSuggestion,
  restSuggestion,
  saveSuggestionProgress,
  type SuggestionWork,
} from '../io/store/suggestions.ts';
import { getDomainState } from '../io/store/domain-state.ts';
import type { TargetOutcome, TargetRun } from '../io/targets/target.ts';
import { sayError } from '../io/telemetry/log.ts';
import type { RuntimeContext } from './context.ts';
import { readSuggestionFacts, record } from './suggestion-queue.ts';

const claimMs = 30_000;
const heartbeatMs = 5_000;
const firstRetryMs = 2_000;
const longestRetryMs = 300_000;
/** After so many tries a person looks: the target does not come back by itself. */
const attemptsLimit = 50;
/** A freeze stops what is being carried out before its next step, so soon at the latest; and so often it is looked whether it has ended. */
const freezeMs = 1_000;

/**
 * Carries one suggestion out on its target, or takes it back. The worker that claimed it keeps its claim alive; one that died leaves
 * a claim that runs out, and another goes on from what the target holds and what was saved. Approvals, verdict and freeze are looked
 * at again before anything is touched: what was true when a person pressed the button may not be now. A freeze also stops what has
 * begun, between two steps, and it goes on from there once the domain is unfrozen.
 */
export async function workOnSuggestion(context: RuntimeContext, id: string, signal: AbortSignal): Promise<void> {
  const work = await claimSuggestion(context.database, id, context.clock.nowMs(), claimMs);
  if (work === null) return;
  const { suggestion, fence } = work;
  const isUndo = suggestion.state === 'undoing';
  const stop = new AbortController();
  const pause = new AbortController();
  const frozen = await freezeOf(context, suggestion.domain);
  if (work.progress !== null && frozen !== null) return await rest(context, work, frozen);
  const watch = setInterval(() => {
    freezeOf(context, suggestion.domain)
      .then((because) => (because === null ? undefined : pause.abort(because)))
      .catch((error: unknown) => context.log('warn', `the freeze of ${suggestion.domain}: ${sayError(error)}`));
  }, freezeMs);
  const heartbeat = setInterval(() => {
    keepSuggestionClaim(context.database, id, fence, context.clock.nowMs() + claimMs)
      // Another has it, or a person wants it back: whatever is half-way stops at its next step.
      .then((state) => (state === suggestion.state ? undefined : stop.abort()))
      .catch((error: unknown) => context.log('warn', `the claim on suggestion ${id}: ${sayError(error)}`));
  }, heartbeatMs);
  try {
    const stopped = isUndo ? null : await lookAgain(context, work);
    const outcome = stopped ?? (await carryOut(context, work, isUndo, AbortSignal.any([signal, stop.signal]), pause.signal));
    await end(context, work, isUndo, outcome);
  } catch (error) {
    if (signal.aborted || stop.signal.aborted) return await putBack(context, work, 0, 'stopped at a step: it goes on from there');
    if (pause.signal.aborted && error instanceof Failure && error.code === 'target-paused')
      return await rest(context, work, String(pause.signal.reason), error.message);
    await fail(context, work, isUndo, error);
  } finally {
    clearInterval(watch);
    clearInterval(heartbeat);
  }
}

/** Null: it may go on. Only before the first step: a change that is half-way is better finished than left. */
async function lookAgain(context: RuntimeContext, { suggestion, progress }: SuggestionWork): Promise<TargetOutcome | null> {
  if (progress !== null) return null;
  return context.database.transaction(async (tx) => {
    const verdict = decideOnSuggestion(await readSuggestionFacts(context, tx, suggestion), context.policies);
    if (verdict.is !== 'review')
      return { is: 'refused' as const, says: verdict.rules.find(({ effect }) => effect === 'denies')?.reason ?? 'The guard denies it.' };
    const approvers = await listSuggestionApprovers(tx, suggestion.id, suggestion.digest, context.clock.nowMs());
    return approvers.length >= verdict.approvals
      ? null
      : { is: 'refused' as const, says: `${approvers.length} of ${verdict.approvals} approvals for exactly this change.` };
  });
}

async function carryOut(
  context: RuntimeContext,
  work: SuggestionWork,
  isUndo: boolean,
  signal: AbortSignal,
  pause: AbortSignal,
): Promise<TargetOutcome> {
  const { suggestion, fence, progress } = work;
  const target = context.targets?.[suggestion.action.target ?? ''];
  if (target === undefined) return { is: 'refused', says: `The config has no target ${suggestion.action.target ?? ''} any more.` };
  const run: TargetRun = {
    saved: progress,
    save: async (state, says) => {
      if (!(await saveSuggestionProgress(context.database, suggestion.id, fence, state, says, context.clock.nowMs())))
        throw new Failure('claim-lost', `another worker has suggestion ${suggestion.id}`, 'later');
    },
    signal,
    pause,
  };
  const change = { kind: suggestion.action.kind, parameters: suggestion.action.parameters };
  return isUndo ? target.undo(change, run) : target.apply(change, run);
}

async function end(context: RuntimeContext, { suggestion, fence }: SuggestionWork, isUndo: boolean, outcome: TargetOutcome): Promise<void> {
  const state = outcome.is === 'refused' ? 'failed' : isUndo || outcome.is === 'rolled-back' ? 'rolled-back' : 'applied';
  await context.database.transaction(async (tx) => {
    const nowMs = context.clock.nowMs();
    if (!(await endSuggestionWork(tx, { id: suggestion.id, fence, from: suggestion.state, to: state, outcome: outcome.says }, nowMs))) {
      await putBackSuggestion(tx, suggestion.id, fence, outcome.says, 0);
      return;
    }
    const facts = { says: outcome.says, ...('facts' in outcome ? outcome.facts : {}) };
    await record(tx, suggestion, 'homeostat', `suggestion.${state}`, state, facts, nowMs);
  });
  context.log('info', `suggestion ${suggestion.id}: ${state}. ${outcome.says}`, { suggestion: suggestion.id });
}

async function fail(context: RuntimeContext, work: SuggestionWork, isUndo: boolean, error: unknown): Promise<void> {
  const { suggestion } = work;
  const isFinal = (error instanceof Failure && error.retry === 'never') || suggestion.attempts >= attemptsLimit;
  if (isFinal) return end(context, work, isUndo, { is: 'refused', says: sayError(error) });
  const waitMs = Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(suggestion.attempts, 10));
  await putBack(context, work, waitMs, `${sayError(error)}; tried again in ${Math.round(waitMs / 1000)} s`);
}

/** Null where the domain is not frozen, else why it is. */
async function freezeOf(context: RuntimeContext, domain: string): Promise<string | null> {
  const { frozen, frozenReason } = await getDomainState(context.database, domain);
  return frozen ? (frozenReason ?? 'a person froze it') : null;
}

/** Leaves what has begun where it stands until the domain is unfrozen; that is no try that failed. */
async function rest(context: RuntimeContext, { suggestion, fence }: SuggestionWork, because: string, stands = ''): Promise<void> {
  const says = `${stands === '' ? (suggestion.outcome ?? 'It has begun').replace(/; .* is frozen .*$/, '') : stands}; ${suggestion.domain} is frozen (${because}): it goes on once that is unfrozen.`;
  await restSuggestion(context.database, suggestion.id, fence, says, context.clock.nowMs() + freezeMs);
}

async function putBack(context: RuntimeContext, { suggestion, fence }: SuggestionWork, waitMs: number, says: string): Promise<void> {
  await putBackSuggestion(context.database, suggestion.id, fence, says, waitMs === 0 ? 0 : context.clock.nowMs() + waitMs);
}
