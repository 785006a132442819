import { baselines } from './baseline.ts';
import { levels, medianIndex, modelQuantiles, type Predict, quantileOfSorted, ridgeContender } from './contender.ts';
import type { Member } from './examples.ts';
import type { Ridge } from './ridge.ts';
import { comparedFrom, modelId } from './round.ts';
import { chooseServed, type ServeChoice } from './serve.ts';
import { stepsPerDay } from './time-grid.ts';
import { horizons, outputs, reach } from './window.ts';

/**
 * Forecasts further ahead than the network's twelve steps. Each contender's median is fed back: its twelve steps are taken as if they
 * had happened and the next twelve are asked for. The same is done at earlier origins, whose outcomes are known; the errors there, by
 * how far ahead they are, give the band (split conformal prediction, Vovk et al. 2005) and decide who is served, so that nothing is
 * assumed of how errors grow. Cost: origins x blocks of twelve x contenders.
 */
export interface FarForecast {
  readonly name: string;
  /** steps ahead x levels */
  readonly values: readonly (readonly number[])[];
  readonly choice: ServeChoice;
  /** Contender -> mean absolute error of the paths in units of the series. */
  readonly scores: Readonly<Record<string, number>>;
  /** Earlier origins that the band and the choice are made from. */
  readonly origins: number;
}

/** A week of five-minute steps. Further ahead only the season and the level are left to say anything. */
export const maxHorizon = 2_016;
const mostOrigins = 48;
/** Errors at neighbouring distances are pooled: this share of the distance to either side. */
const poolShare = 0.15;
/** With fewer earlier origins the band is stretched, as errors of few paths say little of the rare one. */
const fewOrigins = 12;

/** Twelve medians at each place; a place is a grid that ends at its origin, with room for what is fed back. */
interface Place {
  readonly member: Member;
  readonly at: number;
}
type Step = (places: readonly Place[]) => readonly Float64Array[];

export function forecastFar(member: Member, steps: number, predict: Predict, ridge: Ridge | null, isNonNegative: boolean): FarForecast {
  const now = member.upTo - 1;
  const origins = earlierOrigins(member, steps);
  const asked = [...origins, now];
  const contenders = contendersOf(predict, ridge);
  const paths = new Map([...contenders].map(([id, step]) => [id, pathsOf(member, asked, steps, step)]));
  const errors = new Map<string, Float64Array>();
  const scores: Record<string, number> = {};
  for (const [id, made] of paths) {
    const list = Float64Array.from(origins, (at, i) => meanError(member, at, made[i] ?? new Float64Array(0)));
    errors.set(id, list);
    if (origins.length > 0) scores[id] = list.reduce((sum, one) => sum + one, 0) / list.length;
  }
  const spacing = origins.length > 1 ? ((origins.at(-1) ?? 0) - (origins[0] ?? 0)) / (origins.length - 1) : 1;
  const choice = chooseServed(errors, modelId, Math.ceil(steps / Math.max(1, spacing)), false);
  const served = paths.get(choice.servedBy) ?? [];
  const path = served.at(-1) ?? new Float64Array(steps);
  const stretch = origins.length >= fewOrigins ? 1 : 1 + (fewOrigins - origins.length) / fewOrigins;
  const values = Array.from(path, (point, h) => {
    const residuals = residualsAt(member, origins, served, h);
    return levels.map((level, q) => {
      const offset = q === medianIndex ? 0 : spreadAt(member, residuals, level, h) * stretch;
      const value = point + (q < medianIndex ? Math.min(0, offset) : Math.max(0, offset));
      return isNonNegative ? Math.max(0, value) : value;
    });
  });
  return { name: member.name, values, choice, scores, origins: origins.length };
}

/** Evenly spread over what is known, each with its outcome inside it and with some history before it. */
function earlierOrigins(member: Member, steps: number): readonly number[] {
  const last = member.upTo - 1 - steps;
  const first = Math.min(last, comparedFrom(member, undefined));
  if (last < horizons) return [];
  const count = Math.min(mostOrigins, last - first + 1);
  const spread = Array.from({ length: count }, (_, i) => Math.round(first + ((last - first) * (i + 1)) / count));
  return [...new Set(spread)].filter((at) => member.grid.missing[at] !== 1);
}

function contendersOf(predict: Predict, ridge: Ridge | null): ReadonlyMap<string, Step> {
  const found = new Map<string, Step>();
  const medians = (quantiles: Float64Array): Float64Array =>
    Float64Array.from({ length: horizons }, (_, h) => quantiles[h * levels.length + medianIndex] ?? 0);
  found.set(modelId, (places) =>
    modelQuantiles(
      predict,
      places.map(({ member, at }) => ({ member, origins: [at] })),
    ).map(medians),
  );
  for (const baseline of baselines) {
    found.set(baseline.id, (places) =>
      places.map(({ member, at }) => {
        const out = new Float64Array(outputs);
        baseline.fit(member.grid, at + 1).predict(at, out);
        return out.subarray(0, horizons);
      }),
    );
  }
  if (ridge !== null) {
    const contender = ridgeContender(ridge);
    found.set(contender.id, (places) => places.map(({ member, at }) => medians(contender.quantiles({ ...member, upTo: 1 }, [at]))));
  }
  return found;
}

/** One path an origin. All origins go through the contender together, block of twelve after block. */
function pathsOf(member: Member, origins: readonly number[], steps: number, step: Step): readonly Float64Array[] {
  const back = Math.max(reach(stepsPerDay(member.grid.stepMs)), 2 * horizons);
  const places = origins.map((origin) => {
    const from = Math.max(0, origin + 1 - back);
    const known = origin + 1 - from;
    const values = new Float64Array(known + steps + horizons);
    const missing = new Uint8Array(values.length);
    values.set(member.grid.values.subarray(from, origin + 1));
    missing.set(member.grid.missing.subarray(from, origin + 1));
    const grid = { startMs: member.grid.startMs + from * member.grid.stepMs, stepMs: member.grid.stepMs, values, missing };
    return { known, member: { ...member, grid } };
  });
  for (let done = 0; done < steps; done += horizons) {
    const made = step(places.map(({ known, member: one }) => ({ member: one, at: known + done - 1 })));
    places.forEach(({ known, member: { grid } }, i) => grid.values.set(made[i] ?? new Float64Array(0), known + done));
  }
  return places.map(({ known, member: { grid } }) => grid.values.slice(known, known + steps));
}

function meanError(member: Member, at: number, path: Float64Array): number {
  const { values, missing } = member.grid;
  let sum = 0;
  let count = 0;
  path.forEach((point, h) => {
    if (missing[at + h + 1] === 1) return;
    sum += Math.abs((values[at + h + 1] ?? 0) - point);
    count += 1;
  });
  return sum / Math.max(1, count) / member.unit;
}

/** Sorted errors of all paths about as far ahead as `h`. */
function residualsAt(member: Member, origins: readonly number[], paths: readonly Float64Array[], h: number): Float64Array {
  const pool = Math.floor((h + 1) * poolShare);
  const found: number[] = [];
  origins.forEach((at, i) => {
    const path = paths[i] ?? new Float64Array(0);
    for (let k = Math.max(0, h - pool); k <= Math.min(path.length - 1, h + pool); k += 1)
      if (member.grid.missing[at + k + 1] !== 1) found.push((member.grid.values[at + k + 1] ?? 0) - (path[k] ?? 0));
  });
  return Float64Array.from(found).sort();
}

/** Offset of a level from the median. Without any earlier path: step changes that add up like a random walk's. */
function spreadAt(member: Member, residuals: Float64Array, level: number, h: number): number {
  if (residuals.length > 0) return quantileOfSorted(residuals, level);
  return Math.sign(level - 0.5) * member.unit * Math.sqrt(h + 1) * 4 * Math.abs(level - 0.5);
}
