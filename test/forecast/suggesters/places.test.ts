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
  const staleOf = (trips: Readonly<Record<string, number>>): NonNullable<ReturnType<typeof quorum.suggest>[number]['stale']> => {
    const { example } = quorum;
    const listOf = (trip: number): readonly number[] => example.latencyP95Ms.map((_, i) => (i % 5 === 0 ? 0 : trip));
    const readTripMs = new Map(Object.entries(trips).map(([region, trip]) => [region, listOf(trip)]));
    const { collection } = example;
    const replicas = ['north', 'south'].map((id) => ({
      id,
      engine: 'postgres' as const,
      url: `postgres://${id}/shop`,
      region: `${id}-region`,
      role: 'follower' as const,
      columnNames: {},
    }));
    const [suggestion] = quorum.suggest(fresh({ ...example, collection: { ...collection, replicas }, readTripMs }));
    if (suggestion?.stale === undefined) throw new Error('nothing was suggested');
    return suggestion.stale;
  };
  const staleWith = (trip: number) => staleOf({ somewhere: trip });

  it('lets a read be on its way as long as traces say, and no longer', () => {
    const [none, near, far] = [staleWith(0), staleWith(4), staleWith(8)];
    expect(near.predicted).toBeLessThan(none.predicted);
    expect(far.predicted).toBeLessThan(near.predicted);
    expect(none.predictedLow).toBeLessThanOrEqual(none.predicted);
    expect(none.predictedHigh).toBeGreaterThanOrEqual(none.predicted);
  });

  it('goes by the way to each standby, where its region was read, and else by the shortest that is known', () => {
    const both = (north: number, south: number): number => staleOf({ 'north-region': north, 'south-region': south }).predicted;
    expect(both(8, 8)).toBeCloseTo(staleWith(8).predicted, 9);
    // South lags twice as far: a long way to it helps its readers, and a long way to north does not.
    expect(both(2, 16)).toBeLessThan(both(2, 2));
    expect(both(16, 2)).toBeLessThan(both(2, 2));
    expect(both(2, 16)).not.toBeCloseTo(both(16, 2), 3);
    expect(staleOf({ 'north-region': 16, elsewhere: 2 }).predicted).toBeCloseTo(both(16, 2), 9);
  });

  it('is not suggested where it cannot be told whether the promise is kept', () => {
    const { example } = quorum;
    const suggested = (usual: number): number => {
      // One trip in ten is quick: what the others take longer may be lost on the way there or on the way back.
      const trips = example.latencyP95Ms.map((_, i) => (i % 10 === 0 ? 0.5 : usual));
      return quorum.suggest(fresh({ ...example, readTripMs: new Map([['somewhere', trips]]) })).length;
    };
    expect(suggested(0.5)).toBe(1);
    expect(suggested(12)).toBe(0);
  });

  it('goes by what reads saw, where that is surer than lags and ways', () => {
    const { example } = quorum;
    const { collection, standbys } = example;
    if (standbys === undefined) throw new Error('the example has standbys');
    const replicas = ['north', 'south'].map((id) => ({
      id: `replica-${id}`,
      engine: 'postgres' as const,
      url: `postgres://${id}:5433/shop`,
      region: 'eu',
      role: 'follower' as const,
      columnNames: {},
    }));
    // Nine reads in ten that come at once see the change; lags alone say that none does.
    const looksAt = (place: (standby: string) => { readonly replica: string; readonly host: string }) =>
      Array.from({ length: 600 }, (_, moment) =>
        ['north', 'south'].map((standby) => ({ ...place(standby), moment, afterMs: 0.01 * (moment % 7), isFresh: moment % 10 > 0 })),
      ).flat();
    const told = (looks: ReturnType<typeof looksAt>) =>
      quorum.suggest(fresh({ ...example, collection: { ...collection, replicas }, standbys: { ...standbys, looks } }))[0];
    const named = told(looksAt((standby) => ({ replica: `replica-${standby}`, host: '' })));
    expect(named?.stale?.predicted).toBeCloseTo(0.1, 2);
    expect(named?.because).toContain('by 1200 traced reads of what their own trace had just written');
    expect(told(looksAt((standby) => ({ replica: '', host: `${standby}:5433` })))?.stale?.predicted).toBeCloseTo(0.1, 2);
    // Of another server, and of one of the two only: lags say more.
    for (const looks of [
      looksAt(() => ({ replica: 'elsewhere', host: '' })),
      looksAt((standby) => ({ replica: standby === 'north' ? 'north' : '', host: '' })),
    ]) {
      expect(told(looks)?.stale?.predicted).toBe(1);
      expect(told(looks)?.because).not.toContain('traced reads');
    }
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
