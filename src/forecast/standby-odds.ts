import type { Rng } from '../base/rng.ts';
import type { StandbyLags } from './suggester.ts';

/**
 * What waiting for n of k standbys costs a commit, and what it buys a reader: WARS (see `wars.ts`) as a primary with streaming standbys
 * plays it. A commit returns when the primary has heard (W + A) that n standbys show it (`remote_apply`) or have flushed it; a reader asks
 * one standby, any of them alike, `afterMs` after the commit, its question is on its way for R, and it is fresh if that standby shows the
 * change (W) by then.
 *
 * Lags are drawn as they were seen, one moment for all standbys at once, in whole spells of neighbouring moments: a slow minute is slow
 * everywhere, and independent draws would promise too much. The intervals come from drawing the spells again, and from what is not
 * known of the ways: trips are measured there and back, and what a usual one takes longer than the quickest may be lost on either way. The share itself is
 * told for the middle of what may be.
 * Where reads come just when a standby begins to show, that decides, and the interval is wide: it says that this record cannot tell.
 */
export interface StandbyOdds {
  /** Standbys that a commit waits for. */
  readonly waitsFor: number;
  /** Share of fresh reads at each of `afterMs`. */
  readonly fresh: readonly number[];
  /** 95 % interval of the first of them: its low end with ways and wakings as short as they may be, its high end with them as long. */
  readonly freshLow: number;
  readonly freshHigh: number;
  /** What a commit waits, milliseconds, beyond its own work. */
  readonly commitMeanMs: number;
  readonly commitP99Ms: number;
  /** What each moment of the record would have cost a commit, for a replay. */
  readonly commitMs: Float64Array;
}

export interface StandbyOddsOptions {
  /** Times after the commit at which a read begins, milliseconds. */
  readonly afterMs: readonly number[];
  /** A standby's, in the order of the lags. */
  readonly legs: readonly StandbyLegs[];
  /** Whether a commit waits until standbys show the change; else until they have flushed it. */
  readonly waitsForReplay: boolean;
  /** Neighbouring moments that go together. */
  readonly spell: number;
}

/** How long a standby's word is on its way to the primary, and a question to the standby; milliseconds, at least and at most. */
export interface StandbyLegs {
  readonly ackMs: number;
  readonly readMs: number;
  readonly mostAckMs: number;
  readonly mostReadMs: number;
}

/**
 * What a commit takes longer that waits at all, beyond the standby's word: its process is woken when the word has come, and the sender
 * was woken before. The primary cannot be asked for that; a standby's word that it has written takes as many wakings and both ways, and
 * is longer. It is taken as half of the quickest standby's, and as that at most; milliseconds.
 */
export function mostWakingMs(lags: readonly StandbyLags[]): number {
  return Math.min(...lags.map(({ writeMs }) => writeMs.toSorted((a, b) => a - b)[writeMs.length >> 1] ?? 0));
}

/** A standby's ways, from trips that were measured there and back: write and word, question and answer. */
export function waysOf(writeTripsMs: readonly number[], readTripsMs: readonly number[]): StandbyLegs {
  return {
    ackMs: leastWay(writeTripsMs),
    readMs: leastWay(readTripsMs),
    mostAckMs: mostWay(writeTripsMs),
    mostReadMs: mostWay(readTripsMs),
  };
}

/** One way, milliseconds: half of what the quickest trips took, there and back. 0 where none was measured. */
export const leastWay = (trips: readonly number[]): number => tripOf(trips, 0.05) / 2;
/** The same way where all that a usual trip took longer than the quickest was lost on it. */
const mostWay = (trips: readonly number[]): number => leastWay(trips) + tripOf(trips, 0.5) - tripOf(trips, 0.05);

function tripOf(trips: readonly number[], share: number): number {
  const known = trips.filter((ms) => ms > 0).toSorted((a, b) => a - b);
  return known[Math.floor(share * known.length)] ?? 0;
}

const draws = 200;
const noLegs: StandbyLegs = { ackMs: 0, readMs: 0, mostAckMs: 0, mostReadMs: 0 };

export function standbyOdds(lags: readonly StandbyLags[], options: StandbyOddsOptions, rng: Rng): readonly StandbyOdds[] {
  const moments = Math.min(...lags.map(({ replayMs, flushMs }) => Math.min(replayMs.length, flushMs.length)));
  const wakingMs = mostWakingMs(lags);
  return Array.from({ length: lags.length + 1 }, (_, waitsFor) => {
    const commitMs = new Float64Array(moments);
    const freshAt = options.afterMs.map(() => new Float64Array(moments));
    const [atLeast, atMost] = [new Float64Array(moments), new Float64Array(moments)];
    const wakeMs = waitsFor === 0 ? 0 : wakingMs;
    const [soonest = 0] = options.afterMs;
    for (let m = 0; m < moments; m += 1) {
      const acks = lags.map((lag) => (options.waitsForReplay ? lag.replayMs[m] : lag.flushMs[m]) ?? 0).toSorted((a, b) => a - b);
      const commit = waitsFor === 0 ? 0 : (acks[waitsFor - 1] ?? 0);
      commitMs[m] = commit;
      const shareOf = (after: number, waysOf: (legs: StandbyLegs) => number): number =>
        lags.filter((lag, i) => (lag.replayMs[m] ?? 0) <= commit + after + waysOf(options.legs[i] ?? noLegs)).length / lags.length;
      options.afterMs.forEach((after, t) => {
        (freshAt[t] as Float64Array)[m] = shareOf(after + wakeMs / 2, (legs) => (leastOf(legs) + mostOf(legs)) / 2);
      });
      atLeast[m] = shareOf(soonest, leastOf);
      atMost[m] = shareOf(soonest + wakeMs, mostOf);
    }
    const low = meanInterval(atLeast, options.spell, rng).low;
    const high = meanInterval(atMost, options.spell, rng).high;
    const sorted = commitMs.toSorted();
    return {
      waitsFor,
      fresh: freshAt.map(meanOf),
      freshLow: low,
      freshHigh: Math.max(low, high),
      commitMeanMs: meanOf(commitMs),
      commitP99Ms: sorted[Math.min(moments - 1, Math.floor(0.99 * moments))] ?? 0,
      commitMs,
    };
  });
}

const leastOf = ({ ackMs, readMs }: StandbyLegs): number => ackMs + readMs;
const mostOf = ({ mostAckMs, mostReadMs }: StandbyLegs): number => mostAckMs + mostReadMs;

function meanOf(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return values.length === 0 ? 0 : sum / values.length;
}

function meanInterval(values: Float64Array, spell: number, rng: Rng): { readonly low: number; readonly high: number } {
  const length = Math.max(1, Math.min(spell, values.length));
  const means = new Float64Array(draws);
  for (let draw = 0; draw < draws; draw += 1) {
    let sum = 0;
    let count = 0;
    while (count < values.length) {
      const start = rng.int(values.length - length + 1);
      for (let i = 0; i < length && count < values.length; i += 1, count += 1) sum += values[start + i] ?? 0;
    }
    means[draw] = sum / Math.max(1, count);
  }
  means.sort();
  return { low: means[Math.floor(0.025 * draws)] ?? 0, high: means[Math.ceil(0.975 * draws) - 1] ?? 1 };
}
