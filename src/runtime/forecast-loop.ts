import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { createRng } from '../base/rng.ts';
import type { Collection } from '../domain/collection.ts';
import type { ConsistencyDomain } from '../domain/consistency-domain.ts';
import type { Forecast, SeriesId } from '../domain/forecast.ts';
import type { Measurement } from '../domain/measurement.ts';
import type { Suggestion } from '../domain/suggestion.ts';
import type { ClientLegs } from '../forecast/client-legs.ts';
import { levels } from '../forecast/contender.ts';
import type { Member } from '../forecast/examples.ts';
import { type FeatureOptions, type FeaturePoint, fittingBuckets, seriesName } from '../forecast/features.ts';
import { createHistory, type History } from '../forecast/history.ts';
import { createMeasuredSeries, joinMeasured } from '../forecast/measured-series.ts';
import type { TracedLook } from '../forecast/read-looks.ts';
import { suggesters } from '../forecast/registry.ts';
import { defaultRound, type SeriesForecast } from '../forecast/round.ts';
import { steadyMember, steadySteps } from '../forecast/steady.ts';
import type { BucketHistory, Subject } from '../forecast/suggester.ts';
import { type ModelThread, openModelThread } from '../io/model/model-thread.ts';
import { blockSteps, type SeriesPoint, type SeriesSpan } from '../io/store/series.ts';
import type { Grid } from '../forecast/time-grid.ts';
import { forecastSources } from './forecast-sources.ts';
import { measuredPlaces } from './measured-places.ts';
import { loadModel, type ModelInUse, retrainModel } from './own-model.ts';
import type { PlaceFacts, SuggestionPlaces } from './suggestion-places.ts';

/** What the loop needs of the store. */
export interface ForecastStore {
  /** Upsert by series, step and time. */
  saveSeriesPoints(points: readonly SeriesPoint[]): Promise<void>;
  /** All series in the block of 72 steps that begins then. */
  loadSeriesBlock(stepMs: number, fromMs: number): Promise<readonly SeriesSpan[]>;
  /** Packs what ended by then, in one transaction, and forgets what is too old. */
  packSeries(stepMs: number, nowMs: number): Promise<void>;
  /** Upsert: the latest of each series. */
  saveForecasts(forecasts: readonly Forecast[]): Promise<void>;
  /** Upsert by id; open ones of these collections that are not in the list expire; decided ones keep their state. */
  saveSuggestions(suggestions: readonly Suggestion[], collections: readonly string[]): Promise<void>;
}

export interface ForecastRoundReport {
  readonly series: number;
  readonly forecasts: number;
  readonly suggestions: number;
  /** Contender -> series that it is served for. */
  readonly servedBy: Readonly<Record<string, number>>;
  /** `tfjs-node`, `wasm` or `cpu`; `none` before the first series. */
  readonly backend: string;
}

export interface ForecastLoop {
  /** Takes what stores measure of themselves into series; cheap. */
  measure(measurements: readonly Measurement[]): void;
  /** One round now; the loop's own rounds wait for it. */
  runOnce(signal: AbortSignal): Promise<ForecastRoundReport>;
  close(): Promise<void>;
}

export interface ForecastLoopOptions {
  readonly store: ForecastStore;
  /** Points of the steps that were over at `nowMs`; operations are folded where they are read, see {@link featureOptions}. */
  readonly drain: (nowMs: number) => Promise<readonly FeaturePoint[]>;
  /** What reads saw of what had just been written, since the last time; absent: nobody looked. */
  readonly drainLooks?: () => Promise<readonly TracedLook[]>;
  /** Operations of clients that ask every replica themselves, since the last time; absent: nobody looked. */
  readonly drainLegs?: () => Promise<readonly ClientLegs[]>;
  readonly clock: Clock;
  readonly collections: readonly Collection[];
  readonly domains: Readonly<Record<string, ConsistencyDomain>>;
  /** Width of a series point, milliseconds. */
  readonly stepMs?: number;
  /** Time between rounds; at least the width of a step and 5 s. */
  readonly everyMs?: number;
  /** The start model: `models/contention/v2`. */
  readonly modelDir: string;
  /** Where a model that was trained on the own history is kept; without it, it is gone with the process. */
  readonly ownModelDir?: string;
  /** Whether to train on the own history, once a day. */
  readonly retrain?: boolean;
  /** What suggestions can be made for and carried out on, as each tells it of itself now; absent: nothing. */
  readonly places?: SuggestionPlaces;
  readonly onError?: (error: unknown) => void;
  readonly log?: (line: string) => void;
}

/** Seven days of five-minute steps: what the model looks back on at most. */
const historySteps = 2_016;
/** Series held; 10,000 of them are 80 MB of history. */
const maxSeries = 12_000;
const maxOpenCells = 60_000;
const defaultStepMs = 300_000;
/** Steps that are kept open for operations that come late. */
const lateSteps = 1;
const wantedBuckets = 64;
const retrainEveryMs = 86_400_000;

/** How series are made of operations: the loop and whoever folds operations for it must agree. */
export function featureOptions(
  collections: readonly Collection[],
  stepMs = defaultStepMs,
): Omit<FeatureOptions, 'collectionOf' | 'regionOf' | 'originOf'> {
  const maxCells = Math.min(maxOpenCells, maxSeries * 3);
  const buckets = fittingBuckets(wantedBuckets, collections.length, forecastSources(collections).regions.length, lateSteps + 2, maxCells);
  return { stepMs, buckets, lateSteps, maxCells: maxOpenCells };
}

/**
 * Takes points of series, and every interval stores what was closed, forecasts each series and asks the suggesters. The only
 * clock, the only thread and the only store calls of forecasting are here. A round that fails is reported and the next one runs.
 */
export function startForecastLoop(options: ForecastLoopOptions): ForecastLoop {
  const { store, clock, collections } = options;
  const stepMs = options.stepMs ?? defaultStepMs;
  const everyMs = Math.max(5_000, options.everyMs ?? stepMs);
  const log = options.log ?? (() => {});
  const onError = options.onError ?? (() => {});
  const { buckets } = featureOptions(collections, stepMs);
  const measured = createMeasuredSeries({ stepMs, lateSteps });
  const placesOf = measuredPlaces(collections);
  const history = createHistory(stepMs, historySteps, maxSeries);
  const abort = new AbortController();
  let thread: ModelThread | undefined;
  let current: ModelInUse | undefined;
  let isLoaded = false;
  let trainedAtMs = Number.NEGATIVE_INFINITY;
  /** Steps that ended before the loop began were watched only where the store has points of them. */
  let watchedUpTo = Math.floor(clock.nowMs() / stepMs);
  let packedAtMs = Number.NEGATIVE_INFINITY;
  let round: Promise<ForecastRoundReport> = Promise.resolve({ series: 0, forecasts: 0, suggestions: 0, servedBy: {}, backend: 'none' });

  const openModel = async (): Promise<ModelThread> => {
    if (thread !== undefined) return thread;
    const opened = await openModelThread();
    try {
      current = await loadModel(options.ownModelDir, options.modelDir, log);
      await opened.use(current.checkpoint, current.start);
    } catch (error) {
      await opened.close();
      throw error;
    }
    log(`forecasting with ${current.checkpoint.id} on ${opened.backend}`);
    thread = opened;
    return opened;
  };

  const runRound = async (signal: AbortSignal): Promise<ForecastRoundReport> => {
    const nowMs = clock.nowMs();
    if (!isLoaded) {
      await loadHistory(store, history, stepMs, nowMs);
      isLoaded = true;
    }
    const lastStep = Math.floor(nowMs / stepMs) - 1 - lateSteps;
    options.places?.see((await options.drainLooks?.()) ?? []);
    options.places?.learn((await options.drainLegs?.()) ?? []);
    const points = joinMeasured(await options.drain(nowMs), measured.drain(nowMs));
    history.put(points);
    if (watchedUpTo < lastStep) history.watched(watchedUpTo + 1, lastStep);
    watchedUpTo = Math.max(watchedUpTo, lastStep);
    if (points.length > 0) await store.saveSeriesPoints(points.map((point) => ({ ...point, stepMs })));
    if (nowMs - packedAtMs >= blockSteps * stepMs) {
      await store.packSeries(stepMs, nowMs - blockSteps * stepMs);
      packedAtMs = nowMs;
    }
    const subjects = membersOf(history.series(), (series) => history.gridOf(series, lastStep));
    if (subjects.length === 0 || signal.aborted)
      return { series: subjects.length, forecasts: 0, suggestions: 0, servedBy: {}, backend: thread?.backend ?? 'none' };

    const model = await openModel();
    const members = subjects.map(({ member }) => member);
    const { forecasts: made } = await model.round(members, { ...defaultRound, unseenFromMs: current?.unseenFromMs }, true);
    const madeAtMs = (lastStep + 1) * stepMs;
    const modelSays = `${current?.checkpoint.id ?? 'no model'} on ${model.backend}`;
    const forecasts = made
      .map((forecast, i) => toForecast(subjects[i]?.series, forecast, madeAtMs, stepMs, modelSays))
      .filter((forecast) => forecast !== null);
    await store.saveForecasts(forecasts);
    const places = (await options.places?.look(nowMs, signal)) ?? new Map<string, PlaceFacts>();
    const suggestions: Suggestion[] = [];
    for (const collection of collections) {
      // Each takes a fraction of a second: whoever receives spans on this thread has a turn in between.
      await nextTurn();
      const subject = subjectOf(collection, options.domains, history, lastStep, stepMs, nowMs, buckets, forecasts);
      const facts = places.get(collection.name);
      // What was approved has not shown itself in the record yet: until it has, nothing else is decided there (pending influence).
      if (subject === null || facts?.isPending === true) continue;
      suggestions.push(...suggesters.flatMap((suggester) => suggester.suggest({ ...subject, ...facts?.of })));
    }
    await store.saveSuggestions(
      suggestions,
      collections.map(({ name }) => name),
    );
    if ((options.retrain ?? true) && current !== undefined && nowMs - trainedAtMs > retrainEveryMs) {
      const seed = Math.floor(nowMs / retrainEveryMs);
      const next = await retrainModel(model, current, members, seed, options.ownModelDir, log);
      if (next !== null) [current, trainedAtMs] = [next, nowMs];
    }
    const servedBy: Record<string, number> = {};
    for (const { choice } of made) servedBy[choice.servedBy] = (servedBy[choice.servedBy] ?? 0) + 1;
    return { series: members.length, forecasts: forecasts.length, suggestions: suggestions.length, servedBy, backend: model.backend };
  };

  const runOnce = (signal: AbortSignal): Promise<ForecastRoundReport> => {
    const next = round.catch(() => undefined).then(() => runRound(signal));
    round = next;
    return next;
  };

  const timer = setInterval(() => {
    // A round that outlasts the interval is not queued behind itself.
    if (isRunning) return;
    isRunning = true;
    runOnce(abort.signal)
      .catch(onError)
      .finally(() => {
        isRunning = false;
      });
  }, everyMs);
  let isRunning = false;
  timer.unref();

  return {
    measure: (measurements) => measured.fold(measurements, placesOf),
    runOnce,
    close: async () => {
      clearInterval(timer);
      abort.abort();
      await round.catch(() => undefined);
      await options.places?.close();
      await thread?.close();
    },
  };
}

/** Every rate of every bucket is forecast; of the rest, the whole collection's: nobody acts on one bucket's latency an hour ahead. */
function membersOf(
  all: readonly SeriesId[],
  gridOf: (series: SeriesId) => Grid | null,
): readonly { readonly series: SeriesId; readonly member: Member }[] {
  const found: { series: SeriesId; member: Member }[] = [];
  for (const series of all) {
    if (series.metric === 'hottest-key-share' || series.metric === 'read-trip-ms' || (series.bucket >= 0 && series.metric !== 'operations'))
      continue;
    const grid = gridOf(series);
    if (grid !== null) found.push({ series, member: steadyMember(seriesName(series), grid, historySteps - steadySteps) });
  }
  return found;
}

function toForecast(series: SeriesId | undefined, made: SeriesForecast, madeAtMs: number, stepMs: number, model: string): Forecast | null {
  if (series === undefined) return null;
  const { scores } = made;
  const { servedBy, because } = made.choice;
  return { series, madeAtMs, stepMs, levels, values: made.values, maximum: made.maximum, servedBy, because, model, scores };
}

function subjectOf(
  collection: Collection,
  domains: Readonly<Record<string, ConsistencyDomain>>,
  history: History,
  lastStep: number,
  stepMs: number,
  nowMs: number,
  buckets: number,
  forecasts: readonly Forecast[],
): Subject | null {
  const domain = domains[collection.domain];
  const own = history.series().filter((series) => series.collection === collection.name);
  const wholes = own
    .filter((series) => series.bucket === -1 && series.metric === 'operations')
    .map((series) => history.gridOf(series, lastStep));
  const steps = Math.max(0, ...wholes.map((grid) => grid?.values.length ?? 0));
  if (domain === undefined || steps === 0) return null;
  const list = (series: SeriesId): number[] => {
    const values = history.gridOf(series, lastStep)?.values ?? new Float64Array(0);
    // Series that began later were silent before.
    return Array.from({ length: steps }, (_, i) => values[i - (steps - values.length)] ?? 0);
  };
  const sum = (metric: SeriesId['metric'], join: (a: number, b: number) => number): number[] =>
    own
      .filter((series) => series.bucket === -1 && series.metric === metric)
      .map(list)
      .reduce(
        (total, values) => total.map((value, i) => join(value, values[i] ?? 0)),
        Array.from({ length: steps }, () => 0),
      );
  const rows: BucketHistory[] = own
    .filter((series) => series.bucket >= 0 && series.metric === 'operations')
    .map((series) => ({
      bucket: series.bucket,
      region: series.region,
      operations: list(series),
      writes: list({ ...series, metric: 'writes' }),
      hottestKeyShare: list({ ...series, metric: 'hottest-key-share' }),
      crossings: list({ ...series, metric: 'crossings' }),
    }));
  return {
    collection,
    domain,
    stepMs,
    nowMs,
    buckets,
    history: rows,
    latencyP95Ms: sum('latency-p95-ms', Math.max),
    conflicts: sum('conflicts', (a, b) => a + b),
    readTripMs: new Map(own.filter(({ metric }) => metric === 'read-trip-ms').map((series) => [series.region, list(series)])),
    forecasts: forecasts.filter(({ series }) => series.collection === collection.name),
    rng: createRng(`${collection.name}/${Math.floor(nowMs / stepMs)}`),
  };
}

/** The kept history of the last seven days, a block of time after the other: at most some 100 MB of it is in two forms at once. */
async function loadHistory(store: ForecastStore, history: History, stepMs: number, nowMs: number): Promise<void> {
  const spanMs = blockSteps * stepMs;
  for (let fromMs = Math.floor((nowMs - historySteps * stepMs) / spanMs) * spanMs; fromMs <= nowMs; fromMs += spanMs)
    for (const { series, fromMs: startMs, values } of await store.loadSeriesBlock(stepMs, fromMs)) history.putSpan(series, startMs, values);
}
