import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { levels } from '../../src/forecast/contender.ts';
import { type Member, memberOf } from '../../src/forecast/examples.ts';
import { createRecall } from '../../src/forecast/recall.ts';
import { forecastRound } from '../../src/forecast/round.ts';
import { outputs } from '../../src/forecast/window.ts';

const stepMs = 300_000;
const rng = createRng('recall');
const record = Float64Array.from({ length: 1_400 }, (_, i) => 50 + 20 * Math.sin(i / 9) + 5 * rng.normal());
const ignorant = (_x: Float32Array, count: number): Float32Array => new Float32Array(count * outputs * levels.length);
const networks = { predict: ignorant, standIn: ignorant };
const options = { windowBudget: 16, isNonNegative: true };

/** A history of a thousand steps that ends after `end` of the record. */
const seriesUpTo = (end: number, values = record, name = 'load'): Member =>
  memberOf(name, {
    startMs: (end - 1_000) * stepMs,
    stepMs,
    values: values.slice(end - 1_000, end),
    missing: new Uint8Array(1_000),
  });

describe('what costly experts said', () => {
  it('is asked for once, wherever history begins by then', () => {
    const recall = createRecall();
    const asked: number[] = [];
    const ask = (end: number, values = record): Float64Array =>
      recall.answers(
        seriesUpTo(end, values),
        [700, 800, 900].map((at) => at - (end - 1_000)),
        1,
        (at) => Math.max(0, at - 300),
        (at, out) => {
          asked.push(at + end - 1_000);
          out[0] = at + end;
        },
      );
    ask(1_000);
    expect(asked.splice(0)).toEqual([700, 800, 900]);
    ask(1_003);
    expect(asked.splice(0)).toEqual([]);
    // One value that came late: whoever looked at it is asked again.
    ask(
      1_003,
      record.map((value, i) => (i === 599 ? value + 1e-6 : value)),
    );
    expect(asked.splice(0)).toEqual([700, 800]);
    // 700 now has fewer than 300 steps behind it.
    ask(1_450);
    expect(asked.splice(0)).toEqual([700, 800]);
  });

  it('changes no forecast', () => {
    const recall = createRecall();
    for (const end of [1_200, 1_201, 1_207, 1_208, 1_330]) {
      const members = [
        seriesUpTo(end),
        seriesUpTo(
          end,
          record.map((value) => 2 * value),
          'double',
        ),
      ];
      expect(forecastRound(members, networks, null, options, recall)).toEqual(forecastRound(members, networks, null, options));
    }
  });

  it('is asked for at few moments of the next round', () => {
    let asked = 0;
    const recall = createRecall();
    const counting = {
      ...recall,
      answers: ((member, moments, width, oldest, ask) =>
        recall.answers(member, moments, width, oldest, (at, out) => {
          asked += 1;
          ask(at, out);
        })) satisfies typeof recall.answers,
    };
    forecastRound([seriesUpTo(1_200)], networks, null, options, counting);
    expect(asked).toBeGreaterThan(20);
    asked = 0;
    for (let end = 1_201; end <= 1_212; end += 1) forecastRound([seriesUpTo(end)], networks, null, options, counting);
    expect(asked / 12).toBeLessThan(5);
  });

  it('is forgotten with a series that is gone', () => {
    const recall = createRecall();
    let asked = 0;
    const ask = (): void => {
      recall.answers(
        seriesUpTo(1_000),
        [900],
        1,
        () => 890,
        () => {
          asked += 1;
        },
      );
    };
    ask();
    recall.endRound();
    ask();
    expect(asked).toBe(1);
    recall.endRound();
    recall.endRound();
    ask();
    expect(asked).toBe(2);
  });
});
