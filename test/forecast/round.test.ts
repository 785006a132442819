import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { levels, medianIndex } from '../../src/forecast/contender.ts';
import { type Member, memberOf } from '../../src/forecast/examples.ts';
import { forecastRound, modelId } from '../../src/forecast/round.ts';
import { horizons, outputs } from '../../src/forecast/window.ts';

/** A network that knows nothing: the last value at every level. */
const ignorant = (_x: Float32Array, count: number): Float32Array => new Float32Array(count * outputs * levels.length);

const ramp = (steps: number, quiet: number, slope: number): Member => {
  const rng = createRng(`ramp ${slope}`);
  const values = Float64Array.from({ length: steps }, (_, i) => 20 + slope * Math.max(0, i - quiet) + rng.next());
  return memberOf('ramp', { startMs: 0, stepMs: 300_000, values, missing: new Uint8Array(steps) });
};

const roundOf = (member: Member, windowBudget = 288) => {
  const [forecast] = forecastRound([member], { predict: ignorant, standIn: null }, null, { windowBudget, isNonNegative: true });
  if (forecast === undefined) throw new Error('nothing was forecast');
  return forecast;
};

describe('a round', () => {
  it('foresees a rise that has gone on for some hours, with a band that lies above the present', () => {
    const member = ramp(350, 288, 2);
    const now = member.grid.values.at(-1) ?? 0;
    const { values, maximum, choice } = roundOf(member);
    expect(choice.servedBy).toBe(modelId);
    expect(values[horizons - 1]?.[medianIndex]).toBeGreaterThan(now + 15);
    expect(values[horizons - 1]?.[2]).toBeGreaterThan(now + 8);
    expect(maximum[6]).toBeGreaterThan(now + 15);
  });

  it('learns the next steps from the last hour, though its forecasts cannot be scored yet', () => {
    // Eleven steps of rise: no forecast made since has its whole hour behind it.
    const member = ramp(300, 288, 5);
    const now = member.grid.values.at(-1) ?? 0;
    expect(roundOf(member).values[0]?.[medianIndex]).toBeGreaterThan(now + 0.5);
  });

  it('reads nothing after now, and says who was compared', () => {
    const member = ramp(400, 288, 1);
    const cut = { ...member, upTo: 330 };
    const shorter = memberOf('ramp', { ...member.grid, values: member.grid.values.slice(0, 330), missing: new Uint8Array(330) });
    expect(roundOf({ ...cut, unit: shorter.unit })).toEqual(roundOf(shorter));
    expect(Object.keys(roundOf(shorter).scores).toSorted()).toEqual(['exponential-smoothing', modelId, 'naive', 'seasonal-naive']);
  });
});
