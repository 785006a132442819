import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { memberOf } from '../../src/forecast/examples.ts';
import { experts, expertVoices } from '../../src/forecast/experts.ts';
import { horizons, outputs } from '../../src/forecast/window.ts';

const memberFrom = (values: Float64Array) =>
  memberOf('series', { startMs: 0, stepMs: 300_000, values, missing: new Uint8Array(values.length) });

const answersOf = (values: Float64Array, at: number): ReadonlyMap<string, Float64Array> => {
  const voices = expertVoices(memberFrom(values), { earlier: [], origins: [at] });
  return new Map(experts.map(({ id }, i) => [id, voices[i]?.points ?? new Float64Array(outputs)]));
};

/** Jobs that take a few steps and come back after an irregular while: nothing on a clock, everything in the shape. */
function jobs(steps: number, seed: string): Float64Array {
  const rng = createRng(seed);
  const values = new Float64Array(steps).fill(10);
  const shape = [40, 90, 70, 55, 30, 80, 20, 65, 35, 50, 15, 25, 12];
  for (let at = 5; at + shape.length < steps; at += shape.length + 7 + rng.int(15)) values.set(shape, at);
  return values.map((value) => value + rng.next());
}

describe('the experts', () => {
  it('read nothing after the origin', () => {
    const values = jobs(2_600, 'same');
    const other = values.map((value, i) => (i > 2_300 ? value * 3 + 17 : value));
    expect(answersOf(other, 2_300)).toEqual(answersOf(values, 2_300));
    expect(answersOf(other, 2_301)).not.toEqual(answersOf(values, 2_301));
  });

  it('find what followed like moments where no clock helps', () => {
    const values = jobs(2_000, 'jobs');
    const start = values.findIndex((value, i) => i > 1_700 && value > 39 && (values[i - 1] ?? 0) < 12);
    const at = start + 2;
    const followed = Array.from({ length: 9 }, (_, h) => values[at + 1 + h] ?? 0);
    const error = (id: string): number => {
      const points = answersOf(values, at).get(id) ?? new Float64Array(outputs);
      return followed.reduce((sum, value, h) => sum + Math.abs(value - (points[h] ?? 0)), 0) / followed.length;
    };
    expect(error('like-moments')).toBeLessThan(2);
    expect(error('like-hours')).toBeLessThan(10);
    expect(error('median-18')).toBeGreaterThan(15);
    expect(error('usual-day')).toBeGreaterThan(15);
  });

  it('find shapes on whatever level they come back', () => {
    const wave = Float64Array.from({ length: 1_200 }, (_, i) => 100 + Math.floor(i / 300) * 1_000 + 20 * Math.sin(i / 4));
    const at = 1_199 - horizons;
    const points = answersOf(wave, at).get('like-shapes') ?? new Float64Array(outputs);
    for (let h = 1; h <= horizons; h += 1) expect(Math.abs((points[h - 1] ?? 0) - (wave[at + h] ?? 0))).toBeLessThan(4);
  });

  it('answer a series that has just begun, or stands still, with its last value', () => {
    for (const values of [Float64Array.of(7), Float64Array.of(3, 3, 3, 7), new Float64Array(900).fill(7)])
      for (const [id, points] of answersOf(values, values.length - 1)) {
        if (values.length === 4 && id.startsWith('median')) continue;
        expect([...points], id).toEqual(Array.from({ length: outputs }, () => 7));
      }
  });

  it('say from which step on they have an answer of their own, and stand in with the last value before', () => {
    const rng = createRng('own');
    const values = Float64Array.from({ length: 2_400 }, () => 100 * rng.next());
    const member = memberFrom(values);
    const late = experts.filter(({ knowsFrom }) => knowsFrom !== undefined);
    expect(late.map(({ id }) => id)).toEqual(
      expect.arrayContaining(['trend-8', 'usual-day', 'week-ago', 'change-of-yesterday', 'like-hours']),
    );
    for (const { id, knowsFrom } of late) {
      const from = knowsFrom?.(member.grid) ?? 0;
      const answersAt = (at: number) => answersOf(values, at).get(id)?.slice(0, horizons);
      expect(answersAt(from), id).not.toContain(values[from]);
      const early = from >> 1;
      // Without a week behind it a day has to do: that is no answer of its own either.
      const standIn = (h: number) => values[id === 'week-ago' ? early + 1 + h - 288 : early];
      expect([...(answersAt(early) ?? [])], id).toEqual(Array.from({ length: horizons }, (_, h) => standIn(h)));
    }
  });

  it('go on along a line, and its maximum is where it ends', () => {
    for (const slope of [3, -3]) {
      const line = Float64Array.from({ length: 200 }, (_, i) => 1_000 + slope * i);
      const points = answersOf(line, 199).get('trend-24') ?? new Float64Array(outputs);
      expect(points[11]).toBeCloseTo(1_000 + slope * 211, 6);
      expect(points[horizons]).toBeCloseTo(1_000 + slope * (slope > 0 ? 211 : 200), 6);
    }
  });

  it('know the day, the week and yesterday', () => {
    const perDay = 288;
    const week = Float64Array.from({ length: 9 * perDay }, (_, i) => (i % perDay) + 1_000 * (Math.floor(i / perDay) % 7));
    const at = 8 * perDay + 100;
    const answers = answersOf(week, at);
    expect(answers.get('week-ago')?.[4]).toBe(week[at + 5]);
    expect(answers.get('change-of-yesterday')?.[4]).toBe((week[at] ?? 0) + 5);
    expect(answers.get('usual-day')?.[4]).toBe(3_105);
  });
});
