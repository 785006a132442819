import { fileURLToPath } from 'node:url';
import { createRng } from '../../src/base/rng.ts';
import { defaultAdapt } from '../../src/forecast/adapt.ts';
import { type BacktestSettings, defaultSettings, meanScores, partsOf, type SeriesBacktest } from '../../src/forecast/backtest-panel.ts';
import { modelQuantiles } from '../../src/forecast/contender.ts';
import { type Member, memberOf } from '../../src/forecast/examples.ts';
import { openBackend } from '../../src/io/model/backend.ts';
import { loadCheckpoint } from '../../src/io/model/checkpoint.ts';
import { type ModelThread, openModelThread } from '../../src/io/model/model-thread.ts';
import { initialWeights, openPredictor, type TrainOptions, type Weights } from '../../src/io/model/network.ts';
import { defaultExamples, defaultHidden, defaultTraining } from '../../src/io/model/training.ts';
import type { Bench, Figures } from './bench.ts';
import { boostedTrees } from './load/boosted-trees.ts';
import { otherLoad } from './load/other.ts';
import { type LoadPanel, readLoad } from './load/recorded.ts';
import { timeTenThousandSeries } from './load/ten-thousand.ts';

/**
 * Forecasts of the next 12 steps by rolling origin: fitted on the first 60 % of each series, settings and who is served chosen on the
 * next 15 %, scored on every window of the last 25 %, without learning anything from there but who did well lately.
 * MASE is scaled by the step changes of the first part; means are over series. The full bench tries every configuration below on the
 * calibration part with one seed, logs each, scores the best with five seeds, and compares it with scikit-learn's boosted trees where
 * python3 (or HOMEOSTAT_PYTHON) has it; `--quick` scores the default with one seed. A second panel, made by mechanisms that the
 * start model's generator does not have, shows what the model is worth elsewhere.
 */
interface Configuration {
  readonly name: string;
  readonly options: TrainOptions;
  readonly hidden: readonly [number, number];
  readonly fromStartModel: boolean;
  readonly settings: BacktestSettings;
}

const usual: Configuration = {
  name: 'default',
  options: defaultTraining,
  hidden: defaultHidden,
  fromStartModel: true,
  settings: defaultSettings,
};

const configurations: readonly Configuration[] = [
  usual,
  { ...usual, name: 'less weight decay', options: { ...defaultTraining, weightDecay: 0.3 } },
  { ...usual, name: 'half the learning rate', options: { ...defaultTraining, learningRate: 1e-3 } },
  { ...usual, name: 'half the epochs', options: { ...defaultTraining, epochs: defaultTraining.epochs / 2 } },
  { ...usual, name: 'input noise', options: { ...defaultTraining, inputNoise: 0.1 } },
  { ...usual, name: 'from nothing', fromStartModel: false },
  { ...usual, name: 'from nothing, smaller', fromStartModel: false, hidden: [64, 32] },
  { ...usual, name: 'no experts', settings: { ...defaultSettings, adapt: { ...defaultAdapt, prior: 1 - 1e-9, sharpness: 0 } } },
  { ...usual, name: 'experts with half the memory', settings: { ...defaultSettings, adapt: { ...defaultAdapt, memorySteps: 36 } } },
];

const seeds = [1, 2, 3, 4, 5];
const startModel = fileURLToPath(new URL('../../models/contention/v2', import.meta.url));
/** Windows scored at most; beyond that every fifth, seventh ... is, never a divisor of the hour. */
const windowBudget = 60_000;

interface Run {
  readonly results: readonly SeriesBacktest[];
  readonly weights: Weights;
  readonly secondsPer30k: number;
}

export const bench: Bench = {
  name: 'forecast',
  says: 'MASE, WQL and coverage one hour ahead against naive and ridge, training and forecasting time',
  run: async ({ quick, log }) => {
    const panel = await readLoad();
    log(`${panel.series.length} series, ${panel.source}`);
    const toMember = ({ name, grid }: LoadPanel['series'][number]): Member =>
      memberOf(name, grid, Math.max(1, partsOf(grid.values.length).trainEnd));
    const members = panel.series.map(toMember);
    const thread = await openModelThread();
    try {
      const { weights: start } = await loadCheckpoint(startModel);
      const run = (configuration: Configuration, seed: number, of: readonly Member[] = members): Promise<Run> =>
        runOne(thread, of, configuration, seed, start);
      let chosen = usual;
      if (!quick) {
        let best = Number.POSITIVE_INFINITY;
        for (const configuration of configurations) {
          const { results } = await run(configuration, seeds[0] ?? 1);
          const { mase } = meanScores(results, 'model', 'calibrationScores');
          const naive = meanScores(results, 'naive', 'calibrationScores').mase;
          log(`calibration part, ${configuration.name}: MASE ${mase.toFixed(4)}, ${(mase / naive).toFixed(4)} of naive`);
          if (mase < best) {
            best = mase;
            chosen = configuration;
          }
        }
        log(`chosen on the calibration part: ${chosen.name}`);
      }
      const runs: Run[] = [];
      for (const seed of quick ? seeds.slice(0, 1) : seeds) runs.push(await run(chosen, seed));
      const predictSeconds = await timeTenThousand(panel, runs[0]?.weights ?? start, chosen);
      const elsewhere = await run(chosen, 1, otherLoad(quick ? 16 : 32).map(toMember));
      const trees = quick ? {} : await treesOf(members, runs, log);
      const results = runs[0]?.results ?? [];
      return {
        figures: {
          recorded_series: panel.isRecorded ? members.length : 0,
          ...figuresOf(runs, predictSeconds, log),
          ...elsewhereOf(elsewhere, log),
          ...trees,
          ...timeTenThousandSeries(),
        },
        baseline: baselinesOf(results),
      };
    } finally {
      await thread.close();
    }
  },
};

async function runOne(
  thread: ModelThread,
  members: readonly Member[],
  configuration: Configuration,
  seed: number,
  start: Weights,
): Promise<Run> {
  const { options, hidden, fromStartModel, settings } = configuration;
  const trained = await thread.train({
    members,
    examples: defaultExamples,
    hidden,
    options,
    seed,
    start: fromStartModel ? start : undefined,
  });
  await thread.use(trained);
  const windows = members.reduce((sum, { grid }) => sum + 0.4 * grid.values.length, 0);
  const stride = [1, 5, 7, 11, 13, 17, 19, 23, 29].find((one) => windows / one <= windowBudget) ?? 31;
  const results = await thread.backtest(members, stride, settings);
  return { results, weights: trained.weights, secondsPer30k: (trained.seconds * 30_000) / trained.windows };
}

function figuresOf(runs: readonly Run[], predictSeconds: number, log: (line: string) => void): Figures {
  const mean = (pick: (run: Run) => number): number => runs.reduce((sum, run) => sum + pick(run), 0) / runs.length;
  const score = (id: string, key: 'mase' | 'wql' | 'coverage80' | 'coverage90' | 'coverage95'): number =>
    mean(({ results }) => meanScores(results, id)[key]);
  const mase = score('model', 'mase');
  const deviation = Math.sqrt(mean(({ results }) => (meanScores(results, 'model').mase - mase) ** 2));
  const first = runs[0]?.results ?? [];
  for (const { name, windows, scores, choice } of first) {
    log(
      `${name}: ${windows} windows, ${Object.entries(scores)
        .map(([id, { mase: one }]) => `${id} ${one.toFixed(3)}`)
        .join(', ')}; served by ${choice.servedBy}`,
    );
  }
  return {
    mase,
    mase_sd_over_seeds: deviation,
    seeds: runs.length,
    series: first.length,
    windows: first.reduce((sum, { windows }) => sum + windows, 0),
    mase_vs_naive: mase / score('naive', 'mase'),
    mase_vs_ridge: mase / score('ridge', 'mase'),
    mase_vs_exponential_smoothing: mase / score('exponential-smoothing', 'mase'),
    served_mase: score('served', 'mase'),
    served_mase_vs_naive: score('served', 'mase') / score('naive', 'mase'),
    served_vs_best_baseline_worst_group: mean(({ results }) => worstGroup(results)),
    wql: score('model', 'wql'),
    wql_vs_naive: score('model', 'wql') / score('naive', 'wql'),
    coverage_80: score('model', 'coverage80'),
    coverage_90: score('model', 'coverage90'),
    coverage_95: score('model', 'coverage95'),
    train_s_30k: mean(({ secondsPer30k }) => secondsPer30k),
    predict_s_10k: predictSeconds,
  };
}

/** The same on the panel that is unlike the start model's data and unlike the recorded load. */
function elsewhereOf({ results }: Run, log: (line: string) => void): Figures {
  const score = (id: string): number => meanScores(results, id).mase;
  for (const { name, scores } of results)
    log(
      `elsewhere, ${name}: ${Object.entries(scores)
        .map(([id, { mase }]) => `${id} ${mase.toFixed(3)}`)
        .join(', ')}`,
    );
  return {
    elsewhere_mase_vs_naive: score('model') / score('naive'),
    elsewhere_mase_vs_ridge: score('model') / score('ridge'),
    elsewhere_served_vs_best_baseline_worst_group: worstGroup(results),
    elsewhere_coverage_90: meanScores(results, 'model').coverage90,
  };
}

/** The trees are fitted on the windows that the network is trained on. */
async function treesOf(members: readonly Member[], runs: readonly Run[], log: (line: string) => void): Promise<Figures> {
  const mase = await boostedTrees(members, defaultExamples, log);
  if (mase === null) return {};
  const model = runs.reduce((sum, { results }) => sum + meanScores(results, 'model').mase, 0) / Math.max(1, runs.length);
  return { boosted_trees_mase: mase, mase_vs_boosted_trees: model / mase };
}

function baselinesOf(results: readonly SeriesBacktest[]): Figures {
  const ids = ['naive', 'seasonal-naive', 'exponential-smoothing', 'ridge'];
  return Object.fromEntries(
    ids.flatMap((id) => {
      const { mase, wql } = meanScores(results, id);
      const name = id.replaceAll('-', '_');
      return [
        [`${name}_mase`, mase],
        [`${name}_wql`, wql],
      ];
    }),
  );
}

/** Served error over the best single baseline's, of the group of series (by the first two words of the name) where it is worst. */
function worstGroup(results: readonly SeriesBacktest[]): number {
  const groups = Map.groupBy(
    results.filter(({ windows }) => windows > 0),
    ({ name }) => name.split(/[_-]/).slice(0, 2).join('_'),
  );
  let worst = 0;
  for (const group of groups.values()) {
    const best = Math.min(...['naive', 'seasonal-naive', 'exponential-smoothing', 'ridge'].map((id) => meanScores(group, id).mase));
    worst = Math.max(worst, meanScores(group, 'served').mase / best);
  }
  return worst;
}

/** Seconds to forecast 10,000 series once: windows, network, quantiles in the series' unit. */
async function timeTenThousand(panel: LoadPanel, weights: Weights, { hidden }: Configuration): Promise<number> {
  await openBackend();
  const { shape } = await loadCheckpoint(startModel);
  const own = weights.first.length === initialWeights({ ...shape, hidden }, createRng(1)).first.length ? { ...shape, hidden } : shape;
  const predictor = openPredictor(own, weights);
  const requests = Array.from({ length: 10_000 }, (_, i) => {
    const { name, grid } = panel.series[i % panel.series.length] ?? {
      name: '',
      grid: { startMs: 0, stepMs: 300_000, values: new Float64Array(1), missing: new Uint8Array(1) },
    };
    return {
      member: memberOf(name, grid, Math.min(grid.values.length, 500)),
      origins: [Math.min(grid.values.length - 1, 200 + ((i * 7) % 2_000))],
    };
  });
  modelQuantiles(predictor.predict, requests.slice(0, 500));
  const startedMs = performance.now();
  modelQuantiles(predictor.predict, requests);
  const seconds = (performance.now() - startedMs) / 1000;
  predictor.dispose();
  return seconds;
}
