import { type Decider, type Prices, simulate } from './decide.ts';
import { standardError } from './serve.ts';
import { horizons } from './window.ts';

/** One way of deciding, among several that are compared as they go. */
export interface Candidate {
  readonly id: string;
  /** Whether it is run as it is, and not held {@link steady}. */
  readonly isAsItIs?: boolean;
  /** A decider with nothing remembered yet; some keep counts from step to step. */
  decider(): Decider;
}

/**
 * No change is taken back within an hour of coming into effect, in whichever direction: what was decided on noise would be undone on
 * noise, and each move costs.
 */
export function steady(decide: Decider, prices: Prices, isAsItIs: () => boolean = () => false): Decider {
  let lastAt = Number.NEGATIVE_INFINITY;
  let lastBy = 0;
  return (step, units, age) => {
    const next = decide(step, units, age);
    const by = Math.sign(next - units);
    if (by === 0 || (!isAsItIs() && by !== lastBy && step - lastAt <= prices.delaySteps + horizons)) return units;
    lastAt = step;
    lastBy = by;
    return next;
  };
}

/** How many standard errors a candidate must have saved so far, on the mean step, before it is followed. */
const sureMargin = 1.28;
/** Costs of steps so far apart go together. */
const spellSteps = 72;
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
    const decider = candidate.decider();
    const { perStep } = simulate(load, from, to, start, prices, candidate.isAsItIs === true ? decider : steady(decider, prices));
    const sums = new Float64Array(to - from + 1);
    for (let i = 0; i < perStep.length; i += 1) sums[i + 1] = (sums[i] as number) + (perStep[i] as number);
    return sums;
  });
}

/**
 * Follows whoever would have been cheapest so far, if that is more than luck: every candidate is run in the shadow from `from`, and at each
 * review the one with the least cost up to then decides, of those whose savings over the first candidate's cost exclude nothing by a
 * margin. The first is the one to fall back to, and then decides as it would by itself: held steady, hysteresis that was tuned to turn
 * back quickly cost 6 % more. Sums over the whole past, not the last hours: it follows what lasts.
 * The margin is the one by which a baseline is served (`serve.ts`), for the same reason: the choice is made again at the next review. On
 * generated load 22 of 64 series lost something to hysteresis with a handicap of 5 % in its place, 14 with this.
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
      if (cost < first && cost < (shadows[best]?.[at] ?? 0) && isSure(i, at)) best = i;
    }
    return best;
  };
  const isSure = (i: number, steps: number): boolean => {
    const [first, other] = [shadows[0], shadows[i]];
    if (first === undefined || other === undefined) return false;
    const saved = Float64Array.from(
      { length: steps },
      (_, s) => (first[s + 1] ?? 0) - (first[s] ?? 0) - (other[s + 1] ?? 0) + (other[s] ?? 0),
    );
    const mean = saved.reduce((sum, one) => sum + one, 0) / Math.max(1, steps);
    return mean > sureMargin * standardError(saved, spellSteps);
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
  return { decider: steady(decide, prices, () => candidates[leader]?.isAsItIs === true), led };
}
