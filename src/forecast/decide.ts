import { levels } from './contender.ts';
import { horizons, outputs } from './window.ts';

/**
 * Decisions about capacity, judged as decisions: how many units (ranges, shards, replicas) to hold for a load, where a change takes
 * `delaySteps` to come into effect, costs something, and holding idle units costs too. Three deciders on the same record:
 *
 *   oracle     knows the future; dynamic programming over (step, units); the bar that nobody reaches
 *   reactive   hysteresis on the present load: what autoscalers do
 *   forecast   expected cost of each choice under the forecast's quantiles, from when the change would be in effect
 *
 * While a change is on its way nothing else is decided (pending influence); a unit is held for a least age before it is given up.
 */
export interface Prices {
  /** Load that one unit carries. */
  readonly capacity: number;
  readonly maxUnits: number;
  readonly delaySteps: number;
  /** Of one unit for one step. */
  readonly hold: number;
  /** Of each unit added or taken away. */
  readonly move: number;
  /** Of one unit's worth of load that nothing carries, for one step. */
  readonly over: number;
}

export interface Run {
  readonly cost: number;
  readonly perStep: Float64Array;
  readonly moves: number;
  /** Changes taken back within 12 steps. */
  readonly reversals: number;
}

export function stepCost(load: number, units: number, prices: Prices): number {
  return prices.hold * units + prices.over * Math.max(0, load / prices.capacity - units);
}

/** Decides at each step, given the units in effect: the units to have from `delaySteps` later. */
export type Decider = (step: number, units: number, age: number) => number;

export function simulate(load: ArrayLike<number>, from: number, to: number, start: number, prices: Prices, decide: Decider): Run {
  const perStep = new Float64Array(Math.max(0, to - from));
  let units = start;
  let pending = -1;
  let target = units;
  let age = 1_000_000;
  let cost = 0;
  let moves = 0;
  let reversals = 0;
  let lastMove = { at: Number.NEGATIVE_INFINITY, by: 0 };
  for (let t = from; t < to; t += 1) {
    if (pending === t) {
      units = target;
      pending = -1;
      age = 0;
    }
    let paid = 0;
    if (pending < 0) {
      target = Math.max(1, Math.min(prices.maxUnits, decide(t, units, age)));
      if (target !== units) {
        const by = target - units;
        paid = prices.move * Math.abs(by);
        moves += 1;
        if (t - lastMove.at <= prices.delaySteps + horizons && Math.sign(by) !== Math.sign(lastMove.by)) reversals += 1;
        lastMove = { at: t, by };
        if (prices.delaySteps === 0) {
          units = target;
          age = 0;
        } else pending = t + prices.delaySteps;
      }
    }
    paid += stepCost(load[t] ?? 0, units, prices);
    age += 1;
    perStep[t - from] = paid;
    cost += paid;
  }
  return { cost, perStep, moves, reversals };
}

/** The least cost that any sequence of changes could have had, and a sequence that has it. Cost: steps x units^2. */
export function oracle(load: ArrayLike<number>, from: number, to: number, start: number, prices: Prices): Run {
  const { maxUnits, delaySteps } = prices;
  const n = to - from;
  const k = maxUnits + 1;
  // prefix[u][i]: cost of holding u units over the first i steps.
  const prefix = Array.from({ length: k }, (_, u) => {
    const sums = new Float64Array(n + 1);
    for (let i = 0; i < n; i += 1) sums[i + 1] = (sums[i] as number) + stepCost(load[from + i] ?? 0, u, prices);
    return sums;
  });
  const best = new Float64Array((n + 1) * k);
  const next = new Uint8Array(n * k);
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let u = 1; u < k; u += 1) {
      const held = prefix[u] as Float64Array;
      let least = (held[i + 1] as number) - (held[i] as number) + (best[(i + 1) * k + u] as number);
      let choice = u;
      const there = Math.min(n, i + delaySteps);
      const waiting = (held[there] as number) - (held[i] as number);
      for (let v = 1; v < k; v += 1) {
        if (v === u) continue;
        // With no delay the change is in effect in this very step.
        const after =
          delaySteps === 0
            ? ((prefix[v] as Float64Array)[i + 1] as number) -
              ((prefix[v] as Float64Array)[i] as number) +
              (best[(i + 1) * k + v] as number)
            : (best[there * k + v] as number);
        const cost = prices.move * Math.abs(v - u) + waiting + after;
        if (cost < least - 1e-12) {
          least = cost;
          choice = v;
        }
      }
      best[i * k + u] = least;
      next[i * k + u] = choice;
    }
  }
  return simulate(load, from, to, start, prices, (step, units) => next[(step - from) * k + units] ?? units);
}

export interface ReactiveRule {
  /** Load over capacity of the units held above which more are added. */
  readonly high: number;
  /** Load over capacity of one unit fewer, below which it is given up. */
  readonly low: number;
  readonly upSteps: number;
  readonly downSteps: number;
}

export const reactiveRules: readonly ReactiveRule[] = [0.7, 0.8, 0.9, 1, 1.1, 1.3].flatMap((high) =>
  [0.5, 0.7, 0.85].flatMap((low) =>
    [1, 2, 4].flatMap((upSteps) => [3, 6, 12, 36, 96].map((downSteps) => ({ high, low: low * high, upSteps, downSteps }))),
  ),
);

export function reactive(load: ArrayLike<number>, rule: ReactiveRule, prices: Prices): Decider {
  let above = 0;
  let below = 0;
  let recentHigh = 0;
  return (step, units) => {
    const now = (load[step] ?? 0) / prices.capacity;
    above = now > rule.high * units ? above + 1 : 0;
    below = units > 1 && now < rule.low * (units - 1) ? below + 1 : 0;
    recentHigh = below === 0 ? 0 : Math.max(recentHigh, now);
    if (above >= rule.upSteps) {
      above = 0;
      return Math.ceil(now / rule.high);
    }
    if (below >= rule.downSteps) {
      below = 0;
      // Down to what the highest load of the quiet spell needs: memory over the window, not the last value.
      return Math.max(1, Math.ceil(recentHigh / rule.high));
    }
    return units;
  };
}

export interface ForecastRule {
  /** How many steps in effect a choice is judged on. */
  readonly span: number;
  /** How much dearer than told an uncovered load is taken to be: risk that the model does not know of. */
  readonly caution: number;
  /** What a change must save, in prices of a move, beyond its own price. */
  readonly threshold: number;
  /** Steps that a unit is kept before it may be given up. */
  readonly leastAge: number;
}

/** Probability mass that each quantile level stands for. */
const masses = levels.map((level, q) => {
  const low = q === 0 ? 0 : (level + (levels[q - 1] ?? 0)) / 2;
  const high = q === levels.length - 1 ? 1 : (level + (levels[q + 1] ?? 1)) / 2;
  return high - low;
});

/**
 * Plans one change over the forecast: each target and each moment to start it, at least cost; acts now only if no later moment is
 * cheaper, so that it neither waits for the load nor pays for capacity before its time. `quantiles(step)` is outputs x levels. What
 * lies beyond the 12 forecast steps is taken to be like the last of them.
 */
export function forecasting(quantiles: (step: number) => Float64Array, rule: ForecastRule, prices: Prices): Decider {
  const q = levels.length;
  const k = prices.maxUnits + 1;
  const end = prices.delaySteps + rule.span;
  const over = new Float64Array(horizons * k);
  const prefix = new Float64Array(k * (end + 1));
  return (step, units, age) => {
    const ahead = quantiles(step);
    for (let h = 0; h < horizons; h += 1) {
      for (let u = 1; u < k; u += 1) {
        let sum = 0;
        for (let i = 0; i < q; i += 1) {
          const excess = (ahead[h * q + i] as number) / prices.capacity - u;
          if (excess > 0) sum += (masses[i] as number) * excess;
        }
        over[h * k + u] = sum;
      }
    }
    // prefix[u][s]: expected cost of the steps 1..s ahead with u units.
    for (let u = 1; u < k; u += 1) {
      const base = u * (end + 1);
      for (let s = 0; s < end; s += 1) {
        prefix[base + s + 1] =
          (prefix[base + s] as number) + prices.hold * u + rule.caution * prices.over * (over[Math.min(s, horizons - 1) * k + u] as number);
      }
    }
    const stay = prefix[units * (end + 1) + end] as number;
    let best = units;
    let least = stay;
    for (let u = 1; u < k; u += 1) {
      if (u === units || (u < units && age < rule.leastAge)) continue;
      const price = (1 + rule.threshold) * prices.move * Math.abs(u - units);
      // Started `wait` steps from now, in effect `delaySteps` later. Ties go to waiting: what can be decided later may be known better.
      for (let wait = 0; wait < rule.span; wait += 1) {
        const from = wait + prices.delaySteps;
        const cost =
          price +
          (prefix[units * (end + 1) + from] as number) +
          (prefix[u * (end + 1) + end] as number) -
          (prefix[u * (end + 1) + from] as number);
        if (cost < least || (cost === least && wait > 0 && best === u)) {
          least = cost;
          best = wait === 0 ? u : units;
        }
      }
    }
    return best;
  };
}

export const quantilesPerStep = outputs * levels.length;
