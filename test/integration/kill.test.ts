import { rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { describe, expect, it, vi } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { readAuditChain } from '../../src/io/store/audit.ts';
import { openDatabase } from '../../src/io/store/database.ts';
import { openEmbeddedPostgres } from '../../src/io/store/embedded.ts';
import { listRepairs } from '../../src/io/store/repairs.ts';
import { verifyChain } from '../../src/report/audit-chain.ts';
import { startPostgres } from '../servers/postgres.ts';
import { until } from './estate.ts';
import { serviceFolder, startServiceProcess } from './started-homeostat.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const seed = Number(process.env['SEED'] ?? 7);

describe('the service, killed with -9 again and again', () => {
  it('repairs every row in the end, each once, with a whole audit chain', { timeout: 300_000 }, async () => {
    const rng = createRng(seed);
    const server = await startPostgres();
    const pools = new Map<string, pg.Pool>();
    const replicas: Record<string, object> = {};
    for (const region of ['eu', 'us', 'ap']) {
      const url = await server.createDatabase(region);
      const pool = new pg.Pool({ connectionString: url, max: 2 });
      pool.on('error', () => undefined);
      pools.set(region, pool);
      replicas[region] = { url, table: 'profiles', region, role: 'peer' };
      await pool.query('create table profiles (id bigint primary key, name text)');
      await pool.query(`insert into profiles select i, 'name ' || i from generate_series(1, 300) i`);
      await pool.query('create table written (id bigint, name text)');
      await pool.query(
        'create function count_writes() returns trigger language plpgsql as $$ begin insert into written values (new.id, new.name); return new; end $$',
      );
    }
    const us = pools.get('us');
    if (us === undefined) throw new Error('no us');
    const folder = await serviceFolder({
      domains: { profiles: { consistency: 'eventual', stalenessMs: 200, repair: { mode: 'auto', rowsPerHour: 100_000 } } },
      collections: { profiles: { domain: 'profiles', key: ['id'], scanEveryMs: 200, replicas } },
      forecast: { enabled: false },
    });
    let broken = 0;
    const breakRows = async (rows: number): Promise<void> => {
      await us.query('drop trigger if exists count_writes on profiles');
      await us.query(`update profiles set name = 'wrong' where id > $1 and id <= $2`, [broken, broken + rows]);
      await us.query('create trigger count_writes after update on profiles for each row execute function count_writes()');
      broken += rows;
    };
    for (let kill = 0; kill < 6; kill += 1) {
      await breakRows(30);
      const service = startServiceProcess(folder);
      if (kill > 0) await service.ready;
      // Anywhere from the first statement of a start to the middle of repairs.
      await delay(kill === 0 ? 1_500 + rng.int(1_000) : rng.int(1_500));
      service.kill('SIGKILL');
      await service.ended;
    }
    await breakRows(30);
    const service = startServiceProcess(folder);
    await service.ready;
    await until(
      async () => (await us.query(`select count(*)::int as wrong from profiles where name = 'wrong'`)).rows[0]?.wrong === 0,
      'every row is right',
      60_000,
    );
    const token = readFileSync(join(folder.data, 'token'), 'utf8').trim();
    const { api } = await service.ready;
    await until(
      async () => {
        const answer = await fetch(`${api}/api/v1/cases?state=closed`, { headers: { authorization: `Bearer ${token}` } });
        const open = await fetch(`${api}/api/v1/cases?limit=100`, { headers: { authorization: `Bearer ${token}` } });
        const { items } = (await open.json()) as { items: { state: string }[] };
        return answer.ok && items.length > 0 && items.every((item) => item.state === 'closed');
      },
      'every case is closed',
      60_000,
    );
    service.kill('SIGTERM');
    expect(await service.ended).toBe(0);

    const { rows } = await us.query('select id::int, count(*)::int as times from written group by id having count(*) > 1');
    expect(rows, `rows written more than once, seed ${seed}`).toEqual([]);
    expect((await us.query('select count(*)::int as rows from written')).rows).toEqual([{ rows: broken }]);

    const store = await openEmbeddedPostgres({ dataDir: folder.data });
    const database = openDatabase(store.url);
    const chain = [];
    for await (const entry of readAuditChain(database)) chain.push(entry);
    expect(verifyChain(chain).is).toBe('whole');
    const repairs = (await listRepairs(database, {}, { limit: 1000 })).items;
    expect(repairs.filter((repair) => repair.state !== 'sealed' && repair.state !== 'stale')).toEqual([]);
    const sealed = chain.filter((entry) => entry.action === 'repair.sealed').length;
    expect(sealed).toBe(repairs.filter((repair) => repair.state === 'sealed').length);
    await database.close();
    await store.close();
    await Promise.all([...pools.values()].map((pool) => pool.end()));
    await server.close();
    await rm(folder.dir, { recursive: true, force: true });
  });
});
