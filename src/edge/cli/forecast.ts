import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, InvalidArgumentError } from 'commander';
import { Failure } from '../../base/failure.ts';
import { meanScores, partsOf, type SeriesBacktest } from '../../forecast/backtest-panel.ts';
import { levels } from '../../forecast/contender.ts';
import { type Member, memberOf } from '../../forecast/examples.ts';
import { maxHorizon } from '../../forecast/far.ts';
import type { ServeChoice } from '../../forecast/serve.ts';
import type { Grid } from '../../forecast/time-grid.ts';
import { horizons } from '../../forecast/window.ts';
import { loadCheckpoint } from '../../io/model/checkpoint.ts';
import { type ModelThread, openModelThread } from '../../io/model/model-thread.ts';
import { trainStartModel } from '../../io/model/start-model.ts';
import type { CliContext } from './program.ts';
import { type NamedGrid, readGrids } from './series-grids.ts';

/** The model that comes with the package. */
export const startModelDir = fileURLToPath(new URL('../../../models/contention/v2', import.meta.url));

interface ForecastFlags {
  readonly horizon: number;
  readonly backtest?: boolean;
  readonly stepSeconds?: number;
  readonly model: string;
  readonly train?: string;
  readonly seed: number;
  readonly signed?: boolean;
  readonly json?: boolean;
}

export function registerForecast(program: Command, context: CliContext): void {
  program
    .command('forecast')
    .argument('[files...]', 'CSV files: timestamp,value or series,timestamp,value')
    .option('--horizon <steps>', `steps ahead, 1 to ${maxHorizon}`, parseCount(1, maxHorizon), horizons)
    .option(
      '--backtest',
      'score the model and the baselines on the last quarter of each series: MASE, WQL, coverage; says who would be served',
    )
    .option('--step-seconds <seconds>', 'width of a step; by default the usual distance between points', parseCount(1, 86_400))
    .option('--model <folder>', 'the model to use', startModelDir)
    .option('--train <folder>', 'train a start model on generated load (and on the files, if any), and write it to this folder')
    .option('--seed <number>', 'seed of the training', parseCount(0, 4_294_967_295), 1)
    .option('--signed', 'forecasts may be negative; by default series that never were stay at or above 0')
    .option('--config <file>', 'not used by this command')
    .option('--json', 'one JSON object a series')
    .addHelpText(
      'after',
      '\nAny regular step is fine (the model has seen five minutes; a daily season is used where the step divides a day). Points may be missing or out of order.\nA backtest fits on the first 60 % of each series, chooses who is served on the next 15 %, and scores on the last 25 %.',
    )
    .action(async (files: readonly string[], flags: ForecastFlags) => {
      if (flags.train !== undefined) {
        await trainStartModel({
          folder: resolve(context.cwd, flags.train),
          seed: flags.seed,
          extra: await readGrids(files, flags.stepSeconds, context.cwd),
          log: (line) => context.err(line),
        });
        return;
      }
      if (flags.backtest === true && flags.horizon !== horizons)
        throw new Failure('bad-option', `a backtest scores ${horizons} steps ahead; leave --horizon out`, 'never');
      if (files.length === 0) throw new Failure('no-file', 'give a CSV file with timestamp,value or series,timestamp,value', 'never');
      const grids = await readGrids(files, flags.stepSeconds, context.cwd);
      const checkpoint = await loadCheckpoint(resolve(context.cwd, flags.model));
      const thread = await openModelThread();
      try {
        await thread.use(checkpoint, await loadCheckpoint(startModelDir));
        // Progress for whoever waits; scripts read standard output.
        if (context.isTty) {
          const what = flags.backtest === true ? 'training and scoring' : 'forecasting';
          context.err(`${what} ${grids.length} series with ${checkpoint.id} on ${thread.backend}`);
        }
        if (flags.backtest === true) await backtest(grids, thread, checkpoint, flags, context);
        else await forecast(grids, thread, flags, context);
      } finally {
        await thread.close();
      }
    });
}

async function forecast(grids: readonly NamedGrid[], thread: ModelThread, flags: ForecastFlags, context: CliContext): Promise<void> {
  for (const { made, grid } of await forecastAll(grids, thread, flags)) {
    const at = (h: number): string => new Date(grid.startMs + (grid.values.length + h) * grid.stepMs).toISOString();
    if (flags.json === true) {
      const missing = grid.missing.reduce((sum, one) => sum + one, 0);
      context.out(
        JSON.stringify({
          series: made.name,
          stepMs: grid.stepMs,
          points: grid.values.length - missing,
          missing,
          servedBy: made.choice.servedBy,
          because: made.choice.because,
          mase: made.mase,
          levels,
          forecast: made.values.map((values, h) => ({ timestamp: at(h), quantiles: values.map(round) })),
          ...(made.maximum === undefined ? {} : { maximum: made.maximum.map(round) }),
          backend: thread.backend,
        }),
      );
      continue;
    }
    context.out(`${made.name}: served by ${made.choice.servedBy} (${made.choice.because})`);
    const shown = [0, 2, 4, 6, 8];
    context.out(`  ${'time'.padEnd(24)} ${shown.map((q) => `${(levels[q] ?? 0) * 100} %`.padStart(11)).join(' ')}`);
    const line = (label: string, values: readonly number[]): void =>
      context.out(`  ${label.padEnd(24)} ${shown.map((q) => String(round(values[q] ?? 0)).padStart(11)).join(' ')}`);
    made.values.forEach((values, h) => line(at(h), values));
    if (made.maximum !== undefined) line('highest of these', made.maximum);
  }
}

interface MadeForecast {
  readonly name: string;
  readonly values: readonly (readonly number[])[];
  /** Of the next twelve steps; undefined where another horizon was asked for. */
  readonly maximum: readonly number[] | undefined;
  readonly choice: ServeChoice;
  /** By contender, on earlier windows of the same series. */
  readonly mase: Readonly<Record<string, number>>;
}

/** Series that were never negative stay so, each kind in one round. */
async function forecastAll(
  grids: readonly NamedGrid[],
  thread: ModelThread,
  flags: ForecastFlags,
): Promise<readonly { readonly made: MadeForecast; readonly grid: Grid }[]> {
  const isSigned = ({ grid }: NamedGrid): boolean => flags.signed === true || grid.values.some((value) => value < 0);
  const answers = new Map<NamedGrid, MadeForecast>();
  for (const signed of [false, true]) {
    const group = grids.filter((one) => isSigned(one) === signed);
    if (group.length === 0) continue;
    const members = group.map(({ name, grid }) => memberOf(name, grid));
    const forecasts = flags.horizon > horizons ? await far(members, thread, flags, !signed) : await near(members, thread, flags, !signed);
    group.forEach((one, i) => {
      const made = forecasts[i];
      if (made !== undefined) answers.set(one, made);
    });
  }
  return grids.flatMap((one) => {
    const made = answers.get(one);
    return made === undefined ? [] : [{ made, grid: one.grid }];
  });
}

async function near(
  members: readonly Member[],
  thread: ModelThread,
  flags: ForecastFlags,
  isNonNegative: boolean,
): Promise<readonly MadeForecast[]> {
  const { forecasts } = await thread.round(members, { windowBudget: 60_000, isNonNegative }, true);
  return forecasts.map(({ name, values, maximum, choice, scores }) => ({
    name,
    values: values.slice(0, flags.horizon),
    maximum: flags.horizon === horizons ? maximum : undefined,
    choice,
    mase: Object.fromEntries(Object.entries(scores).map(([id, mase]) => [id, round(mase)])),
  }));
}

async function far(
  members: readonly Member[],
  thread: ModelThread,
  flags: ForecastFlags,
  isNonNegative: boolean,
): Promise<readonly MadeForecast[]> {
  const forecasts = await thread.far(members, flags.horizon, isNonNegative);
  return forecasts.map(({ name, values, choice, scores }) => ({
    name,
    values,
    maximum: undefined,
    choice,
    mase: Object.fromEntries(Object.entries(scores).map(([id, mase]) => [id, round(mase)])),
  }));
}

/** Windows over the whole panel that are scored one by one; more are thinned evenly. */
const backtestBudget = 60_000;
/** With fewer training windows than this the start model is scored as it is. */
const leastTrainWindows = 500;

async function backtest(
  grids: readonly NamedGrid[],
  thread: ModelThread,
  checkpoint: Awaited<ReturnType<typeof loadCheckpoint>>,
  flags: ForecastFlags,
  context: CliContext,
): Promise<void> {
  const members: Member[] = grids.map(({ name, grid }) => memberOf(name, grid, Math.max(1, partsOf(grid.values.length).trainEnd)));
  const windows = members.reduce((sum, member) => sum + member.upTo, 0);
  let model = `${checkpoint.id} as shipped`;
  if (windows >= leastTrainWindows) {
    const trained = await thread.train({
      members,
      seed: flags.seed,
      start: checkpoint.weights,
      hidden: checkpoint.shape.hidden,
    });
    await thread.use(trained, checkpoint);
    model = `${checkpoint.id}, trained on with ${trained.windows} windows of these series in ${trained.seconds.toFixed(1)} s on ${thread.backend}`;
  }
  const scored = grids.reduce((sum, { grid }) => sum + grid.values.length * 0.4, 0);
  const results = await thread.backtest(members, Math.max(1, Math.ceil(scored / backtestBudget)));
  printBacktest(results, model, flags, context);
}

function printBacktest(results: readonly SeriesBacktest[], model: string, flags: ForecastFlags, context: CliContext): void {
  const ids = [...new Set(results.flatMap((result) => Object.keys(result.scores)))];
  if (flags.json === true) {
    for (const { name, windows, scores, choice } of results)
      context.out(JSON.stringify({ series: name, windows, servedBy: choice.servedBy, because: choice.because, scores }));
    const summary = Object.fromEntries(ids.map((id) => [id, meanScores(results, id)]));
    context.out(
      JSON.stringify({
        summary: { series: results.length, windows: results.reduce((sum, { windows }) => sum + windows, 0), model, scores: summary },
      }),
    );
    return;
  }
  const table = (
    title: string,
    rows: readonly (readonly [string, { mase: number; wql: number; coverage80: number; coverage90: number; coverage95: number }])[],
  ): void => {
    context.out(title);
    context.out(`  ${''.padEnd(22)} ${['MASE', 'WQL', 'in 80 %', 'in 90 %', 'in 95 %'].map((head) => head.padStart(8)).join(' ')}`);
    for (const [id, score] of rows) {
      const cells = [
        score.mase.toFixed(3),
        score.wql.toFixed(4),
        ...[score.coverage80, score.coverage90, score.coverage95].map((share) => `${(100 * share).toFixed(1)} %`),
      ];
      context.out(`  ${id.padEnd(22)} ${cells.map((cell) => cell.padStart(8)).join(' ')}`);
    }
  };
  for (const { name, windows, scores, choice } of results) {
    if (windows === 0) context.out(`${name}: too short to score; ${choice.bestBaseline} is served`);
    else table(`${name}: ${windows} windows, served by ${choice.servedBy} (${choice.because})`, Object.entries(scores));
  }
  if (results.length > 1)
    table(
      `mean of ${results.length} series (model: ${model})`,
      ids.map((id) => [id, meanScores(results, id)]),
    );
  else context.out(`model: ${model}`);
}

const round = (value: number): number => Number(value.toPrecision(6));

/** An option that is a whole number within bounds. */
export function parseCount(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most)
      throw new InvalidArgumentError(`give a whole number from ${least} to ${most}`);
    return value;
  };
}
