import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultConfig } from '../../src/config.ts';
import { startApi } from '../../src/edge/api/server.ts';
import { buildPage } from '../../src/edge/web/build.ts';
import { startEstate } from '../integration/estate.ts';
import { startChromium } from '../servers/chromium.ts';
import type { Bench } from './bench.ts';

const rows = 100_000;
const token = 'a-token-for-the-bench-0001';

/** A queue of 100,000 waiting proposals in a real store, opened in a real browser: no row beyond those in view may cost anything. */
export const bench: Bench = {
  name: 'ui',
  says: 'first line of a queue of 100,000 proposals on the screen, a search over all of them, and the size of the page',
  run: async ({ quick, log }) => {
    const page_ = await buildPage();
    const bundleBytes = [...page_.files.values()].reduce((sum, file) => sum + file.gzip.length, 0);
    const estate = await startEstate({ regions: ['eu', 'us'] });
    const dataDir = await mkdtemp(join(tmpdir(), 'homeostat-ui-'));
    const api = await startApi({
      context: estate.context,
      metrics: async () => '',
      host: '127.0.0.1',
      port: 0,
      dataDir,
      config: { ...defaultConfig(), people: [{ name: 'bench', role: 'approver', domains: undefined, token }] },
    });
    const chromium = await startChromium();
    try {
      log(`inserting ${rows} proposals`);
      await insertProposals(estate.database);
      const asked = performance.now();
      await (
        await fetch(`${api.url}/api/v1/proposals?state=waiting&view=line&limit=1000&awake=true`, {
          headers: { authorization: `Bearer ${token}` },
        })
      ).text();
      log(`one page of 1,000 lines is answered in ${Math.round(performance.now() - asked)} ms`);
      const page = await chromium.newPage();
      await page.goto(api.url);
      await page.getByLabel('Token').fill(token);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByRole('navigation', { name: 'Pages' }).waitFor();
      // The frame after the first line is in the document: what a person sees, from the start of navigation.
      await page.addInitScript(() => {
        const seen = new MutationObserver(() => {
          if (document.querySelector('.queue-row') === null) return;
          seen.disconnect();
          requestAnimationFrame(() => requestAnimationFrame(() => Object.assign(window, { firstLineMs: performance.now() })));
        });
        seen.observe(document, { subtree: true, childList: true });
      });
      const firsts: number[] = [];
      for (let run = 0; run < (quick ? 3 : 7); run += 1) {
        await page.goto(`${api.url}/queue`);
        await page.waitForFunction(() => 'firstLineMs' in window);
        firsts.push(await page.evaluate(() => (window as unknown as { firstLineMs: number }).firstLineMs));
        log(`first line after ${Math.round(firsts.at(-1) ?? 0)} ms`);
      }
      const started = performance.now();
      await page.waitForFunction(
        (all) => (document.querySelector('.queue-sum strong')?.textContent ?? '').replace(/\D/g, '') === String(all),
        rows,
        { timeout: 60_000 },
      );
      await page.waitForFunction(() => !(document.querySelector('.queue-sum')?.textContent ?? '').includes('reading more'), undefined, {
        timeout: 60_000,
      });
      log(`all ${rows} lines in the page after ${Math.round(performance.now() - started)} ms more`);
      const filters: number[] = [];
      for (const word of ['row 99999', 'row 1234', 'nothing has this', 'row 7', 'replica us', 'row 55555']) {
        filters.push(
          await page.evaluate(async (text) => {
            const input = document.querySelector<HTMLInputElement>('input[type=search]');
            if (input === null) throw new Error('no search field');
            const frame = (): Promise<unknown> => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
            await frame();
            const before = document.querySelector('.queue-sum strong')?.textContent;
            const start = performance.now();
            input.value = text;
            input.dispatchEvent(new Event('input', { bubbles: true }));
            while (document.querySelector('.queue-sum strong')?.textContent === before) await frame();
            return performance.now() - start;
          }, word),
        );
      }
      log(`searches took ${filters.map((ms) => Math.round(ms)).join(', ')} ms`);
      return {
        figures: {
          first_paint_ms_100k: median(firsts),
          filter_ms_100k: median(filters),
          filter_ms_100k_worst: Math.max(...filters),
          bundle_gzip_kb: bundleBytes / 1024,
        },
        baseline: {},
      };
    } finally {
      await chromium.close();
      await api.close();
      await estate.close();
      await rm(dataDir, { recursive: true, force: true });
    }
  },
};

async function insertProposals(database: { query(text: string, values?: readonly unknown[]): Promise<unknown> }): Promise<void> {
  await database.query(
    `insert into cases (seq, id, domain, collection, fingerprint, title, rows, state, opened_at_ms, updated_at_ms)
     select i, 'C' || i, 'profiles', 'profiles', 'bench ' || i, 'row ' || i || ' differs', 1, 'waiting', i, i from generate_series(1, $1) i`,
    [rows],
  );
  const row = `json_build_object('id', i::text, 'name', 'name ' || i)`;
  await database.query(
    `insert into proposals (seq, id, case_id, domain, collection, strategy, digest, state, confidence, rows, says, author, choice, simulation, evidence, alternatives,
                            effects, inverse, verdict, approvals_needed, created_at_ms, expires_at_ms, updated_at_ms)
     select i, 'P' || i, 'C' || i, 'profiles', 'profiles', (array['authority', 'majority', 'last-writer-wins'])[1 + i % 3], md5(i::text) || md5('x' || i), 'waiting', 0.9, 1,
            'row ' || i || ' is missing on replica us. Copying it makes all replicas equal. Can be undone for 24 h.', 'homeostat', '{"by":"heuristic"}',
            '{"digestsEqual":true,"invariants":[],"rowsTouched":1,"inverseRestores":true}', '[{"id":"e1","kind":"replica","says":"eu holds the row."}]', '[]',
            json_build_array(json_build_object('replica', 'us', 'collection', 'profiles', 'key', json_build_object('id', i::text), 'kind', 'insert', 'expects', null, 'before', null, 'after', ${row}, 'leaves', md5(i::text))),
            '[]', '{"is":"review","approvals":1,"role":"approver","rules":[]}', 1, $2, $2::bigint + 14400000, $2
       from generate_series(1, $1) i`,
    [rows, Date.now()],
  );
  await database.query('analyze');
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
