import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Collection } from '../../src/domain/collection.ts';
import type { ConsistencyDomain } from '../../src/domain/consistency-domain.ts';
import { listCases } from '../../src/io/store/cases.ts';
import { getDomainState } from '../../src/io/store/domain-state.ts';
import { listProposals, type ProposalSummary } from '../../src/io/store/proposals.ts';
import { getCollectionState } from '../../src/io/store/scans.ts';
import { getRepair, listRepairs } from '../../src/io/store/repairs.ts';
import { approveProposal, requestUndo } from '../../src/runtime/approval-queue.ts';
import type { RuntimeContext } from '../../src/runtime/context.ts';
import { proposeForCase } from '../../src/runtime/propose-worker.ts';
import { workOnRepair } from '../../src/runtime/repair-worker.ts';
import { scanCollection } from '../../src/runtime/scan-loop.ts';
import { redisAvailable, startRedis, type TestRedis } from '../servers/redis.ts';
import { domainOf, type Estate, startEstate, until } from './estate.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const signal = AbortSignal.timeout(600_000);
let estate: Estate;
let redis: TestRedis | undefined;
afterEach(async () => {
  await estate.close();
  await redis?.close();
  redis = undefined;
});

async function divergedEstate(domain: ConsistencyDomain, schema?: readonly string[]): Promise<Estate> {
  const made = await startEstate({ domain, ...(schema === undefined ? {} : { schema }) });
  for (const region of ['eu', 'us', 'ap']) {
    await made.sql(region, `insert into profiles select i, 'name ' || i, 'mail' || i, '2026-01-01' from generate_series(1, 20) i`);
  }
  await made.sql('us', `update profiles set name = 'wrong' where id = 5`);
  return made;
}

function collectionOf(made: Estate): Collection {
  const collection = made.collections['profiles'];
  if (collection === undefined) throw new Error('no collection');
  return collection;
}

/** A planned repair of what differs now. */
async function plan(): Promise<string> {
  await scanCollection(estate.context, collectionOf(estate), signal);
  for (const found of (await listCases(estate.database, { state: 'open' }, {})).items)
    await proposeForCase(estate.context, found.id, signal);
  const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
  if (repair === undefined) throw new Error(`no repair: ${(await listCases(estate.database, {}, {})).items[0]?.note ?? ''}`);
  return repair.id;
}

const nameOn = async (region: string, id = 5): Promise<string> =>
  (await estate.sql(region, 'select name from profiles where id = $1', [id])).rows[0]?.name;

describe('a table that is altered', () => {
  it('between two repairs is verified as it is now', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    await workOnRepair(estate.context, await plan(), signal);
    expect(await nameOn('us')).toBe('name 5');
    for (const region of ['eu', 'us', 'ap']) await estate.sql(region, `alter table profiles add column city text default 'x'`);
    await estate.sql('us', `update profiles set city = 'wrong' where id = 6`);
    const second = await plan();
    await workOnRepair(estate.context, second, signal);
    expect((await getRepair(estate.database, second))?.state).toBe('sealed');
    expect((await getDomainState(estate.database, 'profiles')).breaker).toBe('closed');
  });

  it('between proposal and repair: nothing is applied that was decided without the new column', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    const repair = await plan();
    for (const region of ['eu', 'us', 'ap']) await estate.sql(region, `alter table profiles add column city text default 'x'`);
    await workOnRepair(estate.context, repair, signal);
    expect((await getRepair(estate.database, repair))?.state).toBe('stale');
    expect((await getDomainState(estate.database, 'profiles')).breaker).toBe('closed');
    expect(await nameOn('us')).toBe('wrong');
  });
});

describe.skipIf(!redisAvailable)('a collection with a cache (needs Redis)', () => {
  it('is verified where a row was written after its repair and the cache does not hold it', async () => {
    redis = await startRedis();
    estate = await divergedEstate(domainOf('profiles', { stalenessMs: 1_000 }));
    const replicas = collectionOf(estate).replicas as Collection['replicas'][number][];
    replicas.push({
      id: 'cache',
      engine: 'redis',
      url: redis.url,
      region: 'eu',
      role: 'cache',
      keyTemplate: 'profile:{id}',
      value: 'json',
      columnNames: {},
    });
    const id = await plan();
    // Everybody writes the row right after the repair, before it is verified.
    const { replicas: pool } = estate.context;
    const context: RuntimeContext = {
      ...estate.context,
      replicas: {
        ...pool,
        verifiers: async (name) => {
          for (const region of ['eu', 'us', 'ap']) await estate.sql(region, `update profiles set name = 'newer' where id = 5`);
          return pool.verifiers(name);
        },
      },
    };
    await workOnRepair(context, id, signal);
    expect((await getRepair(estate.database, id))?.state).toBe('sealed');
    expect((await getDomainState(estate.database, 'profiles')).breaker).toBe('closed');
  });
});

describe('a worker that died after its rows went in, before that was on record', () => {
  it('is not taken for one that did nothing because the rules have changed since', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    const id = await plan();
    const { database } = estate;
    let isDead = false;
    const dying: RuntimeContext = {
      ...estate.context,
      database: {
        ...database,
        transaction: (work) =>
          database.transaction(async (tx) => {
            const result = await work(tx);
            if ((await nameOn('us')) === 'name 5') isDead = true;
            if (isDead) throw new Error('killed');
            return result;
          }),
      },
    };
    await workOnRepair(dying, id, signal).catch(() => undefined);
    expect(await nameOn('us')).toBe('name 5');
    expect((await getRepair(database, id))?.state).toBe('applying');
    await database.query('update repairs set claimed_until_ms = 0, retry_at_ms = 0');
    // Meanwhile the domain is only watched.
    const domain = domainOf('profiles', { repair: { mode: 'off' } });
    await workOnRepair({ ...estate.context, domains: { profiles: domain } }, id, signal);
    const repair = await getRepair(database, id);
    // What went in is on record as gone in, and can be undone; or it was taken back.
    if (repair?.state === 'compensated') expect(await nameOn('us')).toBe('wrong');
    else {
      expect(repair?.state).toBe('sealed');
      expect(await requestUndo(estate.context, id, { by: 'alice', reason: 'no' })).toMatchObject({ is: 'done' });
    }
  });
});

describe('rows that a constraint of their replica keeps out', () => {
  it.each([
    ['a unique value', 'create unique index other on profiles (name)'],
    ['a check', `alter table profiles add check (name <> 'same')`],
  ])('%s: the repair waits and says why, and is not proposed anew again and again', async (_what, constraint) => {
    estate = await divergedEstate(domainOf('profiles'));
    await estate.sql('us', `update profiles set name = 'name 5' where id = 5`);
    for (const region of ['eu', 'ap']) await estate.sql(region, `update profiles set name = 'same' where id in (7, 8)`);
    await estate.sql('us', 'delete from profiles where id in (7, 8)');
    await estate.sql('us', constraint);
    const loops = await estate.run();
    const refused = async (): Promise<boolean> => ((await listRepairs(estate.database, {}, {})).items[0]?.attempts ?? 0) >= 3;
    await until(refused, 'the repair was tried three times');
    await loops.stop();
    const repairs = (await listRepairs(estate.database, {}, { limit: 500 })).items;
    expect(repairs.map(({ state }) => state)).toEqual(['applying']);
    expect(repairs[0]?.lastError).toMatch(/^Replica us of profiles (refuses the change|takes 1 of the new rows not in)/);
  });
});

describe('a repair that went stale', () => {
  it('is looked at again by itself, long before the next comparison, where no feed tells writes', async () => {
    estate = await startEstate({ domain: domainOf('profiles', { repair: { mode: 'review' } }), collection: { scanEveryMs: 3_600_000 } });
    for (const region of ['eu', 'us', 'ap'])
      await estate.sql(region, `insert into profiles select i, 'name ' || i, 'mail' || i, '2026-01-01' from generate_series(1, 20) i`);
    await estate.sql('us', `update profiles set name = 'wrong' where id = 5`);
    const loops = await estate.run();
    const waiting = async (): Promise<ProposalSummary | undefined> =>
      (await listProposals(estate.database, { state: 'waiting' }, {})).items[0];
    const first = await until(waiting, 'a proposal waits');
    await estate.sql('us', `update profiles set name = 'written meanwhile' where id = 5`);
    await approveProposal(estate.context, first.id, { digest: first.digest, by: 'alice' });
    await until(async () => (await listRepairs(estate.database, { state: 'stale' }, {})).items.length > 0, 'the repair is stale');
    const second = await until(waiting, 'another one waits');
    expect(second.digest).not.toBe(first.digest);
    expect((await getCollectionState(estate.database, 'profiles'))?.scans).toBe(1);
    await loops.stop();
  });
});
