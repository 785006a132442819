import type { Rng } from '../base/rng.ts';
import { type ClientLook, type SeenShare, seenShare } from './client-looks.ts';
import type { CoordinatedOperation, TracedLegs } from './replica-legs.ts';
import { meanOf, spellInterval, wilson } from './share-interval.ts';
import type { Legs } from './wars.ts';

/**
 * What each (R, W) would have been for the operations of a record: WARS (see `wars.ts`), played on pairs of a recorded write with recorded
 * reads of its own time, as many for each write, rather than drawn. So each write has a share of fresh reads, and the interval comes from
 * drawing whole spells of these again. Trips alone leave it wide: its low end is told with ways that make reads as stale as the trips
 * allow, its high end the other way round. Where reads say which version each replica had, what they saw narrows it (`client-looks.ts`).
 * Cost: three times `pairs` times N^2.
 */
export interface ClientOdds {
  readonly r: number;
  readonly w: number;
  /** Share of reads that are fresh so long after the commit. */
  readonly fresh: readonly [number];
  /** 95 % interval of it. */
  readonly freshLow: number;
  readonly freshHigh: number;
  readonly readMeanMs: number;
  readonly writeMeanMs: number;
  /** What the slowest of a hundred waits, and its 95 % interval. */
  readonly readP99: Quantile;
  readonly writeP99: Quantile;
}

export interface Quantile {
  readonly ms: number;
  readonly lowMs: number;
  readonly highMs: number;
}

export interface ClientOddsOptions {
  /** When reads begin, milliseconds after the commit. */
  readonly afterMs: number;
  /** Neighbouring operations that go together. */
  readonly spell: number;
  /** What reads saw, of the same operations. */
  readonly looks: readonly ClientLook[];
}

/** Pairs that are played, times settings: a fifth of a second and some 10 MB for three replicas as for sixteen. */
const mostPlayed = 200_000;
const z95 = 1.96;

/** As many operations as are worth knowing of `n` replicas. */
export const mostOperations = (n: number): number => Math.floor((2 * mostPlayed) / (n * n));

/** Every (R, W), by R then W. `waits`: of the same operations, see {@link waitsOf}. */
export function clientOdds(
  legs: TracedLegs,
  waits: readonly ClientWait[],
  { afterMs, spell, looks }: ClientOddsOptions,
  rng: Rng,
): readonly ClientOdds[] {
  const n = legs.middle.length;
  const readsOf = pairReads(waits, legs, spell, Math.floor(mostPlayed / (n * n)), rng);
  const played = [legs.middle, legs.late, legs.early].map((ways) => playedOf(ways, readsOf));
  const sorted = (kind: 'read' | 'write', count: number): Float64Array =>
    Float64Array.from(waits.filter((wait) => wait.kind === kind).map(({ answersMs }) => answersMs[count - 1] ?? 0)).sort();
  const counts = Array.from({ length: n }, (_, i) => i + 1);
  const reads = counts.map((count) => sorted('read', count));
  const writes = counts.map((count) => sorted('write', count));
  const settings = Array.from({ length: n * n }, (_, i) => ({ r: Math.floor(i / n) + 1, w: (i % n) + 1 }));
  const shares = settings.map(({ r, w }, i) =>
    // Whoever waits for more than they can have missed misses nothing.
    r + w > n
      ? sure
      : shareOf(
          played.map((ways) => ways[i] ?? nothing),
          afterMs,
          spell,
          rng,
          (gains) => seenShare(looks, { r, w, afterMs, spell }, gains, rng),
        ),
  );
  const leaning = leaningOf(shares);
  return settings.map(({ r, w }, i) => {
    const share = shares[i] ?? sure;
    const [read, write] = [reads[r - 1] ?? none, writes[w - 1] ?? none];
    return {
      r,
      w,
      fresh: [Math.min(share.high, Math.max(share.low, share.seen ?? along(share.told, leaning)))],
      freshLow: share.low,
      freshHigh: share.high,
      readMeanMs: meanOf(read),
      writeMeanMs: meanOf(write),
      readP99: p99Of(read),
      writeP99: p99Of(write),
    };
  });
}

/** How long a client waited for its first answer, its second and so on; ascending, milliseconds. */
export interface ClientWait {
  readonly kind: 'read' | 'write';
  readonly answersMs: readonly number[];
}

/** Of the operations that went to all of `replicas`, in their order. */
export function waitsOf(operations: readonly CoordinatedOperation[], replicas: readonly string[]): readonly ClientWait[] {
  return operations.flatMap(({ kind, trips }) => {
    const answersMs = trips.filter(({ replica }) => replicas.includes(replica)).map(({ sentMs, tripMs }) => sentMs + tripMs);
    return answersMs.length === replicas.length ? [{ kind, answersMs: answersMs.toSorted((a, b) => a - b) }] : [];
  });
}

const none = new Float64Array(0);

interface Share {
  readonly low: number;
  readonly high: number;
  /** By trips, with ways that make reads as fresh as may be, with halves of trips, and with ways that make them as stale. */
  readonly told: readonly [number, number, number];
  /** By what reads saw; null where too few did. */
  readonly seen: number | null;
}
const sure: Share = { low: 1, high: 1, told: [1, 1, 1], seen: null };

/**
 * Where between the freshest (-1) and the stalest (1) that trips allow the reads that were seen are. What is lost on one way in one setting is
 * in the others: so no reads of a setting that is not in force need be seen to know about where it will be.
 */
function leaningOf(shares: readonly Share[]): number {
  let [sum, weight] = [0, 0];
  for (const { told, seen } of shares) {
    const [freshest, half, stalest] = told;
    if (seen === null || freshest === stalest) continue;
    const side = seen > half ? freshest - half : half - stalest;
    const at = side === 0 ? 0 : Math.min(1, Math.abs(seen - half) / side) * (seen > half ? -1 : 1);
    sum += at * (freshest - stalest);
    weight += freshest - stalest;
  }
  return weight === 0 ? 0 : sum / weight;
}

const along = ([freshest, half, stalest]: Share['told'], at: number): number =>
  half + Math.abs(at) * ((at < 0 ? freshest : stalest) - half);

/** Of each write's pairs in turn: how long after the commit the read has to be sent to see it, milliseconds; and the same in order. */
interface Played {
  readonly each: number;
  readonly needsMs: Float32Array;
  readonly sortedMs: Float32Array;
}
const nothing: Played = { each: 1, needsMs: new Float32Array(0), sortedMs: new Float32Array(0) };

/** What trips say, and what was seen; where they contradict each other, what was seen. `ways`: the middle, the latest, the earliest. */
function shareOf(
  ways: readonly Played[],
  afterMs: number,
  spell: number,
  rng: Rng,
  see: (gains: readonly ((lateMs: number) => number)[]) => SeenShare,
): Share {
  const [middle = nothing, late = nothing, early = nothing] = ways;
  const fresh = shareUpTo(middle, afterMs);
  const [lows, highs] = [sharesUpTo(late, afterMs), sharesUpTo(early, afterMs)];
  // What was seen of so many writes is no surer than so many throws.
  const low = Math.min(spellInterval(lows, spell, rng).low, wilson(meanOf(lows), lows.length).low, fresh);
  const high = Math.max(spellInterval(highs, spell, rng).high, wilson(meanOf(highs), highs.length).high, fresh);
  const seen = see(
    ways.map((one) => {
      const asked = shareUpTo(one, afterMs);
      return (lateMs) => shareUpTo(one, afterMs + lateMs) - asked;
    }),
  );
  const isTold = Math.max(low, seen.low) <= Math.min(high, seen.high);
  const joined = isTold
    ? { low: Math.max(low, seen.low), high: Math.min(1, high, seen.high) }
    : { low: Math.min(seen.low, seen.high), high: seen.high };
  return { ...joined, told: [meanOf(highs), fresh, meanOf(lows)], seen: seen.fresh };
}

/** For each write. */
function sharesUpTo({ each, needsMs }: Played, ms: number): Float64Array {
  const shares = new Float64Array(needsMs.length / each);
  needsMs.forEach((need, i) => {
    if (need <= ms) shares[Math.floor(i / each)] = (shares[Math.floor(i / each)] ?? 0) + 1 / each;
  });
  return shares;
}

function shareUpTo({ sortedMs }: Played, ms: number): number {
  let [low, high] = [0, sortedMs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sortedMs[middle] ?? 0) <= ms) low = middle + 1;
    else high = middle;
  }
  return sortedMs.length === 0 ? 0 : low / sortedMs.length;
}

/** For each write the numbers of some of the reads that came about when it did. */
function pairReads(
  waits: readonly ClientWait[],
  { writes, reads }: TracedLegs,
  spell: number,
  pairs: number,
  rng: Rng,
): readonly Uint32Array[] {
  const each = Math.max(1, Math.min(spell, Math.floor(pairs / writes)));
  const about = Math.min(spell, reads);
  const readsOf: Uint32Array[] = [];
  let readsBefore = 0;
  for (const { kind } of waits) {
    if (kind === 'read') readsBefore += 1;
    else {
      const start = Math.max(0, Math.min(reads - about, readsBefore - (about >> 1)));
      readsOf.push(Uint32Array.from({ length: each }, () => start + rng.int(about)));
    }
  }
  return readsOf;
}

/** Every (R, W), by R then W. */
function playedOf(legs: readonly Legs[], readsOf: readonly Uint32Array[]): readonly Played[] {
  const n = legs.length;
  const each = readsOf[0]?.length ?? 1;
  const needs = Array.from({ length: n * n }, () => new Float32Array(readsOf.length * each));
  const order = Array.from({ length: n }, (_, i) => i);
  readsOf.forEach((reads, write) => {
    const arrives = legs.map(({ w }) => w[write] ?? 0);
    const commits = legs.map(({ w, a }) => (w[write] ?? 0) + (a[write] ?? 0)).toSorted((a, b) => a - b);
    reads.forEach((read, k) => {
      const answered = legs.map(({ r, s }) => (r[read] ?? 0) + (s[read] ?? 0));
      order.sort((a, b) => (answered[a] ?? 0) - (answered[b] ?? 0) || a - b);
      // When the read would have had to be sent for one of the replicas to show the write, from the start of the write.
      let sentMs = Number.POSITIVE_INFINITY;
      order.forEach((replica, r) => {
        sentMs = Math.min(sentMs, (arrives[replica] ?? 0) - (legs[replica]?.r[read] ?? 0));
        commits.forEach((commit, w) => {
          (needs[r * n + w] as Float32Array)[write * each + k] = sentMs - commit;
        });
      });
    });
  });
  return needs.map((needsMs) => ({ each, needsMs, sortedMs: needsMs.toSorted() }));
}

/** Of values in ascending order; its interval by how many of so many may lie above it (binomial). */
function p99Of(values: Float64Array): Quantile {
  const n = values.length;
  const spread = z95 * Math.sqrt(n * 0.99 * 0.01);
  const at = (place: number): number => values[Math.max(0, Math.min(n - 1, Math.floor(place)))] ?? 0;
  return { ms: at(0.99 * n), lowMs: at(0.99 * n - spread), highMs: at(0.99 * n + spread) };
}
