import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Measurement } from '../../src/domain/measurement.ts';
import { createMeasuredSeries, joinMeasured } from '../../src/forecast/measured-series.ts';

const measured = (kind: Measurement['kind'], value: number, atMs: number, more: Partial<Measurement> = {}): Measurement => ({
  kind,
  metric: kind,
  system: 'postgresql',
  instance: 'db',
  subject: '',
  replica: '',
  value,
  isCumulative: kind !== 'replication-lag-ms',
  atUs: atMs * 1000,
  ...more,
});
const place = [{ collection: 'orders', region: 'eu' }];
const series = (): ReturnType<typeof createMeasuredSeries> => createMeasuredSeries({ stepMs: 1000, lateSteps: 1 });

describe('measured series', () => {
  test('the highest lag of a step, and what counters gained in it', () => {
    const one = series();
    one.fold(
      [
        measured('replication-lag-ms', 40, 100),
        measured('replication-lag-ms', 90, 600),
        measured('replication-lag-ms', 10, 900),
        measured('deadlocks', 1000, 100),
        measured('deadlocks', 1002, 500),
        measured('deadlocks', 1003, 900),
        measured('lock-wait-ms', 5, 400, { isCumulative: false }),
        measured('consumer-lag', 7, 400),
      ],
      () => place,
    );
    expect(one.drain(1_999)).toEqual([]);
    const points = one.drain(2_000);
    expect(Object.fromEntries(points.map((point) => [point.series.metric, point.value]))).toEqual({
      'replication-lag-ms': 90,
      conflicts: 3,
      'lock-wait-ms': 5,
    });
    expect(
      points.every(
        ({ series: { collection, region, bucket }, atMs }) => collection === 'orders' && region === 'eu' && bucket === -1 && atMs === 0,
      ),
    ).toBe(true);
    expect(one.drain(9_000)).toEqual([]);
  });

  test('a counter that starts again is not a loss, one that repeats itself no gain', () => {
    const one = series();
    const say = (value: number, atMs: number): void => one.fold([measured('deadlocks', value, atMs)], () => place);
    say(50, 1);
    say(53, 2);
    say(53, 2);
    say(2, 3);
    say(51, 2);
    expect(one.drain(5_000).map(({ value }) => value)).toEqual([5]);
  });

  test('agrees with adding up the gains of each counter by itself', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(9)), { maxLength: 50 }), (gains) => {
        const totals: Record<string, number> = { a: 100, b: 200, c: 300 };
        const one = series();
        let atMs = 0;
        const say = (subject: string): void => {
          atMs += 1;
          one.fold([measured('deadlocks', totals[subject] ?? 0, atMs, { subject })], () => place);
        };
        for (const subject of ['a', 'b', 'c']) say(subject);
        for (const [subject, gain] of gains) {
          totals[subject] = (totals[subject] ?? 0) + gain;
          say(subject);
        }
        const sum = gains.reduce((all, [, gain]) => all + gain, 0);
        expect(one.drain(9_000).reduce((all, { value }) => all + value, 0)).toBe(sum);
      }),
    );
  });

  test('where traces and servers count the same, the higher stands', () => {
    const at = (metric: 'conflicts' | 'operations', value: number): Parameters<typeof joinMeasured>[0][number] => ({
      series: { collection: 'orders', bucket: -1, region: 'eu', metric },
      atMs: 0,
      value,
    });
    expect(joinMeasured([at('conflicts', 2), at('operations', 9)], [at('conflicts', 5)]).map(({ value }) => value)).toEqual([5, 9]);
    expect(joinMeasured([at('conflicts', 7)], [at('conflicts', 5)]).map(({ value }) => value)).toEqual([7]);
  });
});
