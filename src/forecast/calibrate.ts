import { levels, medianIndex } from './contender.ts';
import type { Member } from './examples.ts';
import { horizons, outputs } from './window.ts';

/**
 * Conformal calibration that follows drift. Each quantile of each series gets an offset, in the series' own recent error scale,
 * tracked by the quantile-tracking rule of adaptive conformal inference (Gibbs and Candès 2021; Angelopoulos et al. 2023): after
 * every outcome the offset moves up by `rate * level` if the outcome lay above the quantile, else down by `rate * (1 - level)`.
 * Over any long run the share of outcomes below a quantile then tends to its level, whatever the model does and however the
 * series drifts. A forecast made at t is corrected only with outcomes of forecasts that were complete by t.
 *
 * Horizons share offsets in groups, which keeps the tracking quick: 4 groups x 9 levels a series. Cost: one pass.
 */
export interface CalibrateOptions {
  /** Step of the tracker, in units of the running error scale. */
  readonly rate: number;
}

export const defaultCalibration: CalibrateOptions = { rate: 0.04 };

const groupOf = Uint8Array.from({ length: outputs }, (_, h) => (h === horizons ? 3 : h < 2 ? 0 : h < 6 ? 1 : 2));
const groups = 4;
const groupSizes = [2, 4, 6, 1];
/** How fast the running error scale follows, a step. */
const scaleRate = 0.02;

/**
 * Corrected quantiles for each origin in turn (ascending). `raw` is origins x outputs x levels in the series' unit; the answer has
 * the same shape, ascending over the levels. Outcomes are read from the member's grid, never ahead of the origin.
 */
export function calibrate(
  member: Member,
  origins: readonly number[],
  raw: Float64Array,
  options: CalibrateOptions = defaultCalibration,
): Float64Array {
  const q = levels.length;
  const out = new Float64Array(raw.length);
  const offsets = new Float64Array(groups * q);
  // The running scale of errors, so that one rate suits a series in bytes and one in percent; starts at the series' unit.
  let scale = member.unit;
  const settled = new Uint32Array(outputs);
  const { values, missing } = member.grid;
  for (let i = 0; i < origins.length; i += 1) {
    const at = origins[i] ?? 0;
    for (let h = 0; h < outputs; h += 1) {
      // The outcome of a horizon is known that many steps later, the maximum's after all of them.
      const delay = Math.min(h + 1, horizons);
      for (; (settled[h] as number) < i; settled[h] = (settled[h] as number) + 1) {
        const past = settled[h] as number;
        const made = origins[past] ?? 0;
        if (made + delay > at) break;
        if (h < horizons && missing[made + h + 1] === 1) continue;
        const outcome = h < horizons ? (values[made + h + 1] ?? 0) : Math.max(...values.subarray(made + 1, made + 1 + horizons));
        const base = (past * outputs + h) * q;
        scale = Math.max(scale + (scaleRate / outputs) * (Math.abs(outcome - (raw[base + medianIndex] ?? 0)) - scale), 1e-12);
        const group = (groupOf[h] ?? 0) * q;
        const members = groupSizes[groupOf[h] ?? 0] ?? 1;
        for (let k = 0; k < q; k += 1) {
          if (k === medianIndex) continue;
          const level = levels[k] ?? 0.5;
          const rate = options.rate / members;
          offsets[group + k] = (offsets[group + k] ?? 0) + rate * (isAbove(outcome, out[base + k] ?? 0, k) ? level : level - 1);
        }
      }
    }
    for (let h = 0; h < outputs; h += 1) {
      const base = (i * outputs + h) * q;
      const group = (groupOf[h] ?? 0) * q;
      for (let k = 0; k < q; k += 1) out[base + k] = (raw[base + k] ?? 0) + (offsets[group + k] ?? 0) * scale;
      spread(out, base);
    }
  }
  return out;
}

/** Makes levels ascend outwards from the median, which stays: a band that crosses it says nothing against the point forecast. */
function spread(out: Float64Array, base: number): void {
  for (let k = medianIndex - 1; k >= 0; k -= 1) out[base + k] = Math.min(out[base + k] ?? 0, out[base + k + 1] ?? 0);
  for (let k = medianIndex + 1; k < levels.length; k += 1) out[base + k] = Math.max(out[base + k] ?? 0, out[base + k - 1] ?? 0);
}

/** An outcome on the very edge of a band is inside it: load that stands still, or comes in whole numbers, is often there. */
const isAbove = (outcome: number, quantile: number, k: number): boolean => (k < medianIndex ? outcome >= quantile : outcome > quantile);
