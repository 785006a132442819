import { oldestLookedAt } from './analogues.ts';
import type { Smoothing } from './baseline.ts';
import type { Predict } from './contender.ts';
import type { Member } from './examples.ts';
import type { Moments } from './mix.ts';
import { openPrints } from './prints.ts';
import type { Ridge } from './ridge.ts';
import { rowWidths } from './rows.ts';
import { horizons } from './window.ts';

/**
 * What everybody said of a series, kept for the next rounds. They are asked about the same moments again and again, so each answer is kept
 * with a print of all that it depends on: the values up to its moment, the unit of the series, the networks and the ridge. Where that is
 * another (a point that came late, a gap that was filled, a history that begins later, a network that was trained anew) it is asked for
 * anew. With or without it, a round's forecasts are the same to the bit.
 *
 * Who searches the past looks back some days at most: what that said has a print of its own, and outlives a history that begins later.
 * Memory: a row of 1 KB for each moment of the last round and for each of the last twelve steps, which are moments again once their hour is
 * over; some 40 KB a series among 10,000.
 */
export interface Recall {
  /** The rows of a series at its moments; whoever asks fills those that are not known. Baselines are fitted on the steps before `fitUpTo`. */
  rowsOf(member: Member, moments: Moments, fitUpTo: number, by: SaidBy): Rows;
  /** Forgets the series that were not asked about since it was last called. */
  endRound(): void;
  /** Bytes that are kept. */
  bytes(): number;
}

/** Whom the answers are of; another object is somebody else. */
export interface SaidBy {
  readonly predict: Predict;
  readonly standIn: Predict | null;
  readonly ridge: Ridge | null;
}

/** How many numbers a row has. */
export interface RowWidths {
  readonly said: number;
  readonly quantiles: number;
}

export interface Rows {
  /** The row of each moment, earlier ones first. */
  readonly of: Int32Array;
  /** By moment, 1 where what searches the past has its answer in the row, and where all others have. */
  readonly isSearched: Uint8Array;
  readonly isSaid: Uint8Array;
  /** rows x width */
  readonly said: Float64Array;
  readonly quantiles: Float32Array;
  /** Constants of smoothing. */
  smoothing(fit: () => Smoothing): Smoothing;
  /** The band of a contender by its errors on what is settled; `ridge`: whose it may be. */
  reaches(id: string, ridge: Ridge | null, find: () => Float64Array): Float64Array;
  /** To be said once all are in: rows that somebody failed to fill count for nothing. */
  filled(): void;
}

interface Band {
  readonly print: number;
  readonly unit: number;
  readonly ridge: Ridge | null;
  readonly reaches: Float64Array;
}

interface Kept {
  round: number;
  isFilled: boolean;
  unit: number;
  stepMs: number;
  by: SaidBy | null;
  /** Steps since the epoch that have a row, ascending, and which that is. */
  steps: Float64Array;
  rows: Int32Array;
  smoothing: Smoothing;
  smoothingPrint: number;
  bands: Map<string, Band>;
  /** By row: what the answers depend on, and whether they are of an earlier moment. */
  searchPrints: Float64Array;
  prints: Float64Array;
  isEarlier: Uint8Array;
  said: Float64Array;
  quantiles: Float32Array;
}

export function createRecall(widths: RowWidths = rowWidths): Recall {
  const series = new Map<string, Kept>();
  const prints = openPrints();
  let round = 0;
  return {
    rowsOf: (member, { earlier, origins }, fitUpTo, by) => {
      const { grid, unit } = member;
      const firstStep = Math.round(grid.startMs / grid.stepMs);
      const moments = [...earlier, ...origins];
      let kept = series.get(member.name);
      if (kept === undefined || kept.stepMs !== grid.stepMs) {
        kept = emptyKept(grid.stepMs);
        series.set(member.name, kept);
      }
      if (kept.unit !== unit || kept.by?.predict !== by.predict || kept.by.standIn !== by.standIn || kept.by.ridge !== by.ridge)
        kept.prints.fill(Number.NaN);
      if (!kept.isFilled) for (const list of [kept.prints, kept.searchPrints]) list.fill(Number.NaN);
      Object.assign(kept, { round, unit, by, isFilled: false });
      giveRows(kept, moments, firstStep, widths);
      prints.read(grid);
      const fitPrint = prints.of(0, fitUpTo - 1);
      const bandPrint = prints.of(0, (member.settled ?? member.upTo) - 1);
      const of = new Int32Array(moments.length);
      const isSearched = new Uint8Array(moments.length);
      const isSaid = new Uint8Array(moments.length);
      let place = 0;
      moments.forEach((at, i) => {
        while ((kept.steps[place] as number) < firstStep + at) place += 1;
        const row = kept.rows[place] as number;
        const searchPrint = prints.of(oldestLookedAt(grid, at), at);
        const print = prints.of(0, at);
        const isEarlier = i < earlier.length ? 1 : 0;
        of[i] = row;
        isSearched[i] = kept.searchPrints[row] === searchPrint ? 1 : 0;
        isSaid[i] = kept.prints[row] === print && kept.isEarlier[row] === isEarlier ? 1 : 0;
        kept.searchPrints[row] = searchPrint;
        kept.prints[row] = print;
        kept.isEarlier[row] = isEarlier;
      });
      return {
        of,
        isSearched,
        isSaid,
        said: kept.said,
        quantiles: kept.quantiles,
        smoothing: (fit) => {
          if (kept.smoothingPrint !== fitPrint) Object.assign(kept, { smoothing: fit(), smoothingPrint: fitPrint });
          return kept.smoothing;
        },
        reaches: (id, ridge, find) => {
          const known = kept.bands.get(id);
          if (known?.print === bandPrint && known.unit === unit && known.ridge === ridge) return known.reaches;
          const reaches = find();
          kept.bands.set(id, { print: bandPrint, unit, ridge, reaches });
          return reaches;
        },
        filled: () => {
          kept.isFilled = true;
        },
      };
    },
    endRound: () => {
      for (const [name, kept] of series) if (kept.round !== round) series.delete(name);
      round += 1;
    },
    bytes: () => {
      let sum = 0;
      for (const { steps, rows, searchPrints, prints: own, isEarlier, said, quantiles } of series.values())
        for (const { byteLength } of [steps, rows, searchPrints, own, isEarlier, said, quantiles]) sum += byteLength;
      return sum;
    },
  };
}

function emptyKept(stepMs: number): Kept {
  const none = new Float64Array(0);
  return {
    round: 0,
    isFilled: true,
    unit: Number.NaN,
    stepMs,
    by: null,
    steps: none,
    rows: new Int32Array(0),
    smoothing: { alpha: 0, beta: 0 },
    smoothingPrint: Number.NaN,
    bands: new Map(),
    searchPrints: none,
    prints: none,
    isEarlier: new Uint8Array(0),
    said: none,
    quantiles: new Float32Array(0),
  };
}

/** Rows beyond those that are needed, so that not every round needs new ones; more than twice the need is given back. */
const spareRows = 4;

/** Gives each moment, and each of the last hour's steps that has a row, one of its own: that which it had, or one that nobody needs any more. */
function giveRows(kept: Kept, moments: readonly number[], firstStep: number, widths: RowWidths): void {
  const now = firstStep + (moments.at(-1) ?? 0);
  const steps: number[] = [];
  const given: number[] = [];
  let old = 0;
  const passOld = (step: number): void => {
    for (; old < kept.steps.length && (kept.steps[old] as number) < step; old += 1) {
      const passed = kept.steps[old] as number;
      if (passed < now - horizons || passed > now) continue;
      steps.push(passed);
      given.push(kept.rows[old] as number);
    }
  };
  for (const at of moments) {
    passOld(firstStep + at);
    steps.push(firstStep + at);
    const isKnown = kept.steps[old] === firstStep + at;
    given.push(isKnown ? (kept.rows[old] as number) : -1);
    if (isKnown) old += 1;
  }
  const capacity = kept.prints.length;
  if (steps.length > capacity || capacity > 2 * steps.length + spareRows) moveRows(kept, given, steps.length + spareRows, widths);
  const isTaken = new Uint8Array(kept.prints.length);
  for (const row of given) if (row >= 0) isTaken[row] = 1;
  let free = 0;
  given.forEach((row, i) => {
    if (row >= 0) return;
    while (isTaken[free] === 1) free += 1;
    given[i] = free;
    kept.prints[free] = kept.searchPrints[free] = Number.NaN;
    free += 1;
  });
  kept.steps = Float64Array.from(steps);
  kept.rows = Int32Array.from(given);
}

/** Moves the rows that are given into new arrays, one after the other. */
function moveRows(kept: Kept, given: number[], capacity: number, { said, quantiles }: RowWidths): void {
  const [searchPrints, prints] = [new Float64Array(capacity), new Float64Array(capacity)];
  const isEarlier = new Uint8Array(capacity);
  const moved = { said: new Float64Array(capacity * said), quantiles: new Float32Array(capacity * quantiles) };
  given.forEach((row, to) => {
    if (row < 0) return;
    searchPrints[to] = kept.searchPrints[row] as number;
    prints[to] = kept.prints[row] as number;
    isEarlier[to] = kept.isEarlier[row] as number;
    moved.said.set(kept.said.subarray(row * said, (row + 1) * said), to * said);
    moved.quantiles.set(kept.quantiles.subarray(row * quantiles, (row + 1) * quantiles), to * quantiles);
    given[to] = to;
  });
  Object.assign(kept, { searchPrints, prints, isEarlier, ...moved });
}
