import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gridOf, inferStepMs, stepsPerDay } from '../../src/forecast/time-grid.ts';

describe('time grid', () => {
  it('snaps a wandering step to the divisor of the day that it is near', () => {
    const points = [0, 299, 601, 900, 1_202, 1_500].map((s) => ({ atMs: s * 1000, value: 1 }));
    expect(inferStepMs(points)).toBe(300_000);
  });

  it('keeps a step that is near no divisor of the day', () => {
    expect(inferStepMs([0, 7_100, 14_200].map((atMs) => ({ atMs, value: 1 })))).toBe(7_100);
    expect(stepsPerDay(7_100)).toBe(0);
  });

  it('fills a gap along a line and marks it', () => {
    const grid = gridOf(
      [
        { atMs: 0, value: 1 },
        { atMs: 3_000, value: 4 },
      ],
      1_000,
    );
    expect([...grid.values]).toEqual([1, 2, 3, 4]);
    expect([...grid.missing]).toEqual([0, 1, 1, 0]);
  });

  it('does not depend on the order of the points, and averages duplicates', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ at: fc.nat(200), value: fc.integer({ min: -50, max: 50 }) }), { minLength: 1, maxLength: 60 }),
        (raw) => {
          const points = raw.map(({ at, value }) => ({ atMs: at * 1000, value }));
          const grid = gridOf(points, 1_000);
          expect(gridOf(points.toReversed(), 1_000)).toEqual(grid);
          for (const { atMs } of points) {
            const same = points.filter((point) => point.atMs === atMs);
            const mean = same.reduce((sum, { value }) => sum + value, 0) / same.length;
            expect(grid.values[(atMs - grid.startMs) / 1000]).toBeCloseTo(mean, 9);
          }
        },
      ),
    );
  });

  it('refuses a series that one wrong timestamp stretches over centuries', () => {
    expect(() =>
      gridOf(
        [
          { atMs: 0, value: 1 },
          { atMs: 1e15, value: 1 },
        ],
        1_000,
      ),
    ).toThrow(/is one timestamp wrong/);
  });
});
