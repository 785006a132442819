import { describe, expect, it, vi } from 'vitest';
import { listCases } from '../../src/io/store/cases.ts';
import { listDivergences } from '../../src/io/store/divergences.ts';
import { getCollectionState, releaseScan, takeScan } from '../../src/io/store/scans.ts';
import { saveWrites, type StoredWrite } from '../../src/io/store/write-evidence.ts';
import { ChangedKeys } from '../../src/runtime/changed-keys.ts';
import { ChangeCheck } from '../../src/runtime/check-changes.ts';
import { startEstate, until } from './estate.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const write = (objectKey: string, spanId: string): StoredWrite => ({
  collection: 'profiles',
  objectKey,
  kind: 'write',
  version: 2n,
  versionBase: 1n,
  hlc: '',
  valueDigest: '',
  replicaId: 'eu',
  service: 'profiles',
  traceId: '0'.repeat(32),
  spanId,
  spanIndex: 0,
  failed: false,
  outcome: 'committed',
  atUs: 1,
});

describe('a write that traces show and a replica never got', () => {
  it('is found without a scan, from its key alone; keys that agree and texts that are no keys cost nothing more', async () => {
    const estate = await startEstate();
    const collection = estate.collections['profiles'];
    if (collection === undefined) throw new Error('no collection');
    for (const region of ['eu', 'us', 'ap'])
      await estate.sql(region, `insert into profiles select i, 'n' || i, 'm', '2026-01-01' from generate_series(1, 1000) i`);
    await estate.sql('us', `update profiles set name = 'old' where id in (5, 6)`);
    const nowMs = Date.now();
    await saveWrites(
      estate.database,
      [write('5', '01'), write(' 05', '02'), write('7', '03'), write('not a number', '04')],
      nowMs - 60_000,
    );
    const signal = AbortSignal.timeout(60_000);
    const check = new ChangeCheck(estate.context, collection);
    expect(await check.takeTouched(signal)).toBe(4);
    await until(async () => (await check.round(signal)).confirmed === 1, 'the difference is confirmed');
    const found = (await listDivergences(estate.database, { status: 'confirmed' }, {})).items;
    expect(found.map((divergence) => divergence.key)).toEqual([{ id: '5' }]);
    expect((await listCases(estate.database, { state: 'open' }, {})).items).toHaveLength(1);
    expect(await check.takeTouched(signal)).toBe(0);
    expect(await check.round(signal)).toEqual({ keys: 0, confirmed: 0 });
    expect((await getCollectionState(estate.database, 'profiles'))?.rowsScanned).toBe(0);

    // It arrives after all: the next write of the key shows that, and the case is closed.
    await estate.sql('us', `update profiles set name = 'n5' where id = 5`);
    await saveWrites(estate.database, [write('5', '05')], nowMs - 60_000);
    await check.takeTouched(signal);
    await until(async () => (await check.round(signal)).keys === 1, 'the key is compared');
    expect((await listCases(estate.database, {}, {})).items.map((one) => one.closedAs)).toEqual(['gone']);
    expect(await takeScan(estate.database, 'profiles', 1, 'worker', nowMs)).toBe(true);
    await estate.close();
  });
});

describe('more written keys than are compared one by one', () => {
  it('are compared as the ranges they stand in, and nothing else is; keys all over the collection are a scan of it', async () => {
    const estate = await startEstate();
    const collection = estate.collections['profiles'];
    if (collection === undefined) throw new Error('no collection');
    for (const region of ['eu', 'us', 'ap'])
      await estate.sql(region, `insert into profiles select i, 'n' || i, 'm', '2026-01-01' from generate_series(1, 20000) i`);
    // In the ranges and outside of them.
    await estate.sql('us', `update profiles set name = 'old' where id in (5, 150, 9000)`);
    await estate.sql('ap', `delete from profiles where id = 19950`);
    const signal = AbortSignal.timeout(120_000);
    // It has just been scanned, so that it is due only where somebody asks.
    const isDue = async (): Promise<boolean> => {
      const isTaken = await takeScan(estate.database, 'profiles', 3_600_000, 'worker', Date.now());
      await releaseScan(estate.database, 'profiles', 'worker');
      return isTaken;
    };
    expect(await isDue()).toBe(true);
    const connections = await estate.context.replicas.connections('profiles');
    const scanned = (): number => connections.reduce((sum, one) => sum + one.counters.rowsScanned, 0);
    const changed = new ChangedKeys(['id'], 100);
    const check = new ChangeCheck(estate.context, collection, changed);
    for (let id = 1; id <= 200; id += 2) check.mark({ id: String(id) });
    for (let id = 19_900; id <= 20_000; id += 1) check.mark({ id: String(id) });
    expect(changed.hasRanges).toBe(true);
    const before = scanned();
    let confirmed = 0;
    await until(async () => {
      confirmed += (await check.round(signal)).confirmed;
      return confirmed === 3;
    }, 'the differences in the ranges are confirmed');
    const ids = async (): Promise<readonly string[]> =>
      (await listDivergences(estate.database, { status: 'confirmed' }, {})).items
        .map(({ key }) => String(key['id']))
        .toSorted((a, b) => Number(a) - Number(b));
    expect(await ids()).toEqual(['5', '150', '19950']);
    expect(scanned() - before).toBeLessThanOrEqual(3 * 400);
    expect(await isDue()).toBe(false);
    expect(check.oldestMs()).toBeUndefined();

    // What agrees again is closed by the next look at its range.
    await estate.sql('us', `update profiles set name = 'n150' where id = 150`);
    for (let id = 100; id <= 210; id += 1) check.mark({ id: String(id) });
    await until(async () => {
      await check.round(signal);
      return (await ids()).length === 2;
    }, 'the difference that went away is closed');

    for (let id = 1; id <= 20_000; id += 150) check.mark({ id: String(id) });
    await until(async () => {
      await check.round(signal);
      return check.oldestMs() === undefined;
    }, 'the ranges are given up');
    expect(await isDue()).toBe(true);
    await estate.close();
  });
});
