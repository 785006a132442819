import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRng, type Rng } from '../../src/base/rng.ts';
import { freshAsSeen, type Look } from '../../src/forecast/fresh-as-seen.ts';
import type { StandbyLags } from '../../src/forecast/suggester.ts';

const asItIs = { waitedFor: 0, waitsFor: 0, spell: 4 };
const oneStandby: readonly StandbyLags[] = [{ standby: 'a', writeMs: [1], flushMs: [1], replayMs: [1] }];
const lookAt = (afterMs: number, isFresh: boolean, moment = 0): Look => ({ standby: 0, moment, afterMs, isFresh });

/** Two standbys some milliseconds behind; the second shows a change later where the first does. */
function lagsOf(moments: number, rng: Rng): readonly StandbyLags[] {
  const slow = Array.from({ length: moments }, () => 4 * rng.next());
  return [1, 6].map((usual, i) => {
    const replayMs = slow.map((more) => usual + more + 2 * rng.next());
    return { standby: String(i), replayMs, flushMs: replayMs, writeMs: replayMs.map(() => 0) };
  });
}

/** Reads of a system whose commits wait for so many, at times up to 12 ms; a standby shows a change 0.3 ms before its word is there. */
function looksWith(waits: number, lags: readonly StandbyLags[], rng: Rng): readonly Look[] {
  const moments = lags[0]?.replayMs.length ?? 0;
  return Array.from({ length: moments }, (_, moment) => {
    const words = lags.map(({ replayMs }) => replayMs[moment] ?? 0);
    const commit = waits === 0 ? 0 : (words.toSorted((a, b) => a - b)[waits - 1] ?? 0);
    const afterMs = 12 * rng.next();
    return words.map((word, standby) => ({ standby, moment, afterMs, isFresh: word - 0.3 <= commit + afterMs }));
  }).flat();
}

const shareBetween = (looks: readonly Look[], from: number, to: number): number => {
  const some = looks.filter(({ afterMs }) => afterMs >= from && afterMs < to);
  return some.filter(({ isFresh }) => isFresh).length / some.length;
};
const within = (from: number, to: number): readonly number[] => Array.from({ length: 20 }, (_, i) => from + ((i + 0.5) / 20) * (to - from));

describe('freshness as reads saw it', () => {
  it('is what a hand reckons, in whatever order reads are told', () => {
    const looks = [lookAt(1, false), lookAt(2, true), lookAt(3, false), lookAt(4, true)];
    for (const list of [looks, looks.toReversed()]) {
      const at = (time: number): number => freshAsSeen(list, oneStandby, { ...asItIs, at: [time] }, createRng(1)).fresh;
      // A fresh answer before a stale one: the two are one pool.
      expect([1, 2, 2.5, 3, 3.5, 4, 9].map(at)).toEqual([0, 0.5, 0.5, 0.5, 0.75, 1, 1]);
    }
  });

  it('is the likeliest curve that rises: largest of the least means', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 30 }), (answers) => {
        const looks = answers.map((isFresh, i) => lookAt(1 + i, isFresh));
        const meanOf = (from: number, to: number): number => answers.slice(from, to + 1).filter(Boolean).length / (to + 1 - from);
        for (const i of answers.keys()) {
          const least = (from: number): number => Math.min(...answers.slice(i).map((_, k) => meanOf(from, i + k)));
          const oracle = Math.max(...Array.from({ length: i + 1 }, (_, from) => least(from)));
          expect(freshAsSeen(looks, oneStandby, { ...asItIs, at: [1 + i] }, createRng(1)).fresh).toBeCloseTo(oracle, 9);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('takes reads that come at once as having come at one time', () => {
    const rng = createRng(3);
    const looks = Array.from({ length: 400 }, (_, i) => lookAt(0.004 * rng.next(), i % 4 === 0, i));
    expect(freshAsSeen(looks, oneStandby, { ...asItIs, at: [0.001] }, createRng(1)).fresh).toBe(0.25);
  });

  it('holds what may be before the first read and after the last', () => {
    const looks = Array.from({ length: 200 }, (_, i) => lookAt(5 + (i % 10), i % 10 > 4, i));
    const at = (time: number) => freshAsSeen(looks, oneStandby, { ...asItIs, at: [time] }, createRng(1));
    expect(at(2).low).toBe(0);
    expect(at(20).high).toBe(1);
    const stale = looks.filter(({ isFresh }) => !isFresh);
    expect(freshAsSeen(stale, oneStandby, { ...asItIs, at: [20] }, createRng(1))).toMatchObject({ fresh: 0, low: 0, high: 1 });
    // Between the last stale answers and the first fresh ones.
    expect(at(9.5).fresh).toBeCloseTo(0.5, 9);
    expect(at(9.5).low).toBe(0);
    expect(at(9.5).high).toBe(1);
    expect(at(6)).toMatchObject({ fresh: 0, low: 0 });
    expect(at(6).high).toBeLessThan(0.05);
    // None of 200 looks is not none at all.
    expect(at(6).high).toBeGreaterThan(0.01);
    expect(at(13).low).toBeGreaterThan(0.95);
    expect(freshAsSeen([], oneStandby, { ...asItIs, at: [1] }, createRng(1))).toMatchObject({ low: 0, high: 1 });
    const ofOne = freshAsSeen(looks, [...oneStandby, ...oneStandby], { ...asItIs, at: [13] }, createRng(1));
    // Of the other standby nothing is known.
    expect(ofOne.low).toBeLessThan(0.51);
    expect(ofOne.high).toBe(1);
  });

  it('tells the share of later reads of the same system within its interval', () => {
    for (const waits of [0, 1]) {
      const rng = createRng(`later ${waits}`);
      const seen = looksWith(waits, lagsOf(4_000, rng), rng);
      const later = looksWith(waits, lagsOf(40_000, rng), rng);
      for (const from of [0, 2, 4, 8]) {
        const options = { at: within(from, from + 1), waitedFor: waits, waitsFor: waits, spell: 32 };
        const told = freshAsSeen(seen, lagsOf(4_000, rng), options, createRng(1));
        const share = shareBetween(later, from, from + 1);
        expect(Math.abs(told.fresh - share)).toBeLessThan(0.04);
        expect(told.low).toBeLessThanOrEqual(share + 0.005);
        expect(told.high).toBeGreaterThanOrEqual(share - 0.005);
      }
    }
  });

  it('tells what reads will see once commits wait for more standbys, from the lags of the moments at which they looked', () => {
    const rng = createRng('raised');
    const lags = lagsOf(6_000, rng);
    const seen = looksWith(0, lags, rng);
    for (const waitsFor of [1, 2]) {
      const later = looksWith(waitsFor, lagsOf(40_000, rng), rng);
      for (const from of [0, 2, 4]) {
        const told = freshAsSeen(seen, lags, { at: within(from, from + 1), waitedFor: 0, waitsFor, spell: 32 }, createRng(1));
        const share = shareBetween(later, from, from + 1);
        expect(Math.abs(told.fresh - share)).toBeLessThan(0.04);
        expect(told.low).toBeLessThanOrEqual(share + 0.005);
        expect(told.high).toBeGreaterThanOrEqual(share - 0.005);
      }
      // The moments without their own looks would tell otherwise: the second standby is slow when the first is.
      const strangers = freshAsSeen(seen, lagsOf(6_000, rng), { at: within(2, 3), waitedFor: 0, waitsFor, spell: 32 }, createRng(1));
      if (waitsFor === 1) expect(Math.abs(strangers.fresh - shareBetween(later, 2, 3))).toBeGreaterThan(0.03);
    }
  });

  it('does not tell what reads sooner would see once commits wait for fewer, of the moments at which that is soonest', () => {
    const rng = createRng('lowered');
    const lags = lagsOf(6_000, rng);
    const seen = looksWith(2, lags, rng);
    const told = (from: number) =>
      freshAsSeen(seen, lags, { at: within(from, from + 1), waitedFor: 2, waitsFor: 0, spell: 32 }, createRng(1));
    // All that was seen was fresh; the second standby needs 6 to 12 ms, and reads before it has shown the change were not made.
    for (const from of [0, 2, 5, 8]) expect(told(from).low).toBeLessThan(0.55);
    expect(told(14).low).toBeGreaterThan(0.95);
  });

  it('knows that a standby shows what a commit waited for, though nobody looked so late', () => {
    const rng = createRng('at once');
    const lags = lagsOf(500, rng);
    const looks = lags.flatMap((_, standby) => Array.from({ length: 500 }, (_, moment) => ({ ...lookAt(0, false, moment), standby })));
    const both = freshAsSeen(looks, lags, { at: [0], waitedFor: 0, waitsFor: 2, spell: 32 }, createRng(1));
    expect(both.fresh).toBe(1);
    expect(both.low).toBeGreaterThan(0.98);
    expect(freshAsSeen(looks, lags, { at: [9], waitedFor: 0, waitsFor: 1, spell: 32 }, createRng(1))).toMatchObject({ high: 1 });
  });

  it('does not know how long a commit takes to wake that begins to wait, and its interval says so', () => {
    const rng = createRng('waking');
    const lags = lagsOf(3_000, rng);
    const looks = looksWith(0, lags, rng);
    const widthWith = (writeMs: number): number => {
      const waking = lags.map((lag) => ({ ...lag, writeMs: lag.writeMs.map(() => writeMs) }));
      const { low, high } = freshAsSeen(looks, waking, { at: within(2, 3), waitedFor: 0, waitsFor: 1, spell: 32 }, createRng(1));
      return high - low;
    };
    expect(widthWith(1)).toBeGreaterThan(widthWith(0) + 0.05);
  });
});
