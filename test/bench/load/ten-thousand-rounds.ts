import { createRng } from '../../../src/base/rng.ts';
import { modelQuantiles } from '../../../src/forecast/contender.ts';
import type { Member } from '../../../src/forecast/examples.ts';
import { createRecall } from '../../../src/forecast/recall.ts';
import { defaultRound, forecastRound } from '../../../src/forecast/round.ts';
import { type KeptRidges, refitRidges } from '../../../src/forecast/round-ridge.ts';
import { steadyMember, steadySteps } from '../../../src/forecast/steady.ts';
import { openBackend } from '../../../src/io/model/backend.ts';
import { loadCheckpoint } from '../../../src/io/model/checkpoint.ts';
import { initialWeights, openPredictor } from '../../../src/io/model/network.ts';
import type { Weights } from '../../../src/io/model/network-shape.ts';
import type { Figures } from '../bench.ts';
import type { LoadPanel } from './recorded.ts';
import { type Configuration, startModel } from './tries.ts';

/** A tenth of them is timed, on one core. What a round costs whatever the number of series, the fits of the ridge, is not multiplied. */
const timedSeries = 1_000;
const keptSteps = 2_016;
/** The first round after a start, the last of those after it being the first after a step of the clock by which series are steady. */
const rounds = 20;
const firstEnd = 30_000 * steadySteps - (rounds - 1);

/**
 * Seconds to forecast 10,000 series: the network alone (windows, network and quantiles in the series' unit), the best of three runs, as what
 * else runs on the machine is not ours; and whole rounds, as the service makes one every step, the fits of the ridge in them: the first after
 * a start, which asks about some thirty moments of each series; the median of the next ones, which recall all but one; and the one after the
 * clock by which units and the ends of histories move, which recalls what was found by search alone.
 */
export async function timeTenThousand(
  panel: LoadPanel,
  weights: Weights,
  { hidden }: Configuration,
  log: (line: string) => void,
): Promise<Figures> {
  await openBackend();
  const { shape } = await loadCheckpoint(startModel);
  const own = weights.first.length === initialWeights({ ...shape, hidden }, createRng(1)).first.length ? { ...shape, hidden } : shape;
  const predictor = openPredictor(own, weights);
  /** What is kept of each, so many steps later. */
  const membersAt = (shift: number): readonly Member[] =>
    Array.from({ length: timedSeries }, (_, i) => {
      const { name, grid } = panel.series[i % panel.series.length] as LoadPanel['series'][number];
      const spare = Math.max(0, grid.values.length - keptSteps - rounds);
      // A record shorter than what is kept begins where it begins.
      const from = spare === 0 ? 0 : shift + ((i * 13) % spare);
      const to = Math.min(grid.values.length - rounds + shift + 1, from + keptSteps);
      const startMs = (firstEnd + shift - (to - from)) * grid.stepMs;
      const kept = { startMs, stepMs: grid.stepMs, values: grid.values.slice(from, to), missing: grid.missing.slice(from, to) };
      return steadyMember(`${name} ${i}`, kept, keptSteps - steadySteps);
    });
  const members = membersAt(0);
  const requests = Array.from({ length: 10_000 }, (_, i) => {
    const member = members[i % timedSeries] as Member;
    return { member, origins: [member.upTo - 1 - Math.floor(i / timedSeries)] };
  });
  let network = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 3; run += 1) {
    const startedMs = performance.now();
    modelQuantiles(predictor.predict, requests);
    network = Math.min(network, (performance.now() - startedMs) / 1000);
  }
  const networks = { predict: predictor.predict, standIn: predictor.predict };
  const options = { ...defaultRound, windowBudget: (defaultRound.windowBudget * timedSeries) / 10_000 };
  const recall = createRecall();
  let ridges: KeptRidges | null = null;
  const seconds = Array.from({ length: rounds }, (_, shift) => {
    const now = membersAt(shift);
    const startedMs = performance.now();
    ridges = refitRidges(now, undefined, ridges);
    const fittedMs = performance.now();
    forecastRound(now, networks, ridges.ridges, options, recall);
    return (fittedMs - startedMs) / 1000 + ((10_000 / timedSeries) * (performance.now() - fittedMs)) / 1000;
  });
  predictor.dispose();
  log(`rounds of 10,000 series, seconds: ${seconds.map((one) => one.toFixed(2)).join(' ')}`);
  const between = seconds.slice(1, -1).toSorted((a, b) => a - b);
  return {
    predict_s_10k: network,
    round_s_10k: seconds[0] ?? 0,
    next_round_s_10k: between[between.length >> 1] ?? 0,
    clock_round_s_10k: seconds.at(-1) ?? 0,
    recall_mb_10k_series: ((10_000 / timedSeries) * recall.bytes()) / 1e6,
  };
}
