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
type Driven = Exclude<PlacementTarget['kind'], 'client-quorum'>;
const places: Readonly<Record<Driven, () => Promise<Place>>> = {
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

/** Where nothing is there. */
const gone: Readonly<Record<Driven, PlacementTarget>> = {
  'redis-cluster': {
    kind: 'redis-cluster',
    name: 'gone',
    url: 'redis://u:secret@127.0.0.1:1',
    collections: [],
    keysPerSecond: 1,
    nodeOperationsPerSecond: null,
  },
  'postgres-quorum': {
    kind: 'postgres-quorum',
    name: 'gone',
    url: 'postgres://u:secret@127.0.0.1:1/x',
    collections: [],
    standbys: ['a'],
    commitP99Ms: null,
    observeMs: 100,
    freshShare: null,
    faults: 0,
  },
};

const driven = targetKinds.flatMap(({ kind, takes }) => (kind === 'client-quorum' ? [] : [{ kind, takes }]));

describe.each(driven)('the target $kind', ({ kind, takes }) => {
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
    const target = openTarget(gone[kind]);
    const failure: unknown = await target.describe(new AbortController().signal).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Failure);
    expect(String(failure)).not.toContain('secret');
    await target.close();
  });
});

test('a target that takes nothing is told as declared, and refuses every change', async () => {
  const target = openTarget({
    kind: 'client-quorum',
    name: 'ring',
    collections: ['carts'],
    replicas: ['a', 'b', 'c'],
    read: 1,
    write: 2,
    system: 'cassandra',
    freshShare: null,
    afterMs: 0,
    readP99Ms: null,
    writeP99Ms: null,
    faults: 0,
  });
  const { signal } = new AbortController();
  expect(await target.describe(signal)).toContain('reads wait for 1 and writes for 2 of 3 replicas (a, b, c)');
  expect([await target.placement(signal), await target.standbyLags(signal)]).toEqual([null, null]);
  const run: TargetRun = { saved: null, save: () => Promise.reject(new Error('nothing is kept')), signal, pause: signal };
  for (const kind of ['read-write', ...targetKinds.flatMap(({ takes }) => takes)]) {
    expect(await target.apply({ kind, parameters: { read: 2, write: 2 } }, run)).toMatchObject({ is: 'refused' });
    expect(await target.undo({ kind, parameters: { read: 2, write: 2 } }, run)).toMatchObject({ is: 'refused' });
  }
  await target.close();
  expect(targetKinds.filter(({ takes }) => takes.length === 0).map(({ kind }) => kind)).toEqual(['client-quorum']);
});
