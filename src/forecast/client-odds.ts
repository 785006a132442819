import type { Rng } from '../base/rng.ts';
import { type ClientLook, type SeenShare, seenShares } from './client-looks.ts';
import type { CoordinatedOperation, TracedLegs } from './replica-legs.ts';
import { meanOf, spellInterval, wilson } from './share-interval.ts';
import type { Legs } from './wars.ts';

/**
 * What each (R, W) would have been for the operations of a record: WARS (see `wars.ts`), played on pairs of a recorded write with recorded
 * reads of its own time, as many for each write, rather than drawn. So each write has a share of fresh reads, and the interval comes from
 * drawing whole spells of these again. Trips alone leave it wide: its low end is told with ways that make reads as stale as the trips
 * allow, its high end the other way round. Where reads say which version each replica had, what they saw narrows it (`client-looks.ts`).
 * Cost: six times `pairs` times N^2.
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
  readonly pairs?: number;
  /** What reads saw, of the same operations. */
  readonly looks: readonly ClientLook[];
}

const defaultPairs = 50_000;
const z95 = 1.96;

/** Every (R, W), by R then W. `waits`: of the same operations, see {@link waitsOf}. */
export function clientOdds(
  legs: TracedLegs,
  waits: readonly ClientWait[],
  { afterMs, spell, looks, pairs = defaultPairs }: ClientOddsOptions,
  rng: Rng,
): readonly ClientOdds[] {
  const n = legs.middle.length;
  const readsOf = pairReads(waits, legs, spell, pairs, rng);
  const seen = seenShares(looks, n, { afterMs, spell }, rng);
  const told = (['middle', 'late', 'early'] as const).map((ways) => ({
    asked: freshShares(legs[ways], readsOf, () => afterMs),
    seen: looks.length === 0 ? [] : freshShares(legs[ways], readsOf, (i) => afterMs + (seen[i]?.after?.lateMs ?? 0)),
  }));
  const sorted = (kind: 'read' | 'write', count: number): Float64Array =>
    Float64Array.from(waits.filter((wait) => wait.kind === kind).map(({ answersMs }) => answersMs[count - 1] ?? 0)).sort();
  const counts = Array.from({ length: n }, (_, i) => i + 1);
  const reads = counts.map((count) => sorted('read', count));
  const writes = counts.map((count) => sorted('write', count));
  return Array.from({ length: n * n }, (_, i) => {
    const [r, w] = [Math.floor(i / n) + 1, (i % n) + 1];
    // Whoever waits for more than they can have missed misses nothing.
    const share = r + w > n ? sure : joined(toldShare(told, i, spell, rng), seen[i]);
    const [read, write] = [reads[r - 1] ?? none, writes[w - 1] ?? none];
    return {
      r,
      w,
      fresh: [share.fresh],
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
  readonly fresh: number;
  readonly low: number;
  readonly high: number;
}
const sure: Share = { low: 1, high: 1, fresh: 1 };

/** Shares of each write's reads, as trips say: at the time that is asked about, and at that of the reads that were seen. */
interface Told {
  readonly asked: readonly Float64Array[];
  readonly seen: readonly Float64Array[];
}

/** What trips say; `laterBy`: how much fresher reads are at the time of those that were seen, in the middle and at most. */
function toldShare(
  [middle, late, early]: readonly Told[],
  i: number,
  spell: number,
  rng: Rng,
): Share & { readonly laterBy: readonly [number, number] } {
  const [lows, highs] = [late?.asked[i] ?? none, early?.asked[i] ?? none];
  const fresh = meanOf(middle?.asked[i] ?? none);
  // What was seen of so many writes is no surer than so many throws.
  const low = Math.min(spellInterval(lows, spell, rng).low, wilson(meanOf(lows), lows.length).low, fresh);
  const high = Math.max(spellInterval(highs, spell, rng).high, wilson(meanOf(highs), highs.length).high, fresh);
  const gains = [middle, late, early].map((one) => meanOf(one?.seen[i] ?? none) - meanOf(one?.asked[i] ?? none));
  return { low, high: Math.min(1, high), fresh, laterBy: [gains[0] ?? 0, Math.max(...gains)] };
}

/** Both hold; where they contradict each other, what was seen does. */
function joined(told: ReturnType<typeof toldShare>, seen: SeenShare | undefined): Share {
  if (seen === undefined) return told;
  const { after, atLeast, atMost } = seen;
  const [gain, most] = told.laterBy;
  const sawLow = Math.max(atLeast, after === null ? 0 : after.low - most);
  const isTold = Math.max(told.low, sawLow) <= Math.min(told.high, atMost);
  const low = isTold ? Math.max(told.low, sawLow) : Math.min(sawLow, atMost);
  const high = isTold ? Math.min(told.high, atMost) : atMost;
  return { low, high, fresh: Math.min(high, Math.max(low, after === null ? told.fresh : after.fresh - gain)) };
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

/** For each (R, W) by R then W: of each write, the share of its reads that are fresh. */
function freshShares(
  legs: readonly Legs[],
  readsOf: readonly Uint32Array[],
  afterMsOf: (setting: number) => number,
): readonly Float64Array[] {
  const n = legs.length;
  const shares = Array.from({ length: n * n }, () => new Float64Array(readsOf.length));
  const afterMs = shares.map((_, i) => afterMsOf(i));
  const order = Array.from({ length: n }, (_, i) => i);
  readsOf.forEach((reads, write) => {
    const arrives = legs.map(({ w }) => w[write] ?? 0);
    const commits = legs.map(({ w, a }) => (w[write] ?? 0) + (a[write] ?? 0)).toSorted((a, b) => a - b);
    for (const read of reads) {
      const answered = (i: number): number => (legs[i]?.r[read] ?? 0) + (legs[i]?.s[read] ?? 0);
      order.sort((a, b) => answered(a) - answered(b) || a - b);
      let need = Number.POSITIVE_INFINITY;
      order.forEach((replica, r) => {
        // When the read would have had to be sent for this replica to show the write.
        need = Math.min(need, (arrives[replica] ?? 0) - (legs[replica]?.r[read] ?? 0));
        commits.forEach((commit, w) => {
          const share = shares[r * n + w];
          if (share !== undefined && commit + (afterMs[r * n + w] ?? 0) >= need) share[write] = (share[write] ?? 0) + 1 / reads.length;
        });
      });
    }
  });
  return shares;
}

/** Of values in ascending order; its interval by how many of so many may lie above it (binomial). */
function p99Of(values: Float64Array): Quantile {
  const n = values.length;
  const spread = z95 * Math.sqrt(n * 0.99 * 0.01);
  const at = (place: number): number => values[Math.max(0, Math.min(n - 1, Math.floor(place)))] ?? 0;
  return { ms: at(0.99 * n), lowMs: at(0.99 * n - spread), highMs: at(0.99 * n + spread) };
}
