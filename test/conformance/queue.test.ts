import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPostgresQueue, openRedisQueue } from '../../src/io/queue/bullmq.ts';
import type { Queue } from '../../src/io/queue/queue.ts';
import { startPostgres } from '../servers/postgres.ts';
import { redisAvailable, startRedis } from '../servers/redis.ts';

interface Server {
  open(): Promise<Queue>;
  close(): Promise<void>;
}

const errors: Error[] = [];
const within = (ms: number): AbortSignal => AbortSignal.timeout(ms);

async function until(holds: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`did not come true: ${what}`);
    await delay(20);
  }
}

function queueSuite(name: string, start: () => Promise<Server>): void {
  describe(name, () => {
    let server: Server;
    let queue: Queue;
    beforeAll(async () => {
      server = await start();
      queue = await server.open();
    });
    afterAll(async () => {
      await queue.close(5_000);
      await server.close();
    });

    it('gives each ring to one of several workers, with its subject', async () => {
      const other = await server.open();
      const heard: string[] = [];
      await queue.answer(
        'propose',
        4,
        async (subject) => void heard.push(subject),
        () => undefined,
      );
      await other.answer(
        'propose',
        4,
        async (subject) => void heard.push(subject),
        () => undefined,
      );
      await queue.ring(
        'propose',
        Array.from({ length: 200 }, (_, i) => ({ id: `a-${i}`, subject: `C${i}` })),
        within(5_000),
      );
      await until(() => heard.length >= 200, '200 rings were heard');
      expect(new Set(heard).size).toBe(200);
      expect(heard).toHaveLength(200);
      await other.close(5_000);
    });

    it('hears a ring that is repeated while it waits once', async () => {
      for (let i = 0; i < 3; i += 1) await queue.ring('repair', [{ id: 'b-1', subject: 'R1' }], within(5_000));
      await queue.ring('repair', [{ id: 'b-2', subject: 'R2' }], within(5_000));
      const heard: string[] = [];
      await queue.answer(
        'repair',
        1,
        async (subject) => void heard.push(subject),
        () => undefined,
      );
      await until(() => heard.includes('R2'), 'the later ring was heard');
      expect(heard).toEqual(['R1', 'R2']);
      // What was answered is forgotten: a ring with the same id rings.
      await queue.ring('repair', [{ id: 'b-1', subject: 'R3' }], within(5_000));
      await until(() => heard.includes('R3'), 'the ring after the answer was heard');
    });

    it('reports work that throws and goes on with the next', async () => {
      const own = await server.open();
      const failed: string[] = [];
      const heard: string[] = [];
      await queue.close(1_000);
      await own.answer(
        'repair',
        1,
        async (subject) => {
          heard.push(subject);
          if (subject === 'R10') throw new Error('broken');
        },
        (subject) => void failed.push(subject),
      );
      await own.ring(
        'repair',
        [
          { id: 'c-1', subject: 'R10' },
          { id: 'c-2', subject: 'R11' },
        ],
        within(5_000),
      );
      await until(() => heard.includes('R11') && failed.length > 0, 'the failure was reported and the next ring heard');
      expect(failed).toEqual(['R10']);
      queue = own;
    });

    it('waits at close for work in progress', async () => {
      const own = await server.open();
      let isDone = false;
      let hasBegun = false;
      await own.answer(
        'propose',
        1,
        async () => {
          hasBegun = true;
          await delay(300);
          isDone = true;
        },
        () => undefined,
      );
      await own.ring('propose', [{ id: 'd-1', subject: 'C9' }], within(5_000));
      await until(() => hasBegun, 'work began');
      await own.close(10_000);
      expect(isDone).toBe(true);
    });
  });
}

queueSuite('queue on PostgreSQL', async () => {
  const postgres = await startPostgres();
  return { open: () => openPostgresQueue(postgres.url, (error) => void errors.push(error)), close: () => postgres.close() };
});

describe.skipIf(!redisAvailable)('(redis)', () => {
  queueSuite('queue on Redis', async () => {
    const redis = await startRedis();
    return { open: () => openRedisQueue([redis.url], (error) => void errors.push(error)), close: () => redis.close() };
  });

  it('goes on taking rings after FLUSHALL', async () => {
    const redis = await startRedis();
    const queue = await openRedisQueue([redis.url], () => undefined);
    const heard: string[] = [];
    await queue.answer(
      'repair',
      1,
      async (subject) => void heard.push(subject),
      () => undefined,
    );
    const client = new Redis(redis.url);
    await client.flushall();
    await client.quit();
    await queue.ring('repair', [{ id: 'e-1', subject: 'R1' }], within(5_000));
    await until(() => heard.length === 1, 'the ring after FLUSHALL was heard');
    await queue.close(5_000);
    await redis.close();
  });
});
