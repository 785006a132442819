import { type AnswerSettings, defaultAnswer, earlyMedians, modelAnswer, momentsOf, voiceOf } from './answer.ts';
import { errorsOf, originsIn, type Scores, scoresOf } from './backtest.ts';
import { baselines } from './baseline.ts';
import { baselineContender, levels, modelQuantiles, type Networks, ridgeContender } from './contender.ts';
import type { Member } from './examples.ts';
import type { Ridge } from './ridge.ts';
import { modelId } from './round.ts';
import { chooseServed, type ServeChoice, standardError } from './serve.ts';
import { horizons, outputs, stepChange } from './window.ts';

/**
 * The whole comparison on held-out time: each series is cut in three. Everything is fitted on the first part (the network and the
 * ridge on the first parts of all series); who is served is chosen on the second; scores are of the third, which nothing that is
 * scored there has seen.
 */
export interface Parts {
  /** End of the training part; also the member's `upTo`. */
  readonly trainEnd: number;
  /** End of the calibration part. */
  readonly calibrationEnd: number;
}

/** Shares of a series' length. */
export const trainShare = 0.6;
export const calibrationShare = 0.15;

export function partsOf(length: number): Parts {
  return { trainEnd: Math.floor(length * trainShare), calibrationEnd: Math.floor(length * (trainShare + calibrationShare)) };
}

export interface SeriesBacktest {
  readonly name: string;
  readonly windows: number;
  /** Contender id -> its scores on the third part. */
  readonly scores: Readonly<Record<string, Scores>>;
  /** The same on the calibration part, on which settings are chosen. */
  readonly calibrationScores: Readonly<Record<string, Scores>>;
  readonly choice: ServeChoice;
  /** Standard error of how far what was served lies from the baseline that turned out best on the third part, a share of that one's error. */
  readonly doubt: number;
}

/** The service chooses anew every round; here every so many origins, which is cheaper and, if anything, worse. */
const choiceEvery = 24;

/**
 * Scores every contender, and under `served` what would have been served. `networks` and `ridge` were fitted on the training parts.
 * Each `stride`-th origin is scored. Who is served is chosen by all errors since the training part that were complete at the time, as in the
 * service.
 */
export function backtestPanel(
  members: readonly Member[],
  networks: Networks,
  ridge: Ridge | null,
  stride: number,
  settings: AnswerSettings = defaultAnswer,
): readonly SeriesBacktest[] {
  const others = [...baselines.map(baselineContender), ...(ridge === null ? [] : [ridgeContender(ridge)])];
  return members.map((one) => {
    const { trainEnd, calibrationEnd } = partsOf(one.grid.values.length);
    const member = { ...one, upTo: Math.max(1, trainEnd), unit: stepChange(one.grid.values, trainEnd) };
    const before = originsIn(member, trainEnd, calibrationEnd, stride);
    const after = originsIn(member, calibrationEnd, member.grid.values.length, stride);
    const origins = [...before, ...after];
    const raw = modelQuantiles(networks.predict, [{ member, origins }])[0] ?? new Float64Array(0);
    const rivals = others.map((contender) => contender.quantiles(member, origins));
    const moments = momentsOf(member, origins);
    const early = earlyMedians(networks, [{ member, moments }])[0] ?? null;
    const voices = others.map((contender) => voiceOf(contender, member, moments));
    const answers = new Map<string, Float64Array>([[modelId, modelAnswer(member, moments, raw, early, voices, settings)]]);
    others.forEach((contender, i) => answers.set(contender.id, rivals[i] ?? new Float64Array(0)));
    const errors = new Map([...answers].map(([id, quantiles]) => [id, errorsOf(member, origins, quantiles)]));
    const { choice, quantiles } = servedOf(origins, before.length, answers, errors, Math.ceil(horizons / stride));
    answers.set('served', quantiles);
    const scores: Record<string, Scores> = {};
    const calibrationScores: Record<string, Scores> = {};
    for (const [id, all] of answers) {
      calibrationScores[id] = scoresOf(member, before, all.subarray(0, before.length * width));
      scores[id] = scoresOf(member, after, all.subarray(before.length * width));
    }
    const best = others.map(({ id }) => id).toSorted((a, b) => (scores[a]?.mase ?? 0) - (scores[b]?.mase ?? 0))[0] ?? '';
    const errorsOfBest = (errors.get(best) ?? new Float64Array(0)).subarray(before.length);
    const apart = errorsOf(member, after, quantiles.subarray(before.length * width)).map((error, i) => error - (errorsOfBest[i] ?? 0));
    const doubt = standardError(apart, Math.ceil((2 * horizons) / stride)) / Math.max(scores[best]?.mase ?? 0, 1e-9);
    return { name: member.name, windows: after.length, scores, calibrationScores, choice, doubt };
  });
}

const width = outputs * levels.length;

/** The choice at the end of the calibration part, and the quantiles of whoever was chosen at each origin. */
function servedOf(
  origins: readonly number[],
  choosing: number,
  answers: ReadonlyMap<string, Float64Array>,
  errors: ReadonlyMap<string, Float64Array>,
  overlap: number,
): { readonly choice: ServeChoice; readonly quantiles: Float64Array } {
  const quantiles = new Float64Array(origins.length * width);
  const chooseAt = (from: number): ServeChoice => {
    const complete = origins.findLastIndex((at, i) => i < from && at + horizons <= (origins[from] ?? Number.POSITIVE_INFINITY)) + 1;
    const known = new Map([...errors].map(([id, list]) => [id, list.subarray(0, complete)]));
    return chooseServed(known, modelId, overlap);
  };
  const choice = chooseAt(choosing);
  const copy = (id: string, from: number, to: number): void => {
    quantiles.set((answers.get(id) ?? quantiles).subarray(from * width, to * width), from * width);
  };
  // Before the first choice there is none to follow: what it would have been is scored, for the calibration part's own table.
  copy(choice.servedBy, 0, choosing);
  for (let from = choosing; from < origins.length; from += choiceEvery)
    copy(chooseAt(from).servedBy, from, Math.min(origins.length, from + choiceEvery));
  return { choice, quantiles };
}

/** Means over the series that had windows to score, each series counting the same. */
export function meanScores(results: readonly SeriesBacktest[], id: string, part: 'scores' | 'calibrationScores' = 'scores'): Scores {
  const lists = results.map((result) => result[part][id]).filter((scores) => scores !== undefined && scores.windows > 0);
  const mean = (pick: (scores: Scores) => number): number =>
    lists.reduce((sum, scores) => sum + (scores === undefined ? 0 : pick(scores)), 0) / Math.max(1, lists.length);
  return {
    windows: lists.reduce((sum, scores) => sum + (scores?.windows ?? 0), 0),
    mase: mean((scores) => scores.mase),
    wql: mean((scores) => scores.wql),
    coverage80: mean((scores) => scores.coverage80),
    coverage90: mean((scores) => scores.coverage90),
    coverage95: mean((scores) => scores.coverage95),
  };
}
