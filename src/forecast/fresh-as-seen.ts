import type { Rng } from '../base/rng.ts';
import { mostWakingMs } from './standby-odds.ts';
import type { StandbyLags } from './suggester.ts';

/**
 * How many reads are fresh so long after a commit, from reads whose answers are known: each says whether its standby showed the change
 * to a question that was asked then, which is all that a reader can tell (current-status data). The share of fresh answers can only rise
 * with time: pooled neighbours (isotonic regression by pool-adjacent-violators; Ayer et al. 1955) are its likeliest curve. Nothing is
 * supposed of clocks of servers, of ways or of the shape of lags: questions of the same readers are on their way as long when the curve
 * is used as when it was learned. Cost: sorting the looks, then linear in them for each redraw of the interval.
 *
 * For another number of standbys to wait for, each look is taken as so much sooner after a commit that would have returned so much
 * later, by what the primary measured of the standbys at that moment. Where so taken looks are of moments with a small (or a large)
 * difference only, they say nothing: a standby is late at the moments at which its word is.
 */
export interface Look {
  /** Index of the standby in the lags. */
  readonly standby: number;
  /** Index of the moment in the lags. */
  readonly moment: number;
  /** From the commit's return until the question was sent, on one clock, milliseconds. */
  readonly afterMs: number;
  readonly isFresh: boolean;
}

export interface SeenFreshness {
  /** Mean share of fresh answers of a standby, any of them alike, over the times that were asked for. */
  readonly fresh: number;
  /** 95 % interval. Before the first look of a standby and after its last nothing was seen: there it holds what may be. */
  readonly low: number;
  readonly high: number;
}

export interface SeenOptions {
  /** Times after the commit at which questions are sent, milliseconds. */
  readonly at: readonly number[];
  /** How many standbys commits waited for when the looks were made, and would wait for. */
  readonly waitedFor: number;
  readonly waitsFor: number;
  /** Neighbouring moments that go together. */
  readonly spell: number;
}

const draws = 200;
/** Times that are nearer to each other are one: whoever asks is not run to the microsecond, and order within it is chance. */
const resolutionMs = 0.05;
/** What did not happen in n looks happens in less than 3/n of them (95 %). */
const unseenLooks = 3;
/** Moments at either end of the differences between commits that are passed over when it is said where all of them were looked at. */
const tailShare = 0.01;

export function freshAsSeen(looks: readonly Look[], lags: readonly StandbyLags[], options: SeenOptions, rng: Rng): SeenFreshness {
  const [least, usual, most] = laterBy(lags, options).map((later) => lags.map((_, s) => curveLooks(looks, lags, s, later, options)));
  if (least === undefined || usual === undefined || most === undefined) return { fresh: 0, low: 0, high: 1 };
  let [first, last] = [Number.POSITIVE_INFINITY, -1];
  for (const { moment } of looks) [first, last] = [Math.min(first, moment), Math.max(last, moment)];
  const all = new Float64Array(last + 1).fill(1);
  const mean = (shares: readonly number[]): number => shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length);
  const shareOf = (standbys: readonly CurveLooks[], weights: Float64Array, bound: 'low' | 'fresh' | 'high'): number =>
    mean(standbys.map((standby) => meanShare(standby, weights, options.at, bound)));
  const lows: number[] = [];
  const highs: number[] = [];
  for (let draw = 0; draw < draws; draw += 1) {
    const weights = drawSpells(first, last, options.spell, rng);
    lows.push(shareOf(least, weights, 'low'));
    highs.push(shareOf(most, weights, 'high'));
  }
  const fresh = shareOf(usual, all, 'fresh');
  const low = lows.toSorted((a, b) => a - b)[Math.floor(0.025 * draws)] ?? 0;
  const high = highs.toSorted((a, b) => a - b)[Math.ceil(0.975 * draws) - 1] ?? 1;
  return { fresh, low: Math.min(fresh, low), high: Math.max(fresh, high) };
}

/** How much later a commit returns beyond the words of standbys, at least, likely and at most: nothing, where it waits before and after. */
function laterBy(lags: readonly StandbyLags[], { waitedFor, waitsFor }: SeenOptions): readonly [number, number, number] {
  if (waitedFor > 0 === waitsFor > 0) return [0, 0, 0];
  const most = mostWakingMs(lags);
  return waitsFor > 0 ? [0, most / 2, most] : [-most, -most / 2, 0];
}

/** Looks at one standby in order of time. */
interface CurveLooks {
  readonly afterMs: Float64Array;
  readonly isFresh: Uint8Array;
  readonly moment: Uint32Array;
  /** The moments at which the commit would have waited for it: then it shows the change. And those of all other looks. */
  readonly waitedMoments: readonly number[];
  readonly freeMoments: readonly number[];
}

function curveLooks(
  looks: readonly Look[],
  lags: readonly StandbyLags[],
  standby: number,
  later: number,
  options: SeenOptions,
): CurveLooks {
  const { waitedFor, waitsFor } = options;
  const waitedMoments: number[] = [];
  const moved: { afterMs: number; isFresh: boolean; moment: number; byMs: number }[] = [];
  for (const look of looks) {
    if (look.standby !== standby) continue;
    if (waitedFor === waitsFor) {
      moved.push({ ...look, byMs: 0 });
      continue;
    }
    const words = lags.map(({ replayMs }) => replayMs[Math.min(look.moment, replayMs.length - 1)] ?? 0);
    const sorted = words.toSorted((a, b) => a - b);
    const wordOf = (n: number): number => (n === 0 ? 0 : (sorted[n - 1] ?? 0));
    if (waitsFor > 0 && (words[standby] ?? 0) <= wordOf(waitsFor)) waitedMoments.push(look.moment);
    else {
      const byMs = wordOf(waitsFor) - wordOf(waitedFor) + later;
      moved.push({ ...look, afterMs: look.afterMs - byMs, byMs });
    }
  }
  const by = moved.map(({ byMs }) => byMs).toSorted((a, b) => a - b);
  const [leastBy, mostBy] = [by[Math.floor(tailShare * by.length)] ?? 0, by[Math.ceil((1 - tailShare) * by.length) - 1] ?? 0];
  let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { afterMs, byMs } of moved) [first, last] = [Math.min(first, afterMs + byMs), Math.max(last, afterMs + byMs)];
  const kept = moved
    .filter(({ afterMs }) => afterMs >= first - leastBy && afterMs <= last - mostBy)
    .toSorted((a, b) => a.afterMs - b.afterMs);
  return {
    afterMs: Float64Array.from(kept, ({ afterMs }) => resolutionMs * Math.round(afterMs / resolutionMs)),
    isFresh: Uint8Array.from(kept, ({ isFresh }) => Number(isFresh)),
    moment: Uint32Array.from(kept, ({ moment }) => moment),
    waitedMoments,
    freeMoments: moved.map(({ moment }) => moment),
  };
}

/** The curve's mean at `at`; as a bound, it holds what may be where nothing was seen. */
function meanShare(looks: CurveLooks, weights: Float64Array, at: readonly number[], bound: 'low' | 'fresh' | 'high'): number {
  const weightOf = (moments: readonly number[]): number => moments.reduce((sum, moment) => sum + (weights[moment] ?? 0), 0);
  const [waited, free] = [weightOf(looks.waitedMoments), weightOf(looks.freeMoments)];
  if (waited + free === 0 || at.length === 0) return bound === 'high' ? 1 : 0;
  const pools = poolsOf(looks, weights);
  let sum = 0;
  for (const time of at) sum += (waited + free * shareAt(pools, time, bound)) / (waited + free);
  const mean = sum / at.length;
  const slack = unseenLooks / (waited + free);
  return bound === 'low' ? Math.max(0, mean - slack) : bound === 'high' ? Math.min(1, mean + slack) : mean;
}

interface Pool {
  readonly fromMs: number;
  toMs: number;
  weight: number;
  fresh: number;
}

function poolsOf({ afterMs, isFresh, moment }: CurveLooks, weights: Float64Array): readonly Pool[] {
  const pools: Pool[] = [];
  for (let i = 0; i < afterMs.length; i += 1) {
    const weight = weights[moment[i] ?? 0] ?? 0;
    if (weight === 0) continue;
    const time = afterMs[i] ?? 0;
    let pool: Pool = { fromMs: time, toMs: time, weight, fresh: weight * (isFresh[i] ?? 0) };
    for (
      let before = pools.at(-1);
      before !== undefined && (before.toMs === time || before.fresh * pool.weight >= pool.fresh * before.weight);
      before = pools.at(-1)
    ) {
      pools.pop();
      pool = { fromMs: before.fromMs, toMs: time, weight: before.weight + pool.weight, fresh: before.fresh + pool.fresh };
    }
    pools.push(pool);
  }
  return pools;
}

/** Between two pools the share is on the line between them. */
function shareAt(pools: readonly Pool[], time: number, bound: 'low' | 'fresh' | 'high'): number {
  let [low, high] = [0, pools.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((pools[middle]?.fromMs ?? 0) <= time) low = middle + 1;
    else high = middle;
  }
  const [before, after] = [pools[low - 1], pools[low]];
  const of = (pool: Pool): number => pool.fresh / pool.weight;
  if (before === undefined && after === undefined) return bound === 'high' ? 1 : 0;
  if (before === undefined) return bound === 'low' || after === undefined ? 0 : of(after);
  if (time <= before.toMs) return of(before);
  if (after === undefined) return bound === 'high' ? 1 : of(before);
  if (bound === 'low') return of(before);
  if (bound === 'high') return of(after);
  return of(before) + ((of(after) - of(before)) * (time - before.toMs)) / (after.fromMs - before.toMs);
}

/** How often each moment is in a record whose spells are drawn again; spells are shorter where it holds fewer than eight of them. */
function drawSpells(first: number, last: number, spell: number, rng: Rng): Float64Array {
  const weights = new Float64Array(last + 1);
  const moments = last - first + 1;
  if (!(moments > 0)) return weights;
  const length = Math.max(1, Math.min(spell, Math.floor(moments / 8)));
  for (let filled = 0; filled < moments; filled += length) {
    const start = first + rng.int(moments - length + 1);
    for (let i = 0; i < length && filled + i < moments; i += 1) weights[start + i] = (weights[start + i] ?? 0) + 1;
  }
  return weights;
}
