import { type AnswerSettings, defaultAnswer } from '../../../src/forecast/answer.ts';
import { defaultCalibration } from '../../../src/forecast/calibrate.ts';
import { meanScores, partsOf, type SeriesBacktest } from '../../../src/forecast/backtest-panel.ts';
import { type Member, memberOf } from '../../../src/forecast/examples.ts';
import { defaultMix } from '../../../src/forecast/mix.ts';
import { loadCheckpoint } from '../../../src/io/model/checkpoint.ts';
import type { ModelThread } from '../../../src/io/model/model-thread.ts';
import type { TrainOptions } from '../../../src/io/model/network.ts';
import type { Weights } from '../../../src/io/model/network-shape.ts';
import { defaultExamples, defaultHidden, defaultTraining } from '../../../src/io/model/training.ts';
import type { Figures } from '../bench.ts';
import { fileURLToPath } from 'node:url';
import type { LoadPanel } from './recorded.ts';

export const startModel = fileURLToPath(new URL('../../../models/contention/v2', import.meta.url));

/** One way to train and to answer. */
export interface Configuration {
  readonly name: string;
  readonly options: TrainOptions;
  readonly hidden: readonly [number, number];
  readonly fromStartModel: boolean;
  readonly settings: AnswerSettings;
}

export const usual: Configuration = {
  name: 'default',
  options: defaultTraining,
  hidden: defaultHidden,
  fromStartModel: true,
  settings: defaultAnswer,
};

const answered = (name: string, settings: Partial<AnswerSettings>): Configuration => ({
  ...usual,
  name,
  settings: { ...defaultAnswer, ...settings },
});

/** Those that differ in their answers only share a training. */
const configurations: readonly Configuration[] = [
  usual,
  answered('network alone', { mix: { ...defaultMix, prior: 1, headStart: 1e12 } }),
  answered('mixture with a memory of 300 steps', { mix: { ...defaultMix, memorySteps: 300 } }),
  answered('mixture with a memory of 3000 steps', { mix: { ...defaultMix, memorySteps: 3_000 } }),
  answered('mixture that keeps its prior longer', { mix: { ...defaultMix, headStart: 20 } }),
  answered('mixture that starts even', { mix: { ...defaultMix, prior: 0.3 } }),
  answered('mixture that starts with nothing known', { mix: { ...defaultMix, earlierWeight: 0 } }),
  answered('calibration half as fast', { calibration: { rate: defaultCalibration.rate / 2 } }),
  answered('calibration twice as fast', { calibration: { rate: 2 * defaultCalibration.rate } }),
  { ...usual, name: 'less weight decay', options: { ...defaultTraining, weightDecay: 0.3 } },
  { ...usual, name: 'half the epochs', options: { ...defaultTraining, epochs: defaultTraining.epochs / 2 } },
  { ...usual, name: 'from nothing', fromStartModel: false },
];

/** Steps of a short stretch, and how many of them a series gives at most. */
const shortSteps = 1_243;
const mostStretches = 9;

/** Series are cut off here (shares of their length) and each shorter panel is judged like the whole: the last quarter of the whole lies beyond. */
const cuts = [0.5, 0.75] as const;
const validationStride = 5;
const shortStride = 2;
/** Share by which another must be better than the default (seeds differ by about as much). */
const leastBetter = 0.005;

export interface Run {
  readonly results: readonly SeriesBacktest[];
  readonly weights: Weights;
  readonly secondsPer30k: number;
}

/** Trains on the first parts of the members and scores by rolling origin. */
export async function runOne(
  thread: ModelThread,
  members: readonly Member[],
  { options, hidden, fromStartModel, settings }: Configuration,
  seed: number,
  start: Weights,
  stride: number,
): Promise<Run> {
  const trained = await thread.train({
    members,
    examples: defaultExamples,
    hidden,
    options,
    seed,
    start: fromStartModel ? start : undefined,
  });
  await thread.use(trained, { shape: (await loadCheckpoint(startModel)).shape, weights: start });
  const results = await thread.backtest(members, stride, settings);
  return { results, weights: trained.weights, secondsPer30k: (trained.seconds * 30_000) / trained.windows };
}

/**
 * Every configuration on three panels that end before the held-out quarter: the first half and the first three quarters of each series,
 * and short stretches of them. What is best on the mean of them, each to its naive forecast, is scored on the held-out quarter.
 */
export async function validate(
  thread: ModelThread,
  { series }: LoadPanel,
  start: Weights,
  log: (line: string) => void,
): Promise<{ readonly chosen: Configuration; readonly figures: Figures }> {
  const { shape } = await loadCheckpoint(startModel);
  const panels = [
    ...cuts.map((cut) => ({
      name: `first ${100 * cut} %`,
      stride: validationStride,
      members: series.map(({ name, grid }) => trainingMember(name, sliceOf(grid, 0, Math.floor(cut * grid.values.length)))),
    })),
    { name: 'short stretches', stride: shortStride, members: stretchesOf(series) },
  ];
  const figures: Record<string, number> = {};
  let chosen = usual;
  let best = Number.POSITIVE_INFINITY;
  const ratios = configurations.map((): number[] => []);
  for (const { name, stride, members } of panels) {
    let loaded: Weights | undefined;
    for (const [i, one] of configurations.entries()) {
      const isSameNetwork = one.options === usual.options && one.fromStartModel;
      let results: readonly SeriesBacktest[];
      if (isSameNetwork && loaded !== undefined) {
        await thread.use({ shape, weights: loaded }, { shape, weights: start });
        results = await thread.backtest(members, stride, one.settings);
      } else {
        const run = await runOne(thread, members, one, 1, start, stride);
        if (isSameNetwork) loaded = run.weights;
        ({ results } = run);
      }
      const scores = meanScores(results, 'model');
      const naive = meanScores(results, 'naive').mase;
      ratios[i]?.push(scores.mase / naive);
      const off = [scores.coverage80 - 0.8, scores.coverage90 - 0.9, scores.coverage95 - 0.95].map((share) => (100 * share).toFixed(1));
      const single = results.map((result) => servedOverBest([result])).filter(Number.isFinite);
      const over = single.filter((ratio) => ratio > 1.01).length;
      log(
        `validation on ${name}, ${one.name}: ${(scores.mase / naive).toFixed(4)} of naive, served ${(meanScores(results, 'served').mase / naive).toFixed(4)}, bands off by ${off.join(', ')} points; ${over} of ${single.length} series over their best baseline by 1 %, the worst at ${Math.max(...single).toFixed(3)}`,
      );
      if (i === 0) {
        const chosen = results.map((one) => oracleOverBest(one)).filter(Number.isFinite);
        const doubts = results.map(({ doubt }) => doubt).toSorted((a, b) => a - b);
        figures[`validation_oracle_over_best_baseline_on_${name.replaceAll(/[ %]+/g, '_')}`] = chosen.filter(
          (ratio) => ratio > 1.01,
        ).length;
        figures[`validation_standard_error_on_${name.replaceAll(/[ %]+/g, '_')}`] = doubts[doubts.length >> 1] ?? 0;
        figures[`validation_series_over_best_baseline_on_${name.replaceAll(/[ %]+/g, '_')}`] = over;
        figures[`validation_series_on_${name.replaceAll(/[ %]+/g, '_')}`] = single.length;
      }
    }
  }
  configurations.forEach((one, i) => {
    const ratio = meanOf(ratios[i] ?? []);
    figures[`validation_vs_naive_${one.name.replaceAll(' ', '_')}`] = ratio;
    // The first is the default: what is better by less than this is luck.
    if (ratio < (i === 0 ? best : best * (1 - leastBetter))) [best, chosen] = [ratio, one];
  });
  log(`chosen by validation: ${chosen.name}`);
  return { chosen, figures };
}

/** Short series, as nobody has enough of: stretches of the long ones that end before the held-out quarter, each for itself. */
function stretchesOf(series: LoadPanel['series']): readonly Member[] {
  return series.flatMap(({ name, grid }) => {
    const end = Math.floor(cuts[1] * grid.values.length);
    const count = Math.min(mostStretches, Math.floor(end / shortSteps));
    return Array.from({ length: count }, (_, i) =>
      trainingMember(`${name} ${i}`, sliceOf(grid, end - (i + 1) * shortSteps, end - i * shortSteps)),
    );
  });
}

const baselineIds = ['naive', 'seasonal-naive', 'exponential-smoothing', 'ridge'];

/**
 * What nobody can do: the baseline that is best on the calibration part and the scored part together, scored on the latter, over the best
 * one there. Where even that is above 1, who was best on the scored part was chance.
 */
function oracleOverBest({ scores, calibrationScores }: SeriesBacktest): number {
  const sumOf = (id: string): number =>
    [scores[id], calibrationScores[id]].reduce((sum, one) => sum + (one === undefined ? 0 : one.mase * one.windows), 0);
  const oracle = baselineIds.toSorted((a, b) => sumOf(a) - sumOf(b))[0] ?? 'naive';
  return (scores[oracle]?.mase ?? 0) / Math.min(...baselineIds.map((id) => scores[id]?.mase ?? Number.POSITIVE_INFINITY));
}

/** Served error over the best single baseline's, of a group of series. */
export function servedOverBest(group: readonly SeriesBacktest[]): number {
  const best = Math.min(...baselineIds.map((id) => meanScores(group, id).mase));
  return meanScores(group, 'served').mase / best;
}

export const trainingMember = (name: string, grid: Member['grid']): Member =>
  memberOf(name, grid, Math.max(1, partsOf(grid.values.length).trainEnd));

const sliceOf = ({ startMs, stepMs, values, missing }: Member['grid'], from: number, to: number): Member['grid'] => ({
  startMs: startMs + from * stepMs,
  stepMs,
  values: values.slice(from, to),
  missing: missing.slice(from, to),
});

const meanOf = (list: readonly number[]): number => list.reduce((sum, one) => sum + one, 0) / Math.max(1, list.length);
