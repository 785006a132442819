import type { Candidate } from '../domain/proposal.ts';
import { type Calibration, confidenceOf } from './calibrate.ts';
import type { Situation } from './strategy.ts';

export interface RankedCandidate extends Candidate {
  /** `c1` is the heuristic's choice, then the next best. */
  readonly id: string;
  /** Calibrated probability that it is right. */
  readonly confidence: number;
  /** Other strategies that want the same effects. */
  readonly agreeing: readonly string[];
}

/**
 * How much of a rival's certainty is taken from a candidate that it contradicts. Half: two equally sure candidates that
 * disagree end below the threshold for automatic repair, and a weak rival does not stop a strong one.
 */
const rivalShare = 0.5;

/**
 * Best first. Candidates with the same effects are one candidate, the surest strategy first; what they agree on is no surer
 * than the surest of them, since they look at the same rows. The strategy that the collection declares comes before all
 * others, as do its authority's rows: a declaration is not outvoted, it is corrected in the configuration.
 */
export function rankCandidates(
  situation: Situation,
  candidates: readonly Candidate[],
  calibration: Calibration,
): readonly RankedCandidate[] {
  const { collection, domain } = situation;
  const declared = collection.strategy ?? (collection.authority === undefined ? null : 'authority');
  const merged = [...Map.groupBy(candidates, (candidate) => candidate.digest).values()].map((same) => {
    const scored = same
      .map((candidate) => ({ candidate, own: confidenceOf(calibration, domain.name, candidate.strategy, candidate.margin) }))
      .toSorted((a, b) => Number(b.candidate.strategy === declared) - Number(a.candidate.strategy === declared) || b.own - a.own);
    const [first, ...others] = scored;
    return first === undefined ? null : { ...first, others: others.map(({ candidate }) => candidate) };
  });
  const present = merged.filter((each) => each !== null);
  const contested = present.map((each) => {
    const isDeclared = each.candidate.strategy === declared;
    const rival = Math.max(
      0,
      ...present.filter((other) => other !== each && disagrees(other.candidate, each.candidate)).map((other) => other.own),
    );
    return { ...each, isDeclared, confidence: isDeclared ? each.own : each.own * (1 - rivalShare * rival) };
  });
  return contested
    .toSorted(
      (a, b) =>
        Number(b.isDeclared) - Number(a.isDeclared) ||
        b.confidence * coverageOf(b.candidate) - a.confidence * coverageOf(a.candidate) ||
        (a.candidate.digest < b.candidate.digest ? -1 : 1),
    )
    .map(({ candidate, confidence, others }, index) => ({
      ...candidate,
      id: `c${index + 1}`,
      confidence,
      agreeing: others.map(({ strategy }) => strategy),
      evidence: [...candidate.evidence, ...others.flatMap(({ evidence }) => evidence)].filter(
        (each, position, all) => all.findIndex(({ id }) => id === each.id) === position,
      ),
    }));
}

function coverageOf(candidate: Candidate): number {
  return candidate.covers === undefined ? 1 : candidate.covers.keys / candidate.covers.of;
}

/** Whether two candidates would leave some row of some replica different; one that covers fewer keys the same way does not disagree. */
function disagrees(a: Candidate, b: Candidate): boolean {
  const leaves = new Map(a.effects.map((effect) => [placeOf(effect), effect.leaves]));
  const keys = new Set(a.effects.map((effect) => JSON.stringify(effect.key)));
  return b.effects.some((effect) => {
    const other = leaves.get(placeOf(effect));
    return other === undefined ? keys.has(JSON.stringify(effect.key)) : other !== effect.leaves;
  });
}

function placeOf(effect: { readonly replica: string; readonly key: Readonly<Record<string, string>> }): string {
  return JSON.stringify([effect.replica, effect.key]);
}
