import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { levels } from '../../src/forecast/contender.ts';
import { forecasting, oracle, type Prices, quantilesPerStep, reactive, simulate, stepCost } from '../../src/forecast/decide.ts';
import { replayDecisions } from '../../src/forecast/decide-replay.ts';

const prices: Prices = { capacity: 10, maxUnits: 3, delaySteps: 2, hold: 1, move: 2, over: 5 };

/** Tries every sequence of decisions: the dumb oracle. */
function bruteForce(load: readonly number[], start: number, delaySteps: number): number {
  const walk = (t: number, units: number, pendingAt: number, target: number): number => {
    if (t === load.length) return 0;
    let now = units;
    let pending = pendingAt;
    if (pending === t) {
      now = target;
      pending = -1;
    }
    let best = stepCost(load[t] ?? 0, now, prices) + walk(t + 1, now, pending, target);
    if (pending < 0) {
      for (let v = 1; v <= prices.maxUnits; v += 1) {
        if (v === now) continue;
        const paid = prices.move * Math.abs(v - now);
        const cost =
          delaySteps === 0
            ? paid + stepCost(load[t] ?? 0, v, prices) + walk(t + 1, v, -1, v)
            : paid + stepCost(load[t] ?? 0, now, prices) + walk(t + 1, now, t + delaySteps, v);
        best = Math.min(best, cost);
      }
    }
    return best;
  };
  return walk(0, start, -1, start);
}

describe('decisions', () => {
  it('have an oracle that no sequence beats', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(35), { minLength: 1, maxLength: 7 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 0, max: 3 }),
        (load, start, delaySteps) => {
          expect(oracle(load, 0, load.length, start, { ...prices, delaySteps }).cost).toBeCloseTo(bruteForce(load, start, delaySteps), 9);
        },
      ),
    );
  });

  it('cost at least what the oracle pays, whatever the rule', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(40), { minLength: 20, maxLength: 80 }), fc.nat(4), (load, delaySteps) => {
        const own = { ...prices, delaySteps };
        const rule = { high: 0.9, low: 0.5, upSteps: 1, downSteps: 3 };
        expect(simulate(load, 0, load.length, 1, own, reactive(load, rule, own)).cost).toBeGreaterThanOrEqual(
          oracle(load, 0, load.length, 1, own).cost - 1e-9,
        );
      }),
    );
  });

  it('made on a true forecast act before the load comes, where a reaction comes late', () => {
    const own: Prices = { ...prices, maxUnits: 6, delaySteps: 4 };
    const load = Float64Array.from({ length: 600 }, (_, i) => (Math.floor(i / 50) % 2 === 0 ? 8 : 28));
    const known = (step: number): Float64Array => {
      const out = new Float64Array(quantilesPerStep);
      for (let h = 0; h < 12; h += 1) for (let q = 0; q < levels.length; q += 1) out[h * levels.length + q] = load[step + h + 1] ?? 8;
      return out;
    };
    const late = simulate(load, 0, 600, 1, own, reactive(load, { high: 1, low: 0.85, upSteps: 1, downSteps: 3 }, own));
    const early = simulate(load, 0, 600, 1, own, forecasting(known, { span: 12, caution: 1, threshold: 0, leastAge: 0 }, own));
    const best = oracle(load, 0, 600, 1, own);
    expect(early.cost - best.cost).toBeLessThan(0.3 * (late.cost - best.cost));
    expect(early.reversals).toBe(0);
  });

  it('fall back to the reactive rule where the forecast is worthless', () => {
    const rng = createRng('noise');
    const load = Float64Array.from({ length: 900 }, (_, i) => (Math.floor(i / 60) % 2 === 0 ? 8 : 28) + rng.next());
    const quantiles = Float64Array.from({ length: 900 * quantilesPerStep }, () => 60 * rng.next());
    const result = replayDecisions(
      { load, quantiles, from: 0, tuneEnd: 300, to: 900, prices: { ...prices, maxUnits: 6, delaySteps: 1 } },
      createRng(1),
    );
    expect(result.used).toBe('reactive');
    expect(result.regret).toBe(result.regretReactive);
    expect(result.gain).toMatchObject({ gain: 0 });
  });
});
