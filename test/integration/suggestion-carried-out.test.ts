import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Cluster } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { defaultConfig } from '../../src/config.ts';
import type { PlacementTarget } from '../../src/domain/placement-target.ts';
import { type Api, startApi } from '../../src/edge/api/server.ts';
import type { FeaturePoint } from '../../src/forecast/features.ts';
import { slotOfKey } from '../../src/forecast/key-slot.ts';
import { openPostgresQueue } from '../../src/io/queue/bullmq.ts';
import { listAudit } from '../../src/io/store/audit.ts';
import { saveForecasts } from '../../src/io/store/forecasts.ts';
import { loadSeriesBlock, packSeries, saveSeriesPoints } from '../../src/io/store/series.ts';
import { getSuggestion, listSuggestions, saveSuggestions, type StoredSuggestion } from '../../src/io/store/suggestions.ts';
import { openTarget } from '../../src/io/targets/registry.ts';
import type { Target } from '../../src/io/targets/target.ts';
import type { RuntimeContext } from '../../src/runtime/context.ts';
import { startForecastLoop } from '../../src/runtime/forecast-loop.ts';
import { startLoops, type Loops } from '../../src/runtime/start-loops.ts';
import { openSuggestionPlaces } from '../../src/runtime/suggestion-places.ts';
import { people } from '../edge/ledger-estate.ts';
import { redisAvailable } from '../servers/redis.ts';
import { startRedisCluster, type TestRedisCluster } from '../servers/redis-cluster.ts';
import { domainOf, type Estate, startEstate, until } from './estate.ts';

const onlyWithRedis = redisAvailable ? describe : describe.skip;
const stepMs = 300_000;
const nodeOperationsPerSecond = 140;
const wait = new AbortController().signal;
/** A node that comes back and retries that wait longer each time take their time on a loaded machine; nothing here is about speed. */
const patienceMs = 240_000;

onlyWithRedis('a suggestion on a real Redis Cluster', () => {
  let cluster: TestRedisCluster;
  let client: Cluster;
  let estate: Estate;
  let context: RuntimeContext;
  let targets: Readonly<Record<string, Target>>;
  let declared: PlacementTarget;
  let api: Api;
  let loops: Loops;
  let dataDir: string;
  beforeAll(async () => {
    [cluster, estate, dataDir] = await Promise.all([
      startRedisCluster(3),
      startEstate({ regions: ['eu', 'us'], domain: domainOf('shop', { repair: { approvals: 2 } }), collection: { name: 'carts' } }),
      mkdtemp(join(tmpdir(), 'homeostat-suggestions-')),
    ]);
    client = cluster.client();
    declared = {
      kind: 'redis-cluster',
      name: 'cache',
      url: cluster.url,
      collections: ['carts'],
      keysPerSecond: 400,
      nodeOperationsPerSecond,
    };
    targets = { cache: openTarget(declared) };
    context = { ...estate.context, targets };
    api = await startApi({
      context,
      metrics: async () => context.metrics.render(),
      host: '127.0.0.1',
      port: 0,
      dataDir,
      config: { ...defaultConfig(), people: Object.values(people) },
    });
    loops = await startLoops(context, await openPostgresQueue(estate.storeUrl, () => undefined), {
      isOnlyProcess: true,
      sweeper: { everyMs: 300, quietMs: 500 },
    });
  }, 120_000);
  afterAll(async () => {
    client.disconnect();
    await api.close();
    await loops.close(5_000);
    await targets['cache']?.close();
    await Promise.all([estate.close(), cluster.close(), rm(dataDir, { recursive: true, force: true })]);
  });

  const call = async (who: keyof typeof people, verb: string, id: string, body: unknown): Promise<{ status: number; text: string }> => {
    const response = await fetch(`${api.url}/api/v1/suggestions/${id}/${verb}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${people[who].token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return { status: response.status, text: await response.text() };
  };
  const freeze = async (verb: 'freeze' | 'unfreeze', reason: string): Promise<void> => {
    const response = await fetch(`${api.url}/api/v1/domains/shop/${verb}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${people.olga.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ reason }),
    });
    expect(response.status, await response.text()).toBe(200);
  };
  const stateOf = async (id: string): Promise<StoredSuggestion> => {
    const suggestion = await getSuggestion(estate.database, id);
    if (suggestion === null) throw new Error(`no suggestion ${id}`);
    return suggestion;
  };
  const reaches = (id: string, state: StoredSuggestion['state']): Promise<StoredSuggestion | false> =>
    until(
      async () => {
        const now = await stateOf(id);
        return now.state === state && now;
      },
      `${id} is ${state}`,
      patienceMs,
    );

  let suggestion: StoredSuggestion;

  test('is made before the load that hurts is there', async () => {
    const rng = createRng('ramp');
    // A quiet day, then a rise of two operations a second each step on the first node, whose slots are the first third.
    const loadAt = (step: number): number => 20 + 2 * Math.max(0, step - 288) + rng.next();
    const startMs = Date.UTC(2026, 0, 5);
    let step = 0;
    const pointsUpTo = (upTo: number): FeaturePoint[] => {
      const points: FeaturePoint[] = [];
      for (; step < upTo; step += 1) {
        const atMs = startMs + step * stepMs;
        const hot = loadAt(step);
        const push = (bucket: number, metric: 'operations' | 'latency-p95-ms', value: number): void => {
          points.push({ series: { collection: 'carts', bucket, region: 'eu', metric }, atMs, value });
        };
        for (let bucket = 0; bucket < 64; bucket += 1) push(bucket, 'operations', bucket < 21 ? hot / 21 : 0.1);
        push(-1, 'operations', hot + 4.3);
        push(-1, 'latency-p95-ms', 3);
      }
      return points;
    };
    let nowMs = startMs;
    let wanted = 0;
    const loop = startForecastLoop({
      store: {
        saveSeriesPoints: (points) => saveSeriesPoints(estate.database, points),
        loadSeriesBlock: (width, fromMs) => loadSeriesBlock(estate.database, width, fromMs),
        packSeries: (width, beforeMs) => estate.database.transaction((tx) => packSeries(tx, width, beforeMs)),
        saveForecasts: (forecasts) => saveForecasts(estate.database, forecasts),
        saveSuggestions: (made, names) => estate.database.transaction((tx) => saveSuggestions(tx, made, names, context.clock.nowMs())),
      },
      drain: async () => pointsUpTo(wanted),
      clock: { nowMs: () => nowMs, monotonicMs: () => performance.now() },
      collections: Object.values(estate.collections),
      domains: context.domains,
      stepMs,
      everyMs: 3_600_000,
      modelDir: fileURLToPath(new URL('../../models/contention/v2', import.meta.url)),
      retrain: false,
      places: openSuggestionPlaces([declared], targets, estate.database, (error) => {
        throw error;
      }),
    });
    try {
      let found: StoredSuggestion | undefined;
      for (wanted = 330; found === undefined && wanted < 352; wanted += 1) {
        nowMs = startMs + (wanted + 1) * stepMs;
        await loop.runOnce(wait);
        const { items } = await listSuggestions(estate.database, { kind: 'split', state: 'open' }, {});
        [found] = items;
      }
      if (found === undefined) expect.fail('nothing was suggested');
      // The last step that was seen is still below what the node carries.
      expect(20 + 2 * (wanted - 1 - 288) + 1).toBeLessThan(nodeOperationsPerSecond);
      expect(found.action).toMatchObject({ kind: 'move-slots', target: 'cache', parameters: { fromNode: cluster.nodes[0]?.id } });
      expect(found.forecast?.high.at(-1)).toBeGreaterThan(nodeOperationsPerSecond);
      suggestion = found;
    } finally {
      await loop.close();
    }
  }, 300_000);

  test('I15: is not carried out without two people, a digest and an operator', async () => {
    const { id, digest } = suggestion;
    expect((await call('olga', 'apply', id, {})).status).toBe(409);
    expect((await call('alice', 'approve', id, {})).status).toBe(400);
    expect((await call('alice', 'approve', id, { digest: 'f'.repeat(64) })).status).toBe(409);
    expect((await call('vera', 'approve', id, { digest })).status).toBe(403);
    expect((await call('alice', 'approve', id, { digest, comment: 'seen' })).status).toBe(200);
    expect((await call('alice', 'approve', id, { digest })).status).toBe(409);
    expect((await stateOf(id)).state).toBe('open');
    expect((await call('bob', 'approve', id, { digest })).status).toBe(200);
    expect((await stateOf(id)).state).toBe('approved');
    expect((await call('alice', 'apply', id, { digest })).status).toBe(403);
    expect((await call('olga', 'apply', id, { digest: 'f'.repeat(64) })).status).toBe(409);
    const moved = await targets['cache']?.placement(wait);
    expect(moved?.nodes.find(({ id: node }) => node === cluster.nodes[0]?.id)?.slots).toEqual([[0, 5_460]]);
  });

  test('moves the slots under load, though the node that receives them is killed half-way, and goes back when asked', async () => {
    const { id, digest, action } = suggestion;
    const [from, to] = [Number(action.parameters['fromSlot']), Number(action.parameters['toSlot'])];
    const receiver = cluster.nodes.findIndex((node) => node.id === action.parameters['toNode']);
    const keys: string[] = [];
    for (let i = 0; keys.length < 800; i += 1) {
      const slot = slotOfKey(`cart:${i}`);
      if (slot >= from && slot <= to) keys.push(`cart:${i}`);
    }
    const expected = new Map<string, number>();
    for (const key of keys) expected.set(key, await client.incr(key));
    let stale = 0;
    let isOver = false;
    // Each writer counts on its own keys: what it reads back is what it wrote last, or, sent again by the client, what it just wrote.
    const load = async (own: readonly string[]): Promise<void> => {
      for (let i = 0; !isOver; i += 1) {
        const key = own[i % own.length] ?? '';
        const before = expected.get(key) ?? 0;
        const found = Number(await client.set(key, before + 1, 'GET'));
        if (found !== before && found !== before + 1) stale += 1;
        expected.set(key, before + 1);
      }
    };
    const workers = Array.from({ length: 4 }, (_, worker) => load(keys.filter((_, i) => i % 8 === worker)));
    expect((await call('olga', 'apply', id, { digest })).status).toBe(200);
    await until(async () => ((await stateOf(id)).outcome ?? '').includes('slots are over'), 'some slots are over', patienceMs);
    await cluster.kill(receiver);
    await until(async () => /tried again/.test((await stateOf(id)).outcome ?? ''), 'the move waits for the node', patienceMs);
    expect((await stateOf(id)).state).toBe('applying');
    // A freeze holds it where it stands, though its node is back; nobody has to press the button again.
    await freeze('freeze', 'an incident');
    await cluster.restart(receiver);
    const standing = await until(
      async () => {
        const { outcome } = await stateOf(id);
        return outcome !== null && outcome.includes('shop is frozen (an incident)') && outcome;
      },
      'the move rests while the domain is frozen',
      patienceMs,
    );
    const before = await targets['cache']?.placement(wait);
    expect((await stateOf(id)).state).toBe('applying');
    expect(standing).toContain('it goes on once that is unfrozen');
    expect(await targets['cache']?.placement(wait)).toEqual(before);
    await freeze('unfreeze', 'over');
    const applied = await reaches(id, 'applied');
    isOver = true;
    await Promise.all(workers);
    expect(stale).toBe(0);
    for (const key of keys) expect(await client.get(key)).toBe(String(expected.get(key)));
    expect(applied && applied.outcome).toMatch(/^Slots/);
    const placement = await targets['cache']?.placement(wait);
    const first = placement?.nodes.find(({ id: node }) => node === cluster.nodes[0]?.id);
    expect(first?.slots).toEqual([[0, from - 1]]);

    expect((await call('alice', 'undo', id, { reason: 'no' })).status).toBe(403);
    expect((await call('olga', 'undo', id, { reason: 'a drill' })).status).toBe(200);
    await reaches(id, 'rolled-back');
    for (const key of keys) expect(await client.get(key)).toBe(String(expected.get(key)));
    const { items } = await listAudit(estate.database, { subject: id }, { limit: 50 });
    expect(items.map((entry) => entry.action).toReversed()).toEqual([
      'suggestion.approved',
      'suggestion.approved',
      'suggestion.applying',
      'suggestion.applied',
      'suggestion.undoing',
      'suggestion.rolled-back',
    ]);
  }, 600_000);
});
