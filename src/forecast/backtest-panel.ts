import { adapt, type AdaptOptions, defaultAdapt } from './adapt.ts';
import { errorsOf, originsIn, type Scores, scoresOf } from './backtest.ts';
import { baselines } from './baseline.ts';
import { calibrate, type CalibrateOptions, defaultCalibration } from './calibrate.ts';
import { baselineContender, levels, modelQuantiles, type Predict, ridgeContender } from './contender.ts';
import type { Member } from './examples.ts';
import type { Ridge } from './ridge.ts';
import { modelId } from './round.ts';
import { chooseServed, type ServeChoice } from './serve.ts';
import { horizons, outputs, stepChange } from './window.ts';

/**
 * The whole comparison on held-out time: each series is cut in three. Everything is fitted on the first part (the network and the
 * ridge on the first parts of all series); who is served is chosen on the second; scores are of the third, which nothing has seen.
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
}

export interface BacktestSettings {
  readonly adapt: AdaptOptions;
  readonly calibration: CalibrateOptions;
}

export const defaultSettings: BacktestSettings = { adapt: defaultAdapt, calibration: defaultCalibration };

/**
 * `members` have their `upTo` at the end of what `predict` and `ridge` were fitted on: the training part, or, once the choices are
 * made, training and calibration part together. Each `stride`-th origin is scored. Errors are in units of the training part always.
 */
export function backtestPanel(
  members: readonly Member[],
  predict: Predict,
  ridge: Ridge | null,
  stride: number,
  settings: BacktestSettings = defaultSettings,
): readonly SeriesBacktest[] {
  const others = [...baselines.map(baselineContender), ...(ridge === null ? [] : [ridgeContender(ridge)])];
  const width = outputs * levels.length;
  return members.map((fitted) => {
    const { trainEnd, calibrationEnd } = partsOf(fitted.grid.values.length);
    const member = { ...fitted, unit: stepChange(fitted.grid.values, trainEnd) };
    const choosing = originsIn(member, trainEnd, calibrationEnd, stride);
    const scoring = originsIn(member, calibrationEnd, member.grid.values.length, stride);
    const origins = [...choosing, ...scoring];
    const raw = modelQuantiles(predict, [{ member, origins }])[0] ?? new Float64Array(0);
    const rivals = others.map((contender) => contender.quantiles(member, origins));
    const answers = new Map<string, Float64Array>([
      [modelId, calibrate(member, origins, adapt(member, origins, raw, rivals, settings.adapt), settings.calibration)],
    ]);
    others.forEach((contender, i) => answers.set(contender.id, rivals[i] ?? new Float64Array(0)));
    const errors = new Map<string, Float64Array>();
    const scores: Record<string, Scores> = {};
    const calibrationScores: Record<string, Scores> = {};
    for (const [id, quantiles] of answers) {
      const before = quantiles.subarray(0, choosing.length * width);
      errors.set(id, errorsOf(member, choosing, before));
      calibrationScores[id] = scoresOf(member, choosing, before);
      scores[id] = scoresOf(member, scoring, quantiles.subarray(choosing.length * width));
    }
    const choice = chooseServed(errors, modelId, Math.ceil(horizons / stride));
    return { name: member.name, windows: scoring.length, scores, calibrationScores, choice };
  });
}

/** Means over the series that had windows to score, each series counting the same. */
export function meanScores(results: readonly SeriesBacktest[], id: string, part: 'scores' | 'calibrationScores' = 'scores'): Scores {
  const lists = results
    .map((result) => (id === 'served' ? result[part][result.choice.servedBy] : result[part][id]))
    .filter((scores) => scores !== undefined && scores.windows > 0);
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
