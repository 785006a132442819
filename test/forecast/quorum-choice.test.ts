import { describe, expect, it } from 'vitest';
import { chooseQuorum } from '../../src/forecast/quorum-choice.ts';
import type { QuorumOdds } from '../../src/forecast/wars.ts';

/** Freshness by overlap, latency by how many are waited for. */
const odds: readonly QuorumOdds[] = [1, 2, 3].flatMap((r) =>
  [1, 2, 3].map((w) => ({
    r,
    w,
    fresh: [r + w > 3 ? 1 : 0.4 + 0.1 * (r + w)],
    fresh999Ms: 0,
    readP50Ms: r,
    readP99Ms: 3 * r,
    readMeanMs: r,
    writeP50Ms: w,
    writeP99Ms: 4 * w,
    writeMeanMs: w,
  })),
);
const slo = { freshShare: 0.99, readP99Ms: null, writeP99Ms: null, faults: 0 };

describe('the choice of a quorum', () => {
  it('is the fastest that keeps every promise, for the mix of reads and writes', () => {
    expect(chooseQuorum(odds, { slo, readShare: 0.9, current: null, switchShare: 0.05 }).chosen).toMatchObject({ r: 1, w: 3 });
    expect(chooseQuorum(odds, { slo, readShare: 0.1, current: null, switchShare: 0.05 }).chosen).toMatchObject({ r: 3, w: 1 });
    expect(chooseQuorum(odds, { slo: { ...slo, faults: 1 }, readShare: 0.9, current: null, switchShare: 0.05 }).chosen).toMatchObject({
      r: 2,
      w: 2,
    });
  });

  it('raises before it lowers', () => {
    const { steps } = chooseQuorum(odds, { slo, readShare: 0.9, current: { r: 3, w: 1 }, switchShare: 0.05 });
    expect(steps).toEqual([
      { r: 3, w: 3 },
      { r: 1, w: 3 },
    ]);
  });

  it('stays where the gain does not pay for the change', () => {
    expect(chooseQuorum(odds, { slo, readShare: 0.5, current: { r: 2, w: 2 }, switchShare: 0.05 })).toMatchObject({
      chosen: { r: 2, w: 2 },
      steps: [],
    });
    expect(chooseQuorum(odds, { slo, readShare: 0.9, current: { r: 2, w: 2 }, switchShare: 0.9 })).toMatchObject({
      chosen: { r: 2, w: 2 },
      steps: [],
    });
  });

  it('says which promise each setting breaks, and chooses none where all do', () => {
    const choice = chooseQuorum(odds, { slo: { ...slo, readP99Ms: 4, writeP99Ms: 9 }, readShare: 0.9, current: null, switchShare: 0 });
    expect(choice.chosen).toBeNull();
    expect(choice.broken.get(odds[0] as QuorumOdds)).toEqual(['P(fresh) 60 % < 99 %']);
    expect(choice.because).toMatch(/^No \(R, W\) keeps every promise/);
  });
});
