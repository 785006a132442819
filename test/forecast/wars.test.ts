import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { freshIntervals, type Legs, quorumOdds } from '../../src/forecast/wars.ts';

const options = { trials: 20_000, isPaired: false, spell: 1, afterMs: [0, 5, 50] };

function exponentialLegs(name: string, means: { readonly w: number; readonly a: number; readonly r: number; readonly s: number }): Legs {
  const rng = createRng(name);
  const draw = (mean: number): Float64Array => Float64Array.from({ length: 4_000 }, () => -mean * Math.log(1 - rng.next()));
  return { w: draw(means.w), a: draw(means.a), r: draw(means.r), s: draw(means.s) };
}

/** The definition, word by word, for one trial drawn independently: the dumb oracle. */
function dumbFresh(replicas: readonly Legs[], r: number, w: number, t: number, trials: number): number {
  const rng = createRng('dumb');
  let fresh = 0;
  for (let trial = 0; trial < trials; trial += 1) {
    const legs = replicas.map((one) => ({
      w: one.w[rng.int(4_000)] ?? 0,
      a: one.a[rng.int(4_000)] ?? 0,
      r: one.r[rng.int(4_000)] ?? 0,
      s: one.s[rng.int(4_000)] ?? 0,
    }));
    const committed = legs.map((leg) => leg.w + leg.a).toSorted((x, y) => x - y)[w - 1] ?? 0;
    const first = legs.toSorted((x, y) => x.r + x.s - (y.r + y.s)).slice(0, r);
    if (first.some((leg) => committed + t + leg.r >= leg.w)) fresh += 1;
  }
  return fresh / trials;
}

describe('quorum odds', () => {
  const replicas = [
    exponentialLegs('eu', { w: 5, a: 1, r: 1, s: 1 }),
    exponentialLegs('us', { w: 12, a: 2, r: 2, s: 1 }),
    exponentialLegs('ap', { w: 20, a: 3, r: 1, s: 3 }),
  ];

  it('agree with the definition, for every (R, W) of three replicas', () => {
    for (const { r, w, fresh } of quorumOdds(replicas, options, createRng(1))) {
      options.afterMs.forEach((t, i) => expect(Math.abs((fresh[i] ?? 0) - dumbFresh(replicas, r, w, t, 20_000))).toBeLessThan(0.015));
    }
  });

  it('are 1 for every quorum that overlaps, and rise with R, W and time', () => {
    const odds = quorumOdds(replicas, options, createRng(2));
    const of = (r: number, w: number): (typeof odds)[number] | undefined => odds.find((one) => one.r === r && one.w === w);
    for (const one of odds) {
      if (one.r + one.w > 3) expect(one.fresh[0]).toBe(1);
      expect(one.fresh).toEqual(one.fresh.toSorted((a, b) => a - b));
      expect(of(one.r + 1, one.w)?.fresh[0] ?? 1).toBeGreaterThanOrEqual(one.fresh[0] ?? 0);
      expect(of(one.r + 1, one.w)?.readP99Ms ?? Infinity).toBeGreaterThanOrEqual(one.readP99Ms);
      expect(of(one.r, one.w + 1)?.writeP99Ms ?? Infinity).toBeGreaterThanOrEqual(one.writeP99Ms);
    }
  });

  it('keep slow moments together where samples are paired: independent draws would promise too much', () => {
    // In one moment of ten both followers are slow to take writes; drawn apart, both are in one of a hundred. The leader answers last.
    const constant = (value: number): number[] => Array.from({ length: 1_000 }, () => value);
    const slow = (i: number): number => (i % 10 === 0 ? 100 : 1);
    const legs: Legs = {
      w: Array.from({ length: 1_000 }, (_, i) => slow(i)),
      a: constant(1),
      r: constant(1),
      s: constant(1),
    };
    const leader: Legs = { ...legs, w: constant(1), r: constant(50) };
    const share = (isPaired: boolean): number => {
      const [, , , one] = quorumOdds([leader, legs, legs], { ...options, isPaired }, createRng(3));
      return one?.fresh[0] ?? 0;
    };
    expect(share(true)).toBeCloseTo(0.9, 1);
    expect(share(false)).toBeCloseTo(0.99, 2);
  });

  it('come with intervals that hold the answer of a longer record', () => {
    const short = replicas.map(({ w, a, r, s }) => ({
      w: Array.from(w).slice(0, 300),
      a: Array.from(a).slice(0, 300),
      r: Array.from(r).slice(0, 300),
      s: Array.from(s).slice(0, 300),
    }));
    const paired = { ...options, isPaired: true, spell: 8 };
    const [truth] = quorumOdds(replicas, paired, createRng(4));
    const [interval] = freshIntervals(short, paired, createRng(4));
    expect(interval?.low).toBeLessThan(truth?.fresh[0] ?? 0);
    expect(interval?.high).toBeGreaterThan(truth?.fresh[0] ?? 1);
    expect((interval?.high ?? 1) - (interval?.low ?? 0)).toBeLessThan(0.2);
  });
});
