import { invariant } from '../base/assert.ts';
import type { SeriesId } from '../domain/forecast.ts';
import type { Operation } from '../domain/operation.ts';
import { bucketOfKey } from './key-slot.ts';

/**
 * Operations to series: per collection, key range (virtual bucket of the key hash) and region of origin, one cell a step with counts,
 * writes, crossings (served in another region), conflicts, lock wait, a latency sketch and the hottest key's share. A cell is closed once its step and the lateness are over, and
 * then leaves as points.
 *
 * Memory is bounded by construction: collections and regions come from the config, buckets are a number, and the bucket number is
 * halved until all cells fit. The latency sketch is a histogram with bins 15 % apart (so p95 is within 8 %); hot keys are counted by
 * space-saving (Metwally et al. 2005) with 8 counters a cell, which names every key with over an eighth of the operations.
 */
export interface FeatureOptions {
  readonly stepMs: number;
  /** Virtual buckets a collection; a power of two, at most 16384. */
  readonly buckets: number;
  /** How many steps after its end a step still takes late operations. */
  readonly lateSteps: number;
  /** Cells that may be open at once, over all collections, buckets, regions and open steps. */
  readonly maxCells: number;
  /** Collection of an operation, or '' for none of ours. */
  readonly collectionOf: (operation: Operation) => string;
  /** Region whose replica served it, or ''. */
  readonly regionOf: (operation: Operation) => string;
  /** Region of ours that it came from, or '' where that is not known: then it counts where it was served. */
  readonly originOf: (operation: Operation) => string;
}

export interface FeaturePoint {
  readonly series: SeriesId;
  readonly atMs: number;
  readonly value: number;
}

export interface Features {
  fold(operations: readonly Operation[]): void;
  /** Points of all steps that were over, lateness included, at `nowMs`; each step leaves once. */
  drain(nowMs: number): readonly FeaturePoint[];
  readonly counters: { readonly folded: number; readonly late: number; readonly refused: number };
}

/** An operation that starts further than this after the last drain has a wrong clock, and would hold a cell for as long. */
const maxAheadMs = 900_000;

interface Cell {
  readonly collection: string;
  readonly bucket: number;
  readonly region: string;
  readonly step: number;
  operations: number;
  writes: number;
  crossings: number;
  conflicts: number;
  lockWaitMs: number;
  readonly latency: Uint32Array;
  readonly hot: Map<string, number>;
}

/** What reads that a region's replica answered took. */
interface Trips {
  readonly collection: string;
  readonly region: string;
  readonly step: number;
  reads: number;
  readonly bins: Uint32Array;
}

const latencyBins = 96;
const binBase = Math.log(1.15);
/** Lower edge of the first bin, microseconds. */
const firstBinUs = 20;
const hotKeys = 8;
/** Serialization failure, deadlock, lock not available. */
const conflictStates = new Set(['40001', '40P01', '55P03']);
const lockWaitStates = new Set(['40P01', '55P03']);
const counted = new Set(['read', 'write', 'append', 'delete', 'compensate']);

export function createFeatures(options: FeatureOptions): Features {
  const { stepMs, buckets, lateSteps } = options;
  invariant(
    stepMs > 0 && Number.isInteger(Math.log2(buckets)) && buckets <= 16_384,
    'steps are longer than nothing and buckets a power of two',
    { stepMs, buckets },
  );
  const cells = new Map<string, Cell>();
  const trips = new Map<string, Trips>();
  const counters = { folded: 0, late: 0, refused: 0 };
  let closedStep = Number.NEGATIVE_INFINITY;
  let drainedAtMs = Number.POSITIVE_INFINITY;

  const cellOf = (collection: string, bucket: number, region: string, step: number): Cell | undefined => {
    const key = `${collection}\u0000${bucket}\u0000${region}\u0000${step}`;
    let cell = cells.get(key);
    if (cell === undefined) {
      if (cells.size >= options.maxCells) return undefined;
      cell = {
        collection,
        bucket,
        region,
        step,
        operations: 0,
        writes: 0,
        crossings: 0,
        conflicts: 0,
        lockWaitMs: 0,
        latency: new Uint32Array(latencyBins),
        hot: new Map(),
      };
      cells.set(key, cell);
    }
    return cell;
  };

  const fold = (operation: Operation): void => {
    if (!counted.has(operation.kind)) return;
    const collection = options.collectionOf(operation);
    if (collection === '') return;
    const startMs = operation.startUs / 1000;
    const step = Math.floor(startMs / stepMs);
    if (step <= closedStep) {
      counters.late += 1;
      return;
    }
    if (startMs > drainedAtMs + maxAheadMs + 3 * stepMs) {
      counters.refused += 1;
      return;
    }
    const served = options.regionOf(operation);
    const region = options.originOf(operation) || served;
    const isCrossing = served !== '' && served !== region;
    const objectKey = operation.facts?.objectKey ?? '';
    const whole = cellOf(collection, -1, region, step);
    const part = objectKey === '' ? undefined : cellOf(collection, bucketOfKey(objectKey, buckets), region, step);
    if (whole === undefined) {
      counters.refused += 1;
      return;
    }
    counters.folded += 1;
    add(whole, operation, objectKey, isCrossing);
    if (part !== undefined) add(part, operation, objectKey, isCrossing);
    if (operation.kind === 'read' && !operation.failed) addTrip(collection, served || region, step, operation);
  };

  /** Reads by who answered them: regions are few, so these are bounded by the cells of whole collections. */
  const addTrip = (collection: string, region: string, step: number, operation: Operation): void => {
    const key = `${collection}\u0000${region}\u0000${step}`;
    let found = trips.get(key);
    if (found === undefined) {
      if (trips.size >= options.maxCells) return;
      found = { collection, region, step, reads: 0, bins: new Uint32Array(latencyBins) };
      trips.set(key, found);
    }
    const bin = binOf(operation);
    found.bins[bin] = (found.bins[bin] ?? 0) + 1;
    found.reads += 1;
  };

  return {
    counters,
    fold: (operations) => {
      for (const operation of operations) fold(operation);
    },
    drain: (nowMs) => {
      const over = Math.floor(nowMs / stepMs) - 1 - lateSteps;
      const points: FeaturePoint[] = [];
      for (const [key, cell] of cells) {
        if (cell.step > over) continue;
        cells.delete(key);
        pushPoints(cell, stepMs, points);
      }
      for (const [key, { collection, region, step, reads, bins }] of trips) {
        if (step > over) continue;
        trips.delete(key);
        const series = { collection, bucket: -1, region, metric: 'read-trip-ms' } as const;
        points.push({ series, atMs: step * stepMs, value: latencyQuantileMs(bins, reads, 0.1) });
      }
      closedStep = Math.max(closedStep, over);
      drainedAtMs = nowMs;
      return points;
    },
  };
}

const tookUsOf = ({ startUs, endUs }: Operation): number => Math.max(0, endUs - startUs);

function binOf(operation: Operation): number {
  const tookUs = Math.max(tookUsOf(operation), firstBinUs);
  return Math.max(0, Math.min(latencyBins - 1, Math.floor(Math.log(tookUs / firstBinUs) / binBase)));
}

function add(cell: Cell, operation: Operation, objectKey: string, isCrossing: boolean): void {
  cell.operations += 1;
  if (operation.kind !== 'read') cell.writes += 1;
  if (isCrossing) cell.crossings += 1;
  if (conflictStates.has(operation.sqlState)) cell.conflicts += 1;
  // Traces do not say how long a lock was waited for; the time of a statement that ended in a lock error, or took a lock, bounds it.
  if (lockWaitStates.has(operation.sqlState) || operation.statement?.isLocking === true) cell.lockWaitMs += tookUsOf(operation) / 1000;
  const bin = binOf(operation);
  cell.latency[bin] = (cell.latency[bin] ?? 0) + 1;
  if (objectKey === '') return;
  const seen = cell.hot.get(objectKey);
  if (seen !== undefined) cell.hot.set(objectKey, seen + 1);
  else if (cell.hot.size < hotKeys) cell.hot.set(objectKey, 1);
  else {
    let least = '';
    let count = Number.POSITIVE_INFINITY;
    for (const [key, n] of cell.hot) if (n < count) [least, count] = [key, n];
    cell.hot.delete(least);
    cell.hot.set(objectKey, count + 1);
  }
}

function pushPoints(cell: Cell, stepMs: number, points: FeaturePoint[]): void {
  const seconds = stepMs / 1000;
  const atMs = cell.step * stepMs;
  const push = (metric: SeriesId['metric'], value: number): void => {
    points.push({ series: { collection: cell.collection, bucket: cell.bucket, region: cell.region, metric }, atMs, value });
  };
  push('operations', cell.operations / seconds);
  push('writes', cell.writes / seconds);
  if (cell.crossings > 0) push('crossings', cell.crossings / seconds);
  if (cell.conflicts > 0) push('conflicts', cell.conflicts / seconds);
  if (cell.lockWaitMs > 0) push('lock-wait-ms', cell.lockWaitMs / seconds);
  push('latency-p95-ms', latencyQuantileMs(cell.latency, cell.operations, 0.95));
  let hottest = 0;
  for (const count of cell.hot.values()) hottest = Math.max(hottest, count);
  if (cell.hot.size > 0) push('hottest-key-share', hottest / cell.operations);
}

function latencyQuantileMs(bins: Uint32Array, count: number, level: number): number {
  let left = Math.ceil(level * count);
  for (let bin = 0; bin < bins.length; bin += 1) {
    left -= bins[bin] ?? 0;
    // The geometric middle of the bin.
    if (left <= 0) return (firstBinUs * Math.exp((bin + 0.5) * binBase)) / 1000;
  }
  return (firstBinUs * Math.exp(bins.length * binBase)) / 1000;
}

/** The most buckets, a power of two up to `wanted`, with which every cell that can be open fits `maxCells`. */
export function fittingBuckets(wanted: number, collections: number, regions: number, openSteps: number, maxCells: number): number {
  let buckets = wanted;
  while (buckets > 1 && collections * (regions + 1) * (buckets + 1) * openSteps > maxCells) buckets /= 2;
  return buckets;
}

/** A stable text for a series, for maps and ids. */
export function seriesName(series: SeriesId): string {
  return JSON.stringify([series.collection, series.bucket, series.region, series.metric]);
}
