import { describe, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { errorsOf, originsIn, scoresOf } from '../../src/forecast/backtest.ts';
import { baselines } from '../../src/forecast/baseline.ts';
import { baselineContender } from '../../src/forecast/contender.ts';
import { examplesOf, memberOf } from '../../src/forecast/examples.ts';
import { gridOf, type Grid } from '../../src/forecast/time-grid.ts';
import { horizons, isScorable } from '../../src/forecast/window.ts';

const stepMs = 300_000;
const startMs = Date.UTC(2026, 0, 5);

/** Two days of a load, without the steps that `isLost` names. */
function load(isLost: (step: number) => boolean): Grid {
  const rng = createRng('missing steps');
  const points = Array.from({ length: 576 }, (_, step) => ({
    step,
    atMs: startMs + step * stepMs,
    value: 100 + 40 * Math.sin((2 * Math.PI * step) / 288) + 10 * rng.next(),
  }));
  return gridOf(
    points.filter(({ step }) => !isLost(step)),
    stepMs,
  );
}

describe('a series with missing steps', () => {
  const grid = load((step) => step % 7 === 3);
  const member = memberOf('load', grid);

  test('is learned from and scored, though no hour of it is whole', () => {
    expect(examplesOf([member], 10_000).count).toBeGreaterThan(400);
    expect(originsIn(member, 288, 576, 1).length).toBeGreaterThan(200);
  });

  test('is not asked about at a step whose value lies on a line to what comes, nor where too little came', () => {
    for (let at = 0; at + horizons < grid.values.length; at += 1) expect(isScorable(grid, at)).toBe(grid.missing[at] === 0);
    const holed = load((step) => step > 100 && step <= 105);
    expect([95, 96, 97, 98, 99, 100, 101, 105, 106].filter((at) => isScorable(holed, at))).toEqual([106]);
    expect(isScorable(holed, 92)).toBe(true);
  });

  test('is scored by what was observed alone: what stands in for a missing step changes no score', () => {
    const origins = originsIn(member, 288, 576, 1);
    const quantiles = baselines.map((baseline) => baselineContender(baseline).quantiles(member, origins));
    const other = { ...member, grid: { ...grid, values: grid.values.map((value, step) => (grid.missing[step] === 1 ? 1e6 : value)) } };
    for (const answer of quantiles) {
      expect(scoresOf(other, origins, answer)).toEqual(scoresOf(member, origins, answer));
      expect(errorsOf(other, origins, answer)).toEqual(errorsOf(member, origins, answer));
    }
  });
});
