import { createRng } from '../../src/base/rng.ts';
import { slotOfKey } from '../../src/forecast/key-slot.ts';
import { openRedisCluster } from '../../src/io/targets/redis-cluster.ts';
import { startRedisCluster } from '../servers/redis-cluster.ts';
import type { Bench } from './bench.ts';

/**
 * What moving slots is good for, and what it costs while it goes on: three real nodes, of which one gets nearly all the load, each
 * operation a script that keeps it busy for a fraction of a millisecond. First it is measured how much the hot node carries; then operations
 * come at random moments at {@link loadShare} of that, however long their answers take, and latency is counted from the moment at which
 * each was due: before, while half of the hot node's slots go over, and after, under the same load. Every write is checked against what the
 * writer knows: lost or stale ones are counted.
 */
const writers = 24;
/** As busy as a node is when somebody thinks of moving a part of it. */
const loadShare = 0.8;
const work = `for i = 1, 20000 do local x = i * i end return redis.call('SET', KEYS[1], ARGV[1], 'GET')`;

export const bench: Bench = {
  name: 'placement',
  says: 'latency before, while and after half of a hot Redis Cluster node is moved, with lost and stale operations',
  run: async ({ quick, log }) => {
    const cluster = await startRedisCluster(3);
    const client = cluster.client();
    const target = openRedisCluster({ name: 'bench', url: cluster.url, keysPerSecond: 2_000 });
    try {
      const hotLast = Math.floor(16_384 / 3) - 1;
      const cut = Math.floor(hotLast / 2);
      const keys: string[] = [];
      for (let i = 0; keys.length < 2_400; i += 1) if (slotOfKey(`cart:${i}`) <= hotLast) keys.push(`cart:${i}`);
      const known = new Map<string, number>();
      let wrong = 0;
      let tookMs: number[] = [];
      let isOver = false;
      let meanPauseMs = 0;
      const writer = async (own: readonly string[], seed: string): Promise<void> => {
        const rng = createRng(seed);
        let dueMs = performance.now();
        while (!isOver) {
          const key = rng.pick(own);
          const before = known.get(key) ?? 0;
          // Without a pace the next comes when the last is answered.
          dueMs = meanPauseMs === 0 ? performance.now() : dueMs - Math.log(1 - rng.next()) * meanPauseMs;
          const earlyMs = dueMs - performance.now();
          if (earlyMs > 0) await new Promise((resolve) => setTimeout(resolve, earlyMs));
          const startedMs = dueMs;
          const found = Number((await client.eval(work, 1, key, before + 1)) ?? 0);
          tookMs.push(performance.now() - startedMs);
          if (found !== before && found !== before + 1) wrong += 1;
          known.set(key, before + 1);
        }
      };
      const load = Array.from({ length: writers }, (_, w) =>
        writer(
          keys.filter((_key, i) => i % writers === w),
          `writer-${w}`,
        ),
      );
      const measure = async (
        during: () => Promise<unknown>,
      ): Promise<{ readonly p99Ms: number; readonly perS: number; readonly seconds: number }> => {
        tookMs = [];
        const startedMs = performance.now();
        await during();
        const seconds = (performance.now() - startedMs) / 1000;
        const sorted = tookMs.toSorted((a, b) => a - b);
        return { p99Ms: sorted[Math.floor(0.99 * sorted.length)] ?? 0, perS: sorted.length / seconds, seconds };
      };
      const forMs = quick ? 4_000 : 15_000;
      const rest = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, forMs));
      await rest();
      const full = await measure(rest);
      meanPauseMs = (writers * 1000) / (loadShare * full.perS);
      await rest();
      const before = await measure(rest);
      const never = new AbortController().signal;
      const moving = await measure(() =>
        target.apply(
          {
            kind: 'move-slots',
            parameters: { fromSlot: cut + 1, toSlot: hotLast, fromNode: cluster.nodes[0]?.id ?? '', toNode: cluster.nodes[1]?.id ?? '' },
          },
          { saved: null, save: async (_progress, says) => log(says), signal: never, pause: never },
        ),
      );
      await rest();
      const after = await measure(rest);
      meanPauseMs = 0;
      const fullAfter = await measure(rest);
      isOver = true;
      await Promise.all(load);
      let lost = 0;
      for (const [key, value] of known) if (Number(await client.get(key)) !== value) lost += 1;
      log(`p99 ${before.p99Ms.toFixed(1)} ms before, ${moving.p99Ms.toFixed(1)} ms while moving, ${after.p99Ms.toFixed(1)} ms after`);
      return {
        figures: {
          p99_after_ms: after.p99Ms,
          p99_while_moving_ms: moving.p99Ms,
          operations_per_s_after: fullAfter.perS,
          move_s: moving.seconds,
          stale_operations: wrong,
          lost_keys: lost,
          p99_after_vs_before: after.p99Ms / before.p99Ms,
        },
        baseline: { p99_before_ms: before.p99Ms, operations_per_s_before: full.perS },
      };
    } finally {
      client.disconnect();
      await target.close();
      await cluster.close();
    }
  },
};
