import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  freeFeeds,
  getInstallation,
  leaseFeed,
  listFeeds,
  releaseFeed,
  saveFeedGap,
  saveFeedProgress,
  type StoredFeed,
} from '../../../src/io/store/change-feeds.ts';
import { type Database, openDatabase } from '../../../src/io/store/database.ts';
import { migrate } from '../../../src/io/store/migrate.ts';
import { startPostgres, type TestPostgres } from '../../servers/postgres.ts';

let server: TestPostgres;
let database: Database;
beforeAll(async () => {
  server = await startPostgres();
  database = openDatabase(server.url);
  await migrate(database);
}, 60_000);
afterAll(async () => {
  await database?.close();
  await server?.close();
});

const leaseMs = 1_000;
const lease = (owner: string, nowMs: number): Promise<StoredFeed | null> => leaseFeed(database, 'store', 'pgoutput', owner, leaseMs, nowMs);
const progress = (owner: string, position: string | null, nowMs: number): Promise<boolean> =>
  saveFeedProgress(database, 'store', owner, { position, keysTold: 3, retainedBytes: 7, leaseMs }, nowMs);

describe('the feed of a store', () => {
  test('is read by one process at a time, and moved on by that one alone', async () => {
    const taken = await Promise.all(['a', 'b', 'c'].map((owner) => lease(owner, 10_000)));
    expect(taken.filter((one) => one !== null)).toHaveLength(1);
    const owner = ['a', 'b', 'c'][taken.findIndex((one) => one !== null)] ?? '';
    expect(await lease(owner, 10_500)).not.toBeNull();
    expect(await progress(owner, '0/10', 10_600)).toBe(true);
    expect(await progress('other', '0/99', 10_700)).toBe(false);
    expect(await lease('other', 11_500)).toBeNull();
    // Nobody has heard of its reader for longer than a lease.
    expect(await lease('other', 11_700)).toMatchObject({ position: '0/10', keysTold: 3 });
    expect(await progress(owner, '0/20', 11_800)).toBe(false);
    await releaseFeed(database, 'store', 'other');
    expect(await lease('next', 11_801)).toMatchObject({ position: '0/10' });
  });

  test('after a gap has no position to go on from, and says what it was', async () => {
    await saveFeedGap(database, 'store', 'its replication slot was gone', 12_000);
    expect(await lease('next', 12_001)).toMatchObject({
      position: null,
      gaps: 1,
      lastGap: 'its replication slot was gone',
      lastGapAtMs: 12_000,
    });
    await progress('next', null, 12_100);
    expect((await listFeeds(database))[0]).toMatchObject({ position: null, retainedBytes: 7 });
  });

  test('a lease that the clock, set back, cannot have made does not count; nor does one of a process that is known to be gone', async () => {
    await lease('next', 1_000_000);
    expect(await lease('other', 5_000)).not.toBeNull();
    expect(await lease('third', 5_100)).toBeNull();
    await freeFeeds(database);
    expect(await lease('third', 5_100)).not.toBeNull();
  });

  test('carries the name of the installation, which stays', async () => {
    const id = await getInstallation(database);
    expect(id).toMatch(/^[0-9a-f]{8}$/);
    expect(await getInstallation(database)).toBe(id);
  });
});
