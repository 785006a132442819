import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { standbyOdds } from '../../src/forecast/standby-odds.ts';

const options = { afterMs: [0, 5], legs: [], waitsForReplay: true, spell: 4 };

describe('odds of reads from standbys', () => {
  it('are what a hand reckons', () => {
    const lags = [
      { standby: 'a', writeMs: [1, 1], flushMs: [1, 1], replayMs: [2, 2] },
      { standby: 'b', writeMs: [2, 2], flushMs: [3, 3], replayMs: [4, 12] },
    ];
    const odds = standbyOdds(lags, options, createRng(1));
    // Right after a commit that waits for nobody: none shows it. 5 ms later: a both times, b once.
    expect(odds[0]?.fresh).toEqual([0, 0.75]);
    expect(odds[0]?.commitMeanMs).toBe(0);
    // Waiting for one: a shows it; b in the first moment is within 5 ms of a, in the second it is not.
    expect(odds[1]?.fresh).toEqual([0.5, 0.75]);
    expect(odds[1]?.commitMeanMs).toBe(2);
    expect(odds[2]?.fresh).toEqual([1, 1]);
    expect(odds[2]?.commitMeanMs).toBe(8);
    const flushed = standbyOdds(lags, { ...options, waitsForReplay: false }, createRng(1));
    expect(flushed[2]?.commitMeanMs).toBe(3);
    expect(flushed[2]?.fresh[0]).toBe(0.5);
  });

  it('know each standby by its own ways: the question there, and its word back', () => {
    const lags = [
      { standby: 'a', writeMs: [1, 1], flushMs: [1, 1], replayMs: [6, 6] },
      { standby: 'b', writeMs: [1, 1], flushMs: [1, 1], replayMs: [6, 6] },
    ];
    const freshOf = (legs: readonly { readonly ackMs: number; readonly readMs: number }[]) =>
      standbyOdds(
        lags,
        { ...options, legs: legs.map((leg) => ({ ...leg, mostAckMs: leg.ackMs, mostReadMs: leg.readMs })) },
        createRng(3),
      )[0]?.fresh;
    const none = { ackMs: 0, readMs: 0 };
    // Shown after 6 ms by what the primary hears: 5 ms after a commit that waited for nobody nothing is fresh yet.
    expect(freshOf([none, none])).toEqual([0, 0]);
    expect(freshOf([none, { ackMs: 0, readMs: 1 }])).toEqual([0, 0.5]);
    expect(
      freshOf([
        { ackMs: 1, readMs: 0 },
        { ackMs: 0, readMs: 6 },
      ]),
    ).toEqual([0.5, 1]);
  });

  it('say that they cannot tell where reads come just when a standby begins to show, and are sure elsewhere', () => {
    const rng = createRng(4);
    const lags = [0, 25].map((more, i) => {
      const replayMs = Array.from({ length: 400 }, () => 1 + more + rng.next());
      return { standby: String(i), replayMs, flushMs: replayMs, writeMs: replayMs.map(() => 0.6) };
    });
    const legs = lags.map(() => ({ ackMs: 0.3, readMs: 0.2, mostAckMs: 0.6, mostReadMs: 0.4 }));
    const widthAt = (afterMs: number): number => {
      const one = standbyOdds(lags, { ...options, afterMs: [afterMs], legs }, createRng(5))[1];
      return (one?.freshHigh ?? 0) - (one?.freshLow ?? 0);
    };
    expect(widthAt(24.5)).toBeGreaterThan(0.2);
    expect(widthAt(10)).toBeLessThan(0.02);
    expect(widthAt(40)).toBeLessThan(0.02);
  });

  it('tell the middle of what ways and wakings may be, and their interval both ends', () => {
    const lags = [2, 6].map((ms, i) => ({ standby: String(i), writeMs: [1, 1], flushMs: [ms, ms], replayMs: [ms, ms] }));
    const way = { ackMs: 0, readMs: 0, mostAckMs: 0, mostReadMs: 1 };
    const told = (waitsFor: number, afterMs: number, legs = [way, way]) => {
      const one = standbyOdds(lags, { ...options, afterMs: [afterMs], legs }, createRng(6))[waitsFor];
      return [one?.freshLow, one?.fresh[0], one?.freshHigh];
    };
    // Shown to a question that is sent 6 ms after the commit, or up to a millisecond sooner.
    expect(told(0, 5.4)).toEqual([0.5, 0.5, 1]);
    expect(told(0, 5.6)).toEqual([0.5, 1, 1]);
    // A commit that waits for the first also waits to be woken, for up to a millisecond.
    const known = { ...way, mostReadMs: 0 };
    expect(told(1, 3.4, [known, known])).toEqual([0.5, 0.5, 1]);
    expect(told(1, 3.6, [known, known])).toEqual([0.5, 1, 1]);
    expect(told(0, 5.9, [known, known])).toEqual([0.5, 0.5, 0.5]);
  });

  it('rise with the standbys that are waited for, and so does the price', () => {
    const lag = fc.array(fc.double({ min: 0, max: 50, noNaN: true }), { minLength: 12, maxLength: 12 });
    fc.assert(
      fc.property(fc.array(lag, { minLength: 1, maxLength: 4 }), (lists) => {
        const odds = standbyOdds(
          lists.map((replayMs, i) => ({ standby: String(i), replayMs, flushMs: replayMs, writeMs: replayMs })),
          options,
          createRng(2),
        );
        for (const [i, one] of odds.entries()) {
          const before = odds[i - 1];
          expect(one.freshLow).toBeLessThanOrEqual(one.freshHigh);
          if (before === undefined) continue;
          expect(one.fresh[0]).toBeGreaterThanOrEqual(before.fresh[0] ?? 0);
          expect(one.commitMeanMs).toBeGreaterThanOrEqual(before.commitMeanMs);
        }
        expect(odds.at(-1)?.fresh[0]).toBe(1);
      }),
    );
  });
});
