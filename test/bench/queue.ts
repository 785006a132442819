import pg from 'pg';
import { openPostgresQueue, openRedisQueue } from '../../src/io/queue/bullmq.ts';
import type { Queue } from '../../src/io/queue/queue.ts';
import { startPostgres } from '../servers/postgres.ts';
import { redisAvailable, startRedis } from '../servers/redis.ts';
import type { Bench } from './bench.ts';

const concurrency = 8;
const addAtOnce = 200;

/** Jobs a second from the first ring to the last answer, one producer and one worker process in one. */
async function jobsPerSecond(queue: Queue, jobs: number): Promise<number> {
  let answered = 0;
  let finish: () => void = () => undefined;
  const all = new Promise<void>((resolve) => (finish = resolve));
  await queue.answer(
    'repair',
    concurrency,
    async () => {
      answered += 1;
      if (answered === jobs) finish();
    },
    () => undefined,
  );
  const startedMs = performance.now();
  for (let start = 0; start < jobs; start += addAtOnce) {
    const rings = Array.from({ length: Math.min(addAtOnce, jobs - start) }, (_, i) => ({ id: `b-${start + i}`, subject: `R${start + i}` }));
    await queue.ring('repair', rings, AbortSignal.timeout(60_000));
  }
  await all;
  return (jobs * 1000) / (performance.now() - startedMs);
}

/** What BullMQ is compared with: workers that take one row at a time with SKIP LOCKED, the least that a queue in PostgreSQL does. */
async function skipLockedJobsPerSecond(url: string, jobs: number): Promise<number> {
  const pool = new pg.Pool({ connectionString: url, max: concurrency });
  await pool.query('create table bell (id bigint generated always as identity primary key, subject text)');
  const startedMs = performance.now();
  await pool.query(`insert into bell (subject) select 'R' || i from generate_series(1, $1::int) i`, [jobs]);
  const work = async (): Promise<void> => {
    for (;;) {
      const { rowCount } = await pool.query(
        'delete from bell where id = (select id from bell order by id for update skip locked limit 1) returning subject',
      );
      if (rowCount === 0) return;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  const seconds = (performance.now() - startedMs) / 1000;
  await pool.end();
  return jobs / seconds;
}

export const bench: Bench = {
  name: 'queue',
  says: 'jobs a second through the doorbell, ring to answer, on both backends; baseline: rows taken with SKIP LOCKED',
  run: async ({ quick, log }) => {
    const jobs = quick ? 4_000 : 20_000;
    const figures: Record<string, number> = {};
    const postgres = await startPostgres({ fsync: 'on', synchronous_commit: 'on' });
    const queue = await openPostgresQueue(postgres.url, () => undefined);
    figures['postgres_jobs_per_s'] = await jobsPerSecond(queue, jobs);
    log(`postgres: ${figures['postgres_jobs_per_s'].toFixed(0)} jobs/s`);
    await queue.close(5_000);
    const baseline = { postgres_skip_locked_jobs_per_s: await skipLockedJobsPerSecond(await postgres.createDatabase('bare'), jobs) };
    await postgres.close();
    if (redisAvailable) {
      const redis = await startRedis();
      const onRedis = await openRedisQueue([redis.url], () => undefined);
      figures['redis_jobs_per_s'] = await jobsPerSecond(onRedis, jobs);
      log(`redis: ${figures['redis_jobs_per_s'].toFixed(0)} jobs/s`);
      await onRedis.close(5_000);
      await redis.close();
    }
    return { figures, baseline };
  },
};
