import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Database } from '../../src/io/store/database.ts';
import { readAuditChain } from '../../src/io/store/audit.ts';
import { listCases } from '../../src/io/store/cases.ts';
import { listOutcomes } from '../../src/io/store/outcomes.ts';
import { listRepairs } from '../../src/io/store/repairs.ts';
import { verifyChain } from '../../src/report/audit-chain.ts';
import type { RuntimeContext } from '../../src/runtime/context.ts';
import { proposeForCase } from '../../src/runtime/propose-worker.ts';
import { workOnRepair } from '../../src/runtime/repair-worker.ts';
import { scanCollection } from '../../src/runtime/scan-loop.ts';
import { type Estate, startEstate } from './estate.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

class Killed extends Error {}

/** The same database, until it has been asked `queries` times: then everything fails, as it does for a process that is killed. */
function dyingDatabase(database: Database, queries: number): { readonly database: Database; readonly asked: () => number } {
  let asked = 0;
  const die = (): void => {
    asked += 1;
    if (asked > queries) throw new Killed(`killed at query ${queries}`);
  };
  return {
    asked: () => asked,
    database: {
      ...database,
      query: async (text, values) => {
        die();
        return database.query(text, values);
      },
      transaction: async (work) => {
        const result = await database.transaction((tx) =>
          work({
            query: async (text, values) => {
              die();
              return tx.query(text, values);
            },
          }),
        );
        // Killed after the commit, before anything that follows it.
        die();
        return result;
      },
    },
  };
}

describe('a worker that is killed at any query (I2)', () => {
  let estate: Estate;
  const signal = AbortSignal.timeout(600_000);
  beforeAll(async () => {
    estate = await startEstate();
    for (const region of ['eu', 'us', 'ap']) {
      await estate.sql(region, `insert into profiles select i, 'name ' || i, 'mail' || i, '2026-01-01' from generate_series(1, 30) i`);
      // Every change that reaches a row is counted by the replica itself.
      await estate.sql(region, 'create table written (id bigint, name text)');
      await estate.sql(
        region,
        `create function count_writes() returns trigger language plpgsql as $$ begin insert into written values (new.id, new.name); return new; end $$`,
      );
      await estate.sql(region, 'create trigger count_writes after update on profiles for each row execute function count_writes()');
    }
  });
  afterAll(() => estate.close());

  it('leaves rows, cases and the audit chain as if it had not been, and writes each row once', { timeout: 300_000 }, async () => {
    const { database, context } = estate;
    const collection = estate.collections['profiles'];
    if (collection === undefined) throw new Error('no collection');
    let killedAt = 0;
    let kills = 0;
    for (let round = 0; killedAt !== -1; round += 1) {
      const id = 1 + (round % 30);
      await estate.sql('us', 'alter table profiles disable trigger count_writes');
      await estate.sql('us', `update profiles set name = 'wrong ' || $2::text where id = $1`, [id, round]);
      await estate.sql('us', 'alter table profiles enable trigger count_writes');
      await estate.sql('us', 'truncate written');
      // 25 rows of 30 can return before a person is asked; each round is another case in another hour.
      await database.query(`update divergences set resolved_at_ms = 0 where status = 'resolved'`);
      const dying = dyingDatabase(database, killedAt);
      const doomed: RuntimeContext = { ...context, database: dying.database };
      const carryOn = async (own: RuntimeContext): Promise<void> => {
        await scanCollection(own, collection, signal);
        for (const found of (await listCases(database, { state: 'open' }, {})).items) await proposeForCase(own, found.id, signal);
        for (const repair of (await listRepairs(database, {}, {})).items) {
          if (['planned', 'applying', 'verifying', 'undoing'].includes(repair.state)) await workOnRepair(own, repair.id, signal);
        }
      };
      const survived = await carryOn(doomed).then(
        () => dying.asked() <= killedAt,
        () => false,
      );
      kills += survived ? 0 : 1;
      // Another process: claims of the dead one are free.
      await database.query('update repairs set claimed_until_ms = 0, retry_at_ms = 0');
      await database.query('update cases set retry_at_ms = 0');
      for (let step = 0; step < 6; step += 1) {
        await carryOn(context);
        if ((await listCases(database, {}, {})).items.every((found) => found.state === 'closed')) break;
        await database.query('update repairs set claimed_until_ms = 0, retry_at_ms = 0');
        await database.query('update cases set retry_at_ms = 0');
      }
      const { rows } = await estate.sql('us', 'select name from profiles where id = $1', [id]);
      expect(rows[0]?.name, `after a kill at query ${killedAt}`).toBe(`name ${id}`);
      const written = await estate.sql('us', 'select name from written');
      expect(written.rows, `after a kill at query ${killedAt}`).toEqual([{ name: `name ${id}` }]);
      const open = (await listCases(database, {}, {})).items.filter((found) => found.state !== 'closed');
      expect(open, `after a kill at query ${killedAt}`).toEqual([]);
      killedAt = survived ? -1 : killedAt + 1;
    }
    expect(kills).toBeGreaterThan(50);
    const chain = [];
    for await (const entry of readAuditChain(database)) chain.push(entry);
    expect(verifyChain(chain).is).toBe('whole');
    const outcomes = (await listOutcomes(database, {}, { limit: 1000 })).items.map((outcome) => outcome.is);
    expect(outcomes.filter((is) => is !== 'verified' && is !== 'stale')).toEqual([]);
  });
});
