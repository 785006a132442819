import type { Rng } from '../../base/rng.ts';
import type { Grid } from '../../forecast/time-grid.ts';
import { kinds, type LoadShape } from './synthetic-kinds.ts';

/**
 * A load generator of our own, so that the start model is trained on data that anyone can make again from a seed and that belongs to
 * nobody. It mixes what operators see (`synthetic-kinds.ts`) at steps of a minute, five minutes and an hour, with days and weeks in
 * it, and with the gaps of a collector that was down.
 */
const stepsMs = [300_000, 300_000, 300_000, 60_000, 3_600_000] as const;
const gapShare = 0.15;

export interface SyntheticSeries {
  readonly name: string;
  readonly grid: Grid;
}

export function syntheticLoad(series: number, steps: number, rng: Rng): readonly SyntheticSeries[] {
  return Array.from({ length: series }, (_, i) => {
    const own = rng.fork(`series-${i}`);
    const kind = kinds[i % kinds.length] ?? kinds[0];
    const stepMs = own.pick(stepsMs);
    const shape: LoadShape = {
      steps,
      perDay: 86_400_000 / stepMs,
      perHour: Math.max(2, Math.round(3_600_000 / stepMs)),
      base: Math.exp(1 + 6 * own.next()),
    };
    const values = kind.generate(shape, own);
    const startMs = Date.UTC(2024, 0, 1) + own.int(shape.perDay) * stepMs;
    return { name: `${kind.id}-${i}`, grid: { startMs, stepMs, values, missing: cutGaps(values, own) } };
  });
}

/** Some series lose a few stretches: flagged, and filled along a straight line as `gridOf` does. */
function cutGaps(values: Float64Array, rng: Rng): Uint8Array {
  const missing = new Uint8Array(values.length);
  if (rng.next() > gapShare) return missing;
  for (let gaps = 1 + rng.int(3); gaps > 0; gaps -= 1) {
    const length = 1 + rng.int(40);
    const from = 1 + rng.int(Math.max(1, values.length - length - 2));
    const [before, after] = [values[from - 1] ?? 0, values[from + length] ?? 0];
    for (let i = 0; i < length && from + i < values.length - 1; i += 1) {
      missing[from + i] = 1;
      values[from + i] = before + ((after - before) * (i + 1)) / (length + 1);
    }
  }
  return missing;
}
