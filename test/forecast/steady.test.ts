import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import type { SeriesId } from '../../src/domain/forecast.ts';
import { levels } from '../../src/forecast/contender.ts';
import { type Member, memberOf } from '../../src/forecast/examples.ts';
import { createHistory, type History } from '../../src/forecast/history.ts';
import { createRecall } from '../../src/forecast/recall.ts';
import { forecastRound } from '../../src/forecast/round.ts';
import { type KeptRidges, refitRidges } from '../../src/forecast/round-ridge.ts';
import { steadyMember, steadySteps } from '../../src/forecast/steady.ts';
import { outputs } from '../../src/forecast/window.ts';

const stepMs = 300_000;
const lookBack = 6 * steadySteps;
const rng = createRng('steady');
const record = Float64Array.from({ length: 2_000 }, (_, i) => 50 + 20 * Math.sin(i / 9) + 5 * rng.normal());
const gridOf = (begin: number, end: number, values = record) => ({
  startMs: begin * stepMs,
  stepMs,
  values: values.slice(begin, end),
  missing: new Uint8Array(end - begin),
});
const memberAt = (end: number, begin = 0, values = record): Member => steadyMember('load', gridOf(begin, end, values), lookBack);
const beginOf = ({ grid }: Member): number => grid.startMs / stepMs;

describe('a steady series', () => {
  it('begins, and has its unit, as of the last multiple of the clock, and looks back as far as is asked at least', () => {
    for (let end = 12 * steadySteps; end < 13 * steadySteps; end += 1) {
      const member = memberAt(end);
      expect(beginOf(member) % steadySteps).toBe(0);
      expect(member.upTo).toBeGreaterThanOrEqual(lookBack);
      expect(member.upTo).toBeLessThan(lookBack + steadySteps);
      expect(member.unit).toBe(memberOf('load', gridOf(beginOf(member), 12 * steadySteps)).unit);
      expect(beginOf(member) + (member.settled ?? 0)).toBe(12 * steadySteps);
    }
  });

  it('is the same whatever was kept from before it begins', () => {
    for (const end of [900, 937, 1_000]) expect(memberAt(end, end - lookBack - steadySteps)).toEqual(memberAt(end));
  });

  it('has its unit of now where that has moved by more than a tenth', () => {
    const woken = record.map((value, i) => (i < 864 ? 7 : value));
    const member = memberAt(870, 0, woken);
    expect(member.unit).toBe(memberOf('load', member.grid).unit);
  });

  it('is taken as it is where it has just begun', () => {
    for (const end of [1_000, 1_010, 1_081]) expect(memberAt(end, 940)).toEqual(memberOf('load', gridOf(940, end)));
    expect(memberAt(1_081, 935).settled).toBe(145);
  });
});

/** A network that answers by the last values. */
const predict = (x: Float32Array, count: number): Float32Array => {
  const inputs = x.length / count;
  return Float32Array.from({ length: count * outputs * levels.length }, (_, i) => {
    const row = Math.floor(i / levels.length / outputs);
    return 0.3 * (x[row * inputs + 1] ?? 0) + 0.1 * (x[row * inputs + 82 + (i % levels.length)] ?? 0) + ((i % levels.length) - 4) / 3;
  });
};
const options = { windowBudget: 48, isNonNegative: true };

describe('rounds of steady series', () => {
  it('ask the network about one moment a series and step', () => {
    let asked = 0;
    const counting = (x: Float32Array, count: number): Float32Array => {
      asked += count;
      return predict(x, count);
    };
    const recall = createRecall();
    const networks = { predict: counting, standIn: counting };
    const steps = Array.from({ length: steadySteps }, (_, i) => {
      asked = 0;
      forecastRound(
        [steadyMember('load', gridOf(0, 1_440 + i), 17 * steadySteps)],
        networks,
        null,
        { ...options, windowBudget: 16 },
        recall,
      );
      return asked;
    });
    expect(steps[0]).toBeGreaterThan(20);
    expect(Math.max(...steps.slice(1))).toBeLessThan(6);
    // What was now in the last hour has been asked about by then; only here and there an origin becomes an earlier moment.
    expect(steps.slice(13).filter((count) => count === 1).length).toBeGreaterThan(steadySteps - 20);
  });

  it('forecast the same, to the bit, in a service that went on and in one that was started again', () => {
    const series = ['operations', 'writes', 'latency-p95-ms'].map(
      (metric): SeriesId => ({ collection: 'orders', bucket: -1, region: 'eu', metric: metric as SeriesId['metric'] }),
    );
    /** Each begins at another step, and the last has no value where nothing happened. */
    const valueAt = (s: number, step: number): number | null =>
      step < 90 * s || (s === 2 && step % 7 < 2) ? null : Math.fround((s + 1) * (record[step] ?? 0));
    const members = (history: History, last: number): readonly Member[] =>
      series.flatMap((one) => {
        const grid = history.gridOf(one, last);
        return grid === null ? [] : [steadyMember(one.metric, grid, lookBack)];
      });
    const networks = { predict, standIn: predict };
    const open = () => createHistory(stepMs, lookBack + steadySteps, 10);
    fc.assert(
      fc.property(
        fc.integer({ min: 30, max: 1_200 }),
        fc.array(fc.integer({ min: 1, max: 80 }), { minLength: 2, maxLength: 4 }),
        (first, gaps) => {
          const going = open();
          const recall = createRecall();
          let kept: KeptRidges | null = null;
          let now = 0;
          for (const gap of [first, ...gaps]) {
            for (const end = now + gap; now < end; now += 1)
              going.put(
                series
                  .flatMap((one, s) => ({ series: one, atMs: now * stepMs, value: valueAt(s, now) }))
                  .filter((point) => point.value !== null) as never,
              );
            const started = open();
            series.forEach((one, s) => {
              const from = Math.max(0, now - lookBack - steadySteps);
              started.putSpan(
                one,
                from * stepMs,
                Array.from({ length: now - from }, (_, i) => valueAt(s, from + i)),
              );
            });
            const [carried, fresh] = [members(going, now - 1), members(started, now - 1)];
            kept = refitRidges(carried, undefined, kept);
            const again = refitRidges(fresh, undefined, null);
            expect(again).toEqual(kept);
            expect(forecastRound(fresh, networks, again.ridges, options)).toEqual(
              forecastRound(carried, networks, kept.ridges, options, recall),
            );
          }
        },
      ),
      { numRuns: 4 },
    );
  });
});
