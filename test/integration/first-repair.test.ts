import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { listAudit, readAuditChain } from '../../src/io/store/audit.ts';
import { listCases } from '../../src/io/store/cases.ts';
import { listDivergences } from '../../src/io/store/divergences.ts';
import { listOutcomes } from '../../src/io/store/outcomes.ts';
import { listProposals } from '../../src/io/store/proposals.ts';
import { listRepairs } from '../../src/io/store/repairs.ts';
import { verifyChain } from '../../src/report/audit-chain.ts';
import { type Estate, startEstate, until } from './estate.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

describe('a divergence in an eventual domain', () => {
  let estate: Estate;
  let loops: { stop(): Promise<void> };
  beforeAll(async () => {
    estate = await startEstate();
    for (const region of ['eu', 'us', 'ap']) {
      await estate.sql(
        region,
        `insert into profiles select i, 'name ' || i, 'mail' || i || '@example.org', '2026-01-01' from generate_series(1, 200) i`,
      );
    }
    await estate.sql('us', `update profiles set name = 'stale' where id in (3, 7)`);
    await estate.sql('ap', 'delete from profiles where id = 11');
    loops = await estate.run();
  });
  afterAll(async () => {
    await loops.stop();
    await estate.close();
  });

  it('is found, proposed, repaired, verified and closed, with a record of each step', async () => {
    const { database } = estate;
    await until(async () => (await listRepairs(database, { state: 'sealed' }, {})).items.length >= 2, 'two repairs are sealed');
    await until(async () => (await listCases(database, { state: 'closed' }, {})).items.length >= 2, 'both cases are closed');
    for (const region of ['us', 'ap']) {
      const { rows } = await estate.sql(region, 'select id, name from profiles where id in (3, 7, 11) order by id');
      expect(rows).toEqual([
        { id: '3', name: 'name 3' },
        { id: '7', name: 'name 7' },
        { id: '11', name: 'name 11' },
      ]);
    }
    expect((await listDivergences(database, { status: 'confirmed' }, {})).items).toEqual([]);
    expect((await listProposals(database, { state: 'done' }, {})).items.map((proposal) => proposal.verdict.is)).toEqual(['auto', 'auto']);
    expect((await listOutcomes(database, {}, {})).items.map((outcome) => outcome.is)).toEqual(['verified', 'verified']);
    const actions = (await listAudit(database, {}, {})).items.map((entry) => entry.action);
    expect(actions).toEqual(
      expect.arrayContaining(['case.opened', 'proposal.made', 'repair.started', 'repair.batch-applied', 'repair.sealed', 'case.closed']),
    );
    const chain = [];
    for await (const entry of readAuditChain(database)) chain.push(entry);
    expect(verifyChain(chain).is).toBe('whole');
  });
});
