import { describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { listCases } from '../../src/io/store/cases.ts';
import { claimRepair, listRepairs, lockClaimedRepair } from '../../src/io/store/repairs.ts';
import { workOnRepair } from '../../src/runtime/repair-worker.ts';
import { scanCollection } from '../../src/runtime/scan-loop.ts';
import { proposeForCase } from '../../src/runtime/propose-worker.ts';
import { domainOf, startEstate, until } from './estate.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const dayMs = 86_400_000;

describe('a wall clock that jumps', () => {
  it('a day forth and two days back does not stop repairs', { timeout: 300_000 }, async () => {
    let offsetMs = 0;
    const estate = await startEstate({
      clock: { nowMs: () => systemClock.nowMs() + offsetMs, monotonicMs: () => systemClock.monotonicMs() },
      domain: domainOf('profiles', { stalenessMs: 0 }),
    });
    for (const region of ['eu', 'us', 'ap'])
      await estate.sql(region, `insert into profiles select i, 'n' || i, 'm', '2026-01-01' from generate_series(1, 50) i`);
    const loops = await estate.run();
    for (const [round, jumpMs] of [0, dayMs, -dayMs, 0].entries()) {
      offsetMs = jumpMs;
      const id = round + 1;
      await estate.sql('us', `update profiles set name = 'wrong' where id = $1`, [id]);
      await until(
        async () => (await estate.sql('us', 'select name from profiles where id = $1', [id])).rows[0]?.name === `n${id}`,
        `it is repaired after a jump of ${jumpMs} ms`,
        20_000,
      );
    }
    await until(
      async () => (await listCases(estate.database, {}, {})).items.every((found) => found.state === 'closed'),
      'every case is closed',
    );
    await loops.stop();
    await estate.close();
  });

  it('does not let two workers hold one repair: the later fence wins, whatever the time', async () => {
    const estate = await startEstate();
    for (const region of ['eu', 'us', 'ap']) await estate.sql(region, `insert into profiles values (1, 'n', 'm', '2026-01-01')`);
    await estate.sql('us', `update profiles set name = 'wrong'`);
    const collection = estate.collections['profiles'];
    if (collection === undefined) throw new Error('no collection');
    const signal = AbortSignal.timeout(60_000);
    await scanCollection(estate.context, collection, signal);
    const [found] = (await listCases(estate.database, {}, {})).items;
    await proposeForCase(estate.context, found?.id ?? '', signal);
    const [repair] = (await listRepairs(estate.database, {}, {})).items;
    const nowMs = systemClock.nowMs();
    const first = await claimRepair(estate.database, repair?.id ?? '', 'first', nowMs + 60_000, nowMs);
    // The second worker's clock is a day ahead: to it the claim has run out.
    const second = await claimRepair(estate.database, repair?.id ?? '', 'second', nowMs + dayMs + 60_000, nowMs + dayMs);
    expect([first?.fence, second?.fence]).toEqual([1, 2]);
    expect(await estate.database.transaction((tx) => lockClaimedRepair(tx, repair?.id ?? '', 1))).toBe(null);
    await workOnRepair(estate.context, repair?.id ?? '', signal);
    expect((await estate.sql('us', 'select name from profiles')).rows).toEqual([{ name: 'wrong' }]);
    await estate.close();
  });
});
