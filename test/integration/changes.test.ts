import { describe, expect, it, vi } from 'vitest';
import { listFeeds, listReplicaChanges } from '../../src/io/store/change-feeds.ts';
import { listDivergences } from '../../src/io/store/divergences.ts';
import { getCollectionState } from '../../src/io/store/scans.ts';
import { domainOf, type Estate, startEstate, until } from './estate.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const review = domainOf('profiles', { repair: { mode: 'review' } });
const changes = { maxRetainedBytes: 1e9, isDurable: true };
const hour = 3_600_000;

async function confirmedIds(estate: Estate): Promise<readonly string[]> {
  const { items } = await listDivergences(estate.database, { status: 'confirmed' }, {});
  return items.map((one) => one.key['id'] ?? '').toSorted((a, b) => Number(a) - Number(b));
}

async function seed(estate: Estate, regions = ['eu', 'us', 'ap']): Promise<void> {
  for (const region of regions)
    await estate.sql(region, `insert into profiles select i, 'n' || i, 'm', '2026-01-01' from generate_series(1, 1000) i`);
}

/** All regions are told, and the scans that the new feeds asked for have ended. */
async function settled(estate: Estate): Promise<void> {
  let quietLooks = 0;
  await until(async () => {
    const told = await listReplicaChanges(estate.database);
    const state = await getCollectionState(estate.database, 'profiles');
    const isQuiet =
      told.length === estate.collections['profiles']?.replicas.length &&
      told.every((one) => one.isTold) &&
      (await listFeeds(estate.database)).every((feed) => feed.position !== null) &&
      state?.scanAskedAtMs === null &&
      (state.lastScanEndedMs ?? 0) >= (state.lastScanStartedMs ?? 1);
    quietLooks = isQuiet ? quietLooks + 1 : 0;
    return quietLooks > 5;
  }, 'every replica is told');
}

describe('changes that stores tell', () => {
  it('are compared without a scan; what was written while nobody listened is told after a restart', async () => {
    const estate = await startEstate({ domain: review, collection: { scanEveryMs: hour, changes } });
    await seed(estate);
    const first = await estate.run();
    await settled(estate);
    const scans = (await getCollectionState(estate.database, 'profiles'))?.scans;
    await estate.sql('us', `update profiles set name = 'rogue' where id = 5`);
    await estate.sql('ap', 'delete from profiles where id = 6');
    await estate.sql('eu', `insert into profiles values (2000, 'new', 'm', '2026-01-01')`);
    await until(async () => (await confirmedIds(estate)).length === 3, 'three divergences are confirmed');
    expect(await confirmedIds(estate)).toEqual(['5', '6', '2000']);

    await estate.sql('us', `update profiles set name = 'n5' where id = 5`);
    await until(async () => (await confirmedIds(estate)).length === 2, 'one is repaired by hand');
    await first.stop();

    await estate.sql('us', `update profiles set name = 'while away' where id between 10 and 12`);
    const second = await estate.run();
    await until(async () => (await confirmedIds(estate)).length === 5, 'what was written meanwhile is found');
    expect((await getCollectionState(estate.database, 'profiles'))?.scans).toBe(scans);
    expect((await listFeeds(estate.database)).map((feed) => [feed.state, feed.gaps])).toEqual([
      ['streaming', 1],
      ['streaming', 1],
      ['streaming', 1],
    ]);
    await second.stop();
    await estate.close();
  });

  it('a truncate has the collection compared as a whole; a slot that somebody drops is made anew, and a scan closes the gap', async () => {
    const estate = await startEstate({ regions: ['eu', 'us'], domain: review, collection: { scanEveryMs: hour, changes } });
    await seed(estate, ['eu', 'us']);
    const run = await estate.run();
    await settled(estate);
    await estate.sql('us', 'truncate profiles');
    await until(async () => (await confirmedIds(estate)).length > 0, 'the truncate is seen');
    await estate.sql('us', `insert into profiles select i, 'n' || i, 'm', '2026-01-01' from generate_series(1, 1000) i`);
    await until(async () => (await confirmedIds(estate)).length === 0, 'all are back');

    const { rows } = await estate.sql('us', `select slot_name, active_pid from pg_replication_slots where database = 'us'`);
    const [slot] = rows as readonly { readonly slot_name: string; readonly active_pid: number }[];
    await estate.sql('us', `select pg_terminate_backend($1)`, [slot?.active_pid]);
    await until(async () => {
      await estate.sql('us', 'select pg_drop_replication_slot($1)', [slot?.slot_name]).catch(() => undefined);
      await estate.sql('us', `update profiles set name = 'untold' where id = 77`);
      return (await listFeeds(estate.database)).some((feed) => feed.gaps > 1);
    }, 'the gap is on record');
    await until(async () => (await confirmedIds(estate)).includes('77'), 'the scan finds what was not told');
    await run.stop();
    await estate.close();
  });

  it('a slot that keeps more than it may is dropped, and the feed is made anew', async () => {
    const estate = await startEstate({
      regions: ['eu', 'us'],
      domain: review,
      collection: { scanEveryMs: hour, changes: { maxRetainedBytes: 40 * 2 ** 20, isDurable: true } },
    });
    await seed(estate, ['eu', 'us']);
    const run = await estate.run();
    await settled(estate);
    // A slot keeps the log of the whole server, from the last point that decoding could start from.
    await estate.sql('eu', `create table other (t text)`);
    const alarms: string[] = [];
    await until(async () => {
      await estate.sql('eu', `insert into other select repeat('x', 1000) from generate_series(1, 20000)`);
      const feeds = await listFeeds(estate.database);
      alarms.push(...feeds.flatMap((feed) => (feed.says.includes('maxRetainedMb') ? [feed.says] : [])));
      return alarms.length > 0;
    }, 'the slot is dropped');
    await until(async () => (await listFeeds(estate.database)).every((feed) => feed.state === 'streaming'), 'the feed is made anew');
    await estate.sql('us', `update profiles set name = 'after' where id = 9`);
    await until(async () => (await confirmedIds(estate)).includes('9'), 'what is written later is found');
    await run.stop();
    await estate.close();
  });
});
