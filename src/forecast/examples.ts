import type { Grid } from './time-grid.ts';
import { countScorable, fillWindow, horizons, inputs, isScorable, outputs, stepChange } from './window.ts';

/** One series as the forecasters take it: its grid, what is known of it (steps before `upTo`), and its unit (typical step change). */
export interface Member {
  readonly name: string;
  readonly grid: Grid;
  readonly upTo: number;
  readonly unit: number;
  /** Steps before it are long known: what takes long to learn is learned from them alone; absent: from all. See `steady.ts`. */
  readonly settled?: number;
}

/** Under this many points the step changes seen say little; a quarter of the last value is taken for the unit where that is more. */
const fewPoints = 8;

export function memberOf(name: string, grid: Grid, upTo: number = grid.values.length): Member {
  const seen = stepChange(grid.values, upTo);
  const unit = upTo < fewPoints ? Math.max(seen, 0.25 * Math.abs(grid.values[upTo - 1] ?? 0)) : seen;
  return { name, grid, upTo, unit };
}

/** Windows with what came after them, in spreads from the level; what the network and the ridge learn from. */
export interface Examples {
  readonly count: number;
  /** count x inputs */
  readonly x: Float32Array;
  /** count x outputs */
  readonly y: Float32Array;
  /** What an error of one spread costs in this window, mean 1: so the loss is the error in units of the series, as MASE is. */
  readonly weight: Float32Array;
}

/** The shortest history that is learned from. */
const leastKnown = 2;
/** Every so many examples one is cut short at a pseudo-random length, so that a series that just began is nothing new. */
const cutEvery = 12;
const weightBounds = [0.2, 5] as const;

/**
 * Up to `limit` examples from the known parts of all members, shared evenly (a short series gives all it has, longer ones share
 * the rest) and spread evenly over each, so that neither the longest nor the newest series owns the model.
 */
export function examplesOf(members: readonly Member[], limit: number): Examples {
  const usable = members
    .map((member) => ({ member, count: countScorable(member.grid, leastKnown, member.upTo).count }))
    .toSorted((a, b) => a.count - b.count);
  const picked: { member: Member; at: number }[] = [];
  let left = limit;
  usable.forEach(({ member, count }, i) => {
    const take = Math.min(count, Math.floor(left / (usable.length - i)));
    if (take === 0) return;
    left -= take;
    const origins: number[] = [];
    for (let at = leastKnown; at + horizons < member.upTo; at += 1) if (isScorable(member.grid, at)) origins.push(at);
    for (let k = 0; k < take; k += 1) picked.push({ member, at: origins[Math.floor(((k + weyl(picked.length)) * count) / take)] ?? 0 });
  });
  const x = new Float32Array(picked.length * inputs);
  const y = new Float32Array(picked.length * outputs);
  const weight = new Float32Array(picked.length);
  let total = 0;
  picked.forEach(({ member, at }, i) => {
    const start = i % cutEvery === cutEvery - 1 ? Math.max(0, at + 1 - (leastKnown + ((i * 7) % 70))) : 0;
    const frame = fillWindow(member.grid, at, member.unit, x, i * inputs, start);
    fillTargets(member.grid, at, frame.level, frame.spread, y, i * outputs);
    weight[i] = Math.max(weightBounds[0], Math.min(weightBounds[1], frame.spread / member.unit));
    total += weight[i] ?? 0;
  });
  for (let i = 0; i < weight.length; i += 1) weight[i] = ((weight[i] ?? 0) * weight.length) / total;
  return { count: picked.length, x, y, weight };
}

/**
 * A low-discrepancy sequence in [0, 1): where in its stratum each window is taken. Evenly spaced windows would see an hourly job at
 * the same minute every time (measured: 5 % more error).
 */
function weyl(i: number): number {
  return (i * 0.618_033_988_749_895) % 1;
}

/** What came in the steps after `at`, in spreads from the level: 12 steps, then their maximum. */
export function fillTargets(grid: Grid, at: number, level: number, spread: number, out: Float64Array | Float32Array, offset = 0): void {
  let most = Number.NEGATIVE_INFINITY;
  for (let h = 1; h <= horizons; h += 1) {
    const value = ((grid.values[at + h] ?? level) - level) / spread;
    out[offset + h - 1] = value;
    most = Math.max(most, value);
  }
  out[offset + horizons] = most;
}
