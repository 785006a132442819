import { describe, expect, it } from 'vitest';
import type { Subject } from '../../../src/forecast/suggester.ts';
import { split } from '../../../src/forecast/suggesters/split.ts';

const hot = (): Subject => split.example;

describe('split', () => {
  it('is suggested for a range whose rush it was seen not to carry, with a gain that is sure', () => {
    const [suggestion] = split.suggest(hot());
    expect(suggestion?.says).toMatch(/^Split orders at slot 8192 of 16384/);
    expect(suggestion?.replay.gainLow).toBeGreaterThan(0);
    expect(suggestion?.replay.costWith).toBeLessThan(suggestion?.replay.costWithout ?? 0);
  });

  it('is not suggested where load never hurt', () => {
    const subject = hot();
    expect(split.suggest({ ...subject, latencyP95Ms: subject.latencyP95Ms.map(() => 8) })).toEqual([]);
  });

  it('is not suggested where one key makes the load: it would go with its half', () => {
    const subject = hot();
    const history = subject.history.map((row, i) => ({
      ...row,
      operations: row.operations.map((value) => (i === 3 ? value * 6 : value * 0.3)),
      hottestKeyShare: row.hottestKeyShare.map(() => (i === 3 ? 0.95 : 0.05)),
    }));
    expect(split.suggest({ ...subject, history })).toEqual([]);
  });

  it('is not suggested on one short rush: the gain may be luck', () => {
    const subject = hot();
    const rush = (i: number): boolean => i >= 300 && i < 306;
    const history = subject.history.map((row) => ({ ...row, operations: row.operations.map((_, i) => (rush(i) ? 11 : 6)) }));
    expect(split.suggest({ ...subject, history, latencyP95Ms: subject.latencyP95Ms.map((_, i) => (rush(i) ? 40 : 8)) })).toEqual([]);
  });

  it('is the same for the same history', () => {
    expect(split.suggest(hot())).toEqual(split.suggest(hot()));
  });
});
