import { describe, expect, it } from 'vitest';

import { createRng } from '../../src/base/rng.ts';
import { levels, medianIndex } from '../../src/forecast/contender.ts';
import { memberOf } from '../../src/forecast/examples.ts';
import { defaultMix, mediansOf, mix, type Voice } from '../../src/forecast/mix.ts';
import { horizons, outputs } from '../../src/forecast/window.ts';

const q = levels.length;
const values = Float64Array.from({ length: 600 }, (_, i) => 100 + 10 * Math.sin(i / 5));
const member = memberOf('wave', { startMs: 0, stepMs: 300_000, values, missing: new Uint8Array(600) });
const origins = Array.from({ length: 400 }, (_, i) => 100 + i);

/** Medians off by `offBy`, a band of one to either side. */
const answers = (offBy: (i: number) => number): Float64Array => {
  const out = new Float64Array(origins.length * outputs * q);
  origins.forEach((at, i) => {
    for (let h = 0; h < outputs; h += 1)
      for (let k = 0; k < q; k += 1)
        out[(i * outputs + h) * q + k] = (values[at + Math.min(h, horizons - 1) + 1] ?? 0) + offBy(i) + (k - medianIndex) / 4;
  });
  return out;
};
const moments = { earlier: [], origins };
const voice = (offBy: (i: number) => number, knowsFrom = 0): Voice => ({ points: mediansOf(answers(offBy)), knowsFrom });
const errorAt = (all: Float64Array, i: number, h: number): number =>
  Math.abs((all[(i * outputs + h) * q + medianIndex] ?? 0) - (values[(origins[i] ?? 0) + h + 1] ?? 0));

describe('trust in the network', () => {
  it('stays where the network does well', () => {
    const out = mix(
      member,
      moments,
      answers(() => 0.5),
      null,
      [voice(() => 5)],
    );
    expect(errorAt(out, 399, 3)).toBeLessThan(0.6);
  });

  it('goes to a rule that does better, and comes back when the network does', () => {
    const out = mix(
      member,
      moments,
      answers((i) => (i < 150 ? 9 : 0.1)),
      null,
      [voice((i) => (i < 150 ? 1 : 6))],
    );
    expect(errorAt(out, 0, 3)).toBeGreaterThan(7);
    expect(errorAt(out, 140, 3)).toBeLessThan(1.5);
    expect(errorAt(out, 399, 3)).toBeLessThan(0.5);
  });

  it('moves the band with the median, as wide as the network says while that is trusted, and as its own errors say after', () => {
    const widthAt = (quantiles: Float64Array, i: number): number => {
      const at = (i * outputs + 2) * q;
      return (quantiles[at + 8] ?? 0) - (quantiles[at] ?? 0);
    };
    const raw = answers(() => 9);
    const none = mix(member, moments, raw, null, []);
    expect(widthAt(none, 300)).toBeCloseTo(widthAt(raw, 300), 9);
    // A rival that is off by up to three to either side, evenly.
    const out = mix(member, moments, raw, null, [voice((i) => ((i * 7) % 13) / 2 - 3)]);
    expect(widthAt(out, 0)).toBeCloseTo(widthAt(raw, 0), 9);
    expect(widthAt(out, 350)).toBeGreaterThan(5);
    expect(widthAt(out, 350)).toBeLessThan(7);
    const at = (350 * outputs + 2) * q;
    expect(out[at + 8]).toBeLessThan((raw[at + 8] ?? 0) - 2);
  });

  it('reads no outcome that was not complete at the origin', () => {
    const raw = answers(() => 3);
    const rival = voice(() => 0);
    const later = values.map((value, i) => (i > 300 ? value + 50 : value));
    const changed = mix({ ...member, grid: { ...member.grid, values: later } }, moments, raw, null, [rival]);
    const told = mix(member, moments, raw, null, [rival]);
    const upTo = (300 - 100 + 1) * outputs * q;
    expect(changed.subarray(0, upTo)).toEqual(told.subarray(0, upTo));
  });

  it('is not lost to who stood in for the last value until there was a day to look back on', () => {
    const wakes = 300;
    const network = answers(() => 9);
    const rival = (knowsFrom: number) => [voice(() => 2), voice((i) => (100 + i < wakes ? 1 : 60), knowsFrom)];
    const at = wakes - 100 + 1;
    expect(errorAt(mix(member, moments, network, null, rival(0)), at, 3)).toBeGreaterThan(20);
    expect(errorAt(mix(member, moments, network, null, rival(wakes)), at, 3)).toBeLessThan(9);
  });

  it('goes as fast, whether a series is looked at every step or every fifth', () => {
    const rng = createRng('noise');
    const noise = Array.from({ length: values.length + 2 * horizons }, () => [12 * rng.next() - 6, 8 * rng.next() - 4] as const);
    const trustAt = (every: number, at: number): number => {
      const some = origins.filter((_, i) => i % every === 0);
      const i = some.indexOf(at);
      const take = (who: 0 | 1): Float64Array => {
        const all = answers((one) => noise[one]?.[who] ?? 0);
        return Float64Array.from(some.flatMap((one) => [...all.subarray((one - 100) * outputs * q, (one - 99) * outputs * q)]));
      };
      const network = take(0);
      const rival = mediansOf(take(1));
      const out = mix(member, { earlier: [], origins: some }, network, null, [{ points: rival, knowsFrom: 0 }]);
      const cell = i * outputs + 3;
      return ((out[cell * q + medianIndex] ?? 0) - (rival[cell] ?? 0)) / ((network[cell * q + medianIndex] ?? 0) - (rival[cell] ?? 0));
    };
    expect(trustAt(1, 120)).toBeLessThan(0.8);
    for (const at of [110, 120, 130]) expect(Math.abs(trustAt(5, at) - trustAt(1, at)), `at ${at}`).toBeLessThan(0.15);
  });

  it('is shared with those who were good before the network was asked at all', () => {
    const earlier = Array.from({ length: 6 }, (_, i) => 28 + 12 * i);
    const all = [...earlier, ...origins];
    const rivals = [1, 20, 25, 30].map((offBy) => ({
      points: Float64Array.from({ length: all.length * outputs }, (_, i) => {
        const at = all[Math.floor(i / outputs)] ?? 0;
        return (values[at + Math.min(i % outputs, horizons - 1) + 1] ?? 0) + offBy;
      }),
      knowsFrom: 0,
    }));
    const options = { ...defaultMix, prior: 0.2 };
    const network = answers(() => 9);
    const known = mix(member, { earlier, origins }, network, null, rivals, options);
    const strangers = rivals.map(({ points, knowsFrom }) => ({ points: points.subarray(earlier.length * outputs), knowsFrom }));
    const unknown = mix(member, moments, network, null, strangers, options);
    expect(known.length).toBe(unknown.length);
    expect(errorAt(unknown, 0, 3)).toBeGreaterThan(16);
    expect(errorAt(known, 0, 3)).toBeLessThan(10);
  });

  it('is spent before the first origin where what the network was trained from stood in for it there and did badly', () => {
    const earlier = Array.from({ length: 6 }, (_, i) => 28 + 12 * i);
    const medians = (offBy: number): Float64Array => {
      const all = [...earlier, ...origins];
      return Float64Array.from({ length: all.length * outputs }, (_, i) => {
        const at = all[Math.floor(i / outputs)] ?? 0;
        return (values[at + Math.min(i % outputs, horizons - 1) + 1] ?? 0) + offBy;
      });
    };
    const rival = { points: medians(1), knowsFrom: 0 };
    const firstError = (standIn: number | null): number => {
      const early = standIn === null ? null : medians(standIn).subarray(0, earlier.length * outputs);
      return errorAt(
        mix(
          member,
          { earlier, origins },
          answers(() => 9),
          early,
          [rival],
        ),
        0,
        3,
      );
    };
    expect(firstError(null)).toBeGreaterThan(5);
    expect(firstError(9)).toBeLessThan(4.5);
    expect(firstError(0.5)).toBeGreaterThan(5);
  });
});
