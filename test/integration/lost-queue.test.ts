import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { openPostgresQueue, openRedisQueue } from '../../src/io/queue/bullmq.ts';
import { listCases } from '../../src/io/store/cases.ts';
import { listRepairs } from '../../src/io/store/repairs.ts';
import { redisAvailable, startRedis, type TestRedis } from '../servers/redis.ts';
import { type Estate, startEstate, until } from './estate.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const wrongRows = async (estate: Estate): Promise<number> =>
  (await estate.sql('us', `select count(*)::int as rows from profiles where name = 'wrong'`)).rows[0]?.rows;

async function fill(estate: Estate): Promise<void> {
  for (const region of ['eu', 'us', 'ap']) {
    await estate.sql(region, `insert into profiles select i, 'name ' || i, 'mail' || i, '2026-01-01' from generate_series(1, 100) i`);
  }
}

describe('losing the queue loses no work (I9)', () => {
  describe.skipIf(!redisAvailable)('(redis)', () => {
    let estate: Estate;
    let redis: TestRedis;
    beforeAll(async () => {
      [estate, redis] = await Promise.all([startEstate(), startRedis()]);
      await fill(estate);
    });
    afterAll(async () => {
      await estate.close();
      await redis.close();
    });

    it('FLUSHALL again and again while rows are repaired', { timeout: 300_000 }, async () => {
      const client = new Redis(redis.url);
      const queue = await openRedisQueue([redis.url], () => undefined);
      const loops = await estate.run(queue);
      const flushing = setInterval(() => void client.flushall(), 100);
      for (let round = 0; round < 5; round += 1) {
        await estate.sql('us', `update profiles set name = 'wrong' where id between $1 and $2`, [round * 10 + 1, round * 10 + 10]);
        await until(async () => (await wrongRows(estate)) === 0, 'the rows are right', 60_000);
        // The same case would be left to people when it comes back too often; these are other rows, and another day.
        await estate.database.query(`update divergences set resolved_at_ms = 0 where status = 'resolved'`);
      }
      clearInterval(flushing);
      await until(
        async () => (await listCases(estate.database, {}, {})).items.every((found) => found.state === 'closed'),
        'every case is closed',
        30_000,
      );
      await loops.stop();
      client.disconnect();
    });
  });

  it('a bell that never rings: the sweeper finds the work in the tables', { timeout: 300_000 }, async () => {
    const estate = await startEstate();
    await fill(estate);
    const real = await openPostgresQueue(estate.storeUrl, () => undefined);
    // The relay's rings are swallowed; only those of the sweeper get through.
    const deaf = {
      ...real,
      ring: async (bell, rings, signal) =>
        real.ring(
          bell,
          rings.filter((ring) => !ring.id.startsWith('o-')),
          signal,
        ),
    } satisfies typeof real;
    await estate.sql('us', `update profiles set name = 'wrong' where id <= 3`);
    const loops = await estate.run(deaf);
    await until(async () => (await listRepairs(estate.database, { state: 'sealed' }, {})).items.length > 0, 'the repair is sealed', 60_000);
    expect(await wrongRows(estate)).toBe(0);
    await loops.stop();
    await estate.close();
  });
});
