import pg from 'pg';
import { openPostgresQueue } from '../../src/io/queue/bullmq.ts';
import { listCases } from '../../src/io/store/cases.ts';
import { appendOutbox } from '../../src/io/store/outbox.ts';
import { listRepairs } from '../../src/io/store/repairs.ts';
import { proposeForCase } from '../../src/runtime/propose-worker.ts';
import { startRelay } from '../../src/runtime/relay.ts';
import { workOnRepair } from '../../src/runtime/repair-worker.ts';
import { scanCollection } from '../../src/runtime/scan-loop.ts';
import { domainOf, startEstate } from '../integration/estate.ts';
import type { Bench } from './bench.ts';

const signal = new AbortController().signal;

const p95 = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.ceil(values.length * 0.95) - 1] ?? 0;

export const bench: Bench = {
  name: 'apply',
  says: 'rows repaired and verified a second, time to a proposal, and from a committed bell to a worker; baseline: the same rows by plain UPDATE',
  run: async ({ quick, log }) => {
    const rows = quick ? 5_000 : 20_000;
    const estate = await startEstate({ domain: domainOf('profiles', { repair: { rowsPerHour: 1_000_000 } }) });
    const { context, database } = estate;
    const collection = estate.collections['profiles'];
    if (collection === undefined) throw new Error('no collection');
    try {
      for (const region of ['eu', 'us', 'ap']) {
        await estate.sql(
          region,
          `insert into profiles select i, 'name ' || i, 'mail' || i || '@example.org', '2026-01-01' from generate_series(1, $1::int) i`,
          [rows],
        );
      }

      // Proposals: one differing row each, as cases usually are.
      const proposalMs: number[] = [];
      for (let round = 0; round < (quick ? 20 : 60); round += 1) {
        await estate.sql('us', `update profiles set name = 'wrong ' || $1::text where id = $2`, [round, round + 1]);
        await scanCollection(context, collection, signal);
        const [found] = (await listCases(database, { state: 'open' }, { limit: 1 })).items;
        if (found === undefined) throw new Error('no case');
        const startedMs = performance.now();
        await proposeForCase(context, found.id, signal);
        proposalMs.push(performance.now() - startedMs);
        const [repair] = (await listRepairs(database, { state: 'planned' }, { limit: 1 })).items;
        if (repair !== undefined) await workOnRepair(context, repair.id, signal);
      }
      log(`proposal p95 ${p95(proposalMs).toFixed(0)} ms`);

      // Rows: every one differs on one replica; guarded, applied by compare-and-set in batches, and read back through another path.
      await estate.sql('us', `update profiles set name = 'wrong'`);
      await scanCollection(context, collection, signal);
      let applyMs = 0;
      let repaired = 0;
      for (let round = 0; round < 100; round += 1) {
        const [found] = (await listCases(database, { state: 'open' }, { limit: 1 })).items;
        if (found === undefined) break;
        await proposeForCase(context, found.id, signal);
        for (const repair of (await listRepairs(database, { state: 'planned' }, { limit: 10 })).items) {
          const startedMs = performance.now();
          await workOnRepair(context, repair.id, signal);
          applyMs += performance.now() - startedMs;
          repaired += repair.rows;
        }
      }
      const { rows: left } = await estate.sql('us', `select count(*)::int as rows from profiles where name = 'wrong'`);
      if (left[0]?.rows !== 0 || repaired < rows) throw new Error(`${left[0]?.rows} rows are still wrong, ${repaired} were repaired`);
      log(`${repaired} rows in ${(applyMs / 1000).toFixed(1)} s`);

      // From the commit of a bell to the worker that hears it, one at a time and a few at once.
      const queue = await openPostgresQueue(estate.storeUrl, () => undefined);
      const rungAt = new Map<string, number>();
      const waitMs: number[] = [];
      await queue.answer(
        'repair',
        4,
        async (subject) => {
          const at = rungAt.get(subject);
          if (at !== undefined) waitMs.push(performance.now() - at);
        },
        () => undefined,
      );
      const relay = await startRelay(context, queue);
      const bells = quick ? 200 : 1_000;
      for (let i = 0; i < bells; i += 1) {
        await database.transaction((tx) => appendOutbox(tx, 'repair', `bench-${i}`, context.clock.nowMs()));
        rungAt.set(`bench-${i}`, performance.now());
        if (i % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      }
      while (waitMs.length < bells * 0.99) await new Promise((resolve) => setTimeout(resolve, 20));
      await relay.close();
      await queue.close(5_000);

      return {
        figures: {
          rows_per_s: (repaired * 1000) / applyMs,
          proposal_p95_ms: p95(proposalMs),
          outbox_to_worker_p95_ms: p95(waitMs),
        },
        baseline: { plain_update_rows_per_s: await plainUpdates(collection.replicas[1]?.url ?? '', rows) },
      };
    } finally {
      await estate.close();
    }
  },
};

/** One UPDATE a row in transactions of 500: no guard, no compare-and-set, no before-image, no proof. */
async function plainUpdates(url: string, rows: number): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const startedMs = performance.now();
  for (let start = 0; start < rows; start += 500) {
    await client.query('begin');
    for (let id = start + 1; id <= Math.min(rows, start + 500); id += 1)
      await client.query('update profiles set name = $2 where id = $1', [id, `plain ${id}`]);
    await client.query('commit');
  }
  const seconds = (performance.now() - startedMs) / 1000;
  await client.end();
  return rows / seconds;
}
