import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Divergence } from '../../../src/domain/divergence.ts';
import { effectDigest } from '../../../src/domain/effect.ts';
import type { Proposal } from '../../../src/domain/proposal.ts';
import { listAnomalies, saveAnomalies } from '../../../src/io/store/anomalies.ts';
import { appendAudit, listAudit, readAuditChain } from '../../../src/io/store/audit.ts';
import { closeCase, openCase } from '../../../src/io/store/cases.ts';
import { type Database, openDatabase } from '../../../src/io/store/database.ts';
import {
  assignToCase,
  getDivergence,
  listDivergences,
  listUnseen,
  nextScanNumber,
  resolveKeys,
  saveDivergences,
} from '../../../src/io/store/divergences.ts';
import { migrate, readMigrations } from '../../../src/io/store/migrate.ts';
import { getDomainState, holdDomainState, setFrozen } from '../../../src/io/store/domain-state.ts';
import { appendOutbox, takeOutbox } from '../../../src/io/store/outbox.ts';
import { forgetRows, getProposal, insertProposal } from '../../../src/io/store/proposals.ts';
import { claimRepair, insertRepair, listRepairs, lockClaimedRepair, saveRepairProgress } from '../../../src/io/store/repairs.ts';
import { askForScan, releaseScan, renewScan, saveScanResult, scanLeaseMs, takeScan } from '../../../src/io/store/scans.ts';
import { listWritesToObjects, pruneWrites, saveWrites, type StoredWrite } from '../../../src/io/store/write-evidence.ts';
import { verifyChain } from '../../../src/report/audit-chain.ts';
import { startPostgres, type TestPostgres } from '../../servers/postgres.ts';

let server: TestPostgres;
let database: Database;
beforeAll(async () => {
  server = await startPostgres();
  database = openDatabase(await server.createDatabase('store'));
  await migrate(database);
});
afterAll(async () => {
  await database.close();
  await server.close();
});

const proposalFor = (caseId: string, domain = 'd'): Omit<Proposal, 'id'> => ({
  caseId,
  domain,
  collection: 'c',
  strategy: 'majority',
  effects: [],
  inverse: [],
  digest: effectDigest([]),
  simulation: { digestsEqual: true, invariants: [], rowsTouched: 0, inverseRestores: true },
  confidence: 0.99,
  says: 'nothing',
  evidence: [],
  alternatives: [],
  choice: { by: 'heuristic' },
  author: 'homeostat',
  createdAtMs: 1,
  expiresAtMs: 2,
});

const divergence = (id: string, name: string, status: Divergence['status']): Divergence => ({
  collection: 'c',
  key: { id },
  is: 'different',
  replicas: { eu: { id, name: 'right' }, us: { id, name } },
  columns: ['name'],
  status,
  seenAt: {},
  firstSeenMs: 1,
});

describe('migrations', () => {
  it('run once, in order, and by one of several starts at once', async () => {
    const url = await server.createDatabase('migrations');
    const [a, b] = [openDatabase(url), openDatabase(url)];
    const [first, second] = await Promise.all([migrate(a), migrate(b)]);
    expect([...first.ran, ...second.ran]).toEqual((await readMigrations()).map((migration) => migration.name));
    await Promise.all([a.close(), b.close()]);
  });

  it('refuse one that was edited after it ran, and a database that is ahead', async () => {
    const known = await readMigrations();
    const edited = known.map((migration) => ({ ...migration, sha256: '0'.repeat(64) }));
    await expect(migrate(database, 'homeostat', edited)).rejects.toThrow(/was edited after it ran/);
    await expect(migrate(database, 'homeostat', [])).rejects.toThrow(/start the newer version/);
  });
});

describe('a transaction', () => {
  it('keeps a change and its bell together', async () => {
    await expect(
      database.transaction(async (tx) => {
        await openCase(tx, { domain: 'd', collection: 'c', fingerprint: 'torn', title: 't' }, 1);
        await appendOutbox(tx, 'propose', 'torn', 1);
        throw new Error('killed here');
      }),
    ).rejects.toThrow('killed here');
    expect(await database.transaction((tx) => takeOutbox(tx, 10))).toEqual([]);
    expect((await database.query(`select 1 from cases where fingerprint = 'torn'`)).rows).toEqual([]);
  });

  it('whose server goes away between two queries fails, and the process lives on', async () => {
    const lost = database.transaction(async (tx) => {
      const [own] = (await tx.query<{ pid: number }>('select pg_backend_pid() as pid')).rows;
      await database.query('select pg_terminate_backend($1)', [own?.pid]);
      // Until the driver has heard of it while nothing was asked: that is when it tells the client, not a query.
      await expect.poll(async () => (await database.query('select from pg_stat_activity where pid = $1', [own?.pid])).rowCount).toBe(0);
      await new Promise((resolve) => setImmediate(resolve));
      await tx.query('select 1');
    });
    await expect(lost).rejects.toThrow();
    expect(await database.transaction(async (tx) => (await tx.query('select 1')).rowCount)).toBe(1);
  });

  it('runs again after a deadlock', async () => {
    await database.query('create table pair (id int primary key, n int)');
    await database.query('insert into pair values (1, 0), (2, 0)');
    const cross = (first: number, second: number): Promise<void> =>
      database.transaction(async (tx) => {
        await tx.query('update pair set n = n + 1 where id = $1', [first]);
        await tx.query('select pg_sleep(0.2)');
        await tx.query('update pair set n = n + 1 where id = $1', [second]);
      });
    await Promise.all([cross(1, 2), cross(2, 1)]);
    expect((await database.query('select n from pair order by id')).rows).toEqual([{ n: 2 }, { n: 2 }]);
  });
});

describe('lists', () => {
  it('page newest first without gap or repeat, and refuse a cursor that is not theirs', async () => {
    const finding = (i: number): Parameters<typeof saveAnomalies>[1][number] => ({
      kind: 'dual-write',
      grade: 'structural',
      fingerprint: `f${i}`,
      title: 't',
      explanation: 'e',
      fix: 'f',
      count: 1,
      complete: true,
      sampledShare: 1,
      firstSeenUs: 1,
      lastSeenUs: 2,
      spans: [],
      facts: {},
      service: i % 2 === 0 ? 'even' : 'odd',
    });
    await saveAnomalies(
      database,
      Array.from({ length: 25 }, (_, i) => finding(i)),
      1,
    );
    const seen: string[] = [];
    for (let cursor: string | undefined; ; ) {
      const page = await listAnomalies(database, { service: 'even' }, { limit: 5, cursor });
      seen.push(...page.items.map((item) => item.fingerprint));
      if (page.nextCursor === null) break;
      cursor = page.nextCursor;
    }
    expect(seen).toEqual(Array.from({ length: 13 }, (_, i) => `f${24 - 2 * i}`));
    await expect(listAnomalies(database, {}, { cursor: "1'; drop table cases" })).rejects.toThrow(RangeError);
  });
});

describe('an anomaly', () => {
  it('is one row however often it is reported, with the largest count', async () => {
    const [first] = (await listAnomalies(database, {}, { limit: 1 })).items;
    if (first === undefined) throw new Error('none');
    expect(
      await saveAnomalies(
        database,
        [
          { ...first, count: 7 },
          { ...first, count: 9 },
        ],
        2,
      ),
    ).toEqual([]);
    expect(await saveAnomalies(database, [{ ...first, count: 3 }], 3)).toEqual([]);
    expect((await listAnomalies(database, {}, { limit: 1 })).items[0]?.count).toBe(9);
  });
});

describe('a divergence', () => {
  it('stays confirmed while its rows are the same, and is suspected anew when they change', async () => {
    const save = async (found: Divergence, scan: number) =>
      (await database.transaction((tx) => saveDivergences(tx, 'd', ['id'], [found], scan, 5)))[0];
    const first = await save(divergence('1', 'wrong', 'confirmed'), 1);
    expect((await save(divergence('1', 'wrong', 'suspected'), 2))?.status).toBe('confirmed');
    expect((await save(divergence('1', 'other', 'suspected'), 3))?.status).toBe('suspected');
    expect((await listDivergences(database, { collection: 'c' }, {})).items.filter((item) => item.key['id'] === '1')).toHaveLength(1);
    expect((await getDivergence(database, first?.id ?? ''))?.replicas['us']).toEqual({ id: '1', name: 'other' });
  });

  it('holds U+0000 in a value, as other engines may', async () => {
    const [saved] = await database.transaction((tx) =>
      saveDivergences(tx, 'd', ['id'], [divergence('nul', 'a\u0000b', 'suspected')], 1, 5),
    );
    expect((await getDivergence(database, saved?.id ?? ''))?.replicas['us']?.['name']).toBe('a\u0000b');
  });

  it('that a later comparison has not seen is listed, and closed by its key, but not while its case is in repair', async () => {
    const scan = await nextScanNumber(database);
    const opened = await database.transaction(async (tx) => {
      const saved = await saveDivergences(tx, 'd', ['id'], [divergence('7', 'x', 'confirmed'), divergence('8', 'x', 'confirmed')], scan, 5);
      const { case: made } = await openCase(tx, { domain: 'd', collection: 'c', fingerprint: 'repairing', title: 't' }, 5);
      await assignToCase(tx, [saved[1]?.id ?? ''], made.id);
      await tx.query(`update cases set state = 'repairing' where id = $1`, [made.id]);
      return made;
    });
    const ids = async (): Promise<readonly (string | undefined)[]> =>
      (await listUnseen(database, 'c', (await nextScanNumber(database)) + 100, 1000))
        .map((item) => item.key['id'])
        .filter((id) => id === '7' || id === '8');
    expect(await ids()).toEqual(['7']);
    await database.transaction((tx) => resolveKeys(tx, 'c', ['["7"]', '["8"]'], 6));
    expect(await ids()).toEqual([]);
    const open = (await listDivergences(database, { collection: 'c' }, { limit: 1000 })).items.filter((item) => item.status !== 'resolved');
    expect(open.map((item) => item.key['id'])).toContain('8');
    await database.transaction((tx) => closeCase(tx, opened.id, 'gone', 7));
  });
});

describe('a case', () => {
  it('is opened once by two comparisons at once', async () => {
    const open = (): Promise<string> =>
      database.transaction(
        async (tx) => (await openCase(tx, { domain: 'd', collection: 'c', fingerprint: 'race', title: 't' }, 1)).case.id,
      );
    const ids = await Promise.all(Array.from({ length: 8 }, open));
    expect(new Set(ids).size).toBe(1);
  });
});

describe('a proposal and its repair', () => {
  it('are one live proposal a case, and one repair a proposal', async () => {
    const id = await database.transaction(async (tx) => {
      const { case: made } = await openCase(tx, { domain: 'd', collection: 'c', fingerprint: 'live', title: 't' }, 1);
      const first = await insertProposal(tx, proposalFor(made.id), { is: 'auto', rules: [] }, 'planned', 0);
      expect(await insertProposal(tx, proposalFor(made.id), { is: 'auto', rules: [] }, 'planned', 0)).toBe(null);
      return first;
    });
    const proposal = await getProposal(database, id ?? '');
    if (proposal === null) throw new Error('no proposal');
    const repair = {
      proposalId: proposal.id,
      caseId: proposal.caseId,
      domain: 'd',
      collection: 'c',
      digest: proposal.digest,
      rows: 0,
      automatic: true,
      approvedBy: [],
      undoUntilMs: 9,
    };
    const repairId = await insertRepair(database, repair, 1);
    await expect(insertRepair(database, repair, 1)).rejects.toThrow(/repairs_proposal_id_key/);
    const claims = await Promise.all(Array.from({ length: 8 }, (_, i) => claimRepair(database, repairId, `w${i}`, 1_000, 10)));
    expect(claims.filter((claim) => claim !== null)).toHaveLength(1);
    const later = await claimRepair(database, repairId, 'later', 3_000, 2_000);
    expect(later?.fence).toBe(2);
    // The first worker wakes up: its fence is old, and it can neither lock nor write.
    await database.transaction(async (tx) => {
      expect(await lockClaimedRepair(tx, repairId, 1)).toBe(null);
      expect(await saveRepairProgress(tx, repairId, 1, { state: 'sealed', batch: 0 }, 0, 2_000)).toBe(false);
    });
  });

  it('forget their rows when the time to undo is over, and not before', async () => {
    const [repair] = (await listRepairs(database, {}, {})).items;
    await database.query(`update repairs set state = 'sealed'`);
    await database.query(`update proposals set state = 'done'`);
    expect(await forgetRows(database, (repair?.undoUntilMs ?? 0) - 1, 0)).toBe(0);
    expect((await getProposal(database, repair?.proposalId ?? ''))?.rowsForgotten).toBe(false);
    expect(await forgetRows(database, (repair?.undoUntilMs ?? 0) + 1, 0)).toBe(1);
    expect(await getProposal(database, repair?.proposalId ?? '')).toMatchObject({
      rowsForgotten: true,
      effects: [],
      digest: repair?.digest,
    });
    await database.query('update proposals set rows_forgotten = false');
  });

  it('whose effects were changed in the store is not read', async () => {
    await database.query(`update proposals set effects = '[{"replica":"us"}]'`);
    const { rows } = await database.query<{ id: string }>('select id from proposals limit 1');
    await expect(getProposal(database, rows[0]?.id ?? '')).rejects.toThrow(/invariant broken/);
  });
});

describe('the audit chain (I8)', () => {
  it('has no gap and no fork when many append at once', async () => {
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        database.transaction((tx) => appendAudit(tx, { actor: 'a', action: 'test', subject: `s${i}`, domain: null, facts: { i } }, i)),
      ),
    );
    const chain = [];
    for await (const entry of readAuditChain(database)) chain.push(entry);
    expect(verifyChain(chain)).toMatchObject({ is: 'whole', entries: chain.length });
    expect((await listAudit(database, { action: 'test' }, { limit: 1000 })).items).toHaveLength(40);
  });

  it('cannot be updated, deleted or truncated', async () => {
    for (const text of ['update audit set actor = $$x$$', 'delete from audit', 'truncate audit'])
      await expect(database.query(text)).rejects.toThrow(/append-only/);
  });
});

describe('a comparison that is due', () => {
  const take = (collection: string, owner: string, nowMs: number): Promise<boolean> => takeScan(database, collection, 1_000, owner, nowMs);

  it('is taken by one of several workers, and by none while it lasts, however long that is', async () => {
    const taken = await Promise.all(Array.from({ length: 6 }, (_unused, n) => take('due', `w${n}`, 10_000)));
    expect(taken.filter(Boolean)).toHaveLength(1);
    const owner = `w${taken.indexOf(true)}`;
    expect(await take('due', 'other', 12_000)).toBe(false);
    expect(await renewScan(database, 'due', owner, 10_000 + scanLeaseMs)).toBe(true);
    await askForScan(database, 'due', 10_000);
    expect(await take('due', 'other', 9_000 + 2 * scanLeaseMs)).toBe(false);
    await releaseScan(database, 'due', 'other');
    expect(await take('due', 'other', 9_000 + 2 * scanLeaseMs)).toBe(false);
    await releaseScan(database, 'due', owner);
    expect(await take('due', 'other', 9_000 + 2 * scanLeaseMs)).toBe(true);
  });

  it('comes a minute after one that failed, however rarely the collection is compared', async () => {
    const dayMs = 86_400_000;
    const result = { equal: null, rowsScanned: 0, bytesMoved: 0, rowsFetched: 0, rounds: 0 };
    const again = (nowMs: number): Promise<boolean> => takeScan(database, 'blip', 7 * dayMs, 'w', nowMs);
    expect(await again(10_000)).toBe(true);
    await saveScanResult(database, 'blip', { ...result, error: 'Replica us cannot be reached.' }, 20_000);
    await releaseScan(database, 'blip', 'w');
    expect(await again(79_999)).toBe(false);
    expect(await again(80_000)).toBe(true);
    await saveScanResult(database, 'blip', { ...result, equal: true, error: null }, 90_000);
    await releaseScan(database, 'blip', 'w');
    expect(await again(90_000 + dayMs)).toBe(false);
  });

  it('is taken over from a worker that has gone, which then knows it', async () => {
    expect(await take('gone', 'first', 10_000)).toBe(true);
    expect(await take('gone', 'second', 10_000 + scanLeaseMs)).toBe(true);
    expect(await renewScan(database, 'gone', 'first', 10_000 + scanLeaseMs)).toBe(false);
  });

  it('is not taken over by a worker whose clock is behind, just after it was taken or renewed', async () => {
    expect(await take('skewed', 'ahead', 100_000)).toBe(true);
    expect(await take('skewed', 'behind', 99_999)).toBe(false);
    expect(await renewScan(database, 'skewed', 'ahead', 110_000)).toBe(true);
    expect(await take('skewed', 'behind', 109_999)).toBe(false);
    expect(await take('skewed', 'behind', 101_500 - scanLeaseMs)).toBe(false);
    await releaseScan(database, 'skewed', 'ahead');
    expect(await take('skewed', 'behind', 99_999)).toBe(false);
  });

  it('comes a tenth earlier or later, the same for all workers, and again when the clock was set back', async () => {
    const due: number[] = [];
    for (let n = 0; n < 40; n += 1) {
      const start = 1_000_000 + n;
      expect(await take(`jitter${n}`, 'w', start)).toBe(true);
      await releaseScan(database, `jitter${n}`, 'w');
      expect(await take(`jitter${n}`, 'w', start + 899)).toBe(false);
      let after = 899;
      while (!(await take(`jitter${n}`, 'w', start + after))) after += 20;
      due.push(after);
    }
    expect(Math.max(...due)).toBeLessThanOrEqual(1_120);
    expect(new Set(due).size).toBeGreaterThan(5);
    expect(await take('jitter0', 'w', 5_000)).toBe(true);
  });
});

describe('write evidence (I7)', () => {
  it('is kept once a span, newest first, and within its bounds', async () => {
    const write = (i: number): StoredWrite => ({
      collection: 'c',
      objectKey: 'k',
      kind: 'write',
      version: BigInt(i),
      versionBase: i === 0 ? '' : BigInt(i - 1),
      hlc: '',
      valueDigest: '',
      replicaId: 'eu',
      service: 's',
      traceId: 't',
      spanId: `${i}`,
      spanIndex: 0,
      failed: false,
      outcome: 'committed',
      atUs: i,
    });
    const all = Array.from({ length: 50 }, (_, i) => write(i));
    await saveWrites(database, all, 1);
    await saveWrites(database, all, 1);
    expect(await listWritesToObjects(database, 'c', ['k'], 2)).toEqual([write(49), write(48)]);
    await pruneWrites(database, 0, 10);
    expect(await listWritesToObjects(database, 'c', ['k'], 100)).toHaveLength(10);
  });
});

describe('a freeze', () => {
  it('I16: waits for what holds the domain when it comes, not for what comes after it', async () => {
    let isAsked = false;
    let isOver = false;
    let late = 0;
    // Holds overlap without a gap; two connections are left for the freeze and the rest.
    const holders = Array.from({ length: 8 }, async (_unused, nth) => {
      await delay(nth * 10);
      while (!isOver) {
        await database.transaction(async (tx) => {
          const wasAsked = isAsked;
          const { frozen } = await holdDomainState(tx, 'busy');
          if (wasAsked && !frozen) late += 1;
          await delay(80);
        });
      }
    });
    await delay(300);
    const freezing = database.transaction(async (tx) => {
      const asked = setFrozen(tx, 'busy', true, 'alice', 'stop', 1);
      isAsked = true;
      await asked;
    });
    await Promise.race([freezing, delay(5_000)]);
    isOver = true;
    await Promise.all([...holders, freezing]);
    // One of each at most had begun to ask when the freeze was on its way.
    expect(late).toBeLessThanOrEqual(8);
    expect((await getDomainState(database, 'busy')).frozen).toBe(true);
  });
});
