import type { Outcome } from '../domain/outcome.ts';
import type { Verdict } from '../domain/verdict.ts';
import type { Policies } from './cedar.ts';
import type { GuardFacts } from './facts.ts';
import { decide } from './verdict.ts';

/** A repair of the past: what was known when it was decided, and what became of it. */
export interface PastRepair {
  readonly facts: GuardFacts;
  readonly outcome: Outcome;
}

/** What a set of policies would have done with the past. */
export interface Backtest {
  readonly repairs: number;
  readonly auto: number;
  readonly review: number;
  readonly deny: number;
  /** Of those it would have applied by itself: how many turned out wrong (undone, rejected by a person, failed verification). */
  readonly autoWrong: number;
  readonly autoVerified: number;
  /** Verified repairs that it would have kept from running at all. */
  readonly deniedVerified: number;
  /** By policy id, how many past repairs it would have stopped or sent to people. */
  readonly matched: Readonly<Record<string, number>>;
  /** Proposals whose verdict the change turns into another one, at most {@link maxExamples}. */
  readonly changed: readonly { readonly proposalId: string; readonly from: Verdict['is']; readonly to: Verdict['is'] }[];
  readonly changes: number;
  /** The result in one sentence. */
  readonly says: string;
}

const maxExamples = 20;

/** `before`: the policies in force, to compare with; undefined: none. */
export function backtest(past: readonly PastRepair[], before: Policies | undefined, after: Policies): Backtest {
  const counts = { auto: 0, review: 0, deny: 0 };
  const matched: Record<string, number> = {};
  const changed: { proposalId: string; from: Verdict['is']; to: Verdict['is'] }[] = [];
  let autoWrong = 0;
  let autoVerified = 0;
  let deniedVerified = 0;
  let changes = 0;
  const ids = new Set(after.policies.map(({ id }) => id));
  for (const { facts, outcome } of past) {
    // A proposal has expired by now and its rows are repaired; the question is what would have been said at the time.
    const then: GuardFacts = { ...facts, isConfirmed: true, nowMs: Math.min(facts.nowMs, facts.proposal.expiresAtMs - 1) };
    const verdict = decide(then, after);
    counts[verdict.is] += 1;
    for (const { id } of verdict.rules) if (ids.has(id)) matched[id] = (matched[id] ?? 0) + 1;
    const isWrong = outcome.is === 'undone' || outcome.is === 'rejected' || outcome.is === 'verification-failed';
    if (verdict.is === 'auto' && isWrong) autoWrong += 1;
    if (verdict.is === 'auto' && outcome.is === 'verified') autoVerified += 1;
    if (verdict.is === 'deny' && outcome.is === 'verified') deniedVerified += 1;
    const from = decide(then, before).is;
    if (from === verdict.is) continue;
    changes += 1;
    if (changed.length < maxExamples) changed.push({ proposalId: outcome.proposalId, from, to: verdict.is });
  }
  return {
    repairs: past.length,
    ...counts,
    autoWrong,
    autoVerified,
    deniedVerified,
    matched,
    changed,
    changes,
    says: `Of ${past.length} past repairs it would have auto-applied ${counts.auto}, ${autoWrong} of them later undone or rejected; ${counts.review} would have waited for people, ${counts.deny} would have been denied (${deniedVerified} of those were verified). ${changes} verdicts change.`,
  };
}
