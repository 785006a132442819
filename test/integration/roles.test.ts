import { rm } from 'node:fs/promises';
import pg from 'pg';
import { describe, expect, it, vi } from 'vitest';
import { startPostgres } from '../servers/postgres.ts';
import { redisAvailable, startRedis } from '../servers/redis.ts';
import { until } from './estate.ts';
import { serviceFolder, startServiceProcess } from './started-homeostat.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

describe.skipIf(!redisAvailable)('several processes (redis)', () => {
  it('share the work of one database and one Redis: two workers, an API, an ingest', { timeout: 300_000 }, async () => {
    const [server, redis] = await Promise.all([startPostgres(), startRedis()]);
    const pools = new Map<string, pg.Pool>();
    const replicas: Record<string, object> = {};
    for (const region of ['eu', 'us', 'ap']) {
      const url = await server.createDatabase(region);
      const pool = new pg.Pool({ connectionString: url, max: 2 });
      pool.on('error', () => undefined);
      pools.set(region, pool);
      replicas[region] = { url, table: 'profiles', region };
      await pool.query('create table profiles (id bigint primary key, name text)');
      await pool.query(`insert into profiles select i, 'name ' || i from generate_series(1, 200) i`);
      await pool.query('create table written (id bigint)');
      await pool.query(
        'create function count_writes() returns trigger language plpgsql as $$ begin insert into written values (new.id); return new; end $$',
      );
    }
    const us = pools.get('us');
    await us?.query(`update profiles set name = 'wrong' where id <= 60`);
    await us?.query('create trigger count_writes after update on profiles for each row execute function count_writes()');
    const folder = await serviceFolder({
      database: await server.createDatabase('store'),
      queue: redis.url,
      forecast: { enabled: false },
      domains: { profiles: { consistency: 'eventual', stalenessMs: 200, repair: { mode: 'auto', rowsPerHour: 100_000 } } },
      collections: { profiles: { domain: 'profiles', key: ['id'], scanEveryMs: 200, replicas } },
    });
    // At once: they also race for the migrations.
    const processes = ['worker', 'worker', 'api', 'ingest'].map((role, i) =>
      startServiceProcess({ ...folder, data: `${folder.data}-${i}`, args: ['--port-base', '0', '--role', role] }),
    );
    await Promise.all(processes.map((process) => process.ready));
    await until(async () => (await us?.query(`select 1 from profiles where name = 'wrong'`))?.rowCount === 0, 'every row is right', 60_000);
    expect((await us?.query('select id from written group by id having count(*) > 1'))?.rows).toEqual([]);
    for (const process of processes) process.kill('SIGTERM');
    expect(await Promise.all(processes.map((process) => process.ended))).toEqual([0, 0, 0, 0]);
    await Promise.all([...pools.values()].map((pool) => pool.end()));
    await Promise.all([server.close(), redis.close()]);
    await rm(folder.dir, { recursive: true, force: true });
  });
});
