import { levels, medianIndex, quantileOfSorted } from './contender.ts';
import type { Member } from './examples.ts';
import { horizons, outputs } from './window.ts';

/**
 * The point forecast that is served as the model's: the network, the baselines and the experts, mixed by how each would have helped
 * lately on this very series (ML-Poly of Gaillard, Stoltz and van Erven 2014 on linearised absolute losses, so that the mixture
 * competes with the best fixed combination and not only with the best expert; regrets are discounted for drift, and it has no rate to
 * tune). Weights are kept per group of horizons. The network starts with most of the weight and keeps it until others have earned it.
 *
 * An expert that has no answer of its own yet sleeps (specialists, Freund et al. 1997): it neither weighs nor learns. A rule of the day
 * that stood in with the last value on the first day would be trusted on the second for what the last value was worth.
 *
 * Evidence is counted in steps, not in windows: neighbouring windows share their outcomes, and a series that is looked at every step is
 * not known five times as well as one that is looked at every fifth.
 *
 * The band moves with the median; its reach is the network's as far as the network is trusted, and that of the mixture's own last errors
 * for the rest. Feedback is as late as in life: an outcome counts at an origin only if it lies at or before that origin (Joulani, György
 * and Szepesvári 2013). Cost: one pass, origins x outputs x experts.
 *
 * Tried on the earlier parts of recorded load and on short stretches of them, and not kept: one learning rate for all experts (3 to 5 %
 * more error), weights by minimising the faded loss instead (1 to 2 %), a second mixture of this one and the baselines with a shorter
 * memory (1 %, with fewer series lost to a baseline by much), a prior pooled over the panel and gains cut off at some mean errors (no
 * difference).
 */
export interface MixOptions {
  /** Steps over which past regrets fade to 1/e, those that are granted too. */
  readonly memorySteps: number;
  /** Regret that is granted at the start, in mean errors: how many steps of evidence it takes to leave the prior. */
  readonly headStart: number;
  /** The network's share before anything is known; the others share the rest. */
  readonly prior: number;
  /** What a step before the network's first counts, of one after: enough to tell the others apart, too little to hold the network back. */
  readonly earlierWeight: number;
}

export const defaultMix: MixOptions = { memorySteps: 500, headStart: 10, prior: 0.8, earlierWeight: 0.1 };

/** The origins that are asked about, ascending, and some before them, by which rules are known before the network is asked at all. */
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
 * `raw` is the network's quantiles, origins (ascending) x outputs x levels; `others` the voices of everybody else. Answers quantiles in
 * the shape of `raw`.
 */
export function mix(
  member: Member,
  { earlier, origins }: Moments,
  raw: Float64Array,
  others: readonly Voice[],
  options: MixOptions = defaultMix,
): Float64Array {
  const q = levels.length;
  const moments = [...earlier, ...origins];
  const first = origins[0] ?? 0;
  const network = new Float64Array(moments.length * outputs);
  network.set(mediansOf(raw), earlier.length * outputs);
  const voices = [{ points: network, knowsFrom: first }, ...others];
  const k = voices.length;
  const state = emptyState(k, options.prior);
  const mixed = new Float64Array(moments.length * outputs);
  const out = new Float64Array(raw.length);
  const settled = new Uint32Array(outputs);
  const weights = new Float64Array(groups * k);
  const errors = Array.from({ length: bands }, recentErrors);
  for (let i = 0; i < moments.length; i += 1) {
    const at = moments[i] ?? 0;
    for (let h = 0; h < outputs; h += 1) {
      // The outcome of a horizon is known that many steps later, the maximum's after all of them.
      const delay = Math.min(h + 1, horizons);
      for (; (settled[h] as number) < i; settled[h] = (settled[h] as number) + 1) {
        const past = settled[h] as number;
        const made = moments[past] ?? 0;
        if (made + delay > at) break;
        const outcome = outcomeOf(member, made, h);
        if (Number.isNaN(outcome)) continue;
        const gap = past > 0 ? made - (moments[past - 1] ?? 0) : 1;
        const size = groupSizes[groupOf[h] as number] as number;
        const weight = (Math.min(gap, horizons) * (past < earlier.length ? options.earlierWeight : 1)) / size;
        settle(state, voices, mixed, past, made, h, outcome, weight, Math.exp(-gap / options.memorySteps / size));
        if (past >= earlier.length) errors[bandOf[h] as number]?.add(outcome - (mixed[past * outputs + h] as number));
      }
    }
    if (at > first) wake(state, voices, moments[i - 1] ?? at, at, weights);
    const granted = options.headStart * Math.exp(-Math.max(0, at - first) / options.memorySteps);
    weigh(state, voices, at, member.unit, granted, weights);
    const reaches = i < earlier.length ? [] : errors.map((list) => list.reaches());
    for (let h = 0; h < outputs; h += 1) {
      const base = i * outputs + h;
      const from = (groupOf[h] as number) * k;
      let median = 0;
      for (let e = 0; e < k; e += 1) median += (weights[from + e] as number) * ((voices[e] as Voice).points[base] as number);
      mixed[base] = median;
      if (i < earlier.length) continue;
      const row = (base - earlier.length * outputs) * q;
      const centre = raw[row + medianIndex] as number;
      const reach = reaches[bandOf[h] as number] ?? null;
      const trust = reach === null ? 1 : (weights[from] as number);
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

interface State {
  readonly prior: Float64Array;
  /** groups x experts: how much each would have lowered the loss, and the squares of that, both discounted. */
  readonly regret: Float64Array;
  readonly square: Float64Array;
  /** A group: discounted count of outcomes, and the mixture's discounted absolute error. */
  readonly count: Float64Array;
  readonly error: Float64Array;
}

function emptyState(k: number, share: number): State {
  return {
    prior: Float64Array.from({ length: k }, (_, e) => (e === 0 ? share : (1 - share) / Math.max(1, k - 1))),
    regret: new Float64Array(groups * k),
    square: new Float64Array(groups * k),
    count: new Float64Array(groups),
    error: new Float64Array(groups),
  };
}

/** What became of output `h` of a forecast that was made at step `made`; NaN where the step was not observed: that teaches nothing. */
function outcomeOf({ grid: { values, missing } }: Member, made: number, h: number): number {
  if (h < horizons) return missing[made + h + 1] === 1 ? Number.NaN : (values[made + h + 1] ?? 0);
  let most = Number.NEGATIVE_INFINITY;
  for (let step = 1; step <= horizons; step += 1) most = Math.max(most, values[made + step] ?? 0);
  return most;
}

/** Learns from the outcome of output `h` of the forecast `past`, which was made at step `made`. */
function settle(
  { regret, square, count, error }: State,
  voices: readonly Voice[],
  mixed: Float64Array,
  past: number,
  made: number,
  h: number,
  outcome: number,
  weight: number,
  fade: number,
): void {
  const group = groupOf[h] as number;
  const own = mixed[past * outputs + h] as number;
  const side = Math.sign(own - outcome);
  count[group] = (count[group] as number) * fade + weight;
  error[group] = (error[group] as number) * fade + weight * Math.abs(own - outcome);
  const k = voices.length;
  for (let e = 0; e < k; e += 1) {
    const { points, knowsFrom } = voices[e] as Voice;
    const gain = made < knowsFrom ? 0 : side * (own - (points[past * outputs + h] as number));
    const slot = group * k + e;
    regret[slot] = (regret[slot] as number) * fade + weight * gain;
    square[slot] = (square[slot] as number) * fade + weight * gain * gain;
  }
}

/** Errors that are kept of a group of horizons, and under how many they say nothing of a band. */
const keptErrors = 240;
const leastErrors = 40;

/** The last errors of the mixture, and how far from its median each level of the band lies by them; null while there are few. */
function recentErrors(): { add(error: number): void; reaches(): Float64Array | null } {
  const ring = new Float64Array(keptErrors);
  let count = 0;
  let known: Float64Array | null = null;
  let isStale = false;
  return {
    add: (error) => {
      ring[count % keptErrors] = error;
      count += 1;
      isStale = true;
    },
    reaches: () => {
      if (isStale && count >= leastErrors) {
        const sorted = ring.slice(0, Math.min(count, keptErrors)).sort();
        known = Float64Array.from(levels, (level, j) => {
          const error = quantileOfSorted(sorted, level);
          return j === medianIndex ? 0 : j < medianIndex ? Math.min(0, error) : Math.max(0, error);
        });
        isStale = false;
      }
      return known;
    },
  };
}

/**
 * Who wakes among others that are known starts as if it had been as often in doubt as they: with no squares behind it, its first regrets
 * would count for everything.
 */
function wake({ square }: State, voices: readonly Voice[], before: number, at: number, weights: Float64Array): void {
  const k = voices.length;
  voices.forEach(({ knowsFrom }, e) => {
    if (knowsFrom <= before || knowsFrom > at) return;
    for (let g = 0; g < groups; g += 1) {
      let mean = 0;
      for (let other = 0; other < k; other += 1) mean += (weights[g * k + other] as number) * (square[g * k + other] as number);
      square[g * k + e] = mean;
    }
  });
}

/** Weights at step `at`, groups x experts; `granted`: regret that is granted to the prior, in mean errors. */
function weigh(
  { prior, regret, square, count, error }: State,
  voices: readonly Voice[],
  at: number,
  unit: number,
  granted: number,
  weights: Float64Array,
): void {
  const k = prior.length;
  const isAwake = voices.map(({ knowsFrom }) => at >= knowsFrom);
  for (let g = 0; g < groups; g += 1) {
    const seen = count[g] as number;
    const scale = Math.max(seen > 0 ? (error[g] as number) / seen : unit, 1e-9 * unit);
    const put = (weightOf: (e: number) => number): number => {
      let sum = 0;
      for (let e = 0; e < k; e += 1) sum += weights[g * k + e] = isAwake[e] === true ? weightOf(e) : 0;
      return sum;
    };
    const earned = (e: number): number =>
      Math.max(0, (regret[g * k + e] as number) + granted * scale * (prior[e] as number)) / (scale * scale + (square[g * k + e] as number));
    let sum = put(earned);
    if (!(sum > 0)) sum = put((e) => prior[e] as number);
    for (let e = 0; e < k; e += 1) weights[g * k + e] = sum > 0 ? (weights[g * k + e] as number) / sum : 0;
  }
}
