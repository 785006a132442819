import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { originsIn, scoresOf } from '../../src/forecast/backtest.ts';
import { calibrate } from '../../src/forecast/calibrate.ts';
import { levels } from '../../src/forecast/contender.ts';
import { memberOf } from '../../src/forecast/examples.ts';
import { outputs } from '../../src/forecast/window.ts';

const stepMs = 300_000;

/** A model that says the same too narrow band for ever, of a series whose noise trebles half way. */
function driftingMember(): ReturnType<typeof memberOf> {
  const rng = createRng('drift');
  const values = Float64Array.from({ length: 6_000 }, (_, i) => 100 + (i < 3_000 ? 1 : 3) * rng.normal());
  return memberOf('drift', { startMs: 0, stepMs, values, missing: new Uint8Array(values.length) }, 600);
}

const sayNarrow = (origins: readonly number[]): Float64Array => {
  const quantiles = levels.map((level) => 100 + (level - 0.5) * 0.5);
  return Float64Array.from({ length: origins.length * outputs * levels.length }, (_, i) => quantiles[i % levels.length] ?? 0);
};

describe('calibration', () => {
  it('brings a band that is far too narrow to its share, and holds it when the noise trebles', () => {
    const member = driftingMember();
    const origins = originsIn(member, 600, 6_000, 1);
    const raw = sayNarrow(origins);
    expect(scoresOf(member, origins, raw).coverage90).toBeLessThan(0.4);
    const calibrated = calibrate(member, origins, raw);
    const late = origins.findIndex((at) => at > 4_000);
    const width = outputs * levels.length;
    const scores = scoresOf(member, origins.slice(late), calibrated.subarray(late * width));
    expect(Math.abs(scores.coverage80 - 0.8)).toBeLessThan(0.03);
    expect(Math.abs(scores.coverage90 - 0.9)).toBeLessThan(0.03);
    expect(Math.abs(scores.coverage95 - 0.95)).toBeLessThan(0.03);
  });

  it('never looks ahead: what comes after an origin does not change its forecast', () => {
    const member = driftingMember();
    const origins = originsIn(member, 600, 2_000, 1);
    const before = calibrate(member, origins, sayNarrow(origins));
    const values = Float64Array.from(member.grid.values, (value, i) => (i > 1_500 ? value + 1_000 : value));
    const after = calibrate({ ...member, grid: { ...member.grid, values } }, origins, sayNarrow(origins));
    const upTo = origins.findIndex((at) => at > 1_500) * outputs * levels.length;
    expect(after.subarray(0, upTo)).toEqual(before.subarray(0, upTo));
    expect(after).not.toEqual(before);
  });

  it('keeps quantiles in order', () => {
    const member = driftingMember();
    const origins = originsIn(member, 600, 1_500, 3);
    const calibrated = calibrate(member, origins, sayNarrow(origins));
    for (let i = 0; i < calibrated.length; i += 1) {
      if (i % levels.length > 0) expect(calibrated[i]).toBeGreaterThanOrEqual(calibrated[i - 1] ?? 0);
    }
  });
});
