import { stepsPerDay, type Grid } from './time-grid.ts';
import { horizons, outputs } from './window.ts';

/**
 * The forecasters that always run beside the model, because they are hard to beat and cannot break: the last value, the value a
 * day ago, and exponential smoothing with a damped trend; ridge regression is in `ridge.ts`. Each learns from one series alone,
 * from the steps before `upTo` only.
 */
export interface Baseline {
  readonly id: string;
  readonly title: string;
  /** The first index at which it has an answer of its own, and not the last value for want of one; absent: any. */
  readonly knowsFrom?: (grid: Grid) => number;
  /** Fits on grid[0, upTo). `known` answers the constants of an earlier fit on the same values, if there was one. */
  fit(grid: Grid, upTo: number, known?: (find: () => Smoothing) => Smoothing): Fitted;
}

/** The constants of exponential smoothing. */
export interface Smoothing {
  readonly alpha: number;
  readonly beta: number;
}

export interface Fitted {
  /** Writes the point forecasts made at index `at` (known up to and including it): 12 horizons, then their maximum. */
  readonly predict: (at: number, out: Float64Array) => void;
}

function withMaximum(out: Float64Array): void {
  let most = Number.NEGATIVE_INFINITY;
  for (let h = 0; h < horizons; h += 1) most = Math.max(most, out[h] ?? 0);
  out[horizons] = most;
}

export const naive: Baseline = {
  id: 'naive',
  title: 'the last value',
  fit: (grid) => ({
    predict: (at, out) => {
      out.fill(grid.values[at] ?? 0, 0, outputs);
    },
  }),
};

export const seasonalNaive: Baseline = {
  id: 'seasonal-naive',
  title: 'the value a day ago',
  knowsFrom: ({ stepMs }) => (stepsPerDay(stepMs) > 0 ? stepsPerDay(stepMs) - 1 : Number.POSITIVE_INFINITY),
  fit: (grid) => {
    const perDay = stepsPerDay(grid.stepMs);
    return {
      predict: (at, out) => {
        for (let h = 1; h <= horizons; h += 1) {
          const dayAgo = perDay > 0 ? at + h - perDay * Math.ceil(h / perDay) : -1;
          out[h - 1] = grid.values[dayAgo >= 0 ? dayAgo : at] ?? 0;
        }
        withMaximum(out);
      },
    };
  },
};

const damping = 0.9;
const betas = [0, 0.05, 0.2] as const;

/**
 * Sums of the absolute one-step errors over (from, upTo), one a beta. The three go abreast: each step of one waits for its last. Without
 * a beta there is no trend.
 */
function oneStepErrors(values: Float64Array, from: number, upTo: number, alpha: number): readonly [number, number, number] {
  const [, slow, quick] = betas;
  const [keptSlow, keptQuick] = [(1 - slow) * damping, (1 - quick) * damping];
  let level0 = values[from] ?? 0;
  let [level1, level2] = [level0, level0];
  let [trend1, trend2] = [0, 0];
  let [error0, error1, error2] = [0, 0, 0];
  for (let i = from + 1; i < upTo; i += 1) {
    const value = values[i] as number;
    const expected1 = level1 + damping * trend1;
    const expected2 = level2 + damping * trend2;
    error0 += Math.abs(value - level0);
    error1 += Math.abs(value - expected1);
    error2 += Math.abs(value - expected2);
    level0 += alpha * (value - level0);
    const next1 = expected1 + alpha * (value - expected1);
    const next2 = expected2 + alpha * (value - expected2);
    trend1 = slow * (next1 - level1) + keptSlow * trend1;
    trend2 = quick * (next2 - level2) + keptQuick * trend2;
    level1 = next1;
    level2 = next2;
  }
  return [error0, error1, error2];
}

function fitSmoothing(values: Float64Array, upTo: number): Smoothing {
  let best: Smoothing = { alpha: 0.5, beta: 0 };
  let least = Number.POSITIVE_INFINITY;
  // The last few thousand steps say what today needs, and bound the cost.
  const from = Math.max(0, upTo - 4_000);
  for (const alpha of [0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9]) {
    const errors = oneStepErrors(values, from, upTo, alpha);
    betas.forEach((beta, b) => {
      const error = errors[b] ?? 0;
      if (error < least) [best, least] = [{ alpha, beta }, error];
    });
  }
  return best;
}

/** Simple and damped-trend exponential smoothing; smoothing constants by one-step error on a small grid (Gardner and McKenzie 1985). */
export const exponentialSmoothing: Baseline = {
  id: 'exponential-smoothing',
  title: 'exponential smoothing with a damped trend',
  fit: ({ values }, upTo, known = (find) => find()) => {
    const { alpha, beta } = known(() => fitSmoothing(values, upTo));
    // States are kept a step so that a rolling backtest costs one pass, not one a forecast.
    const levelAt = new Float64Array(values.length);
    const trendAt = new Float64Array(values.length);
    const kept = (1 - beta) * damping;
    let level = values[0] ?? 0;
    let trend = 0;
    levelAt[0] = level;
    for (let i = 1; i < values.length; i += 1) {
      const expected = level + damping * trend;
      const next = expected + alpha * ((values[i] as number) - expected);
      trend = beta * (next - level) + kept * trend;
      level = next;
      levelAt[i] = level;
      trendAt[i] = trend;
    }
    return {
      predict: (at, out) => {
        let ahead = levelAt[at] ?? 0;
        let slope = trendAt[at] ?? 0;
        for (let h = 0; h < horizons; h += 1) {
          slope *= damping;
          ahead += slope;
          out[h] = ahead;
        }
        withMaximum(out);
      },
    };
  },
};

export const baselines: readonly Baseline[] = [naive, seasonalNaive, exponentialSmoothing];
