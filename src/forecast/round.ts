import { clockSpacing, defaultAnswer, momentsOf, onClock } from './answer.ts';
import { errorsOf, pointErrorsOf } from './backtest.ts';
import { baselines } from './baseline.ts';
import { calibrate } from './calibrate.ts';
import { baselineContender, type Contender, levels, type Networks, quantilesAround, ridgeContender } from './contender.ts';
import type { Member } from './examples.ts';
import { mixPanel } from './mix.ts';
import { createRecall, type Recall, type SaidBy } from './recall.ts';
import type { Ridge } from './ridge.ts';
import { type Asked, fillRows, panelOfRows, quantilesOfRows } from './rows.ts';
import { chooseServed, type ServeChoice } from './serve.ts';
import { countScorable, horizons, isScorable, outputs } from './window.ts';

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

/** Fits of the ridge: one that has not seen the windows it is compared on, one on all that is known, and the same as of what is settled. */
export interface RoundRidge {
  readonly judged: Ridge;
  /** It forecasts now. */
  readonly newest: Ridge;
  /** By its errors the newest has its band. */
  readonly settled: Ridge;
}

export const modelId = 'model';
/** Series whose windows go through the network together. */
const blockSize = 256;

export function forecastRound(
  members: readonly Member[],
  networks: Networks,
  ridge: RoundRidge | null,
  options: RoundOptions = defaultRound,
  recall: Recall = createRecall(),
): readonly SeriesForecast[] {
  const perSeries = Math.max(16, Math.min(288, Math.floor(options.windowBudget / Math.max(1, members.length))));
  const by: SaidBy = { ...networks, ridge: ridge?.judged ?? null };
  const rules = baselines.map(baselineContender);
  const newest = [...rules, ...(ridge === null ? [] : [ridgeContender(ridge.newest)])];
  const bands = [...rules, ...(ridge === null ? [] : [ridgeContender(ridge.settled)])];
  const results: SeriesForecast[] = [];
  for (let from = 0; from < members.length; from += blockSize) {
    const block = members.slice(from, from + blockSize).map((member) => {
      const origins = calibrationOrigins(member, perSeries, options.unseenFromMs);
      // The last origin is now: its forecast is the one that is served.
      const moments = momentsOf(member, [...origins, ...recentOrigins(member, origins), member.upTo - 1], Math.max(1, origins.length));
      return { member, origins, moments, rows: recall.rowsOf(member, moments, Math.max(1, origins[0] ?? member.upTo), by) };
    });
    fillRows(block, by);
    for (const asked of block) results.push(forecastOne(asked, by, ridge, newest, bands, options));
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
  const from = Math.max(0, comparedFrom(member, unseenFromMs) - 1);
  const { count: all, last: newest } = countScorable(member.grid, from, member.upTo);
  if (all === 0) return [];
  const spacing = clockSpacing(Math.ceil(all / count));
  const origins = [newest];
  for (let at = onClock(member, newest - 1, spacing); at >= from && origins.length < count; at -= spacing)
    if (isScorable(member.grid, at)) origins.unshift(at);
  return origins;
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

function forecastOne(
  asked: Asked,
  by: SaidBy,
  ridge: RoundRidge | null,
  newest: readonly Contender[],
  bands: readonly Contender[],
  options: RoundOptions,
): SeriesForecast {
  const { member, origins, moments, rows } = asked;
  const now = member.upTo - 1;
  const width = outputs * levels.length;
  const panel = panelOfRows(asked, by, ridge?.newest ?? null);
  const mixed = mixPanel(member, moments, quantilesOfRows(asked), panel, defaultAnswer.mix);
  const answered = calibrate(member, moments.origins, mixed, defaultAnswer.calibration);
  const errors = new Map<string, Float64Array>();
  if (origins.length > 0) {
    errors.set(modelId, errorsOf(member, origins, answered));
    const k = panel.experts;
    const from = moments.earlier.length * outputs * k;
    // Behind the network stand the baselines and the ridge.
    newest.forEach(({ id }, i) => errors.set(id, pointErrorsOf(member, origins, panel.points, from + 1 + i, k)));
  }
  const scores = Object.fromEntries([...errors].map(([id, list]) => [id, list.reduce((sum, one) => sum + one, 0) / list.length]));
  const spacing = origins.length > 1 ? ((origins.at(-1) ?? 0) - (origins[0] ?? 0)) / (origins.length - 1) : 1;
  const choice = chooseServed(errors, modelId, Math.ceil(horizons / Math.max(1, spacing)));
  const modelNow = answered.subarray((moments.origins.length - 1) * width);
  const served = newest.find(({ id }) => id === choice.servedBy);
  let quantiles = modelNow;
  if (served !== undefined) {
    const known = { ...member, upTo: member.settled ?? member.upTo };
    const band = bands.find(({ id }) => id === choice.servedBy) ?? served;
    quantiles = quantilesAround(
      served.points(known, [now]),
      rows.reaches(band.id, ridge?.settled ?? null, () => band.reaches(known)),
    );
  }
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
