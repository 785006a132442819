import { meanScores, type SeriesBacktest } from '../../src/forecast/backtest-panel.ts';
import type { Member } from '../../src/forecast/examples.ts';
import { loadCheckpoint } from '../../src/io/model/checkpoint.ts';
import { openModelThread } from '../../src/io/model/model-thread.ts';
import { defaultExamples } from '../../src/io/model/training.ts';
import type { Bench, Figures } from './bench.ts';
import { boostedTrees } from './load/boosted-trees.ts';
import { otherLoad } from './load/other.ts';
import { readLoad } from './load/recorded.ts';
import { timeTenThousandSeries } from './load/ten-thousand.ts';
import { timeTenThousand } from './load/ten-thousand-rounds.ts';
import { type Run, runOne, servedOverBest, startModel, trainingMember, usual, validate } from './load/tries.ts';

/**
 * Forecasts of the next 12 steps by rolling origin: fitted on the first 60 % of each series, scored on every window of the last 25 %,
 * without learning anything from there but who did well lately. Settings are chosen on the first 75 % alone (`load/tries.ts`): every
 * configuration tried is printed, the best is scored with five seeds. MASE is scaled by the step changes of the first part; means
 * are over series. Where python3 (or HOMEOSTAT_PYTHON) has scikit-learn, its boosted trees are fitted on the same windows. A second
 * panel, made by mechanisms that the start model's generator does not have, shows what the model is worth elsewhere.
 *
 * `--quick` scores the default with one seed; `--only scores` leaves validation out and scores the default.
 */
const seeds = [1, 2, 3, 4, 5];
/** Windows scored at most; beyond that every fifth, seventh ... is, never a divisor of the hour. */
const windowBudget = 60_000;

export const bench: Bench = {
  name: 'forecast',
  says: 'MASE, WQL and coverage one hour ahead against naive and ridge, training and forecasting time',
  parts: ['validation', 'scores', 'trees'],
  run: async ({ quick, only, log }) => {
    const panel = await readLoad();
    log(`${panel.series.length} series, ${panel.source}`);
    const parts = only ?? (quick ? ['scores'] : ['validation', 'scores', 'trees']);
    const members = panel.series.map(({ name, grid }) => trainingMember(name, grid));
    const thread = await openModelThread();
    try {
      const { weights: start } = await loadCheckpoint(startModel);
      const recorded = { recorded_series: panel.isRecorded ? members.length : 0 };
      const { chosen, figures: tried } = parts.includes('validation')
        ? await validate(thread, panel, start, log)
        : { chosen: usual, figures: {} };
      if (!parts.includes('scores')) {
        const trees = parts.includes('trees') ? await treesOf(members, [], log) : {};
        return { figures: { ...recorded, ...tried, ...trees }, baseline: {} };
      }
      const runs: Run[] = [];
      for (const seed of quick ? seeds.slice(0, 1) : seeds) {
        const run = await runOne(thread, members, chosen, seed, start, strideOf(members));
        runs.push(run);
        log(`seed ${seed}: ${(meanScores(run.results, 'model').mase / meanScores(run.results, 'naive').mase).toFixed(4)} of naive`);
      }
      const tenThousand = await timeTenThousand(panel, runs[0]?.weights ?? start, chosen, log);
      const others = otherLoad(quick ? 8 : 32).map(({ name, grid }) => trainingMember(name, grid));
      const elsewhere = await runOne(thread, others, chosen, 1, start, strideOf(others));
      const trees = parts.includes('trees') ? await treesOf(members, runs, log) : {};
      return {
        figures: {
          ...recorded,
          ...tried,
          ...figuresOf(runs, log),
          ...tenThousand,
          ...elsewhereOf(elsewhere, log),
          ...trees,
          ...timeTenThousandSeries(),
        },
        baseline: baselinesOf(runs[0]?.results ?? []),
      };
    } finally {
      await thread.close();
    }
  },
};

function strideOf(members: readonly Member[]): number {
  const windows = members.reduce((sum, { grid }) => sum + 0.4 * grid.values.length, 0);
  return [1, 5, 7, 11, 13, 17, 19, 23, 29].find((one) => windows / one <= windowBudget) ?? 31;
}

function figuresOf(runs: readonly Run[], log: (line: string) => void): Figures {
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
    served_vs_best_baseline_worst_group: mean(({ results }) => worstGroup(results, nameOfGroup).ratio),
    served_vs_best_baseline_worst_group_standard_error: mean(({ results }) => worstGroup(results, nameOfGroup).standardError),
    served_vs_best_baseline_worst_series: mean(({ results }) => worstGroup(results, (name) => name).ratio),
    served_vs_best_baseline_worst_series_standard_error: mean(({ results }) => worstGroup(results, (name) => name).standardError),
    wql: score('model', 'wql'),
    wql_vs_naive: score('model', 'wql') / score('naive', 'wql'),
    coverage_80: score('model', 'coverage80'),
    coverage_90: score('model', 'coverage90'),
    coverage_95: score('model', 'coverage95'),
    train_s_30k: mean(({ secondsPer30k }) => secondsPer30k),
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
    elsewhere_served_vs_best_baseline_worst_group: worstGroup(results, nameOfKind).ratio,
    elsewhere_coverage_90: meanScores(results, 'model').coverage90,
  };
}

/** The trees are fitted on the windows that the network is trained on. */
async function treesOf(members: readonly Member[], runs: readonly Run[], log: (line: string) => void): Promise<Figures> {
  const trees = await boostedTrees(members, defaultExamples, log);
  if (trees === null) return {};
  const figures = { boosted_trees_mase: trees.mase, boosted_trees_vs_naive: trees.mase / trees.naiveMase };
  if (runs.length === 0) return figures;
  const model = runs.reduce((sum, { results }) => sum + meanScores(results, 'model').mase, 0) / runs.length;
  return { ...figures, mase_vs_boosted_trees: model / trees.mase };
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

/** What recorded series measure, as their names say it (`ec2_cpu_utilization_24ae8d`, `iio_us-east-1_i-a2eb1cd9_NetworkIn`). */
const measures = ['cpu', 'network', 'disk', 'request', 'volume'];
/** Series that measure the same are a group; one whose name says nothing of it is its own. */
const nameOfGroup = (name: string): string => measures.find((measure) => name.toLowerCase().includes(measure)) ?? name;
/** Generated ones for the mechanism that made them, `random-walk-6`. */
const nameOfKind = (name: string): string => name.replace(/-\d+$/, '');

/** Served error over the best single baseline's, of the group of series where it is worst, and how surely that is known. */
function worstGroup(
  results: readonly SeriesBacktest[],
  groupOf: (name: string) => string,
): { readonly ratio: number; readonly standardError: number } {
  const groups = Map.groupBy(
    results.filter(({ windows }) => windows > 0),
    ({ name }) => groupOf(name),
  );
  const [worst] = [...groups.values()].toSorted((a, b) => servedOverBest(b) - servedOverBest(a));
  if (worst === undefined) return { ratio: 0, standardError: 0 };
  // Series are taken to err apart from each other, each with the same weight.
  const standardError = Math.hypot(...worst.map(({ doubt }) => doubt)) / worst.length;
  return { ratio: servedOverBest(worst), standardError };
}
