import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { levels } from '../../src/forecast/contender.ts';
import { examplesOf, type Member, memberOf } from '../../src/forecast/examples.ts';
import type { Moments } from '../../src/forecast/mix.ts';
import { createRecall } from '../../src/forecast/recall.ts';
import { fitRidge } from '../../src/forecast/ridge.ts';
import { forecastRound, type RoundRidge } from '../../src/forecast/round.ts';
import { inputs, outputs } from '../../src/forecast/window.ts';

const stepMs = 300_000;
const rng = createRng('recall');
const record = Float64Array.from({ length: 1_800 }, (_, i) => 50 + 20 * Math.sin(i / 9) + 5 * rng.normal());

/** The record from `begin` to `end`, both steps since the epoch. */
const seriesOf = (begin: number, end: number, values = record, missing = new Uint8Array(record.length), unit?: number): Member => {
  const member = memberOf('load', {
    startMs: begin * stepMs,
    stepMs,
    values: values.slice(begin, end),
    missing: missing.slice(begin, end),
  });
  return unit === undefined ? member : { ...member, unit };
};

/** A network whose answers hang on every input. */
const networkOf = (seed: string) => {
  const weight = createRng(seed);
  const weights = Float64Array.from({ length: inputs }, () => weight.normal() / 20);
  return (x: Float32Array, count: number): Float32Array => {
    const out = new Float32Array(count * outputs * levels.length);
    for (let row = 0; row < count; row += 1) {
      let sum = 0;
      for (let i = 0; i < inputs; i += 1) sum += (weights[i] ?? 0) * (x[row * inputs + i] ?? 0);
      for (let h = 0; h < outputs; h += 1)
        for (let q = 0; q < levels.length; q += 1) out[(row * outputs + h) * levels.length + q] = sum + (q - 4) * (0.3 + h / 20);
    }
    return out;
  };
};
const networks = { predict: networkOf('model'), standIn: networkOf('stand-in') };
const ridgeOf = (member: Member): RoundRidge => {
  const ridge = fitRidge(examplesOf([member], 400));
  if (ridge === null) throw new Error('too little to learn from');
  return { judged: ridge, newest: ridge, settled: ridge };
};

describe('what was said of a series', () => {
  const by = { predict: networks.predict, standIn: networks.standIn, ridge: null };
  /** Asks about steps since the epoch; answers those that were not known, of the searching and of all others. */
  const open = () => {
    const recall = createRecall({ said: 1, quantiles: 1 });
    const ask = (member: Member, earlier: readonly number[], origins: readonly number[], who = by) => {
      const begin = member.grid.startMs / stepMs;
      const indexOf = (step: number): number => step - begin;
      const moments: Moments = { earlier: earlier.map(indexOf), origins: origins.map(indexOf) };
      const rows = recall.rowsOf(member, moments, 800, who);
      const all = [...earlier, ...origins];
      all.forEach((step, i) => {
        const row = rows.of[i] ?? 0;
        if (rows.isSaid[i] === 1) expect(rows.quantiles[row]).toBe(step);
        if (rows.isSearched[i] === 1) expect(rows.said[row]).toBe(step);
        rows.quantiles[row] = rows.said[row] = step;
      });
      expect(new Set(rows.of).size).toBe(all.length);
      rows.filled();
      const unknown = (flags: Uint8Array): readonly number[] => all.filter((_, i) => flags[i] === 0);
      return { searched: unknown(rows.isSearched), said: unknown(rows.isSaid) };
    };
    return { recall, ask };
  };
  const all = [900, 1_000, 1_100];
  const none = { searched: [], said: [] };

  it('is asked for once, and again where a value that it hangs on is another', () => {
    const { ask } = open();
    const unit = 1;
    expect(ask(seriesOf(0, 1_200, record, undefined, unit), [900], [1_000, 1_100])).toEqual({ searched: all, said: all });
    expect(ask(seriesOf(0, 1_203, record, undefined, unit), [900], [1_000, 1_100])).toEqual(none);
    const late = record.map((value, i) => (i === 1_050 ? value + 1e-9 : value));
    expect(ask(seriesOf(0, 1_203, late, undefined, unit), [900], [1_000, 1_100])).toEqual({ searched: [1_100], said: [1_100] });
    const gap = new Uint8Array(record.length).fill(1, 950, 951);
    expect(ask(seriesOf(0, 1_203, late, gap, unit), [900], [1_000, 1_100])).toEqual({ searched: [1_000, 1_100], said: [1_000, 1_100] });
  });

  it('outlives a history that begins later only where it was found by searching the last days', () => {
    const { ask } = open();
    ask(seriesOf(0, 1_200, record, undefined, 1), [900], [1_000, 1_100]);
    expect(ask(seriesOf(10, 1_200, record, undefined, 1), [900], [1_000, 1_100])).toEqual({ searched: [], said: all });
  });

  it('is asked for anew of another network, another ridge, in another unit, and of the stand-in', () => {
    const { ask } = open();
    const member = seriesOf(0, 1_200, record, undefined, 1);
    ask(member, [900], [1_000, 1_100]);
    expect(ask(member, [900], [1_000, 1_100], { ...by, predict: networkOf('other') }).said).toEqual(all);
    ask(member, [900], [1_000, 1_100]);
    expect(ask({ ...member, unit: 1.01 }, [900], [1_000, 1_100]).said).toEqual(all);
    expect(ask({ ...member, unit: 1.01 }, [900, 1_000], [1_100])).toEqual({ searched: [], said: [1_000] });
  });

  it('is kept for twelve steps, after which its hour is over, and then as long as it is a moment', () => {
    const { ask } = open();
    for (let now = 1_100; now < 1_112; now += 1) ask(seriesOf(0, now + 1, record, undefined, 1), [], [900, now]);
    expect(ask(seriesOf(0, 1_113, record, undefined, 1), [], [900, 1_100, 1_112]).said).toEqual([1_112]);
    expect(ask(seriesOf(0, 1_114, record, undefined, 1), [], [900, 1_100, 1_113]).said).toEqual([1_113]);
    expect(ask(seriesOf(0, 1_114, record, undefined, 1), [], [900, 1_099, 1_113]).said).toEqual([1_099]);
  });

  it('counts for nothing where a round failed before it was in', () => {
    const { ask, recall } = open();
    const member = seriesOf(0, 1_200, record, undefined, 1);
    recall.rowsOf(member, { earlier: [900], origins: [1_000, 1_100] }, 800, by);
    expect(ask(member, [900], [1_000, 1_100])).toEqual({ searched: all, said: all });
  });

  it('is forgotten with a series that is gone, and takes no more room however long it goes on', () => {
    const { ask, recall } = open();
    const member = seriesOf(0, 1_200, record, undefined, 1);
    ask(member, [900], [1_000, 1_100]);
    recall.endRound();
    expect(ask(member, [900], [1_000, 1_100])).toEqual(none);
    recall.endRound();
    recall.endRound();
    expect(recall.bytes()).toBe(0);
    expect(ask(member, [900], [1_000, 1_100]).said).toEqual(all);
    const sizes = Array.from({ length: 300 }, (_, i) => {
      ask(seriesOf(0, 1_200 + i, record, undefined, 1), [700, 800], [900, 1_000, 1_187 + i, 1_199 + i]);
      return recall.bytes();
    });
    expect(Math.max(...sizes.slice(20))).toBe(sizes[20]);
  });
});

describe('a round that recalls', () => {
  it('forecasts what one from scratch does, to the bit, whatever happened to the series between', () => {
    const event = fc.record({
      steps: fc.integer({ min: 0, max: 90 }),
      late: fc.option(fc.record({ back: fc.nat(1_000), by: fc.double({ min: -30, max: 30, noNaN: true }) }), { freq: 3 }),
      gap: fc.option(fc.record({ back: fc.nat(1_000), length: fc.integer({ min: 1, max: 30 }) }), { freq: 3 }),
      begin: fc.option(fc.integer({ min: 0, max: 40 }), { freq: 3 }),
      unit: fc.option(fc.double({ min: 0.5, max: 9, noNaN: true }), { freq: 3 }),
      other: fc.option(fc.constantFrom('network', 'ridge', 'budget'), { freq: 4 }),
    });
    fc.assert(
      fc.property(fc.integer({ min: 30, max: 1_200 }), fc.array(event, { minLength: 2, maxLength: 6 }), (length, events) => {
        const recall = createRecall();
        const values = record.slice();
        const missing = new Uint8Array(record.length);
        let [begin, end, unit] = [0, length, 6];
        let who = networks;
        let options = { windowBudget: 16, isNonNegative: true };
        let ridge = ridgeOf(seriesOf(0, 1_000));
        for (const { steps, late, gap, begin: cut, unit: next, other } of events) {
          end = Math.min(record.length, end + steps);
          if (late !== null) values[Math.max(0, end - 1 - late.back)] = 50 + late.by;
          if (gap !== null) missing.fill(1, Math.max(0, end - 1 - gap.back), Math.min(end, end - 1 - gap.back + gap.length));
          begin = Math.min(end - 20, begin + (cut ?? 0));
          unit = next ?? unit;
          if (other === 'network') who = { ...who, predict: networkOf(`network ${end}`) };
          if (other === 'ridge') ridge = ridgeOf(seriesOf(100, 1_000));
          if (other === 'budget') options = { ...options, windowBudget: 40 };
          const double = seriesOf(
            0,
            end,
            values.map((value) => 2 * value),
            missing,
            2 * unit,
          );
          const members = [seriesOf(begin, end, values, missing, unit), { ...double, name: 'double' }];
          expect(forecastRound(members, who, ridge, options, recall)).toEqual(forecastRound(members, who, ridge, options));
        }
      }),
      { numRuns: 15 },
    );
  });
});
