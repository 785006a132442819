/**
 * What a split would have cost over a recorded load, and what the best reactive rule would have cost: the bar. One range carries
 * `capacity`; what comes above it is the cost of a step (operations that ran beyond what the range carries), plus a price for
 * holding a second range and a price for each move.
 */
export interface SplitPrices {
  readonly capacity: number;
  /** Steps between the decision and its effect. */
  readonly delaySteps: number;
  /** Of each step with two ranges. */
  readonly hold: number;
  readonly move: number;
}

/** A second range costs 2 % of a range's capacity for each step; moving half a range costs what three steps of it carry. */
export function pricesFor(capacity: number, stepMs: number): SplitPrices {
  return { capacity, delaySteps: Math.max(1, Math.ceil(600_000 / stepMs)), hold: 0.02 * capacity, move: 3 * capacity };
}

const over = (load: number, capacity: number): number => Math.max(0, load - capacity);

/** Cost of each step with no second range at all. */
export function costUnsplit(load: readonly number[], prices: SplitPrices): number[] {
  return load.map((value) => over(value, prices.capacity));
}

/** Cost of each step when split from the start, effective after the delay; the price of the move is not in it. */
export function costSplit(left: readonly number[], right: readonly number[], prices: SplitPrices): number[] {
  return left.map((value, i) => {
    const other = right[i] ?? 0;
    if (i < prices.delaySteps) return over(value + other, prices.capacity);
    return over(value, prices.capacity) + over(other, prices.capacity) + prices.hold;
  });
}

/** The same onto a node that has a load of its own already: no second range to hold, but that load beside the right half. */
export function costMoved(left: readonly number[], right: readonly number[], other: readonly number[], prices: SplitPrices): number[] {
  return left.map((value, i) => {
    const moved = right[i] ?? 0;
    const own = other[i] ?? 0;
    if (i < prices.delaySteps) return over(value + moved, prices.capacity);
    return over(value, prices.capacity) + Math.max(0, over(moved + own, prices.capacity) - over(own, prices.capacity));
  });
}

export interface ReactiveRun {
  readonly perStep: readonly number[];
  readonly moves: number;
  readonly total: number;
}

/** Hysteresis: split after `holdSteps` steps above `high` x capacity, merge after four times as many below half of that. */
function runReactive(left: readonly number[], right: readonly number[], prices: SplitPrices, high: number, holdSteps: number): ReactiveRun {
  let isSplit = false;
  let pendingAt = -1;
  let above = 0;
  let below = 0;
  let moves = 0;
  let total = 0;
  const perStep = left.map((value, i) => {
    const other = right[i] ?? 0;
    const load = value + other;
    let cost = 0;
    if (pendingAt === i) {
      isSplit = !isSplit;
      pendingAt = -1;
    }
    above = load > high * prices.capacity ? above + 1 : 0;
    below = load < 0.5 * high * prices.capacity ? below + 1 : 0;
    if (pendingAt < 0 && ((!isSplit && above >= holdSteps) || (isSplit && below >= 4 * holdSteps))) {
      pendingAt = i + prices.delaySteps;
      moves += 1;
      cost += prices.move;
    }
    cost += isSplit ? over(value, prices.capacity) + over(other, prices.capacity) + prices.hold : over(load, prices.capacity);
    total += cost;
    return cost;
  });
  return { perStep, moves, total };
}

/** The best of the reactive rules on this very record: tuned in hindsight, which favours the rival and never us. */
export function bestReactive(left: readonly number[], right: readonly number[], prices: SplitPrices): ReactiveRun {
  let best: ReactiveRun | undefined;
  for (const high of [0.6, 0.7, 0.8, 0.9, 1, 1.1]) {
    for (const holdSteps of [1, 2, 3, 6, 12]) {
      const run = runReactive(left, right, prices, high, holdSteps);
      if (best === undefined || run.total < best.total) best = run;
    }
  }
  return best ?? { perStep: [], moves: 0, total: 0 };
}
