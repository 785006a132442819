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

/** Origins in [from, to) whose next hour lies inside [.., to) and can be scored; every `stride`-th. */
export function originsIn(member: Member, from: number, to: number, stride: number): readonly number[] {
  const origins: number[] = [];
  for (let at = Math.max(0, from - 1); at + horizons < to; at += stride) if (isScorable(member.grid, at)) origins.push(at);
  return origins;
}

/** `quantiles` is origins x outputs x levels; the maximum (last output) is not scored here, nor is a step that was not observed. */
export function scoresOf(member: Member, origins: readonly number[], quantiles: Float64Array): Scores {
  const q = levels.length;
  const { values, missing } = member.grid;
  let steps = 0;
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
      const step = (origins[i] ?? 0) + h + 1;
      if (missing[step] === 1) continue;
      steps += 1;
      const base = (i * outputs + h) * q;
      const outcome = values[step] ?? 0;
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
  const count = Math.max(1, steps);
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
  return meanErrors(member, origins, (i, h) => quantiles[(i * outputs + h) * q + medianIndex] ?? 0);
}

/** The same of one of many who forecast points, whose outputs lie `stride` apart, the first at `from`. */
export function pointErrorsOf(
  member: Member,
  origins: readonly number[],
  points: Float64Array,
  from: number,
  stride: number,
): Float64Array {
  return meanErrors(member, origins, (i, h) => points[from + (i * outputs + h) * stride] ?? 0);
}

function meanErrors(
  { grid: { values, missing }, unit }: Member,
  origins: readonly number[],
  pointOf: (i: number, h: number) => number,
): Float64Array {
  return Float64Array.from(origins, (at, i) => {
    let sum = 0;
    let steps = 0;
    for (let h = 0; h < horizons; h += 1) {
      if (missing[at + h + 1] === 1) continue;
      sum += Math.abs((values[at + h + 1] ?? 0) - pointOf(i, h));
      steps += 1;
    }
    return sum / Math.max(1, steps) / unit;
  });
}
