import type { Rng } from '../base/rng.ts';

/**
 * How stale quorum reads are: the WARS model of Probabilistically Bounded Staleness (Bailis et al., VLDB 2012) by Monte Carlo. A
 * write reaches replica i after W_i and its acknowledgement comes back after A_i; it is committed at wt, when the w-th has come. A
 * read that begins t later reaches replica i after R_i and is answered after S_i; it waits for the first r answers, and is fresh if
 * one of these replicas already had the write: wt + t + R_i >= W_i.
 *
 * One trial serves every (r, w): it yields the t from which each would have been fresh. Measured latencies are drawn as they were
 * seen: one moment of the record gives all replicas' legs, so that a slow minute is slow everywhere (independent draws would promise
 * too much). Cost: trials x N log N; nine settings of three replicas at 100,000 trials in about a quarter of a second.
 */
export interface Legs {
  /** Milliseconds: write request, write acknowledgement, read request, read response. Same length, same moments in the same order. */
  readonly w: ArrayLike<number>;
  readonly a: ArrayLike<number>;
  readonly r: ArrayLike<number>;
  readonly s: ArrayLike<number>;
}

export interface WarsOptions {
  readonly trials: number;
  /** True: sample k of every replica and leg was seen at one moment. False: legs and replicas are drawn independently. */
  readonly isPaired: boolean;
  /** How many neighbouring moments count as one spell: a read is drawn from the spell of its write. */
  readonly spell: number;
  /** Times after the commit, ms, at which freshness is asked for. */
  readonly afterMs: readonly number[];
}

export interface QuorumOdds {
  readonly r: number;
  readonly w: number;
  /** P(fresh) at each of `afterMs`. */
  readonly fresh: readonly number[];
  /** Time after the commit from which 99.9 % of reads are fresh, ms. */
  readonly fresh999Ms: number;
  readonly readP50Ms: number;
  readonly readP99Ms: number;
  readonly readMeanMs: number;
  readonly writeP50Ms: number;
  readonly writeP99Ms: number;
  readonly writeMeanMs: number;
}

/** Every (r, w) with 1 <= r, w <= N, by r then w. */
export function quorumOdds(replicas: readonly Legs[], options: WarsOptions, rng: Rng): readonly QuorumOdds[] {
  const n = replicas.length;
  const { trials } = options;
  const wMs = replicas.map(({ w }) => Float64Array.from(w));
  const aMs = replicas.map(({ a }) => Float64Array.from(a));
  const rMs = replicas.map(({ r }) => Float64Array.from(r));
  const sMs = replicas.map(({ s }) => Float64Array.from(s));
  const needs = Array.from({ length: n * n }, () => new Float32Array(trials));
  const reads = Array.from({ length: n }, () => new Float32Array(trials));
  const writes = Array.from({ length: n }, () => new Float32Array(trials));
  const arrives = new Float64Array(n);
  const acks = new Float64Array(n);
  const asked = new Float64Array(n);
  const answers = new Float64Array(n);
  const order = new Uint8Array(n);
  const moments = wMs[0]?.length ?? 0;
  const readMoments = rMs[0]?.length ?? 0;
  for (let trial = 0; trial < trials; trial += 1) {
    const at = rng.int(moments);
    // The read falls into the same spell, scaled where reads and writes were not sampled equally often.
    const spellStart = Math.floor(((at - (at % options.spell)) / moments) * readMoments);
    const readAt = Math.min(readMoments - 1, spellStart + rng.int(Math.min(options.spell, readMoments - spellStart)));
    for (let i = 0; i < n; i += 1) {
      const w = wMs[i] as Float64Array;
      const a = aMs[i] as Float64Array;
      const r = rMs[i] as Float64Array;
      const s = sMs[i] as Float64Array;
      const arrive = w[options.isPaired ? at : rng.int(w.length)] as number;
      arrives[i] = arrive;
      acks[i] = arrive + (a[options.isPaired ? at : rng.int(a.length)] as number);
      const ask = r[options.isPaired ? readAt : rng.int(r.length)] as number;
      asked[i] = ask;
      answers[i] = ask + (s[options.isPaired ? readAt : rng.int(s.length)] as number);
    }
    sortSmall(acks);
    orderBy(answers, order);
    for (let w = 0; w < n; w += 1) {
      const committed = acks[w] as number;
      (writes[w] as Float32Array)[trial] = committed;
      let need = Number.POSITIVE_INFINITY;
      for (let r = 0; r < n; r += 1) {
        const replica = order[r] as number;
        const wait = (arrives[replica] as number) - committed - (asked[replica] as number);
        if (wait < need) need = wait;
        (needs[r * n + w] as Float32Array)[trial] = need > 0 ? need : 0;
      }
    }
    for (let r = 0; r < n; r += 1) (reads[r] as Float32Array)[trial] = answers[order[r] as number] as number;
  }
  const readStats = reads.map(statsOf);
  const writeStats = writes.map(statsOf);
  return Array.from({ length: n * n }, (_, i) => {
    const r = Math.floor(i / n);
    const w = i % n;
    const need = needs[i] as Float32Array;
    const read = readStats[r] ?? { p50: 0, p99: 0, mean: 0 };
    const write = writeStats[w] ?? { p50: 0, p99: 0, mean: 0 };
    return {
      r: r + 1,
      w: w + 1,
      fresh: options.afterMs.map((t) => shareUpTo(need, t)),
      fresh999Ms: topQuantile(need, 0.999),
      readP50Ms: read.p50,
      readP99Ms: read.p99,
      readMeanMs: read.mean,
      writeP50Ms: write.p50,
      writeP99Ms: write.p99,
      writeMeanMs: write.mean,
    };
  });
}

/** How sure P(fresh) is, given that the record is a sample: 95 % intervals by drawing whole spells of it again. */
export function freshIntervals(
  replicas: readonly Legs[],
  options: WarsOptions,
  rng: Rng,
): readonly { readonly r: number; readonly w: number; readonly low: number; readonly high: number }[] {
  const rounds = 40;
  const trials = Math.max(1_000, Math.floor(options.trials / 20));
  const runs = Array.from({ length: rounds }, () => quorumOdds(redraw(replicas, options.spell, rng), { ...options, trials }, rng));
  return (runs[0] ?? []).map(({ r, w }, i) => {
    const values = runs.map((run) => run[i]?.fresh[0] ?? 0).toSorted((a, b) => a - b);
    return { r, w, low: values[1] ?? 0, high: values[rounds - 2] ?? 1 };
  });
}

/** The record with its spells drawn again with replacement, the same ones for all replicas, reads and writes each in step. */
function redraw(replicas: readonly Legs[], spell: number, rng: Rng): readonly Legs[] {
  const pick = (moments: number): Uint32Array => {
    const picked = new Uint32Array(moments);
    const length = Math.min(spell, moments);
    for (let filled = 0; filled < moments; filled += length) {
      const start = rng.int(moments - length + 1);
      for (let i = 0; i < length && filled + i < moments; i += 1) picked[filled + i] = start + i;
    }
    return picked;
  };
  const writesAt = pick(replicas[0]?.w.length ?? 0);
  const readsAt = pick(replicas[0]?.r.length ?? 0);
  const take = (leg: ArrayLike<number>, at: Uint32Array): Float64Array => Float64Array.from(at, (i) => leg[i % leg.length] ?? 0);
  return replicas.map(({ w, a, r, s }) => ({ w: take(w, writesAt), a: take(a, writesAt), r: take(r, readsAt), s: take(s, readsAt) }));
}

function sortSmall(values: Float64Array): void {
  for (let i = 1; i < values.length; i += 1) {
    const value = values[i] as number;
    let j = i - 1;
    while (j >= 0 && (values[j] as number) > value) {
      values[j + 1] = values[j] as number;
      j -= 1;
    }
    values[j + 1] = value;
  }
}

/** Indices in ascending order of their values. */
function orderBy(values: Float64Array, order: Uint8Array): void {
  for (let i = 0; i < order.length; i += 1) order[i] = i;
  for (let i = 1; i < order.length; i += 1) {
    const index = order[i] as number;
    let j = i - 1;
    while (j >= 0 && (values[order[j] as number] as number) > (values[index] as number)) {
      order[j + 1] = order[j] as number;
      j -= 1;
    }
    order[j + 1] = index;
  }
}

function statsOf(values: Float32Array): { readonly p50: number; readonly p99: number; readonly mean: number } {
  let sum = 0;
  for (const value of values) sum += value;
  const sorted = values.toSorted();
  return {
    p50: sorted[Math.floor(0.5 * sorted.length)] ?? 0,
    p99: sorted[Math.floor(0.99 * sorted.length)] ?? 0,
    mean: sum / values.length,
  };
}

function shareUpTo(values: Float32Array, t: number): number {
  let count = 0;
  for (const value of values) if (value <= t) count += 1;
  return count / values.length;
}

/** A quantile near 1 without sorting what is mostly zero. */
function topQuantile(values: Float32Array, level: number): number {
  const above = Float32Array.from(values.filter((value) => value > 0)).sort();
  const allowed = Math.floor((1 - level) * values.length);
  return above[above.length - 1 - allowed] ?? 0;
}
