import { describe, expect, it } from 'vitest';
import { createRng, type Rng } from '../../src/base/rng.ts';
import { clientLooks } from '../../src/forecast/client-looks.ts';
import { type ClientOdds, clientOdds, waitsOf } from '../../src/forecast/client-odds.ts';
import { tracedLegs } from '../../src/forecast/replica-legs.ts';
import { quorumOdds } from '../../src/forecast/wars.ts';
import { type Asked, askAll, freshOf } from './asked-replicas.ts';

const names = ['a', 'b', 'c'];
const spell = 32;
const oddsOf = (asked: Asked, afterMs: number, rng: Rng, withLooks = true): readonly ClientOdds[] => {
  const { operations } = asked;
  const looks = withLooks ? clientLooks(operations, names) : [];
  return clientOdds(tracedLegs(operations, names), waitsOf(operations, names), { afterMs, spell, looks }, rng);
};
const exponential = (mean: number, rng: Rng): number => -mean * Math.log(1 - rng.next());

describe('odds of clients that ask every replica', () => {
  it('are what WARS draws of the same trips, for every (R, W)', () => {
    const rng = createRng('drawn');
    const asked = askAll(4_000, 0, (i) => ({ there: 1 + exponential(2 + 2 * i, rng), back: 1 + exponential(2 + 2 * i, rng) }), rng);
    const legs = tracedLegs(asked.operations, names).middle;
    const drawn = quorumOdds(legs, { trials: 200_000, isPaired: true, spell, afterMs: [1] }, rng);
    oddsOf(asked, 1, rng, false).forEach((one, i) => {
      const other = drawn[i];
      if (other === undefined) expect.fail('nine settings');
      // Standard error of a share of 4,000 writes, each with some reads; of the draws less.
      const error = Math.sqrt((0.25 * 2) / 4_000);
      expect(Math.abs(one.fresh[0] - (other.fresh[0] ?? 0))).toBeLessThan(3 * error);
      expect(one.readMeanMs).toBeCloseTo(other.readMeanMs, 0);
      expect(one.writeMeanMs).toBeCloseTo(other.writeMeanMs, 0);
      expect(other.readP99Ms).toBeGreaterThan(one.readP99.lowMs - 1e-3);
      expect(other.readP99Ms).toBeLessThan(one.readP99.highMs + 1e-3);
    });
  });

  it('hold what a register answers whose ways there are longer than those back, and are narrower where reads tell versions', () => {
    const rng = createRng('lopsided');
    const lopsided = (i: number) => ({ there: 1 + exponential(2 + 4 * i, rng), back: 1 + exponential(1, rng) });
    const asked = askAll(4_000, 0, lopsided, rng);
    const [blind, seeing] = [oddsOf(asked, 0, rng, false), oddsOf(asked, 0, rng)];
    for (const [i, one] of seeing.entries()) {
      const truth = freshOf(asked, one.r, one.w);
      const error = Math.sqrt((truth * (1 - truth)) / 4_000);
      for (const told of [one, blind[i] ?? one]) {
        expect(truth).toBeGreaterThanOrEqual(told.freshLow - 3 * error);
        expect(truth).toBeLessThanOrEqual(told.freshHigh + 3 * error);
      }
    }
    // Of a W that is not in force no read was seen late enough: where the time goes is known from the one that is.
    const missOf = (all: readonly ClientOdds[]): number => {
      const one = all.find(({ r, w }) => r === 1 && w === 2);
      return Math.abs((one?.fresh[0] ?? 0) - freshOf(asked, 1, 2));
    };
    expect(missOf(seeing)).toBeLessThan(missOf(blind) / 2);
    const widthOf = (all: readonly ClientOdds[]): number => (all[0]?.freshHigh ?? 1) - (all[0]?.freshLow ?? 0);
    expect(widthOf(seeing)).toBeLessThan(widthOf(blind) / 3);
  });

  it('do not promise one in a thousand because none was seen among hundreds', () => {
    const rng = createRng('none');
    const asked = askAll(400, 0, () => ({ there: 1, back: 1 }), rng);
    const [one] = oddsOf(asked, 0, rng);
    expect(one?.fresh[0]).toBe(1);
    expect(one?.freshLow).toBeLessThan(0.995);
    expect(oddsOf(asked, 0, rng).find(({ r, w }) => r === 2 && w === 2)?.freshLow).toBe(1);
  });

  it('tell reads that came later than asked apart from those that are asked about', () => {
    const rng = createRng('later');
    const ways = (i: number) => ({ there: 1 + exponential(4 + 4 * i, rng), back: 1 + exponential(4 + 4 * i, rng) });
    const prompt = askAll(4_000, 0, ways, rng);
    const late = askAll(4_000, 6, ways, rng);
    const truth = freshOf(prompt, 1, 1);
    const told = oddsOf(late, 0, rng)[0];
    // They saw fewer stale answers than there are at once, and it is told for at once.
    expect(freshOf(late, 1, 1)).toBeGreaterThan(truth + 0.05);
    expect(told?.freshLow).toBeLessThan(truth);
    expect(told?.freshHigh).toBeGreaterThan(truth);
    expect(Math.abs((told?.fresh[0] ?? 0) - truth)).toBeLessThan(Math.abs(freshOf(late, 1, 1) - truth) / 2);
  });

  it('take from what was seen how much fresher it was for coming later', () => {
    const rng = createRng('corrected');
    const ways = (i: number) => ({ there: 1 + exponential(4 + 4 * i, rng), back: 1 + exponential(4 + 4 * i, rng) });
    const [prompt, late] = [0, 1.5].map((afterMs) => askAll(20_000, afterMs, ways, rng));
    if (prompt === undefined || late === undefined) expect.fail('two registers');
    const [truth, seen] = [freshOf(prompt, 1, 1), freshOf(late, 1, 1)];
    const told = oddsOf(late, 0, rng)[0]?.fresh[0] ?? 0;
    // Both counts are of 20,000 reads.
    const error = Math.sqrt((2 * truth * (1 - truth)) / 20_000);
    expect(seen - truth).toBeGreaterThan(4 * error);
    expect(Math.abs(told - truth)).toBeLessThan(4 * error);
  });
});

it('looks are of reads after a write of their own trace, by numbered versions of all replicas', () => {
  const rng = createRng('looks');
  const { operations } = askAll(50, 0, () => ({ there: 1, back: 1 }), rng);
  expect(clientLooks(operations, names)).toHaveLength(50);
  const reads = operations.filter(({ kind }) => kind === 'read');
  const elsewhere = operations.map((one) => (one.kind === 'read' ? { ...one, within: `${one.within} elsewhere` } : one));
  const opaque = operations.map((one) => ({ ...one, trips: one.trips.map((trip, i) => (i === 0 ? { ...trip, version: 'x' } : trip)) }));
  expect([clientLooks(reads, names), clientLooks(elsewhere, names), clientLooks(opaque, names)]).toEqual([[], [], []]);
});
