import { fileURLToPath } from 'node:url';
import { createRng } from '../../src/base/rng.ts';
import { partsOf } from '../../src/forecast/backtest-panel.ts';
import { pricesOf, type ReplayResult } from '../../src/forecast/decide-replay.ts';
import { memberOf } from '../../src/forecast/examples.ts';
import { gainInterval } from '../../src/forecast/replay.ts';
import { loadCheckpoint } from '../../src/io/model/checkpoint.ts';
import { openModelThread } from '../../src/io/model/model-thread.ts';
import type { Bench } from './bench.ts';
import { openReplayThreads } from './decisions/replay-threads.ts';
import { readLoad } from './load/recorded.ts';

/**
 * Capacity decisions replayed over recorded load: ours against hysteresis, its rule the best of 270, and an oracle by dynamic programming.
 * The network learns from the first 60 % of each series; the rival's rule is tuned on the first 75 %, and so is what ours follows; what is
 * printed comes from the last 25 %. One setting a delay: 5, 15, 30 and 60 minutes until a change is in effect. Regret and moves are means
 * over series; the interval is of the mean regret saved, by drawing series with replacement.
 */
const delays = [1, 3, 6, 12] as const;
const delaysQuick = [1, 6] as const;
/** Two weeks of a series at most, so that one long series does not cost what twenty others do. */
const mostSteps = 4_032;

export const bench: Bench = {
  name: 'decisions',
  says: 'regret and moves of acting on forecasts, against tuned reactive hysteresis and an oracle',
  run: async ({ quick, log }) => {
    const panel = await readLoad();
    log(`${panel.series.length} series, ${panel.source}`);
    const series = panel.series
      .map(({ name, grid }) => ({
        name,
        grid: { ...grid, values: grid.values.slice(0, mostSteps), missing: grid.missing.slice(0, mostSteps) },
      }))
      .filter(({ grid }) => grid.values.length >= 1_000);
    const members = series.map(({ name, grid }) => memberOf(name, grid, partsOf(grid.values.length).trainEnd));
    const thread = await openModelThread();
    const replays = openReplayThreads();
    try {
      const start = await loadCheckpoint(fileURLToPath(new URL('../../models/contention/v2', import.meta.url)));
      const trained = await thread.train({
        members,
        seed: 1,
        start: start.weights,
        hidden: start.shape.hidden,
        ...(quick ? { examples: 40_000 } : {}),
      });
      await thread.use(trained);
      const figures: Record<string, number> = {};
      const baseline: Record<string, number> = {};
      const judged = quick ? delaysQuick : delays;
      const asked = new Map<number, Promise<ReplayResult>[]>(judged.map((delay) => [delay, []]));
      for (const member of members) {
        const { values } = member.grid;
        const { trainEnd, calibrationEnd } = partsOf(values.length);
        const quantiles = await thread.quantiles(member, trainEnd, values.length);
        for (const delay of judged) {
          const prices = pricesOf(values, trainEnd, delay);
          const input = {
            load: values,
            stepMs: member.grid.stepMs,
            quantiles,
            from: trainEnd,
            tuneEnd: calibrationEnd,
            to: values.length,
            prices,
          };
          asked.get(delay)?.push(replays.replay(input, `${member.name}/${delay}`));
        }
      }
      for (const [delay, promised] of asked) {
        const results = await Promise.all(promised);
        const mean = (pick: (result: ReplayResult) => number): number => results.reduce((sum, one) => sum + pick(one), 0) / results.length;
        const saved = gainInterval(
          results.map((one) => one.regretReactive - one.regret),
          0,
          1,
          createRng(`saved/${delay}`),
        );
        figures[`regret_delay${delay}`] = mean((one) => one.regret);
        figures[`regret_reactive_delay${delay}`] = mean((one) => one.regretReactive);
        figures[`regret_saved_low_delay${delay}`] = saved.low / results.length;
        figures[`regret_saved_high_delay${delay}`] = saved.high / results.length;
        figures[`moves_delay${delay}`] = mean((one) => one.ours.moves);
        figures[`moves_reactive_delay${delay}`] = mean((one) => one.reactive.moves);
        figures[`reversals_delay${delay}`] = mean((one) => one.ours.reversals);
        figures[`forecast_used_share_delay${delay}`] = mean((one) => (one.used !== 'reactive' ? 1 : 0));
        baseline[`regret_always_forecast_delay${delay}`] = mean((one) => one.regretForecast);
        baseline[`reversals_reactive_delay${delay}`] = mean((one) => one.reactive.reversals);
        log(
          `delay ${delay}: regret ${mean((one) => one.regret).toFixed(4)} against ${mean((one) => one.regretReactive).toFixed(4)} reactive (forecast always: ${mean((one) => one.regretForecast).toFixed(4)})`,
        );
      }
      return { figures: { series: members.length, recorded_series: panel.isRecorded ? members.length : 0, ...figures }, baseline };
    } finally {
      await thread.close();
      await replays.close();
    }
  },
};
