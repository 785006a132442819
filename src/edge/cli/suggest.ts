import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Failure } from '../../base/failure.ts';
import { createRng } from '../../base/rng.ts';
import { partsOf } from '../../forecast/backtest-panel.ts';
import { pricesOf, replayDecisions, type ReplayResult } from '../../forecast/decide-replay.ts';
import { memberOf } from '../../forecast/examples.ts';
import { loadCheckpoint } from '../../io/model/checkpoint.ts';
import { openModelThread } from '../../io/model/model-thread.ts';
import { parseCount, startModelDir } from './forecast.ts';
import type { CliContext } from './program.ts';
import { type NamedGrid, readGrids } from './series-grids.ts';

interface SuggestFlags {
  readonly replay?: string;
  readonly delaySteps: number;
  readonly capacity?: number;
  readonly model: string;
  readonly seed: number;
  readonly json?: boolean;
}

/** Steps of a series under which neither tuning nor judging says anything. */
const leastSteps = 400;

export function registerSuggest(program: Command, context: CliContext): void {
  program
    .command('suggest')
    .option('--replay <file>', 'CSV with the recorded load: timestamp,value or series,timestamp,value')
    .option('--delay-steps <steps>', 'steps until a change is in effect', parseCount(0, 288), 6)
    .option('--capacity <load>', 'load that one unit carries; by default a quarter of the usual high', Number)
    .option('--model <folder>', 'the model to use', startModelDir)
    .option('--seed <number>', 'seed of training and bootstrap', parseCount(0, 4_294_967_295), 1)
    .option('--config <file>', 'not used by this command')
    .option('--json', 'one JSON object a series, and a summary')
    .addHelpText(
      'after',
      "\nA unit (a range, a shard, a replica) costs 1 a step to hold, 6 to add or remove, and 5 a step for each unit of load that nothing carries. The model learns from the first 60 % of each series, the reactive rule is the best of 270 on the first 75 %, ours stays with it until one of eight other ways of deciding has surely been cheaper, and costs are of the last 25 %. Regret is what a rule paid beyond the oracle, which knows the future, in shares of the oracle's cost.",
    )
    .action(async (flags: SuggestFlags) => {
      if (flags.replay === undefined) throw new Failure('no-file', 'give the recorded load with --replay FILE.csv', 'never');
      if (flags.capacity !== undefined && !(flags.capacity > 0))
        throw new Failure('bad-option', '--capacity must be a number above 0', 'never');
      const all = await readGrids([flags.replay], undefined, context.cwd);
      const grids = all.filter(({ grid }) => grid.values.length >= leastSteps);
      for (const { name, grid } of all)
        if (grid.values.length < leastSteps)
          context.err(`${name}: ${grid.values.length} steps are too few to replay; ${leastSteps} are needed`);
      if (grids.length === 0) throw new Failure('too-short', `no series has the ${leastSteps} steps that a replay needs`, 'never');
      await replay(grids, flags, context);
    });
}

async function replay(grids: readonly NamedGrid[], flags: SuggestFlags, context: CliContext): Promise<void> {
  const checkpoint = await loadCheckpoint(resolve(context.cwd, flags.model));
  const thread = await openModelThread();
  try {
    const members = grids.map(({ name, grid }) => memberOf(name, grid, partsOf(grid.values.length).trainEnd));
    // For people who wait; what is piped stays clean.
    const progress = flags.json === true ? (): void => {} : (says: string): void => context.err(says);
    progress(`Learning from ${members.length} ${members.length === 1 ? 'series' : 'series together'} ...`);
    const trained = await thread.train({
      members,
      seed: flags.seed,
      start: checkpoint.weights,
      hidden: checkpoint.shape.hidden,
    });
    await thread.use(trained, checkpoint);
    const results: ReplayResult[] = [];
    for (const [i, member] of members.entries()) {
      progress(`Replaying ${member.name} (${i + 1} of ${members.length}) ...`);
      const { values } = member.grid;
      const { trainEnd, calibrationEnd } = partsOf(values.length);
      const prices = pricesOf(values, trainEnd, flags.delaySteps);
      const quantiles = await thread.quantiles(member, trainEnd, values.length);
      const input = {
        load: values,
        stepMs: member.grid.stepMs,
        quantiles,
        from: trainEnd,
        tuneEnd: calibrationEnd,
        to: values.length,
        prices: flags.capacity === undefined ? prices : { ...prices, capacity: flags.capacity },
      };
      const result = replayDecisions(input, createRng(flags.seed).fork(member.name));
      results.push(result);
      if (flags.json === true) {
        const { gain } = result;
        context.out(
          JSON.stringify({
            series: member.name,
            steps: values.length - calibrationEnd,
            delaySteps: flags.delaySteps,
            capacity: input.prices.capacity,
            used: result.used,
            cost: round(result.ours.cost),
            costReactive: round(result.reactive.cost),
            costForecast: round(result.forecast.cost),
            costOracle: round(result.oracle.cost),
            regret: round(result.regret),
            regretReactive: round(result.regretReactive),
            moves: result.ours.moves,
            movesReactive: result.reactive.moves,
            reversals: result.ours.reversals,
            gain: round(gain.gain),
            gainLow: round(gain.low),
            gainHigh: round(gain.high),
            shown: gain.low > 0,
            ledBy: result.led,
            reactiveRule: result.reactiveRule,
          }),
        );
      } else {
        const verdict =
          result.gain.low > 0
            ? 'acting on the forecast pays, surely'
            : result.used !== 'reactive'
              ? 'acting on the forecast may pay: not sure enough to suggest it'
              : 'the reactive rule is as good: nothing to suggest';
        context.out(
          `${member.name}: ${verdict}. Cost ${result.ours.cost.toFixed(0)} (reactive ${result.reactive.cost.toFixed(0)}, oracle ${result.oracle.cost.toFixed(0)}), regret ${percent(result.regret)} (reactive ${percent(result.regretReactive)}), moves ${result.ours.moves} (reactive ${result.reactive.moves}), gain ${result.gain.gain.toFixed(0)}, 95 % interval ${result.gain.low.toFixed(0)} to ${result.gain.high.toFixed(0)}.`,
        );
      }
    }
    const mean = (pick: (result: ReplayResult) => number): number =>
      results.reduce((sum, result) => sum + pick(result), 0) / results.length;
    const summary = {
      series: results.length,
      delaySteps: flags.delaySteps,
      regret: round(mean(({ regret }) => regret)),
      regretReactive: round(mean(({ regretReactive }) => regretReactive)),
      moves: round(mean(({ ours }) => ours.moves)),
      movesReactive: round(mean(({ reactive }) => reactive.moves)),
      servedByForecast: results.filter(({ used }) => used !== 'reactive').length,
    };
    if (flags.json === true) context.out(JSON.stringify({ summary }));
    else
      context.out(
        `Mean regret ${percent(summary.regret)} against ${percent(summary.regretReactive)} reactive, moves ${summary.moves} against ${summary.movesReactive}; the forecast is used for ${summary.servedByForecast} of ${summary.series} series.`,
      );
  } finally {
    await thread.close();
  }
}

const round = (value: number): number => Number(value.toPrecision(6));
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
