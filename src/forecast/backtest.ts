import { levels, medianIndex } from './contender.ts';
import type { Member } from './examples.ts';
import { horizons, isScorable, outputs } from './window.ts';

/**
 * Rolling-origin evaluation: at each origin only what lies at or before it is known, the next 12 steps are forecast and compared.
 * MASE after Hyndman and Koehler 2006 (denominator: mean absolute step change over the training part), weighted quantile loss over
 * all levels, and the share of outcomes inside the 80, 90 and 95 % bands.
 */
export interface Scores {
  readonly windows: number;
  readonly mase: number;
  readonly wql: number;
  readonly coverage80: number;
  readonly coverage90: number;
  readonly coverage95: number;
}

/** Origins in [from, to) whose next hour lies inside [.., to) and was observed; every `stride`-th. */
export function originsIn(member: Member, from: number, to: number, stride: number): readonly number[] {
  const origins: number[] = [];
  for (let at = Math.max(0, from - 1); at + horizons < to; at += stride) if (isScorable(member.grid, at)) origins.push(at);
  return origins;
}

/** `quantiles` is origins x outputs x levels; the maximum (last output) is not scored here. */
export function scoresOf(member: Member, origins: readonly number[], quantiles: Float64Array): Scores {
  const q = levels.length;
  const { values } = member.grid;
  let absolute = 0;
  let pinball = 0;
  let volume = 0;
  const inside = [0, 0, 0];
  const pairs = [
    [2, 6],
    [1, 7],
    [0, 8],
  ] as const;
  for (let i = 0; i < origins.length; i += 1) {
    for (let h = 0; h < horizons; h += 1) {
      const base = (i * outputs + h) * q;
      const outcome = values[(origins[i] ?? 0) + h + 1] ?? 0;
      volume += Math.abs(outcome);
      absolute += Math.abs(outcome - (quantiles[base + medianIndex] ?? 0));
      for (let k = 0; k < q; k += 1) {
        const error = outcome - (quantiles[base + k] ?? 0);
        const level = levels[k] ?? 0.5;
        pinball += error >= 0 ? level * error : (level - 1) * error;
      }
      pairs.forEach(([low, high], p) => {
        if (outcome >= (quantiles[base + low] ?? 0) && outcome <= (quantiles[base + high] ?? 0)) inside[p] = (inside[p] ?? 0) + 1;
      });
    }
  }
  const count = Math.max(1, origins.length * horizons);
  return {
    windows: origins.length,
    mase: absolute / count / member.unit,
    // 2 x the mean pinball loss over levels, relative to the volume; a series of zeros is scored against its unit instead.
    wql: (2 * pinball) / q / Math.max(volume, count * 1e-3 * member.unit),
    coverage80: (inside[0] ?? 0) / count,
    coverage90: (inside[1] ?? 0) / count,
    coverage95: (inside[2] ?? 0) / count,
  };
}

/** Mean absolute error of the median, one number an origin, in units of the series: what the choice of who is served tests. */
export function errorsOf(member: Member, origins: readonly number[], quantiles: Float64Array): Float64Array {
  const q = levels.length;
  return Float64Array.from(origins, (at, i) => {
    let sum = 0;
    for (let h = 0; h < horizons; h += 1)
      sum += Math.abs((member.grid.values[at + h + 1] ?? 0) - (quantiles[(i * outputs + h) * q + medianIndex] ?? 0));
    return sum / horizons / member.unit;
  });
}

/** The same of one of many who forecast points, whose outputs lie `stride` apart, the first at `from`. */
export function pointErrorsOf(
  member: Member,
  origins: readonly number[],
  points: Float64Array,
  from: number,
  stride: number,
): Float64Array {
  return Float64Array.from(origins, (at, i) => {
    let sum = 0;
    for (let h = 0; h < horizons; h += 1)
      sum += Math.abs((member.grid.values[at + h + 1] ?? 0) - (points[from + (i * outputs + h) * stride] ?? 0));
    return sum / horizons / member.unit;
  });
}
