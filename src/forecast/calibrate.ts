import { levels } from './contender.ts';
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
  /** The same for the median, which moves the point forecast: small, or 0 to leave it alone. */
  readonly medianRate: number;
}

export const defaultCalibration: CalibrateOptions = { rate: 0.04, medianRate: 0.01 };

const groupOf = Uint8Array.from({ length: outputs }, (_, h) => (h === horizons ? 3 : h < 2 ? 0 : h < 6 ? 1 : 2));
const groups = 4;
const medianLevel = 0.5;

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
  let settled = 0;
  const { values, missing } = member.grid;
  for (let i = 0; i < origins.length; i += 1) {
    const at = origins[i] ?? 0;
    for (; settled < i && (origins[settled] ?? 0) + horizons <= at; settled += 1) {
      const made = origins[settled] ?? 0;
      let most = Number.NEGATIVE_INFINITY;
      let error = 0;
      for (let h = 0; h < outputs; h += 1) {
        const outcome = h < horizons ? (values[made + h + 1] ?? 0) : most;
        most = Math.max(most, outcome);
        if (h < horizons && missing[made + h + 1] === 1) continue;
        const base = (settled * outputs + h) * q;
        error += Math.abs(outcome - (raw[base + 4] ?? 0));
        const group = (groupOf[h] ?? 0) * q;
        const members = h === horizons ? 1 : h < 2 ? 2 : h < 6 ? 4 : 6;
        for (let k = 0; k < q; k += 1) {
          const level = levels[k] ?? 0.5;
          const rate = (level === medianLevel ? options.medianRate : options.rate) / members;
          offsets[group + k] = (offsets[group + k] ?? 0) + rate * (outcome > (out[base + k] ?? 0) ? level : level - 1);
        }
      }
      scale = Math.max(0.98 * scale + (0.02 * error) / outputs, 1e-12);
    }
    for (let h = 0; h < outputs; h += 1) {
      const base = (i * outputs + h) * q;
      const group = (groupOf[h] ?? 0) * q;
      for (let k = 0; k < q; k += 1) out[base + k] = (raw[base + k] ?? 0) + (offsets[group + k] ?? 0) * scale;
      out.subarray(base, base + q).sort();
    }
  }
  return out;
}
