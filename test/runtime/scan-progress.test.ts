import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { listDivergences } from '../../src/io/store/divergences.ts';
import { getCollectionState, saveScanProgress } from '../../src/io/store/scans.ts';
import { scanCollection } from '../../src/runtime/scan-loop.ts';
import { domainOf, type Estate, startEstate } from '../integration/estate.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

describe('a scheduled comparison that ended early', () => {
  let estate: Estate;
  beforeAll(async () => {
    estate = await startEstate({ domain: domainOf('profiles', { repair: { mode: 'review' } }) });
    for (const region of ['eu', 'us', 'ap'])
      await estate.sql(region, `insert into profiles select i, 'n' || i, 'm', '2026-01-01' from generate_series(1, 100) i`);
    await estate.sql('us', `update profiles set name = 'x' where id in (10, 70)`);
  });
  afterAll(() => estate.close());

  const found = async (): Promise<readonly string[]> =>
    (await listDivergences(estate.database, { status: 'confirmed' }, {})).items.map((one) => one.key['id'] ?? '').toSorted();
  const scan = async (): Promise<void> => {
    const collection = estate.collections['profiles'];
    if (collection === undefined) throw new Error('no collection');
    await scanCollection(estate.context, collection, AbortSignal.timeout(60_000));
  };

  it('goes on after what is on record, and the next one begins anew', async () => {
    const progress = { key: ['id'], replicas: ['ap', 'eu', 'us'], after: { id: '50' }, rowsDone: 50, rowsOf: 100, differing: 1 };
    await estate.database.query(`insert into collection_state (collection) values ('profiles') on conflict do nothing`);
    await saveScanProgress(estate.database, 'profiles', progress);
    expect((await getCollectionState(estate.database, 'profiles'))?.progress).toEqual(progress);
    await scan();
    expect(await found()).toEqual(['70']);
    const state = await getCollectionState(estate.database, 'profiles');
    expect(state).toMatchObject({ progress: null, lastScanEqual: false });
    await scan();
    expect(await found()).toEqual(['10', '70']);
  });

  it('begins anew where other replicas were compared', async () => {
    await estate.sql('us', `update profiles set name = 'x' where id = 20`);
    await saveScanProgress(estate.database, 'profiles', {
      key: ['id'],
      replicas: ['eu', 'us'],
      after: { id: '90' },
      rowsDone: 90,
      rowsOf: 100,
      differing: 0,
    });
    await scan();
    expect(await found()).toEqual(['10', '20', '70']);
  });
});
