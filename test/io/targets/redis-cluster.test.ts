import type { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Failure } from '../../../src/base/failure.ts';
import type { Json } from '../../../src/base/hash.ts';
import { slotOfKey } from '../../../src/forecast/key-slot.ts';
import { openRedisCluster } from '../../../src/io/targets/redis-cluster.ts';
import type { Target, TargetChange, TargetRun } from '../../../src/io/targets/target.ts';
import { redisAvailable } from '../../servers/redis.ts';
import { direct, startRedisCluster, type TestRedisCluster } from '../../servers/redis-cluster.ts';

const onlyWithRedis = redisAvailable ? describe : describe.skip;

onlyWithRedis('a Redis Cluster as a target', () => {
  let cluster: TestRedisCluster;
  let client: Cluster;
  let target: Target;
  beforeAll(async () => {
    cluster = await startRedisCluster(3);
    client = cluster.client();
    target = openRedisCluster({ name: 'cache', url: cluster.url, keysPerSecond: 100_000 });
  }, 60_000);
  afterAll(async () => {
    client.disconnect();
    await target.close();
    await cluster.close();
  });

  const change = (fromSlot: number, toSlot: number, from: number, to: number): TargetChange => ({
    kind: 'move-slots',
    parameters: { fromSlot, toSlot, fromNode: cluster.nodes[from]?.id ?? '', toNode: cluster.nodes[to]?.id ?? '' },
  });
  const never = new AbortController().signal;
  const run = (saved: Json[] = [], signal: AbortSignal = never, pause: AbortSignal = never): TargetRun => ({
    saved: null,
    save: async (progress) => {
      saved.push(progress);
    },
    signal,
    pause,
  });
  /** Keys whose slot lies in the range: `name:0`, `name:1` ... */
  const keysIn = (name: string, fromSlot: number, toSlot: number, count: number): string[] => {
    const keys: string[] = [];
    for (let i = 0; keys.length < count; i += 1) {
      const slot = slotOfKey(`${name}:${i}`);
      if (slot >= fromSlot && slot <= toSlot) keys.push(`${name}:${i}`);
    }
    return keys;
  };
  const countOn = async (node: number, fromSlot: number, toSlot: number): Promise<number> => {
    const redis = direct(cluster.nodes[node]?.port ?? 0);
    const pipeline = redis.pipeline();
    for (let slot = fromSlot; slot <= toSlot; slot += 1) pipeline.cluster('COUNTKEYSINSLOT', slot);
    const counts = (await pipeline.exec()) ?? [];
    redis.disconnect();
    return counts.reduce((sum, [, count]) => sum + Number(count), 0);
  };

  test('says what it is', async () => {
    await expect(target.describe(new AbortController().signal)).resolves.toMatch(/^Redis 7.* 3 masters/);
    const placement = await target.placement(new AbortController().signal);
    expect(placement?.nodes.map(({ slots }) => slots)).toContainEqual([[0, 5_460]]);
  });

  test('moves every type of value with its time to live, and leaves nothing behind', async () => {
    const [text = '', list = '', set = '', hash = '', sorted = '', stream = '', dying = ''] = keysIn('typed', 0, 99, 7);
    const members = Array.from({ length: 700 }, (_, i) => `member-${i}`);
    await client.set(text, Buffer.from([0, 255, 10, 13]));
    await client.rpush(list, ...members);
    await client.sadd(set, ...members);
    await client.hset(hash, Object.fromEntries(members.map((member) => [member, `value of ${member}`])));
    await client.zadd(sorted, ...members.flatMap((member, i) => [i / 3, member]));
    await client.xadd(stream, '*', 'field', 'value');
    await client.set(dying, 'soon gone', 'PX', 3_600_000);
    const outcome = await target.apply(change(0, 99, 0, 2), run());
    expect(outcome).toMatchObject({ is: 'applied', facts: { slots: 100, keys: 7, verified: 7, writtenSince: 0 } });
    expect(await countOn(0, 0, 99)).toBe(0);
    expect(await countOn(2, 0, 99)).toBe(7);
    expect(await client.getBuffer(text)).toEqual(Buffer.from([0, 255, 10, 13]));
    expect(await client.lrange(list, 0, -1)).toEqual(members);
    expect((await client.smembers(set)).toSorted()).toEqual(members.toSorted());
    expect(await client.hlen(hash)).toBe(700);
    expect(await client.zscore(sorted, 'member-699')).toBe('233');
    expect(await client.xlen(stream)).toBe(1);
    expect(await client.pttl(dying)).toBeGreaterThan(3_500_000);
    await expect(target.apply(change(0, 99, 0, 2), run())).resolves.toMatchObject({ is: 'applied', facts: { keys: 0 } });
  });

  test('moves under load: nothing is lost, nothing deleted comes back, no read is stale', async () => {
    const keys = keysIn('live', 200, 399, 600);
    const model = new Map<string, number>();
    let stale = 0;
    let operations = 0;
    let isMoving = true;
    const load = async (own: readonly string[]): Promise<void> => {
      for (let i = 0; isMoving || i < 2 * own.length; i += 1) {
        const key = own[i % own.length] ?? '';
        operations += 1;
        if (i % 7 === 3) {
          await client.del(key);
          model.delete(key);
        } else {
          const value = await client.incr(key);
          if (value !== (model.get(key) ?? 0) + 1) stale += 1;
          model.set(key, value);
        }
        const seen = await client.get(key);
        if (seen !== (model.has(key) ? String(model.get(key)) : null)) stale += 1;
      }
    };
    const workers = Array.from({ length: 6 }, (_, worker) => load(keys.filter((_, i) => i % 6 === worker)));
    const outcome = await target.apply(change(200, 399, 0, 1), run());
    isMoving = false;
    await Promise.all(workers);
    expect(outcome).toMatchObject({ is: 'applied', facts: { slots: 200 } });
    expect(operations).toBeGreaterThan(1_000);
    expect(stale).toBe(0);
    for (const key of keys) expect(await client.get(key)).toBe(model.has(key) ? String(model.get(key)) : null);
    expect(await countOn(0, 200, 399)).toBe(0);
  });

  test('is finished after the receiving node was killed half-way, with every key', async () => {
    const keys = keysIn('killed', 500, 599, 400);
    for (const key of keys) await client.set(key, `value of ${key}`);
    const slow = openRedisCluster({ name: 'cache', url: cluster.url, keysPerSecond: 200 });
    const going = slow.apply(change(500, 599, 0, 2), run());
    const failed = expect(going).rejects.toBeInstanceOf(Failure);
    while ((await countOn(2, 500, 599)) < 100) await Promise.resolve();
    await cluster.kill(2);
    await failed;
    await slow.close();
    await cluster.restart(2);
    const again = openRedisCluster({ name: 'cache', url: cluster.url, keysPerSecond: 100_000 });
    await expect(again.apply(change(500, 599, 0, 2), run())).resolves.toMatchObject({ is: 'applied' });
    await again.close();
    expect(await countOn(0, 500, 599)).toBe(0);
    expect(await countOn(2, 500, 599)).toBe(400);
    for (const key of keys) expect(await client.get(key)).toBe(`value of ${key}`);
  });

  test('goes back after it was stopped half-way, with every key', async () => {
    const keys = keysIn('stopped', 700, 799, 400);
    for (const key of keys) await client.set(key, key);
    const slow = openRedisCluster({ name: 'cache', url: cluster.url, keysPerSecond: 200 });
    const stop = new AbortController();
    const going = slow.apply(change(700, 799, 0, 1), run([], stop.signal));
    const stopped = expect(going).rejects.toThrow();
    while ((await countOn(1, 700, 799)) < 100) await Promise.resolve();
    stop.abort();
    await stopped;
    await slow.close();
    await expect(target.undo(change(700, 799, 0, 1), run())).resolves.toMatchObject({ is: 'applied' });
    expect(await countOn(1, 700, 799)).toBe(0);
    expect(await countOn(0, 700, 799)).toBe(400);
    for (const key of keys) expect(await client.get(key)).toBe(key);
  });

  test('stops between two slots when the domain is frozen, and goes on from there', async () => {
    const keys = keysIn('frozen', 5_000, 5_199, 400);
    for (const key of keys) await client.set(key, key);
    const pause = new AbortController();
    const saved: Json[] = [];
    const slow = openRedisCluster({ name: 'cache', url: cluster.url, keysPerSecond: 400 });
    const going = slow.apply(change(5_000, 5_199, 0, 1), {
      ...run(saved, never, pause.signal),
      save: async (progress) => {
        saved.push(progress);
        pause.abort();
      },
    });
    await expect(going).rejects.toMatchObject({
      code: 'target-paused',
      retry: 'later',
      message: expect.stringContaining('none is half-way'),
    });
    await slow.close();
    const source = direct(cluster.nodes[0]?.port ?? 0);
    const mine = String(await source.cluster('NODES'))
      .split('\n')
      .find((line) => line.includes('myself'));
    source.disconnect();
    expect(mine).not.toMatch(/\[\d+-[<>]-/);
    const left = await countOn(0, 5_000, 5_199);
    expect(left).toBeGreaterThan(0);
    expect(left + (await countOn(1, 5_000, 5_199))).toBe(400);
    await expect(target.apply(change(5_000, 5_199, 0, 1), { ...run(), saved: saved.at(-1) ?? null })).resolves.toMatchObject({
      is: 'applied',
    });
    expect(await countOn(0, 5_000, 5_199)).toBe(0);
    for (const key of keys) expect(await client.get(key)).toBe(key);
  });

  test('leaves alone what somebody else is moving, and what has gone elsewhere', async () => {
    const source = direct(cluster.nodes[0]?.port ?? 0);
    await source.call('CLUSTER', 'SETSLOT', '1000', 'MIGRATING', cluster.nodes[1]?.id ?? '');
    await expect(target.apply(change(900, 901, 0, 1), run())).resolves.toMatchObject({ is: 'refused' });
    await source.call('CLUSTER', 'SETSLOT', '1000', 'STABLE');
    source.disconnect();
    await expect(target.apply(change(0, 10, 0, 1), run())).resolves.toMatchObject({ is: 'refused' });
    await expect(target.apply({ kind: 'standbys', parameters: {} }, run())).resolves.toMatchObject({ is: 'refused' });
  });
});
