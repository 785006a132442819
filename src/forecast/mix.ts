import { levels, medianIndex, quantileOfSorted } from './contender.ts';
import type { Member } from './examples.ts';
import { horizons, outputs } from './window.ts';

/**
 * The point forecast that is served as the model's: the network, the baselines and the experts, mixed by how each would have helped
 * lately on this very series (ML-Poly of Gaillard, Stoltz and van Erven 2014 on linearised absolute losses, so that the mixture
 * competes with the best fixed combination and not only with the best expert; regrets are discounted for drift, and it has no rate to
 * tune). Weights are kept per group of horizons. The network starts with most of the weight and keeps it until others have earned it.
 * The band moves with the median; its
 * reach is the network's as far as the network is trusted, and that of the mixture's own last errors for the rest.
 *
 * Feedback is as late as in life: an outcome counts at an origin only if it lies at or before that origin (Joulani, György and
 * Szepesvári 2013). Cost: one pass, origins x outputs x experts.
 */
export interface MixOptions {
  /** Steps over which past regrets fade to 1/e. */
  readonly memorySteps: number;
  /** Regret that is granted at the start, in mean errors: how much evidence it takes to leave the prior. */
  readonly headStart: number;
  /** The network's share before anything is known; the others share the rest. */
  readonly prior: number;
}

export const defaultMix: MixOptions = { memorySteps: 500, headStart: 4, prior: 0.8 };

/** Which outputs share weights: the first steps alone, later ones together, the maximum alone. */
const groupOf = Uint8Array.from({ length: outputs }, (_, h) => (h === horizons ? 5 : h < 2 ? h : h < 4 ? 2 : h < 7 ? 3 : 4));
const groups = 6;
const groupSizes = Float64Array.from({ length: groups }, (_, g) => groupOf.reduce((sum, one) => sum + (one === g ? 1 : 0), 0));

/**
 * `raw` is the network's quantiles, origins (ascending) x outputs x levels; `others` the point forecasts of everybody else, origins x
 * outputs each. Answers quantiles in the shape of `raw`.
 */
export function mix(
  member: Member,
  origins: readonly number[],
  raw: Float64Array,
  others: readonly Float64Array[],
  options: MixOptions = defaultMix,
): Float64Array {
  const q = levels.length;
  const points = [mediansOf(raw), ...others];
  const k = points.length;
  const state = emptyState(k, options.prior);
  const mixed = new Float64Array(origins.length * outputs);
  const out = new Float64Array(raw.length);
  const settled = new Uint32Array(outputs);
  const weights = new Float64Array(groups * k);
  const errors = Array.from({ length: groups }, recentErrors);
  for (let i = 0; i < origins.length; i += 1) {
    const at = origins[i] ?? 0;
    for (let h = 0; h < outputs; h += 1) {
      // The outcome of a horizon is known that many steps later, the maximum's after all of them.
      const delay = Math.min(h + 1, horizons);
      for (; (settled[h] as number) < i; settled[h] = (settled[h] as number) + 1) {
        const past = settled[h] as number;
        const made = origins[past] ?? 0;
        if (made + delay > at) break;
        const gap = past > 0 ? made - (origins[past - 1] ?? 0) : 1;
        const error = settle(
          state,
          member,
          points,
          mixed,
          past,
          made,
          h,
          Math.exp(-gap / options.memorySteps / (groupSizes[groupOf[h] as number] as number)),
        );
        errors[groupOf[h] as number]?.add(error);
      }
    }
    weigh(state, member.unit, options.headStart, weights);
    const reaches = errors.map((list) => list.reaches());
    for (let h = 0; h < outputs; h += 1) {
      const base = i * outputs + h;
      const from = (groupOf[h] as number) * k;
      let median = 0;
      for (let e = 0; e < k; e += 1) median += (weights[from + e] as number) * ((points[e] as Float64Array)[base] as number);
      mixed[base] = median;
      const network = raw[base * q + medianIndex] as number;
      const reach = reaches[groupOf[h] as number] ?? null;
      const trust = reach === null ? 1 : (weights[from] as number);
      for (let j = 0; j < q; j += 1)
        out[base * q + j] = median + trust * ((raw[base * q + j] as number) - network) + (1 - trust) * (reach?.[j] ?? 0);
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

/**
 * Learns from the outcome of output `h` of the forecast `past`, which was made at step `made`, and answers the mixture's error, NaN where
 * the step was not observed: that teaches nothing.
 */
function settle(
  { regret, square, count, error }: State,
  { grid: { values, missing } }: Member,
  points: readonly Float64Array[],
  mixed: Float64Array,
  past: number,
  made: number,
  h: number,
  fade: number,
): number {
  let outcome = values[made + h + 1] ?? 0;
  if (h === horizons) {
    outcome = Number.NEGATIVE_INFINITY;
    for (let step = 1; step <= horizons; step += 1) outcome = Math.max(outcome, values[made + step] ?? 0);
  } else if (missing[made + h + 1] === 1) return Number.NaN;
  const group = groupOf[h] as number;
  const share = 1 / (groupSizes[group] as number);
  const own = mixed[past * outputs + h] as number;
  const side = Math.sign(own - outcome);
  count[group] = (count[group] as number) * fade + share;
  error[group] = (error[group] as number) * fade + share * Math.abs(own - outcome);
  const k = points.length;
  for (let e = 0; e < k; e += 1) {
    const gain = side * (own - ((points[e] as Float64Array)[past * outputs + h] as number));
    const slot = group * k + e;
    regret[slot] = (regret[slot] as number) * fade + share * gain;
    square[slot] = (square[slot] as number) * fade + share * gain * gain;
  }
  return outcome - own;
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
      if (Number.isNaN(error)) return;
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

function weigh({ prior, regret, square, count, error }: State, unit: number, headStart: number, weights: Float64Array): void {
  const k = prior.length;
  for (let g = 0; g < groups; g += 1) {
    const seen = count[g] as number;
    const scale = Math.max(seen > 0 ? (error[g] as number) / seen : unit, 1e-9 * unit);
    let sum = 0;
    for (let e = 0; e < k; e += 1) {
      const slot = g * k + e;
      const granted = headStart * scale * (prior[e] as number);
      const weight = Math.max(0, (regret[slot] as number) + granted) / (scale * scale + (square[slot] as number));
      weights[slot] = weight;
      sum += weight;
    }
    for (let e = 0; e < k; e += 1) weights[g * k + e] = sum > 0 ? (weights[g * k + e] as number) / sum : (prior[e] as number);
  }
}
