import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { levels, type Predict } from '../../src/forecast/contender.ts';
import { memberOf } from '../../src/forecast/examples.ts';
import { forecastFar } from '../../src/forecast/far.ts';
import { outputs } from '../../src/forecast/window.ts';

/** The network before it learned anything: the last value. */
const untrained: Predict = (_, count) => new Float32Array(count * outputs * levels.length);
const gridOf = (values: Float64Array) => ({ startMs: 0, stepMs: 300_000, values, missing: new Uint8Array(values.length) });

describe('a forecast further ahead than twelve steps', () => {
  it('repeats the day where the day repeats, and its band covers what comes as often as it says', () => {
    const rng = createRng('far');
    const values = Float64Array.from({ length: 12 * 288 }, (_, i) => 100 + 50 * Math.sin((2 * Math.PI * i) / 288) + 5 * rng.normal());
    const known = 11 * 288;
    const member = memberOf('day', gridOf(values.slice(0, known)));
    const { values: ahead, choice } = forecastFar(member, 288, untrained, null, true);
    expect(choice.servedBy).toBe('seasonal-naive');
    let inside = 0;
    ahead.forEach((row, h) => {
      expect(row).toEqual(row.toSorted((a, b) => a - b));
      if ((values[known + h] ?? 0) >= (row[1] ?? 0) && (values[known + h] ?? 0) <= (row[7] ?? 0)) inside += 1;
    });
    expect(inside / 288).toBeGreaterThan(0.82);
    expect(inside / 288).toBeLessThan(0.98);
  });

  it('widens with distance on a random walk', () => {
    const rng = createRng('walk');
    let level = 1_000;
    const member = memberOf('walk', gridOf(Float64Array.from({ length: 2_000 }, () => (level += rng.normal()))));
    const { values } = forecastFar(member, 96, untrained, null, false);
    const width = (h: number): number => (values[h]?.[7] ?? 0) - (values[h]?.[1] ?? 0);
    expect(width(95)).toBeGreaterThan(3 * width(1));
  });

  it('knows nothing of what comes after the origin', () => {
    const values = Float64Array.from({ length: 600 }, (_, i) => 10 + (i % 12));
    const told = forecastFar({ ...memberOf('a', gridOf(values)), upTo: 500 }, 24, untrained, null, true);
    const other = values.map((value, i) => (i < 500 ? value : 9_999));
    expect(
      forecastFar({ ...memberOf('a', gridOf(other)), upTo: 500, unit: memberOf('a', gridOf(values)).unit }, 24, untrained, null, true),
    ).toEqual(told);
  });

  it('answers a series of one point, with a band that is not a line', () => {
    const { values, origins } = forecastFar(memberOf('one', gridOf(Float64Array.of(8))), 30, untrained, null, true);
    expect(origins).toBe(0);
    expect(values).toHaveLength(30);
    expect(values[29]?.[4]).toBe(8);
    expect((values[29]?.[8] ?? 0) - (values[29]?.[0] ?? 0)).toBeGreaterThan(0);
  });
});
