import { clockSpacing, defaultAnswer, earlyMedians, modelAnswer, momentsOf, onClock, voiceOf } from './answer.ts';
import { errorsOf, originsIn, pointErrorsOf } from './backtest.ts';
import { baselines } from './baseline.ts';
import {
  baselineContender,
  type Contender,
  levels,
  modelQuantiles,
  type Networks,
  ridgeContender,
  ridgePoints,
  windowsOf,
} from './contender.ts';
import { type Member, memberOf } from './examples.ts';
import type { Moments } from './mix.ts';
import { createRecall, type Recall } from './recall.ts';
import type { Ridge } from './ridge.ts';
import { chooseServed, type ServeChoice } from './serve.ts';
import { horizons, outputs } from './window.ts';

/**
 * One forecasting round over many series: every contender is scored on the last windows of each series, the choice of who is
 * served is made by test, and the served one forecasts the coming hour. Nothing is remembered between rounds but
 * what would be said again (`recall.ts`), so a restart or a lost message changes no forecast.
 */
export interface SeriesForecast {
  readonly name: string;
  /** horizons x levels */
  readonly values: readonly (readonly number[])[];
  readonly maximum: readonly number[];
  readonly choice: ServeChoice;
  /** Contender -> MASE on the windows that it was compared on. */
  readonly scores: Readonly<Record<string, number>>;
}

export interface RoundOptions {
  /** Calibration windows over the whole panel; shared evenly, at least 16 and at most 288 a series. Bounds the time of a round. */
  readonly windowBudget: number;
  /** No forecast of a rate or a count is negative; a general series may be. */
  readonly isNonNegative: boolean;
  /** Contenders are compared on windows after this time, which the model has not been trained on; absent: on the newest half. */
  readonly unseenFromMs?: number | undefined;
}

export const defaultRound: RoundOptions = { windowBudget: 60_000, isNonNegative: true };

/** Two fits of the ridge: one that has not seen the windows it is compared on, and one on all that is known, which forecasts now. */
export interface RoundRidge {
  readonly judged: Ridge;
  readonly newest: Ridge;
}

export const modelId = 'model';
/** Series whose windows go through the network together. */
const blockSize = 64;

export function forecastRound(
  members: readonly Member[],
  networks: Networks,
  ridge: RoundRidge | null,
  options: RoundOptions = defaultRound,
  recall: Recall = createRecall(),
): readonly SeriesForecast[] {
  const perSeries = Math.max(16, Math.min(288, Math.floor(options.windowBudget / Math.max(1, members.length))));
  const rules = baselines.map(baselineContender);
  const newest = [...rules, ...(ridge === null ? [] : [ridgeContender(ridge.newest)])];
  const results: SeriesForecast[] = [];
  for (let from = 0; from < members.length; from += blockSize) {
    const block = members.slice(from, from + blockSize).map((member) => {
      const origins = calibrationOrigins(member, perSeries, options.unseenFromMs);
      // The last origin is now: its forecast is the one that is served.
      return { member, origins, moments: momentsOf(member, [...origins, ...recentOrigins(member, origins), member.upTo - 1]) };
    });
    const requests = block.map(({ member, moments }) => ({ member, origins: moments.origins }));
    const windows = windowsOf(requests);
    const answered = modelQuantiles(networks.predict, requests, windows);
    const early = earlyMedians(networks, block);
    let row = 0;
    block.forEach((asked, i) => {
      const end = row + asked.moments.origins.length;
      const byRidge = ridge === null ? null : ridgePoints(ridge.judged, windows, row, end);
      if (ridge !== null) byRidge?.set(ridgePoints(ridge.newest, windows, end - 1, end), (end - row - 1) * outputs);
      results.push(forecastOne(asked, answered[i] ?? new Float64Array(0), early[i] ?? null, rules, byRidge, newest, options, recall));
      row = end;
    });
  }
  recall.endRound();
  return results;
}

/** The step from which contenders are compared; what is fitted anew for a round is fitted on the steps before. */
export function comparedFrom(member: Member, unseenFromMs: number | undefined): number {
  const unseen = unseenFromMs === undefined ? 0 : Math.ceil((unseenFromMs - member.grid.startMs) / member.grid.stepMs);
  return Math.max(1, Math.floor(member.upTo / 2), unseen);
}

/**
 * Origins whose hour is complete, at most `count` over the newest half of what is known, or over what the model has not seen: the newest of
 * all, and those before it that keep to the clock.
 */
function calibrationOrigins(member: Member, count: number, unseenFromMs: number | undefined): readonly number[] {
  const from = comparedFrom(member, unseenFromMs);
  const all = originsIn(member, from, member.upTo, 1);
  const spacing = clockSpacing(Math.ceil(all.length / count));
  return all.filter((at, i) => i === all.length - 1 || onClock(member, at, spacing) === at).slice(-count);
}

/** Forecasts of the last hour cannot be scored yet, but the first of their steps have passed: by them a rise is known while it goes on. */
function recentOrigins(member: Member, complete: readonly number[]): readonly number[] {
  const now = member.upTo - 1;
  const spacing = complete.length > 2 ? Math.min(3, (complete.at(-2) ?? 0) - (complete.at(-3) ?? 0)) : 3;
  const found: number[] = [];
  for (let at = onClock(member, now - 1, spacing); at > Math.max(complete.at(-1) ?? 0, now - horizons); at -= spacing)
    if (member.grid.missing[at] !== 1) found.unshift(at);
  return found;
}

interface Asked {
  readonly member: Member;
  /** Those whose hour is complete: the first of the moments' origins. */
  readonly origins: readonly number[];
  readonly moments: Moments;
}

function forecastOne(
  { member, origins, moments }: Asked,
  raw: Float64Array,
  early: Float64Array | null,
  rules: readonly Contender[],
  byRidge: Float64Array | null,
  newest: readonly Contender[],
  options: RoundOptions,
  recall: Recall,
): SeriesForecast {
  const now = member.upTo - 1;
  const width = outputs * levels.length;
  // Baselines learn their residuals before the calibration windows begin, so that nobody is scored on what it has seen.
  const before = memberOf(member.name, member.grid, Math.max(1, origins[0] ?? member.upTo));
  const rivals = rules.map((contender) => voiceOf(contender, { ...before, unit: member.unit }, moments));
  if (byRidge !== null) {
    // The ridge was fitted to the earlier moments: it sleeps there.
    const points = new Float64Array((moments.earlier.length + moments.origins.length) * outputs);
    points.set(byRidge, moments.earlier.length * outputs);
    rivals.push({ points, knowsFrom: moments.origins[0] ?? 0 });
  }
  const answered = modelAnswer(member, moments, raw, early, rivals, defaultAnswer, recall);
  const errors = new Map<string, Float64Array>();
  if (origins.length > 0) {
    errors.set(modelId, errorsOf(member, origins, answered));
    const from = moments.earlier.length * outputs;
    newest.forEach(({ id }, i) => errors.set(id, pointErrorsOf(member, origins, rivals[i]?.points.subarray(from) ?? new Float64Array(0))));
  }
  const scores = Object.fromEntries([...errors].map(([id, list]) => [id, list.reduce((sum, one) => sum + one, 0) / list.length]));
  const spacing = origins.length > 1 ? ((origins.at(-1) ?? 0) - (origins[0] ?? 0)) / (origins.length - 1) : 1;
  const choice = chooseServed(errors, modelId, Math.ceil(horizons / Math.max(1, spacing)));
  const modelNow = answered.subarray((moments.origins.length - 1) * width);
  let quantiles = newest.find(({ id }) => id === choice.servedBy)?.quantiles(member, [now]) ?? modelNow;
  if (choice.servedBy !== modelId && origins.length < coldStart) quantiles = envelope(quantiles, modelNow);
  const row = (h: number): number[] =>
    Array.from(quantiles.subarray(h * levels.length, (h + 1) * levels.length), (value) =>
      options.isNonNegative ? Math.max(0, value) : value,
    );
  return { name: member.name, values: Array.from({ length: horizons }, (_, h) => row(h)), maximum: row(horizons), choice, scores };
}

/** With fewer windows than this a baseline's own residuals are too few for a band: it is never narrower than the network's. */
const coldStart = 40;

/** The baseline's median with the wider of both bands around it. */
function envelope(quantiles: Float64Array, model: Float64Array): Float64Array {
  const q = levels.length;
  const middle = q >> 1;
  return quantiles.map((value, i) => {
    const k = i % q;
    const centre = quantiles[i - k + middle] ?? 0;
    const reach = (model[i] ?? 0) - (model[i - k + middle] ?? 0);
    return k < middle ? Math.min(value, centre + reach) : k > middle ? Math.max(value, centre + reach) : value;
  });
}
