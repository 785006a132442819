import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Failure } from '../../src/base/failure.ts';
import type { Json } from '../../src/base/hash.ts';
import type { PlacementTarget } from '../../src/domain/placement-target.ts';
import { openTarget, targetKinds } from '../../src/io/targets/registry.ts';
import type { Target, TargetChange, TargetRun } from '../../src/io/targets/target.ts';
import { startReplication, type TestReplication } from '../servers/postgres-standbys.ts';
import { redisAvailable } from '../servers/redis.ts';
import { startRedisCluster, type TestRedisCluster } from '../servers/redis-cluster.ts';

interface Place {
  readonly declared: PlacementTarget;
  readonly change: TargetChange;
  /** What the world is like, where the change would show. */
  look(target: Target): Promise<unknown>;
  close(): Promise<void>;
}

/** Real servers for each kind of target. */
const places: Readonly<Record<PlacementTarget['kind'], () => Promise<Place>>> = {
  'redis-cluster': async () => {
    const cluster: TestRedisCluster = await startRedisCluster(2);
    const [from, to] = cluster.nodes;
    return {
      declared: {
        kind: 'redis-cluster',
        name: 'cache',
        url: cluster.url,
        collections: ['carts'],
        keysPerSecond: 100_000,
        nodeOperationsPerSecond: null,
      },
      change: { kind: 'move-slots', parameters: { fromSlot: 10, toSlot: 29, fromNode: from?.id ?? '', toNode: to?.id ?? '' } },
      look: async (target) => (await target.placement(new AbortController().signal))?.nodes.map(({ id, slots }) => [id, slots]).toSorted(),
      close: () => cluster.close(),
    };
  },
  'postgres-quorum': async () => {
    const replication: TestReplication = await startReplication(['north']);
    return {
      declared: {
        kind: 'postgres-quorum',
        name: 'primary',
        url: replication.url,
        collections: ['ledger'],
        standbys: ['north'],
        commitP99Ms: 5_000,
        observeMs: 100,
        freshShare: null,
        faults: 0,
      },
      change: { kind: 'standbys', parameters: { standbys: 1, of: 'north' } },
      look: async (target) => (await target.describe(new AbortController().signal)).replace(/^.*commits wait for/, ''),
      close: () => replication.close(),
    };
  },
};

describe.each(targetKinds)('the target $kind', ({ kind, takes }) => {
  describe.skipIf(kind === 'redis-cluster' && !redisAvailable)('on real servers', () => {
    let place: Place;
    let target: Target;
    beforeAll(async () => {
      place = await places[kind]();
      target = openTarget(place.declared);
    }, 120_000);
    afterAll(async () => {
      await target.close();
      await place.close();
    });
    const run = (saved: Json | null, kept: Json[] = [], signal: AbortSignal = new AbortController().signal): TargetRun => ({
      saved,
      save: async (progress) => {
        kept.push(progress);
      },
      signal,
      pause: new AbortController().signal,
    });

    test('changes nothing when it is asked what it is', async () => {
      const before = await place.look(target);
      expect(await target.describe(new AbortController().signal)).not.toBe('');
      await target.placement(new AbortController().signal);
      await target.standbyLags(new AbortController().signal);
      expect(await place.look(target)).toEqual(before);
    });

    test('refuses, unchanged, what it does not take and what it cannot read', async () => {
      const before = await place.look(target);
      expect(takes).toContain(place.change.kind);
      for (const change of [
        { kind: 'no-such-change', parameters: place.change.parameters },
        { kind: place.change.kind, parameters: {} },
        { kind: place.change.kind, parameters: { ...place.change.parameters, more: 1 } },
      ]) {
        expect((await target.apply(change, run(null))).is).toBe('refused');
        expect((await target.undo(change, run(null))).is).toBe('refused');
      }
      expect(await place.look(target)).toEqual(before);
    });

    test('applied twice is applied once, and undone twice is undone', async () => {
      const before = await place.look(target);
      const kept: Json[] = [];
      expect(await target.apply(place.change, run(null, kept))).toMatchObject({ is: 'applied' });
      const after = await place.look(target);
      expect(after).not.toEqual(before);
      // A run that died after its last step is made again with what it saved.
      expect(await target.apply(place.change, run(kept.at(-1) ?? null, kept))).toMatchObject({ is: 'applied' });
      expect(await place.look(target)).toEqual(after);
      expect(await target.undo(place.change, run(kept.at(-1) ?? null))).toMatchObject({ is: 'applied' });
      expect(await place.look(target)).toEqual(before);
      expect(await target.undo(place.change, run(kept.at(-1) ?? null))).toMatchObject({ is: 'applied' });
      expect(await place.look(target)).toEqual(before);
    });

    test('changes nothing once it was told to stop', async () => {
      const before = await place.look(target);
      await expect(target.apply(place.change, run(null, [], AbortSignal.abort()))).rejects.toThrow();
      expect(await place.look(target)).toEqual(before);
    });
  });

  test('says in a failure that nothing is there', async () => {
    const declared: PlacementTarget =
      kind === 'redis-cluster'
        ? { kind, name: 'gone', url: 'redis://127.0.0.1:1', collections: [], keysPerSecond: 1, nodeOperationsPerSecond: null }
        : {
            kind,
            name: 'gone',
            url: 'postgres://u:secret@127.0.0.1:1/x',
            collections: [],
            standbys: ['a'],
            commitP99Ms: null,
            observeMs: 100,
            freshShare: null,
            faults: 0,
          };
    const target = openTarget(declared);
    const failure: unknown = await target.describe(new AbortController().signal).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Failure);
    expect(String(failure)).not.toContain('secret');
    await target.close();
  });
});
