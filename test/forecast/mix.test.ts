import { describe, expect, it } from 'vitest';

import { levels, medianIndex } from '../../src/forecast/contender.ts';
import { memberOf } from '../../src/forecast/examples.ts';
import { mediansOf, mix } from '../../src/forecast/mix.ts';
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
const errorAt = (all: Float64Array, i: number, h: number): number =>
  Math.abs((all[(i * outputs + h) * q + medianIndex] ?? 0) - (values[(origins[i] ?? 0) + h + 1] ?? 0));

describe('trust in the network', () => {
  it('stays where the network does well', () => {
    const out = mix(
      member,
      origins,
      answers(() => 0.5),
      [mediansOf(answers(() => 5))],
    );
    expect(errorAt(out, 399, 3)).toBeLessThan(0.6);
  });

  it('goes to a rule that does better, and comes back when the network does', () => {
    const out = mix(
      member,
      origins,
      answers((i) => (i < 150 ? 9 : 0.1)),
      [mediansOf(answers((i) => (i < 150 ? 1 : 6)))],
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
    const none = mix(member, origins, raw, []);
    expect(widthAt(none, 300)).toBeCloseTo(widthAt(raw, 300), 9);
    // A rival that is off by up to three to either side, evenly.
    const out = mix(member, origins, raw, [mediansOf(answers((i) => ((i * 7) % 13) / 2 - 3))]);
    expect(widthAt(out, 0)).toBeCloseTo(widthAt(raw, 0), 9);
    expect(widthAt(out, 350)).toBeGreaterThan(5);
    expect(widthAt(out, 350)).toBeLessThan(7);
    const at = (350 * outputs + 2) * q;
    expect(out[at + 8]).toBeLessThan((raw[at + 8] ?? 0) - 2);
  });

  it('reads no outcome that was not complete at the origin', () => {
    const raw = answers(() => 3);
    const rival = mediansOf(answers(() => 0));
    const later = values.map((value, i) => (i > 300 ? value + 50 : value));
    const changed = mix({ ...member, grid: { ...member.grid, values: later } }, origins, raw, [rival]);
    const told = mix(member, origins, raw, [rival]);
    const upTo = (300 - 100 + 1) * outputs * q;
    expect(changed.subarray(0, upTo)).toEqual(told.subarray(0, upTo));
  });
});
