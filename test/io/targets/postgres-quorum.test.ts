import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Json } from '../../../src/base/hash.ts';
import { openPostgresQuorum } from '../../../src/io/targets/postgres-quorum.ts';
import type { TargetChange, TargetRun } from '../../../src/io/targets/target.ts';
import { startReplication, type TestReplication } from '../../servers/postgres-standbys.ts';

describe('PostgreSQL synchronous standbys as a target', () => {
  let estate: TestReplication;
  beforeAll(async () => {
    estate = await startReplication(['north', 'south']);
  }, 120_000);
  afterAll(() => estate.close());

  const open = (commitP99Ms: number | null) => openPostgresQuorum({ name: 'ledger', url: estate.url, commitP99Ms, observeMs: 300 });
  const change = (standbys: number, of = 'north,south'): TargetChange => ({ kind: 'standbys', parameters: { standbys, of } });
  const run = (saved: Json | null = null): TargetRun & { readonly kept: Json[] } => {
    const kept: Json[] = [];
    return {
      saved,
      kept,
      save: async (progress) => {
        kept.push(progress);
      },
      signal: new AbortController().signal,
      pause: new AbortController().signal,
    };
  };
  const ask = async (text: string): Promise<readonly Record<string, unknown>[]> => {
    const client = new pg.Client({ connectionString: estate.url });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(text)).rows;
    } finally {
      await client.end();
    }
  };
  const inForce = async (): Promise<unknown> => (await ask('show synchronous_standby_names'))[0]?.['synchronous_standby_names'];

  test('says what it is', async () => {
    await expect(open(null).describe(new AbortController().signal)).resolves.toMatch(/2 standbys \(north, south\), commits wait for ''/);
  });

  test('makes commits wait for standbys, and takes it back', async () => {
    const going = run();
    await expect(open(2_000).apply(change(1), going)).resolves.toMatchObject({ is: 'applied' });
    expect(await inForce()).toBe('ANY 1 ("north", "south")');
    expect((await ask('select distinct sync_state from pg_stat_replication')).map((row) => row['sync_state'])).toEqual(['quorum']);
    expect(going.kept).toEqual([{ previous: '' }]);
    await expect(open(2_000).undo(change(1), run(going.kept[0] ?? null))).resolves.toMatchObject({ is: 'applied' });
    expect(await inForce()).toBe('');
  });

  test('goes back by itself where commits become slower than is promised', async () => {
    await estate.slowDown('south', 400);
    try {
      await expect(open(100).apply(change(2), run())).resolves.toMatchObject({ is: 'rolled-back' });
      expect(await inForce()).toBe('');
    } finally {
      await estate.slowDown('south', 0);
    }
  });

  test('goes back to what was before a run that died, not to what that run had set', async () => {
    await ask(`alter system set synchronous_standby_names = 'ANY 2 ("north", "south")'`);
    await ask('select pg_reload_conf()');
    const going = run({ previous: '' });
    await expect(open(2_000).apply(change(1), going)).resolves.toMatchObject({ is: 'applied' });
    expect(going.kept).toEqual([{ previous: '' }]);
    await open(2_000).undo(change(1), run({ previous: '' }));
  });

  test('refuses a quorum that would make every commit wait for ever', async () => {
    await expect(open(null).apply(change(2, 'north,nobody'), run())).resolves.toMatchObject({ is: 'refused' });
    await expect(open(null).apply(change(3), run())).resolves.toMatchObject({ is: 'refused' });
    expect(await inForce()).toBe('');
  });
});
