import type { Rng } from '../base/rng.ts';
import {
  type Decider,
  type ForecastRule,
  forecasting,
  oracle,
  type Prices,
  quantilesPerStep,
  reactive,
  type ReactiveRule,
  reactiveRules,
  type Run,
  simulate,
} from './decide.ts';
import { type Candidate, follow, shadowCosts } from './decide-follow.ts';
import { type KernelOptions, kernelPolicy } from './decide-kernel.ts';
import { type GainInterval, gainInterval } from './replay.ts';

/**
 * A recorded load, replayed. The rival is hysteresis, its rule chosen from 270 by what it would have cost on everything before the
 * judged part. Ours starts from the same rule and leaves it for a way of deciding that has been cheaper so far: planning on the
 * forecast's quantiles (six rules), or acting as paid off in similar moments (two). All is decided with what was known at the step.
 */
export interface ReplayInput {
  readonly load: Float64Array;
  readonly stepMs: number;
  /** Calibrated quantiles for each step in [from, to), outputs x levels each, made with what was known at that step. */
  readonly quantiles: Float64Array;
  readonly from: number;
  /** End of the tuning part. */
  readonly tuneEnd: number;
  readonly to: number;
  readonly prices: Prices;
}

export interface ReplayResult {
  /** What decided for most of the judged part: `reactive`, `plan ...` or `similar ...`. */
  readonly used: string;
  /** Candidate id -> share of the decisions of the judged part. */
  readonly led: Readonly<Record<string, number>>;
  readonly ours: Run;
  readonly reactive: Run;
  /** Never falling back to the reactive rule. */
  readonly forecast: Run;
  readonly oracle: Run;
  /** (cost - oracle's) / oracle's. */
  readonly regret: number;
  readonly regretReactive: number;
  readonly regretForecast: number;
  /** Gain of ours over reactive, whole replay. */
  readonly gain: GainInterval;
  readonly reactiveRule: ReactiveRule;
}

/** Few, and the same for every series: what is chosen among hundreds on two days of record is chosen by luck. */
const planRules: readonly ForecastRule[] = [12, 24, 48].flatMap((span) =>
  [0.7, 1].map((caution) => ({ span, caution, threshold: 0.5, leastAge: 12 })),
);
const kernels: readonly KernelOptions[] = [
  { neighbours: 30, dayWeight: 0.7 },
  { neighbours: 40, dayWeight: 0 },
];

export function replayDecisions(input: ReplayInput, rng: Rng): ReplayResult {
  const { load, from, tuneEnd, to, prices } = input;
  const startUnits = (step: number): number =>
    Math.max(1, Math.min(prices.maxUnits, Math.ceil((load[Math.max(0, step - 1)] ?? 0) / prices.capacity)));
  const run = (a: number, b: number, decide: Decider): Run => simulate(load, a, b, startUnits(a), prices, decide);
  const tunedUpTo = (end: number): ReactiveRule => cheapest((rule) => run(0, end, reactive(load, rule, prices)).cost);

  const rule = tunedUpTo(tuneEnd);
  const candidates = candidatesOf(input, tunedUpTo(from), rule);
  const best = oracle(load, tuneEnd, to, startUnits(tuneEnd), prices);
  const byReactive = run(tuneEnd, to, reactive(load, rule, prices));
  const shadows = shadowCosts(load, from, to, startUnits(from), prices, candidates);
  const { decider, led } = follow(from, prices, candidates, shadows);
  const ours = run(tuneEnd, to, decider);
  const alone = follow(from, prices, candidates.slice(1), shadows.slice(1));
  const byForecast = run(tuneEnd, to, alone.decider);
  const regret = (one: Run): number => (best.cost > 0 ? (one.cost - best.cost) / best.cost : 0);
  const perStep = Array.from(ours.perStep, (cost, i) => (byReactive.perStep[i] ?? 0) - cost);
  const asked = [...led.values()].reduce((sum, times) => sum + times, 0);
  return {
    used: [...led].toSorted((a, b) => b[1] - a[1])[0]?.[0] ?? 'reactive',
    led: Object.fromEntries([...led].map(([id, times]) => [id, times / asked])),
    ours,
    reactive: byReactive,
    forecast: byForecast,
    oracle: best,
    regret: regret(ours),
    regretReactive: regret(byReactive),
    regretForecast: regret(byForecast),
    gain: gainInterval(perStep, 0, 72, rng),
    reactiveRule: rule,
  };
}

/** The reactive rule first. Up to `tuneEnd` it is the one that was known to be best at `from`: it is not compared on what it was tuned on. */
function candidatesOf(input: ReplayInput, earlier: ReactiveRule, later: ReactiveRule): readonly Candidate[] {
  const { load, stepMs, quantiles, from, tuneEnd, to, prices } = input;
  const at = (step: number): Float64Array => quantiles.subarray((step - from) * quantilesPerStep, (step - from + 1) * quantilesPerStep);
  const hysteresis = (): Decider => {
    const before = reactive(load, earlier, prices);
    const after = reactive(load, later, prices);
    return (step, units, age) => (step < tuneEnd ? before : after)(step, units, age);
  };
  const width = prices.maxUnits + 1;
  return [
    { id: 'reactive', isAsItIs: true, decider: hysteresis },
    ...kernels.map((options) => {
      const policy = kernelPolicy(load, stepMs, from, to, prices, options);
      return {
        id: `similar ${options.neighbours}${options.dayWeight > 0 ? ' by time of day' : ''}`,
        decider: (): Decider => {
          const otherwise = hysteresis();
          return (step, units, age) => {
            const fallback = otherwise(step, units, age);
            const learned = policy[(step - from) * width + units] ?? 0;
            return learned === 0 ? fallback : learned;
          };
        },
      };
    }),
    ...planRules.map((rule) => ({ id: `plan ${rule.span}/${rule.caution}`, decider: () => forecasting(at, rule, prices) })),
  ];
}

function cheapest(costOf: (rule: ReactiveRule) => number): ReactiveRule {
  let best: { rule: ReactiveRule; cost: number } | undefined;
  for (const rule of reactiveRules) {
    const cost = costOf(rule);
    if (best === undefined || cost < best.cost) best = { rule, cost };
  }
  if (best === undefined) throw new RangeError('no rules to choose from');
  return best.rule;
}

/** A unit that carries a quarter of the record's usual high (its 95th percentile), at most 12 of them; a unit of load uncovered costs five held. */
export function pricesOf(load: ArrayLike<number>, upTo: number, delaySteps: number): Prices {
  const sorted = Float64Array.from({ length: upTo }, (_, i) => Math.max(0, load[i] ?? 0)).sort();
  const high = sorted[Math.floor(0.95 * sorted.length)] ?? 1;
  return { capacity: Math.max(high / 4, 1e-9), maxUnits: 12, delaySteps, hold: 1, move: 6, over: 5 };
}
