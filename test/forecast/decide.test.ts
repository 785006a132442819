import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { levels } from '../../src/forecast/contender.ts';
import {
  type Decider,
  forecasting,
  oracle,
  type Prices,
  quantilesPerStep,
  reactive,
  simulate,
  stepCost,
} from '../../src/forecast/decide.ts';
import { kernelPolicy } from '../../src/forecast/decide-kernel.ts';
import { createNeighbours } from '../../src/forecast/decide-neighbours.ts';
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

  it('leave a worthless forecast alone', () => {
    const rng = createRng('noise');
    const load = Float64Array.from({ length: 900 }, (_, i) => (Math.floor(i / 60) % 2 === 0 ? 8 : 28) + rng.next());
    const quantiles = Float64Array.from({ length: 500 * quantilesPerStep }, () => 60 * rng.next());
    const result = replayDecisions(
      { load, stepMs: 300_000, quantiles, from: 400, tuneEnd: 600, to: 900, prices: { ...prices, maxUnits: 6, delaySteps: 1 } },
      createRng(1),
    );
    expect(Object.keys(result.led).filter((id) => id.startsWith('plan'))).toEqual([]);
    expect(result.regret).toBeLessThanOrEqual(result.regretReactive);
  });

  it('are those of hysteresis to the step, quick turns too, where nobody has surely been cheaper', () => {
    const rng = createRng('bursts');
    // Bursts that nothing announces, of a few steps: it pays to follow them up and down again within the hour.
    const load = new Float64Array(1_200);
    for (let t = 0; t < load.length; ) {
      const [quiet, burst] = [20 + rng.int(40), 5 + rng.int(3)];
      load.fill(8, t, t + quiet);
      load.fill(38, t + quiet, t + quiet + burst);
      t += quiet + burst;
    }
    const quantiles = Float64Array.from({ length: 480 * quantilesPerStep }, () => 60 * rng.next());
    const own: Prices = { ...prices, maxUnits: 6, delaySteps: 0, move: 1, over: 20 };
    const result = replayDecisions({ load, stepMs: 300_000, quantiles, from: 720, tuneEnd: 900, to: 1_200, prices: own }, createRng(1));
    expect(Object.keys(result.led)).toEqual(['reactive']);
    expect(result.ours).toEqual(result.reactive);
    expect(result.ours.reversals).toBeGreaterThan(0);
  });

  it('are not taken back within an hour, and lose next to nothing where nothing can be foreseen', () => {
    const rng = createRng('pure noise');
    const load = Float64Array.from({ length: 1_200 }, () => 10 + 15 * rng.next());
    const quantiles = Float64Array.from({ length: 480 * quantilesPerStep }, () => 60 * rng.next());
    const result = replayDecisions(
      { load, stepMs: 300_000, quantiles, from: 720, tuneEnd: 900, to: 1_200, prices: { ...prices, maxUnits: 6, delaySteps: 6 } },
      createRng(1),
    );
    expect(result.ours.reversals).toBe(0);
    expect(result.ours.cost).toBeLessThan(1.03 * result.reactive.cost);
  });

  it('learned from similar moments find the rush that comes every day before it is there', () => {
    const own: Prices = { ...prices, maxUnits: 4, delaySteps: 6 };
    const load = Float64Array.from({ length: 2_304 }, (_, i) => (i % 288 >= 96 && i % 288 < 144 ? 28 : 8));
    const policy = kernelPolicy(load, 300_000, 1_440, 2_304, own, { neighbours: 8, dayWeight: 1 });
    const learned: Decider = (step, units) => policy[(step - 1_440) * 5 + units] || units;
    const late = simulate(load, 1_440, 2_304, 1, own, reactive(load, { high: 1, low: 0.85, upSteps: 1, downSteps: 3 }, own));
    const early = simulate(load, 1_440, 2_304, 1, own, learned);
    const best = oracle(load, 1_440, 2_304, 1, own);
    expect(early.cost - best.cost).toBeLessThan(0.3 * (late.cost - best.cost));
  });

  it('learned from similar moments use nothing that comes later', () => {
    const rng = createRng('later');
    const load = Float64Array.from({ length: 700 }, (_, i) => 15 + 10 * Math.sin(i / 20) + 4 * rng.next());
    const changed = load.map((value, i) => (i >= 600 ? 40 - value : value));
    const of = (values: Float64Array): Uint8Array =>
      kernelPolicy(values, 300_000, 400, 700, { ...prices, delaySteps: 3 }, { neighbours: 6, dayWeight: 0 });
    const until = 200 * (prices.maxUnits + 1);
    expect(of(changed).subarray(0, until)).toEqual(of(load).subarray(0, until));
    expect(of(changed)).not.toEqual(of(load));
  });
});

describe('similar moments', () => {
  it('are those that a plain sort finds, however the record grows', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(50), { minLength: 30, maxLength: 60 }), fc.integer({ min: 1, max: 29 }), (values, first) => {
        const features = Float64Array.from(values, (value, i) => value + i / 1_000);
        const near = createNeighbours(features, 1, 3, 2, 4);
        near.grow(first);
        near.grow(values.length);
        const at = (i: number): number => features[i] ?? 0;
        for (let row = 0; row < values.length; row += 1) {
          const found = [...near.ids.subarray(row * 3, row * 3 + 3)].filter((id) => id >= 0).map((id) => (at(row) - at(id)) ** 2);
          const sorted = values
            .map((_, j) => j)
            .filter((j) => j < values.length - 2 && Math.abs(j - row) >= 4)
            .map((j) => (at(row) - at(j)) ** 2)
            .toSorted((a, b) => a - b);
          expect(found).toEqual(sorted.slice(0, 3));
        }
      }),
    );
  });
});
