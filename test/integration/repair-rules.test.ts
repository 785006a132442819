import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Collection } from '../../src/domain/collection.ts';
import type { ConsistencyDomain } from '../../src/domain/consistency-domain.ts';
import { openReplica } from '../../src/io/replicas/registry.ts';
import { listCases } from '../../src/io/store/cases.ts';
import { getDomainState } from '../../src/io/store/domain-state.ts';
import { getOutcome, listOutcomes } from '../../src/io/store/outcomes.ts';
import { getProposal, listProposals } from '../../src/io/store/proposals.ts';
import { getRepair, listRepairs } from '../../src/io/store/repairs.ts';
import { listAudit } from '../../src/io/store/audit.ts';
import {
  approveProposal,
  editProposal,
  rejectProposal,
  requestUndo,
  setDomainFrozen,
  snoozeProposal,
} from '../../src/runtime/approval-queue.ts';
import type { RuntimeContext } from '../../src/runtime/context.ts';
import { proposeForCase } from '../../src/runtime/propose-worker.ts';
import { workOnRepair } from '../../src/runtime/repair-worker.ts';
import { scanCollection } from '../../src/runtime/scan-loop.ts';
import { domainOf, type Estate, startEstate, until } from './estate.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const signal = AbortSignal.timeout(600_000);
let estate: Estate;
afterEach(() => estate.close());

/** Three regions that agree on 20 rows, but for `us`, where row 5 differs. No loops run: the test takes each step itself. */
async function divergedEstate(domain: ConsistencyDomain): Promise<Estate> {
  const made = await startEstate({ domain });
  for (const region of ['eu', 'us', 'ap']) {
    await made.sql(region, `insert into profiles select i, 'name ' || i, 'mail' || i, '2026-01-01' from generate_series(1, 20) i`);
  }
  await made.sql('us', `update profiles set name = 'wrong' where id = 5`);
  return made;
}

async function scan(): Promise<void> {
  const collection = estate.collections['profiles'];
  if (collection === undefined) throw new Error('no collection');
  await scanCollection(estate.context, collection, signal);
}

async function proposeOnly(): Promise<string> {
  await scan();
  const [found] = (await listCases(estate.database, { state: 'open' }, {})).items;
  if (found === undefined) throw new Error('no case');
  await proposeForCase(estate.context, found.id, signal);
  const [proposal] = (await listProposals(estate.database, { caseId: found.id }, {})).items;
  if (proposal === undefined) throw new Error(`no proposal: ${(await listCases(estate.database, {}, {})).items[0]?.note ?? ''}`);
  return proposal.id;
}

const nameOn = async (region: string): Promise<string> =>
  (await estate.sql(region, 'select name from profiles where id = 5')).rows[0]?.name;

describe('an effect whose row changed after the proposal (I2)', () => {
  it('is not applied, and the case is proposed again from the rows as they are', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    await proposeOnly();
    const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
    await estate.sql('us', `update profiles set name = 'written meanwhile', updated_at = '2026-02-02' where id = 5`);
    await workOnRepair(estate.context, repair?.id ?? '', signal);
    expect(await nameOn('us')).toBe('written meanwhile');
    expect((await getRepair(estate.database, repair?.id ?? ''))?.state).toBe('stale');
    expect((await listOutcomes(estate.database, {}, {})).items.map((outcome) => outcome.is)).toEqual(['stale']);
    const loops = await estate.run();
    await until(async () => (await listRepairs(estate.database, { state: 'sealed' }, {})).items.length > 0, 'the case was repaired anew');
    await loops.stop();
    expect(new Set([await nameOn('eu'), await nameOn('us'), await nameOn('ap')]).size).toBe(1);
  });

  it('is not applied either where the row changed that it was to be made equal to', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    await proposeOnly();
    const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
    await estate.sql('eu', `update profiles set name = 'newer', updated_at = '2026-02-02' where id = 5`);
    await workOnRepair(estate.context, repair?.id ?? '', signal);
    expect(await nameOn('us')).toBe('wrong');
    expect((await getRepair(estate.database, repair?.id ?? ''))?.state).toBe('stale');
    const loops = await estate.run();
    await until(async () => (await listRepairs(estate.database, { state: 'sealed' }, {})).items.length > 0, 'the case was repaired anew');
    await loops.stop();
    expect([await nameOn('eu'), await nameOn('us'), await nameOn('ap')]).toEqual(['newer', 'newer', 'newer']);
  });

  it('is not applied where the row is equal by now: it would set them apart', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    await proposeOnly();
    const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
    for (const region of ['eu', 'ap']) await estate.sql(region, `update profiles set name = 'wrong' where id = 5`);
    await workOnRepair(estate.context, repair?.id ?? '', signal);
    expect([await nameOn('eu'), await nameOn('us'), await nameOn('ap')]).toEqual(['wrong', 'wrong', 'wrong']);
    expect((await getRepair(estate.database, repair?.id ?? ''))?.state).toBe('stale');
  });

  it('holds against writers that race with the repair', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    for (let round = 0; round < 10; round += 1) {
      await estate.sql('us', `update profiles set name = 'wrong ' || $1 where id = 5`, [round]);
      await proposeOnly().catch(() => undefined);
      const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
      const write = estate.sql('us', `update profiles set name = 'racer ' || $1 where id = 5 returning xmin`, [round]);
      await Promise.all([write, repair === undefined ? undefined : workOnRepair(estate.context, repair.id, signal)]);
      // The racer either came first, and the repair left it alone, or came after the repair: its write is never lost.
      expect(await nameOn('us')).toBe(`racer ${round}`);
    }
  });
});

describe('a reviewed domain', () => {
  const reviewed = domainOf('profiles', { consistency: 'strict', repair: { mode: 'review', approvals: 2 } });

  it('changes nothing until two people approve exactly these effects (I1)', async () => {
    estate = await divergedEstate(reviewed);
    const id = await proposeOnly();
    const proposal = await getProposal(estate.database, id);
    const digest = proposal?.digest ?? '';
    expect(proposal?.verdict.is).toBe('review');
    expect(await approveProposal(estate.context, id, { digest: 'f'.repeat(64), by: 'alice' })).toMatchObject({ is: 'conflict' });
    expect(await approveProposal(estate.context, id, { digest, by: 'homeostat' })).toMatchObject({
      is: 'refused',
      rule: 'not-own-proposal',
    });
    expect(await approveProposal(estate.context, id, { digest, by: 'alice' })).toMatchObject({
      is: 'done',
      state: 'waiting',
      have: 1,
      need: 2,
    });
    expect(await approveProposal(estate.context, id, { digest, by: 'alice' })).toMatchObject({ is: 'conflict' });
    expect(await nameOn('us')).toBe('wrong');
    const approved = await approveProposal(estate.context, id, { digest, by: 'bob' });
    expect(approved).toMatchObject({ is: 'done', state: 'planned', have: 2 });
    await workOnRepair(estate.context, (approved.is === 'done' ? approved.repairId : null) ?? '', signal);
    expect(await nameOn('us')).toBe('name 5');
    expect((await getOutcome(estate.database, id))?.is).toBe('verified');
  });

  it('does not change a row when it is rejected, and says who and why', async () => {
    estate = await divergedEstate(reviewed);
    const id = await proposeOnly();
    const digest = (await getProposal(estate.database, id))?.digest ?? '';
    expect(await rejectProposal(estate.context, id, { digest, by: 'alice', reason: 'us is right' })).toMatchObject({
      is: 'done',
      state: 'rejected',
    });
    expect(await getOutcome(estate.database, id)).toMatchObject({ is: 'rejected', reason: 'us is right' });
    expect((await listCases(estate.database, {}, {})).items[0]?.note).toContain('alice');
    expect(await nameOn('us')).toBe('wrong');
  });

  it('lets a person edit the rows, under a new digest that its editor cannot approve', async () => {
    estate = await divergedEstate(domainOf('profiles', { repair: { mode: 'review', approvals: 1 } }));
    const id = await proposeOnly();
    const digest = (await getProposal(estate.database, id))?.digest ?? '';
    const row = { id: '5', name: 'what it should be', email: 'mail5', updated_at: '2026-01-01 00:00:00+00' };
    const edited = await editProposal(estate.context, id, { digest, by: 'alice', rows: [{ key: { id: '5' }, row }] });
    expect(edited).toMatchObject({ is: 'done', state: 'waiting' });
    const newId = edited.is === 'done' ? edited.proposalId : '';
    const newDigest = (await getProposal(estate.database, newId))?.digest ?? '';
    expect(newDigest).not.toBe(digest);
    expect(await approveProposal(estate.context, id, { digest, by: 'bob' })).toMatchObject({ is: 'conflict' });
    expect(await approveProposal(estate.context, newId, { digest: newDigest, by: 'alice' })).toMatchObject({ is: 'refused' });
    const approved = await approveProposal(estate.context, newId, { digest: newDigest, by: 'bob' });
    await workOnRepair(estate.context, (approved.is === 'done' ? approved.repairId : null) ?? '', signal);
    expect([await nameOn('eu'), await nameOn('us'), await nameOn('ap')]).toEqual([
      'what it should be',
      'what it should be',
      'what it should be',
    ]);
  });

  it('leaves out of the queue what is snoozed', async () => {
    estate = await divergedEstate(reviewed);
    const id = await proposeOnly();
    const digest = (await getProposal(estate.database, id))?.digest ?? '';
    const nowMs = Date.now();
    expect(await snoozeProposal(estate.context, id, { digest, by: 'alice', untilMs: nowMs + 60_000 })).toMatchObject({ is: 'done' });
    expect((await listProposals(estate.database, { state: 'waiting', awakeAtMs: nowMs }, {})).items).toEqual([]);
    expect((await listProposals(estate.database, { state: 'waiting', awakeAtMs: nowMs + 61_000 }, {})).items).toHaveLength(1);
  });
});

describe('a frozen domain', () => {
  it('is not repaired, even where the repair was planned before the freeze', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    await proposeOnly();
    const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
    await setDomainFrozen(estate.context, 'profiles', { frozen: true, by: 'alice', reason: 'release' });
    await workOnRepair(estate.context, repair?.id ?? '', signal);
    expect(await nameOn('us')).toBe('wrong');
    await setDomainFrozen(estate.context, 'profiles', { frozen: false, by: 'alice', reason: 'done' });
    await until(
      async () => {
        await workOnRepair(estate.context, repair?.id ?? '', signal);
        return (await getRepair(estate.database, repair?.id ?? ''))?.state === 'sealed';
      },
      'it goes on after the freeze',
      20_000,
    );
    expect(await nameOn('us')).toBe('name 5');
  });
});

describe('undo', () => {
  it('waits while its domain is frozen, though it was asked for before', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    await proposeOnly();
    const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
    const id = repair?.id ?? '';
    await workOnRepair(estate.context, id, signal);
    await requestUndo(estate.context, id, { by: 'alice', reason: 'us was right' });
    await setDomainFrozen(estate.context, 'profiles', { frozen: true, by: 'bob', reason: 'incident' });
    await workOnRepair(estate.context, id, signal);
    expect(await nameOn('us')).toBe('name 5');
    expect((await getRepair(estate.database, id))?.state).toBe('undoing');
    await setDomainFrozen(estate.context, 'profiles', { frozen: false, by: 'bob', reason: 'over' });
    await workOnRepair(estate.context, id, signal);
    expect(await nameOn('us')).toBe('wrong');
    expect((await getRepair(estate.database, id))?.state).toBe('compensated');
  });

  it('gives back the rows as they were, and takes the strategy’s autonomy', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    await proposeOnly();
    const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
    await workOnRepair(estate.context, repair?.id ?? '', signal);
    expect(await nameOn('us')).toBe('name 5');
    expect(await requestUndo(estate.context, repair?.id ?? '', { by: 'alice', reason: 'us was right' })).toMatchObject({
      is: 'done',
      state: 'undoing',
    });
    await workOnRepair(estate.context, repair?.id ?? '', signal);
    expect(await nameOn('us')).toBe('wrong');
    expect((await getRepair(estate.database, repair?.id ?? ''))?.state).toBe('compensated');
    expect((await listOutcomes(estate.database, {}, {})).items).toMatchObject([{ is: 'undone', reason: 'us was right' }]);
    const id = await proposeOnly();
    expect((await getProposal(estate.database, id))?.verdict.is).toBe('review');
  });

  it('does not touch a row that was written after the repair, opens the breaker and says so', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    await proposeOnly();
    const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
    await workOnRepair(estate.context, repair?.id ?? '', signal);
    await estate.sql('us', `update profiles set name = 'newer' where id = 5`);
    await requestUndo(estate.context, repair?.id ?? '', { by: 'alice', reason: 'no' });
    await workOnRepair(estate.context, repair?.id ?? '', signal);
    expect(await nameOn('us')).toBe('newer');
    expect((await getRepair(estate.database, repair?.id ?? ''))?.state).toBe('failed');
    expect((await getDomainState(estate.database, 'profiles')).breaker).toBe('open');
  });
});

describe('a repair that does not do what it said (I5)', () => {
  it('is undone, opens the breaker of its domain, and is on record', async () => {
    estate = await divergedEstate(domainOf('profiles'));
    // A trigger that rewrites what is written: the row after the repair is not the row of the effect.
    await estate.sql(
      'us',
      `create function spoil() returns trigger language plpgsql as $$ begin if new.name like 'name %' then new.name := 'spoilt'; end if; return new; end $$`,
    );
    await proposeOnly();
    await estate.sql('us', 'create trigger spoil before update on profiles for each row execute function spoil()');
    const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
    await workOnRepair(estate.context, repair?.id ?? '', signal);
    expect(['compensated', 'failed', 'stale']).toContain((await getRepair(estate.database, repair?.id ?? ''))?.state);
    expect((await listOutcomes(estate.database, { is: 'verified' }, {})).items).toEqual([]);
    expect((await getDomainState(estate.database, 'profiles')).breaker).toBe('open');
    const actions = (await listAudit(estate.database, {}, {})).items.map((entry) => entry.action);
    expect(actions).toContain('breaker.opened');
  });
});

describe('a repair whose rows another path does not show (I5)', () => {
  it('is undone, its outcome is a failed verification, and its domain is left to people', async () => {
    estate = await startEstate({ regions: ['eu', 'us', 'ap', 'old'], domain: domainOf('profiles') });
    for (const region of ['eu', 'us', 'ap', 'old']) {
      await estate.sql(region, `insert into profiles select i, 'name ' || i, 'mail' || i, '2026-01-01' from generate_series(1, 20) i`);
    }
    for (const region of ['us', 'old']) await estate.sql(region, `update profiles set name = 'wrong' where id = 5`);
    const collection = estate.collections['profiles'];
    if (collection === undefined) throw new Error('no collection');
    const replicas = collection.replicas as Collection['replicas'][number][];
    const [old] = replicas.splice(3, 1);
    const us = replicas[1];
    if (old === undefined || us === undefined) throw new Error('no replica');
    // What readers of us are served by never gets the repair: a follower that stands still.
    const standsStill = await openReplica(collection, { ...us, url: old.url });
    const { replicas: pool } = estate.context;
    const context: RuntimeContext = {
      ...estate.context,
      replicas: {
        ...pool,
        verifiers: async (name) =>
          (await pool.verifiers(name)).map((connection) => (connection.replica.id === 'us' ? standsStill : connection)),
      },
    };
    await proposeOnly();
    const [repair] = (await listRepairs(estate.database, { state: 'planned' }, {})).items;
    await workOnRepair(context, repair?.id ?? '', signal);
    await standsStill.close();
    expect((await getRepair(estate.database, repair?.id ?? ''))?.state).toBe('compensated');
    expect(await nameOn('us')).toBe('wrong');
    expect((await listOutcomes(estate.database, {}, {})).items.map((outcome) => outcome.is)).toEqual(['verification-failed']);
    expect((await getDomainState(estate.database, 'profiles')).breaker).toBe('open');
    await estate.database.query('update cases set retry_at_ms = 0');
    const [found] = (await listCases(estate.database, { state: 'open' }, {})).items;
    await proposeForCase(estate.context, found?.id ?? '', signal);
    const [again] = (await listProposals(estate.database, { state: 'waiting' }, {})).items;
    expect(again?.verdict.rules.map((rule) => rule.id)).toEqual(expect.arrayContaining(['breaker-open', 'autonomy-lost']));
  });
});

describe('the hourly budget', () => {
  it('leaves to people what is over it', async () => {
    estate = await divergedEstate(domainOf('profiles', { repair: { rowsPerHour: 0 } }));
    const id = await proposeOnly();
    const proposal = await getProposal(estate.database, id);
    expect(proposal?.verdict.is).toBe('review');
    expect(proposal?.verdict.rules.map((rule) => rule.id)).toContain('budget');
  });
});
