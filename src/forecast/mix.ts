import { levels, medianIndex, quantileOfSorted } from './contender.ts';
import type { Member } from './examples.ts';
import { horizons, insert, outputs } from './window.ts';

/**
 * The point forecast that is served as the model's: the network, the baselines and the experts, mixed by how each would have helped
 * lately on this very series. Two rules of online aggregation do that, each on its own, and the mean of their answers is taken:
 *
 *   ML-Poly (Gaillard, Stoltz and van Erven 2014) on plain absolute losses competes with the best single expert;
 *   Bernstein online aggregation (Wintenberger 2017) on linearised ones competes with the best fixed combination.
 *
 * Both tune themselves by the squares of what they regret. Regrets fade, for drift, and ML-Poly's do not fall below nothing (regret
 * matching plus, Tammelin 2014), so that who fell far behind is back soon once it does well. Weights are kept per group of horizons. The
 * network starts with most of the weight and keeps it until others have earned it.
 *
 * An expert that has no answer of its own yet sleeps (specialists, Freund et al. 1997): it neither weighs nor learns. A rule of the day
 * that stood in with the last value on the first day would be trusted on the second for what the last value was worth.
 *
 * Evidence is counted in steps, not in windows: neighbouring windows share their outcomes, and a series that is looked at every step is
 * not known five times as well as one that is looked at every fifth. A short series has little of it, so that what was before the first
 * origin counts as well. A network that was trained there would be judged on what it has learned by heart; what it was trained from,
 * which has not seen the series, stands in for it there, a little worse than it.
 *
 * The band moves with the median; its reach is the network's as far as the network is trusted, and that of the mixture's own last errors
 * for the rest. Feedback is as late as in life: an outcome counts at an origin only if it lies at or before that origin (Joulani, György
 * and Szepesvári 2013). Cost: one pass, moments x outputs x experts x 2.
 *
 * Chosen on the earlier parts of recorded load, stretches of them and generated load, where the error is 1 to 3 % below that of ML-Poly
 * on linearised losses alone, and half as many of 123 stretches of 1,243 points end above their best baseline by 1 %. Not kept: either
 * rule alone (0.3 to 2 % more error), a prior shared by the baselines, sharper or gentler rates, gains cut off at some mean errors, the
 * mixture and the baselines mixed once more.
 */
export interface MixOptions {
  /** Steps over which past regrets fade to 1/e, those that are granted too. */
  readonly memorySteps: number;
  /** Regret that ML-Poly grants at the start, in mean errors: how many steps of evidence it takes to leave the prior. */
  readonly headStart: number;
  /** The network's share before anything is known; the others share the rest. */
  readonly prior: number;
  /** What a step before the first origin counts, of one after. */
  readonly earlierWeight: number;
  /** What the stand-in's step counts, of one of its own, as evidence of the network: that one has learned more. */
  readonly standInWeight: number;
}

export const defaultMix: MixOptions = { memorySteps: 1_000, headStart: 10, prior: 0.8, earlierWeight: 1, standInWeight: 0.25 };

/** The origins that are asked about, ascending, and some before them, by which everybody is known before the first origin. */
export interface Moments {
  readonly earlier: readonly number[];
  readonly origins: readonly number[];
}

/** Somebody whose point forecasts are mixed. */
export interface Voice {
  /** All moments, earlier ones first, x outputs. */
  readonly points: Float64Array;
  /** The first index of the series at which it has an answer of its own. */
  readonly knowsFrom: number;
}

/** Which outputs share weights: the first quarter of the horizons, the rest, the maximum. */
const groupOf = Uint8Array.from({ length: outputs }, (_, h) => (h === horizons ? 2 : h < 3 ? 0 : 1));
const groups = 3;
const groupSizes = Float64Array.from({ length: groups }, (_, g) => groupOf.reduce((sum, one) => sum + (one === g ? 1 : 0), 0));
/** Which outputs share a band: errors grow with the horizon. */
const bandOf = Uint8Array.from({ length: outputs }, (_, h) => (h === horizons ? 5 : h < 2 ? h : h < 4 ? 2 : h < 7 ? 3 : 4));
const bands = 6;

/**
 * `raw` is the network's quantiles, origins (ascending) x outputs x levels; `early` its stand-in's medians at the earlier moments, x outputs,
 * null where nobody stands in: then it sleeps there. `others` are the voices of everybody else. Answers quantiles in the shape of `raw`.
 */
export function mix(
  member: Member,
  moments: Moments,
  raw: Float64Array,
  early: Float64Array | null,
  others: readonly Voice[],
  options: MixOptions = defaultMix,
): Float64Array {
  const steps = [...moments.earlier, ...moments.origins];
  const network = new Float64Array(steps.length * outputs);
  if (early !== null) network.set(early);
  network.set(mediansOf(raw), moments.earlier.length * outputs);
  const knowsFrom = early === null ? (moments.origins[0] ?? 0) : 0;
  return mixPanel(member, moments, raw, panelOf([{ points: network, knowsFrom }, ...others], steps), options);
}

/** The same where everybody's answers are laid out already, the network's medians first. */
export function mixPanel(
  member: Member,
  moments: Moments,
  raw: Float64Array,
  panel: Panel,
  options: MixOptions = defaultMix,
): Float64Array {
  const q = levels.length;
  const before = moments.earlier.length;
  const steps = [...moments.earlier, ...moments.origins];
  const first = moments.origins[0] ?? 0;
  const k = panel.experts;
  const began = panel.knowsFrom[0] === 0 ? (steps[0] ?? first) : first;
  const rules = [emptyRule('ml-poly', panel, options.prior), emptyRule('bernstein', panel, options.prior)] as const;
  const [one, other] = rules;
  const out = new Float64Array(raw.length);
  const settled = new Uint32Array(outputs);
  for (const errors of errorsOfBands) errors.forget();
  for (let i = 0; i < steps.length; i += 1) {
    const at = steps[i] ?? 0;
    for (let h = 0; h < outputs; h += 1) {
      // The outcome of a horizon is known that many steps later, the maximum's after all of them.
      const delay = Math.min(h + 1, horizons);
      for (; (settled[h] as number) < i; settled[h] = (settled[h] as number) + 1) {
        const past = settled[h] as number;
        const made = steps[past] ?? 0;
        if (made + delay > at) break;
        const outcome = outcomeOf(member, made, h);
        if (Number.isNaN(outcome)) continue;
        const gap = past > 0 ? made - (steps[past - 1] ?? 0) : 1;
        const size = groupSizes[groupOf[h] as number] as number;
        const weight = (Math.min(gap, horizons) * (past < before ? options.earlierWeight : 1)) / size;
        const fade = Math.exp(-gap / options.memorySteps / size);
        const ofNetwork = past < before ? options.standInWeight : 1;
        for (const rule of rules) settle(rule, panel, past, h, outcome, weight, ofNetwork, fade);
        if (past >= before) errorsOfBands[bandOf[h] as number]?.add(outcome - mixedAt(rules, past * outputs + h));
      }
    }
    const granted = options.headStart * Math.exp(-Math.max(0, at - began) / options.memorySteps);
    for (const rule of rules) {
      if (at > first) wake(rule, panel, steps[i - 1] ?? at, at);
      weigh(rule, panel, i, member.unit, granted);
      answer(rule, panel, i);
    }
    if (i < before) continue;
    const reaches = errorsOfBands.map((list) => list.reaches());
    for (let h = 0; h < outputs; h += 1) {
      const base = i * outputs + h;
      const from = (groupOf[h] as number) * k;
      const median = mixedAt(rules, base);
      const row = (base - before * outputs) * q;
      const centre = raw[row + medianIndex] as number;
      const reach = reaches[bandOf[h] as number] ?? null;
      const trust = reach === null ? 1 : ((one.weights[from] as number) + (other.weights[from] as number)) / 2;
      for (let j = 0; j < q; j += 1) out[row + j] = median + trust * ((raw[row + j] as number) - centre) + (1 - trust) * (reach?.[j] ?? 0);
    }
  }
  return out;
}

/** The medians of quantiles: origins x outputs. */
export function mediansOf(quantiles: Float64Array): Float64Array {
  const q = levels.length;
  return Float64Array.from({ length: quantiles.length / q }, (_, i) => quantiles[i * q + medianIndex] ?? 0);
}

/** Everybody's answers, laid out as they are read: moments x outputs x experts. */
export interface Panel {
  readonly points: Float64Array;
  /** moments x experts: whether it has an answer of its own there. */
  readonly isAwake: Uint8Array;
  readonly experts: number;
  /** By expert: the first index at which it has an answer of its own. */
  readonly knowsFrom: Float64Array;
}

function panelOf(voices: readonly Voice[], steps: readonly number[]): Panel {
  const experts = voices.length;
  const points = new Float64Array(steps.length * outputs * experts);
  voices.forEach(({ points: own }, e) => {
    for (let i = 0; i < steps.length * outputs; i += 1) points[i * experts + e] = own[i] as number;
  });
  const knowsFrom = Float64Array.from(voices, (voice) => voice.knowsFrom);
  return { points, isAwake: wakingAt(knowsFrom, steps), experts, knowsFrom };
}

/** moments x experts: 1 where an expert has an answer of its own. */
export function wakingAt(knowsFrom: Float64Array, steps: readonly number[]): Uint8Array {
  const experts = knowsFrom.length;
  const isAwake = new Uint8Array(steps.length * experts);
  for (let i = 0; i < steps.length; i += 1)
    for (let e = 0; e < experts; e += 1) isAwake[i * experts + e] = (steps[i] as number) >= (knowsFrom[e] as number) ? 1 : 0;
  return isAwake;
}

/** A rule of aggregation and what it has learned; each is judged by its own answers. */
interface Rule {
  readonly is: 'ml-poly' | 'bernstein';
  readonly prior: Float64Array;
  /** What its prior makes of each one's rate. */
  readonly haste: Float64Array;
  /** groups x experts: how much each would have lowered the loss, and the squares of that, both discounted. */
  readonly regret: Float64Array;
  readonly square: Float64Array;
  /** A group: discounted count of outcomes, and the rule's discounted absolute error. */
  readonly count: Float64Array;
  readonly error: Float64Array;
  /** groups x experts. */
  readonly weights: Float64Array;
  /** Its answers, moments x outputs. */
  readonly mixed: Float64Array;
}

function emptyRule(is: Rule['is'], { isAwake, experts: k }: Panel, share: number): Rule {
  const moments = isAwake.length / k;
  const prior = Float64Array.from({ length: k }, (_, e) => (e === 0 ? share : (1 - share) / Math.max(1, k - 1)));
  return {
    is,
    prior,
    haste: prior.map((one) => Math.log(1 / one + 1)),
    regret: new Float64Array(groups * k),
    square: new Float64Array(groups * k),
    count: new Float64Array(groups),
    error: new Float64Array(groups),
    weights: new Float64Array(groups * k),
    mixed: new Float64Array(moments * outputs),
  };
}

const mixedAt = ([one, other]: readonly [Rule, Rule], cell: number): number =>
  ((one.mixed[cell] as number) + (other.mixed[cell] as number)) / 2;

/** What became of output `h` of a forecast that was made at step `made`; NaN where the step was not observed: that teaches nothing. */
function outcomeOf({ grid: { values, missing } }: Member, made: number, h: number): number {
  if (h < horizons) return missing[made + h + 1] === 1 ? Number.NaN : (values[made + h + 1] ?? 0);
  let most = Number.NEGATIVE_INFINITY;
  for (let step = 1; step <= horizons; step += 1) most = Math.max(most, values[made + step] ?? 0);
  return most;
}

/** Learns from the outcome of output `h` of the forecast `past`; `ofNetwork`: the share at which that counts for the network. */
function settle(
  { is, regret, square, count, error, mixed }: Rule,
  { points, isAwake, experts }: Panel,
  past: number,
  h: number,
  outcome: number,
  weight: number,
  ofNetwork: number,
  fade: number,
): void {
  const group = groupOf[h] as number;
  const cell = past * outputs + h;
  const own = mixed[cell] as number;
  const off = Math.abs(own - outcome);
  const side = Math.sign(own - outcome);
  count[group] = (count[group] as number) * fade + weight;
  error[group] = (error[group] as number) * fade + weight * off;
  const isLinear = is === 'bernstein';
  for (let e = 0; e < experts; e += 1) {
    const slot = group * experts + e;
    let gain = 0;
    if (isAwake[past * experts + e] === 1) {
      const point = points[cell * experts + e] as number;
      gain = isLinear ? side * (own - point) : off - Math.abs(point - outcome);
    }
    const counts = e === 0 ? weight * ofNetwork : weight;
    const sum = (regret[slot] as number) * fade + counts * gain;
    regret[slot] = isLinear ? sum : Math.max(0, sum);
    square[slot] = (square[slot] as number) * fade + counts * gain * gain;
  }
}

/** Errors that are kept of a group of horizons, and under how many they say nothing of a band. */
const keptErrors = 240;
const leastErrors = 40;

/** The last errors of the mixture, and how far from its median each level of the band lies by them; null while there are few. */
function recentErrors(): { forget(): void; add(error: number): void; reaches(): Float64Array | null } {
  const ring = new Float64Array(keptErrors);
  /** The same in order. */
  const sorted = new Float64Array(keptErrors);
  const known = new Float64Array(levels.length);
  let count = 0;
  let isStale = false;
  return {
    forget: () => {
      count = 0;
      isStale = false;
    },
    add: (error) => {
      let kept = count;
      if (count >= keptErrors) {
        kept = keptErrors - 1;
        const oldest = ring[count % keptErrors] as number;
        const place = placeIn(sorted, keptErrors, oldest);
        sorted.copyWithin(place, place + 1);
      }
      insert(sorted, kept, error);
      ring[count % keptErrors] = error;
      count += 1;
      isStale = true;
    },
    reaches: () => {
      if (count < leastErrors) return null;
      if (isStale) {
        const few = sorted.subarray(0, Math.min(count, keptErrors));
        levels.forEach((level, j) => {
          const error = quantileOfSorted(few, level);
          known[j] = j === medianIndex ? 0 : j < medianIndex ? Math.min(0, error) : Math.max(0, error);
        });
        isStale = false;
      }
      return known;
    },
  };
}

/** Scratch: series are mixed one after the other. */
const errorsOfBands = Array.from({ length: bands }, recentErrors);

/** Where the value stands among the first `count`, which ascend. */
function placeIn(sorted: Float64Array, count: number, value: number): number {
  let low = 0;
  let high = count - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Who wakes among others that are known starts as if it had been as often in doubt as they: with no squares behind it, its first regrets
 * would count for everything.
 */
function wake({ square, weights }: Rule, { knowsFrom, experts: k }: Panel, before: number, at: number): void {
  for (let e = 0; e < k; e += 1) {
    const from = knowsFrom[e] as number;
    if (from <= before || from > at) continue;
    for (let g = 0; g < groups; g += 1) {
      let mean = 0;
      for (let other = 0; other < k; other += 1) mean += (weights[g * k + other] as number) * (square[g * k + other] as number);
      square[g * k + e] = mean;
    }
  }
}

/** Weights at moment `i`; `granted`: regret that ML-Poly grants to the prior, in mean errors. */
function weigh(rule: Rule, { isAwake, experts: k }: Panel, i: number, unit: number, granted: number): void {
  const { prior, haste, regret, square, count, error, weights } = rule;
  for (let g = 0; g < groups; g += 1) {
    const seen = count[g] as number;
    const scale = Math.max(seen > 0 ? (error[g] as number) / seen : unit, 1e-9 * unit);
    const from = g * k;
    let most = Number.NEGATIVE_INFINITY;
    for (let e = 0; e < k; e += 1) {
      const share = prior[e] as number;
      const regretted = regret[from + e] as number;
      const doubt = scale * scale + (square[from + e] as number);
      let weight = Number.NEGATIVE_INFINITY;
      if (isAwake[i * k + e] === 1) {
        if (rule.is === 'ml-poly') weight = Math.max(0, regretted + granted * scale * share) / doubt;
        else {
          // Its own rate: the more its gains have varied, the slower it is followed.
          const rate = Math.min(0.5 / scale, Math.sqrt((haste[e] as number) / doubt));
          weight = Math.log(share * rate * scale) + rate * regretted - rate * rate * (square[from + e] as number);
        }
      }
      weights[from + e] = weight;
      most = Math.max(most, weight);
    }
    let sum = 0;
    for (let e = 0; e < k; e += 1) {
      const weight = weights[from + e] as number;
      // Bernstein's are logarithms so far, taken from the greatest, which so becomes 1.
      const plain = rule.is === 'ml-poly' ? Math.max(0, weight) : Math.exp(weight - most);
      sum += weights[from + e] = most === Number.NEGATIVE_INFINITY ? 0 : plain;
    }
    if (!(sum > 0)) {
      sum = 0;
      for (let e = 0; e < k; e += 1) sum += weights[from + e] = isAwake[i * k + e] === 1 ? (prior[e] as number) : 0;
    }
    for (let e = 0; e < k; e += 1) weights[from + e] = sum > 0 ? (weights[from + e] as number) / sum : 0;
  }
}

/** The rule's answers at moment `i`. */
function answer({ mixed, weights }: Rule, { points, experts: k }: Panel, i: number): void {
  for (let h = 0; h < outputs; h += 1) {
    const cell = i * outputs + h;
    const from = (groupOf[h] as number) * k;
    let sum = 0;
    for (let e = 0; e < k; e += 1) sum += (weights[from + e] as number) * (points[cell * k + e] as number);
    mixed[cell] = sum;
  }
}
