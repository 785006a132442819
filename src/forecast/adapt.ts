import { levels, medianIndex } from './contender.ts';
import type { Member } from './examples.ts';
import { horizons, outputs } from './window.ts';

/**
 * Drift handling of the point forecast: prediction with expert advice (exponentially weighted average forecaster, Cesa-Bianchi and
 * Lugosi 2006, with discounted losses). The network's median is one expert, the baselines' are the others; each is trusted by how
 * it did lately on this very series, per group of horizons. Where the network fits, it keeps nearly all the weight; where a series
 * has left what the network learned, the weight moves within hours, long before a retraining. The band moves with the median.
 *
 * Only outcomes that were complete at an origin count there. Cost: one pass, origins x outputs x experts.
 */
export interface AdaptOptions {
  /** Steps over which past errors fade to 1/e. */
  readonly memorySteps: number;
  /** How sharply a worse record lowers trust. */
  readonly sharpness: number;
  /** Trust in the network before anything is known; the others share the rest. */
  readonly prior: number;
}

export const defaultAdapt: AdaptOptions = { memorySteps: 72, sharpness: 30, prior: 0.9 };

const groupOf = Uint8Array.from({ length: outputs }, (_, h) => (h === horizons ? 3 : h < 2 ? 0 : h < 6 ? 1 : 2));
const groups = 4;

/** `raw` is origins x outputs x levels of the network, `others` the quantiles of each other expert in the same shape; only medians are read of those. */
export function adapt(
  member: Member,
  origins: readonly number[],
  raw: Float64Array,
  others: readonly Float64Array[],
  options: AdaptOptions = defaultAdapt,
): Float64Array {
  const q = levels.length;
  const experts = [raw, ...others];
  const k = experts.length;
  const out = new Float64Array(raw.length);
  const losses = new Float64Array(groups * k);
  const counts = new Float64Array(groups);
  const trust = new Float64Array(groups * k);
  const { values, missing } = member.grid;
  const prior = experts.map((_, e) => Math.log(e === 0 ? options.prior : (1 - options.prior) / Math.max(1, k - 1)));
  let settled = 0;
  let lastAt = origins[0] ?? 0;
  for (let i = 0; i < origins.length; i += 1) {
    const at = origins[i] ?? 0;
    for (; settled < i && (origins[settled] ?? 0) + horizons <= at; settled += 1) {
      const made = origins[settled] ?? 0;
      const fade = Math.exp(-Math.max(0, made - lastAt) / options.memorySteps);
      lastAt = Math.max(lastAt, made);
      for (let j = 0; j < losses.length; j += 1) losses[j] = (losses[j] as number) * fade;
      for (let g = 0; g < groups; g += 1) counts[g] = (counts[g] as number) * fade;
      let most = Number.NEGATIVE_INFINITY;
      for (let h = 0; h < outputs; h += 1) {
        const outcome = h < horizons ? (values[made + h + 1] ?? 0) : most;
        most = Math.max(most, outcome);
        if (h < horizons && missing[made + h + 1] === 1) continue;
        const g = groupOf[h] as number;
        counts[g] = (counts[g] as number) + 1;
        const at4 = (settled * outputs + h) * q + medianIndex;
        for (let e = 0; e < k; e += 1)
          losses[g * k + e] = (losses[g * k + e] as number) + Math.abs(outcome - ((experts[e] as Float64Array)[at4] as number));
      }
    }
    for (let g = 0; g < groups; g += 1) {
      // In shares of the network's own loss, so that one sharpness suits every unit, and one hopeless expert does not blur the others.
      const own = Math.max(losses[g * k] as number, 1e-9 * member.unit);
      const weightOfRecord = (counts[g] as number) / ((counts[g] as number) + 24);
      let top = Number.NEGATIVE_INFINITY;
      for (let e = 0; e < k; e += 1) {
        const score = (prior[e] as number) - (options.sharpness * weightOfRecord * (losses[g * k + e] as number)) / own;
        trust[g * k + e] = score;
        top = Math.max(top, score);
      }
      let sum = 0;
      for (let e = 0; e < k; e += 1) {
        const one = Math.exp((trust[g * k + e] as number) - top);
        trust[g * k + e] = one;
        sum += one;
      }
      for (let e = 0; e < k; e += 1) trust[g * k + e] = (trust[g * k + e] as number) / sum;
    }
    for (let h = 0; h < outputs; h += 1) {
      const g = groupOf[h] as number;
      const base = (i * outputs + h) * q;
      let median = 0;
      for (let e = 0; e < k; e += 1) median += (trust[g * k + e] as number) * ((experts[e] as Float64Array)[base + medianIndex] as number);
      const shift = median - (raw[base + medianIndex] as number);
      for (let j = 0; j < q; j += 1) out[base + j] = (raw[base + j] as number) + shift;
    }
  }
  return out;
}
