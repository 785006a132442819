import type { Rng } from '../base/rng.ts';
import {
  type Decider,
  type ForecastRule,
  forecasting,
  forecastRules,
  oracle,
  type Prices,
  quantilesPerStep,
  reactive,
  type ReactiveRule,
  reactiveRules,
  type Run,
  simulate,
} from './decide.ts';
import { type GainInterval, gainInterval } from './replay.ts';

/**
 * A recorded load, replayed: both rule families are tuned on the first part of what is replayed, by cost, equally finely, and judged
 * on the second. The forecast rule is used only where it won the tuning by a margin; where it did not, ours is the reactive rule.
 */
export interface ReplayInput {
  readonly load: Float64Array;
  /** Calibrated quantiles for each step in [from, to), outputs x levels each, made with what was known at that step. */
  readonly quantiles: Float64Array;
  readonly from: number;
  /** End of the tuning part. */
  readonly tuneEnd: number;
  readonly to: number;
  readonly prices: Prices;
}

export interface ReplayResult {
  readonly used: 'forecast' | 'reactive';
  readonly ours: Run;
  readonly reactive: Run;
  readonly forecast: Run;
  readonly oracle: Run;
  /** (cost - oracle's) / oracle's. */
  readonly regret: number;
  readonly regretReactive: number;
  readonly regretForecast: number;
  /** Gain of ours over reactive, whole replay. */
  readonly gain: GainInterval;
  readonly rule: ForecastRule;
  readonly reactiveRule: ReactiveRule;
}

/** By how much the forecast rule must have been cheaper on the tuning part to be used. */
const leastTunedGain = 0.01;

export function replayDecisions(input: ReplayInput, rng: Rng): ReplayResult {
  const { load, quantiles, from, tuneEnd, to, prices } = input;
  const at = (step: number): Float64Array => quantiles.subarray((step - from) * quantilesPerStep, (step - from + 1) * quantilesPerStep);
  const startUnits = (step: number): number =>
    Math.max(1, Math.min(prices.maxUnits, Math.ceil((load[Math.max(0, step - 1)] ?? 0) / prices.capacity)));
  const run = (a: number, b: number, decide: Decider): Run => simulate(load, a, b, startUnits(a), prices, decide);

  const reactiveTuned = cheapest(reactiveRules, (rule) => run(from, tuneEnd, reactive(load, rule, prices)).cost);
  const forecastTuned = cheapest(forecastRules, (rule) => run(from, tuneEnd, forecasting(at, rule, prices)).cost);
  const used = forecastTuned.cost < (1 - leastTunedGain) * reactiveTuned.cost ? 'forecast' : 'reactive';
  const best = oracle(load, tuneEnd, to, startUnits(tuneEnd), prices);
  const byReactive = run(tuneEnd, to, reactive(load, reactiveTuned.rule, prices));
  const byForecast = run(tuneEnd, to, forecasting(at, forecastTuned.rule, prices));
  const ours = used === 'forecast' ? byForecast : byReactive;
  const regret = (one: Run): number => (best.cost > 0 ? (one.cost - best.cost) / best.cost : 0);
  const perStep = Array.from(ours.perStep, (cost, i) => (byReactive.perStep[i] ?? 0) - cost);
  return {
    used,
    ours,
    reactive: byReactive,
    forecast: byForecast,
    oracle: best,
    regret: regret(ours),
    regretReactive: regret(byReactive),
    regretForecast: regret(byForecast),
    gain: gainInterval(perStep, 0, 72, rng),
    rule: forecastTuned.rule,
    reactiveRule: reactiveTuned.rule,
  };
}

function cheapest<Rule>(rules: readonly Rule[], costOf: (rule: Rule) => number): { readonly rule: Rule; readonly cost: number } {
  let best: { rule: Rule; cost: number } | undefined;
  for (const rule of rules) {
    const cost = costOf(rule);
    if (best === undefined || cost < best.cost) best = { rule, cost };
  }
  if (best === undefined) throw new RangeError('no rules to choose from');
  return best;
}

/** A unit that carries a quarter of the record's usual high (its 95th percentile), at most 12 of them; a unit of load uncovered costs five held. */
export function pricesOf(load: ArrayLike<number>, upTo: number, delaySteps: number): Prices {
  const sorted = Float64Array.from({ length: upTo }, (_, i) => Math.max(0, load[i] ?? 0)).sort();
  const high = sorted[Math.floor(0.95 * sorted.length)] ?? 1;
  return { capacity: Math.max(high / 4, 1e-9), maxUnits: 12, delaySteps, hold: 1, move: 6, over: 5 };
}
