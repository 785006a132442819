import { describe, expect, it, vi } from 'vitest';
import { listCases } from '../../src/io/store/cases.ts';
import { listDivergences } from '../../src/io/store/divergences.ts';
import { getCollectionState, takeScan } from '../../src/io/store/scans.ts';
import { saveWrites, type StoredWrite } from '../../src/io/store/write-evidence.ts';
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
