import { type Decider, type Prices, simulate } from './decide.ts';
import { horizons } from './window.ts';

/** One way of deciding, among several that are compared as they go. */
export interface Candidate {
  readonly id: string;
  /** A decider with nothing remembered yet; some keep counts from step to step. */
  decider(): Decider;
}

/**
 * No change is taken back within an hour of coming into effect, in whichever direction: what was decided on noise would be undone on
 * noise, and each move costs.
 */
export function steady(decide: Decider, prices: Prices): Decider {
  let lastAt = Number.NEGATIVE_INFINITY;
  let lastBy = 0;
  return (step, units, age) => {
    const next = decide(step, units, age);
    const by = Math.sign(next - units);
    if (by === 0 || (by !== lastBy && step - lastAt <= prices.delaySteps + horizons)) return units;
    lastAt = step;
    lastBy = by;
    return next;
  };
}

/** How far below the first candidate's cost another's must lie before it is followed: less is luck as often as not. */
const leastLead = 0.05;
/** Who is followed is asked again every so many steps. */
const reviewSteps = 72;

export interface Followed {
  readonly decider: Decider;
  /** Candidate id -> times that it was asked while it was the one followed. */
  readonly led: Map<string, number>;
}

/** What each candidate would have cost from `from` up to each step, on its own units. */
export function shadowCosts(
  load: ArrayLike<number>,
  from: number,
  to: number,
  start: number,
  prices: Prices,
  candidates: readonly Candidate[],
): readonly Float64Array[] {
  return candidates.map((candidate) => {
    const { perStep } = simulate(load, from, to, start, prices, steady(candidate.decider(), prices));
    const sums = new Float64Array(to - from + 1);
    for (let i = 0; i < perStep.length; i += 1) sums[i + 1] = (sums[i] as number) + (perStep[i] as number);
    return sums;
  });
}

/**
 * Follows whoever would have been cheapest so far: every candidate is run in the shadow from `from`, and at each review the one with
 * the least cost up to then decides, if it beats the first candidate by a margin. The first is the one to fall back to. Sums over the
 * whole past, not the last hours: it follows what lasts (follow the leader, with a handicap for the rest). Tests of significance
 * beyond the margin were tried and lost: on 69 recorded and generated series they kept to the first candidate too long.
 */
export function follow(from: number, prices: Prices, candidates: readonly Candidate[], shadows: readonly Float64Array[]): Followed {
  const deciders = candidates.map((candidate) => candidate.decider());
  const led = new Map<string, number>();
  let reviewed = Number.NEGATIVE_INFINITY;
  let leader = 0;
  const lead = (step: number): number => {
    const at = step - from;
    const first = shadows[0]?.[at] ?? 0;
    let best = 0;
    for (let i = 1; i < shadows.length; i += 1) {
      const cost = shadows[i]?.[at] ?? 0;
      if (cost < (1 - leastLead) * first && cost < (shadows[best]?.[at] ?? 0)) best = i;
    }
    return best;
  };
  const decide: Decider = (step, units, age) => {
    if (step - reviewed >= reviewSteps) {
      leader = lead(step);
      reviewed = step;
    }
    const id = candidates[leader]?.id ?? '';
    led.set(id, (led.get(id) ?? 0) + 1);
    let answer = units;
    // All are asked: those that count what they see must see it.
    deciders.forEach((decider, i) => {
      const next = decider(step, units, age);
      if (i === leader) answer = next;
    });
    return answer;
  };
  return { decider: steady(decide, prices), led };
}
