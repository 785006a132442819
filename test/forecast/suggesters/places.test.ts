import { describe, expect, it } from 'vitest';
import { createRng } from '../../../src/base/rng.ts';
import type { Subject } from '../../../src/forecast/suggester.ts';
import { move } from '../../../src/forecast/suggesters/move.ts';
import { quorum } from '../../../src/forecast/suggesters/quorum.ts';

const fresh = (subject: Subject): Subject => ({ ...subject, rng: createRng('places') });

describe('a move toward demand', () => {
  const crossingOf = (share: (region: string) => number): Subject => ({
    ...fresh(move.example),
    history: move.example.history.map((row) => ({ ...row, crossings: row.operations.map((value) => share(row.region) * value) })),
  });

  it('goes by what crosses from where it comes from, not by where it is served', () => {
    expect(move.suggest(crossingOf((region) => (region === 'us' ? 1 : 0)))[0]?.action.parameters).toMatchObject({ toRegion: 'us' });
    // The same operations, read from the replica beside them: nothing would be saved.
    expect(move.suggest(crossingOf(() => 0))).toEqual([]);
  });

  it('counts what would cross the other way afterwards', () => {
    const [suggestion] = move.suggest(crossingOf((region) => (region === 'us' ? 1 : 0)));
    const total = (region: string): number =>
      move.example.history.filter((row) => row.region === region).reduce((sum, row) => sum + row.operations.reduce((a, b) => a + b, 0), 0);
    const seconds = move.example.stepMs / 1000;
    expect(suggestion?.replay.costWithout).toBeCloseTo(total('us') * seconds, 3);
    expect(suggestion?.replay.costWith).toBeGreaterThan(total('eu') * seconds);
    // A third of the demand crosses, twice as much is at home.
    expect(move.suggest(crossingOf((region) => (region === 'us' ? 0.3 : 0)))).toEqual([]);
  });
});

describe('a quorum', () => {
  const staleWith = (trip: number): NonNullable<ReturnType<typeof quorum.suggest>[number]['stale']> => {
    const { example } = quorum;
    const [suggestion] = quorum.suggest(fresh({ ...example, readTripMs: example.readTripMs.map((_, i) => (i % 5 === 0 ? 0 : trip)) }));
    if (suggestion?.stale === undefined) throw new Error('nothing was suggested');
    return suggestion.stale;
  };

  it('lets a read be on its way as long as traces say, and no longer', () => {
    const [none, near, far] = [staleWith(0), staleWith(4), staleWith(8)];
    expect(near.predicted).toBeLessThan(none.predicted);
    expect(far.predicted).toBeLessThan(near.predicted);
    expect(none.predictedLow).toBeLessThanOrEqual(none.predicted);
    expect(none.predictedHigh).toBeGreaterThanOrEqual(none.predicted);
  });

  it('shows what was observed beside what is predicted', () => {
    const { example } = quorum;
    const reads = example.history.reduce(
      (sum, row) => sum + row.operations.slice(-288).reduce((all, value, i) => all + value - (row.writes.slice(-288)[i] ?? 0), 0),
      0,
    );
    const stale = staleWith(0);
    expect(stale.reads).toBe(Math.round(reads * 300));
    expect(stale.observed).toBeCloseTo(12 / stale.reads, 9);
    expect(stale.predictedWith).toBeLessThan(stale.predicted);
  });
});
