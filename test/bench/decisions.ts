import { fileURLToPath } from 'node:url';
import { createRng } from '../../src/base/rng.ts';
import { partsOf } from '../../src/forecast/backtest-panel.ts';
import { pricesOf, type ReplayResult } from '../../src/forecast/decide-replay.ts';
import { type Member, memberOf } from '../../src/forecast/examples.ts';
import { gainInterval } from '../../src/forecast/replay.ts';
import { type Checkpoint, loadCheckpoint } from '../../src/io/model/checkpoint.ts';
import { type ModelThread, openModelThread } from '../../src/io/model/model-thread.ts';
import { syntheticLoad } from '../../src/io/model/synthetic-load.ts';
import type { Bench, Figures } from './bench.ts';
import { openReplayThreads, type ReplayThreads } from './decisions/replay-threads.ts';
import { otherLoad } from './load/other.ts';
import { readLoad } from './load/recorded.ts';

/**
 * Capacity decisions replayed over recorded load: ours against hysteresis, its rule the best of 270, and an oracle by dynamic programming.
 * Long series are cut into stretches of two weeks. The network learns from the first 60 % of each stretch; the rival's rule is tuned
 * on the first 75 %, and so is what ours follows; what is printed comes from the last 25 %. One setting a delay: 5, 15, 30 and 60
 * minutes until a change is in effect. Regret and moves are means over series, each the mean of its stretches; the interval is of the
 * mean regret saved, by drawing series with replacement (stretches of one series are one draw).
 *
 * `--only recorded,delay6` judges one load at one delay (5 minutes a step).
 *
 * The same on generated load, 32 series of the start model's generator with another seed and 32 by other mechanisms, as `generated_*`.
 */
const delays = [1, 3, 6, 12] as const;
const mostSteps = 4_032;
const leastSteps = 1_000;

interface Stretch {
  readonly series: string;
  readonly grid: Member['grid'];
}

export const bench: Bench = {
  name: 'decisions',
  says: 'regret and moves of acting on forecasts, against tuned reactive hysteresis and an oracle',
  parts: ['recorded', 'generated', ...delays.map((delay) => `delay${delay}`)],
  run: async ({ quick, only, log }) => {
    const panel = await readLoad();
    log(`${panel.series.length} series, ${panel.source}`);
    const asks = (part: string, otherwise: boolean, all: readonly string[]): boolean =>
      only?.some((one) => all.includes(one)) === true ? only.includes(part) : otherwise;
    const loads = ['recorded', 'generated'].filter((load) => asks(load, load === 'recorded' || !quick, ['recorded', 'generated']));
    const judged = delays.filter((delay) =>
      asks(
        `delay${delay}`,
        !quick || delay === 1 || delay === 6,
        delays.map((one) => `delay${one}`),
      ),
    );
    const thread = await openModelThread();
    const replays = openReplayThreads();
    try {
      const start = await loadCheckpoint(fileURLToPath(new URL('../../models/contention/v2', import.meta.url)));
      const recorded = panel.series.flatMap(({ name, grid }) => stretchesOf(name, grid).slice(0, quick ? 1 : undefined));
      const judge = (stretches: readonly Stretch[], prefix: string): Promise<{ readonly figures: Figures; readonly baseline: Figures }> =>
        judgeAll(thread, replays, start, stretches, judged, quick, prefix, log);
      const first = loads.includes('recorded') ? await judge(recorded, '') : { figures: {}, baseline: {} };
      const second = loads.includes('generated') ? await judge(generated(), 'generated_') : { figures: {}, baseline: {} };
      return {
        figures: { recorded_series: panel.isRecorded ? panel.series.length : 0, ...first.figures, ...second.figures },
        baseline: { ...first.baseline, ...second.baseline },
      };
    } finally {
      await thread.close();
      await replays.close();
    }
  },
};

const generated = (): readonly Stretch[] =>
  [...syntheticLoad(32, 3_000, createRng('decisions')), ...otherLoad(32)].flatMap(({ name, grid }) => stretchesOf(name, grid));

function stretchesOf(series: string, { startMs, stepMs, values, missing }: Member['grid']): readonly Stretch[] {
  const found: Stretch[] = [];
  for (let from = 0; values.length - from >= leastSteps; from += mostSteps) {
    const to = Math.min(values.length, from + mostSteps);
    found.push({
      series,
      grid: { startMs: startMs + from * stepMs, stepMs, values: values.slice(from, to), missing: missing.slice(from, to) },
    });
  }
  return found;
}

async function judgeAll(
  thread: ModelThread,
  replays: ReplayThreads,
  start: Checkpoint,
  stretches: readonly Stretch[],
  judged: readonly number[],
  quick: boolean,
  prefix: string,
  log: (line: string) => void,
): Promise<{ readonly figures: Figures; readonly baseline: Figures }> {
  const members = stretches.map(({ series, grid }) => memberOf(series, grid, partsOf(grid.values.length).trainEnd));
  const trained = await thread.train({
    members,
    seed: 1,
    start: start.weights,
    hidden: start.shape.hidden,
    ...(quick ? { examples: 40_000 } : {}),
  });
  await thread.use(trained, start);
  const asked = new Map<number, { readonly series: string; readonly result: Promise<ReplayResult> }[]>(judged.map((delay) => [delay, []]));
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
      asked.get(delay)?.push({ series: member.name, result: replays.replay(input, `${member.name}/${delay}`) });
    }
  }
  const figures: Record<string, number> = {
    [`${prefix}series`]: new Set(members.map(({ name }) => name)).size,
    [`${prefix}stretches`]: members.length,
  };
  const baseline: Record<string, number> = {};
  for (const [delay, promised] of asked) {
    const results = await Promise.all(promised.map(async ({ series, result }) => ({ series, ...(await result) })));
    const bySeries = [...Map.groupBy(results, ({ series }) => series).values()];
    const seriesMeans = (pick: (result: ReplayResult) => number): number[] =>
      bySeries.map((list) => list.reduce((sum, one) => sum + pick(one), 0) / list.length);
    const mean = (pick: (result: ReplayResult) => number): number => seriesMeans(pick).reduce((sum, one) => sum + one, 0) / bySeries.length;
    const saved = gainInterval(
      seriesMeans((one) => one.regretReactive - one.regret),
      0,
      1,
      createRng(`saved/${delay}`),
    );
    const put = (name: string, value: number): void => {
      figures[`${prefix}${name}_delay${delay}`] = value;
    };
    put(
      'regret',
      mean((one) => one.regret),
    );
    put(
      'regret_reactive',
      mean((one) => one.regretReactive),
    );
    put('regret_saved_low', saved.low / bySeries.length);
    put('regret_saved_high', saved.high / bySeries.length);
    put(
      'moves',
      mean((one) => one.ours.moves),
    );
    put(
      'moves_reactive',
      mean((one) => one.reactive.moves),
    );
    put(
      'reversals',
      mean((one) => one.ours.reversals),
    );
    put(
      'forecast_used_share',
      mean((one) => (one.used !== 'reactive' ? 1 : 0)),
    );
    baseline[`${prefix}regret_always_forecast_delay${delay}`] = mean((one) => one.regretForecast);
    baseline[`${prefix}reversals_reactive_delay${delay}`] = mean((one) => one.reactive.reversals);
    log(
      `${prefix}delay ${delay}: regret ${mean((one) => one.regret).toFixed(4)} against ${mean((one) => one.regretReactive).toFixed(4)} reactive (forecast always: ${mean((one) => one.regretForecast).toFixed(4)}), saved ${(saved.low / bySeries.length).toFixed(4)} to ${(saved.high / bySeries.length).toFixed(4)}`,
    );
  }
  return { figures, baseline };
}
