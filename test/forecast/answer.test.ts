import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { modelAnswer, momentsOf, voiceOf } from '../../src/forecast/answer.ts';
import { baselines } from '../../src/forecast/baseline.ts';
import { baselineContender, levels } from '../../src/forecast/contender.ts';
import { type Member, memberOf } from '../../src/forecast/examples.ts';
import { horizons, outputs } from '../../src/forecast/window.ts';

const memberWith = (values: Float64Array, missing = new Uint8Array(values.length)): Member =>
  memberOf('series', { startMs: 0, stepMs: 300_000, values, missing });
const noisy = (steps: number): Float64Array => {
  const rng = createRng('answer');
  return Float64Array.from({ length: steps }, (_, i) => 50 + 20 * Math.sin(i / 45) + 5 * rng.normal());
};
const originsFrom = (first: number, count: number): readonly number[] => Array.from({ length: count }, (_, i) => first + i);

describe('moments before the first origin', () => {
  it('were complete when that came, an hour or more apart, no further back than matters', () => {
    const { earlier, origins } = momentsOf(memberWith(noisy(2_500)), originsFrom(1_800, 400));
    expect(origins[0]).toBe(1_800);
    expect(earlier.length).toBeGreaterThan(60);
    expect(earlier.at(-1)).toBe(1_800 - horizons);
    expect(earlier[0]).toBeGreaterThanOrEqual(800);
    earlier.forEach((at, i) => expect(at - (earlier[i - 1] ?? Number.NEGATIVE_INFINITY)).toBeGreaterThanOrEqual(horizons));
  });

  it('are at most half as many as the origins, and none where a series has just begun', () => {
    for (const count of [1, 2, 7, 16])
      expect(momentsOf(memberWith(noisy(2_500)), originsFrom(1_800, count)).earlier.length).toBeLessThanOrEqual(Math.ceil(count / 2));
    expect(momentsOf(memberWith(noisy(100)), originsFrom(30, 40)).earlier).toEqual([]);
    expect(momentsOf(memberWith(noisy(100)), []).earlier).toEqual([]);
  });

  it('are not where nothing was observed after', () => {
    const missing = new Uint8Array(2_500).fill(1, 1_000, 1_700);
    const { earlier } = momentsOf(memberWith(noisy(2_500), missing), originsFrom(1_800, 400));
    expect(earlier.some((at) => at >= 1_700)).toBe(true);
    expect(earlier.some((at) => at > 1_000 - horizons && at < 1_700 - 1)).toBe(false);
  });
});

describe('the answer', () => {
  const origins = originsFrom(700, 200);
  const answerOn = (values: Float64Array): Float64Array => {
    const member = { ...memberWith(values), upTo: 700, unit: 5 };
    const raw = new Float64Array(origins.length * outputs * levels.length);
    origins.forEach((at, i) => raw.fill(values[at] ?? 0, i * outputs * levels.length, (i + 1) * outputs * levels.length));
    const moments = momentsOf(member, origins);
    expect(moments.earlier.length).toBeGreaterThan(20);
    return modelAnswer(
      member,
      moments,
      raw,
      null,
      baselines.map((baseline) => voiceOf(baselineContender(baseline), member, moments)),
    );
  };

  it('has one row an origin, and none reads what came after it', () => {
    const values = noisy(1_000);
    const told = answerOn(values);
    expect(told.length).toBe(origins.length * outputs * levels.length);
    expect(told.every(Number.isFinite)).toBe(true);
    const changed = answerOn(values.map((value, i) => (i > 800 ? 3 * value + 17 : value)));
    const upTo = (800 - 700 + 1) * outputs * levels.length;
    expect(changed.subarray(0, upTo)).toEqual(told.subarray(0, upTo));
    expect(changed.subarray(upTo)).not.toEqual(told.subarray(upTo));
  });
});
