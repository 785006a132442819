import type { Outcome } from '../domain/outcome.ts';

/**
 * Confidence that is learned, not asked for. A candidate's own margin is a prior belief worth `priorWeight` past repairs; what
 * became of the repairs of this strategy in this domain is added to it (a Beta posterior; its mean is the confidence). So a
 * new strategy starts at its word, and a hundred outcomes outweigh any word. Outcomes on candidates of like confidence count
 * more, which is histogram binning with soft edges: a strategy that is right when sure and wrong when unsure keeps both.
 */
const priorWeight = 20;
/** Width of the kernel over confidence: outcomes 0.15 away count 0.6 of one. */
const kernelWidth = 0.15;

/** Below this a choice is left to a person. At the error it stands for, one automatic repair in ten would be wrong at worst. */
export const abstainBelow = 0.9;

export interface StrategyRecord {
  /** Repairs that were verified and not undone. */
  readonly verified: number;
  /** Repairs that were undone by us or a person, or failed verification. */
  readonly failed: number;
  /** Verified since the last failure: what earns autonomy back. */
  readonly verifiedSinceFailure: number;
}

export interface Calibration {
  readonly outcomes: ReadonlyMap<string, readonly { readonly isRight: boolean; readonly confidence: number }[]>;
}

/** Outcomes in time order; those that say nothing about the choice (stale, expired) are left out. */
export function calibrate(outcomes: readonly Outcome[]): Calibration {
  const judged = outcomes
    .filter(({ is }) => is === 'verified' || is === 'undone' || is === 'rejected' || is === 'verification-failed')
    .toSorted((a, b) => a.atMs - b.atMs);
  const byStrategy = Map.groupBy(judged, (outcome) => keyOf(outcome.domain, outcome.strategy));
  return {
    outcomes: new Map(
      [...byStrategy].map(([key, list]) => [key, list.map(({ is, confidence }) => ({ isRight: is === 'verified', confidence }))]),
    ),
  };
}

/** Probability in (0, 1) that a candidate with this margin is right. */
export function confidenceOf(calibration: Calibration, domain: string, strategy: string, margin: number): number {
  // A margin of exactly 0 or 1 would be a belief that no outcome can move.
  const prior = Math.min(0.995, Math.max(0.005, margin));
  let right = priorWeight * prior;
  let all = priorWeight;
  for (const outcome of calibration.outcomes.get(keyOf(domain, strategy)) ?? []) {
    const weight = Math.exp(-(((outcome.confidence - prior) / kernelWidth) ** 2) / 2);
    all += weight;
    if (outcome.isRight) right += weight;
  }
  return right / all;
}

export function strategyRecord(calibration: Calibration, domain: string, strategy: string): StrategyRecord {
  const list = calibration.outcomes.get(keyOf(domain, strategy)) ?? [];
  const lastFailure = list.findLastIndex(({ isRight }) => !isRight);
  const failed = list.filter(({ isRight }) => !isRight).length;
  return { verified: list.length - failed, failed, verifiedSinceFailure: list.length - 1 - lastFailure };
}

function keyOf(domain: string, strategy: string): string {
  return JSON.stringify([domain, strategy]);
}
