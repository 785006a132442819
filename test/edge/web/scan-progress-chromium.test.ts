import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { getCollectionState, releaseScan, saveScanProgress, saveScanResult, takeScan } from '../../../src/io/store/scans.ts';
import { type Chromium, chromiumAvailable, startChromium } from '../../servers/chromium.ts';
import { until } from '../../integration/estate.ts';
import { type LedgerEstate, people, startLedgerEstate } from '../ledger-estate.ts';

/** The real store, API and page; the comparison is as far as its last checkpoint in the store says. */
describe.skipIf(!chromiumAvailable)('a long comparison on the overview (chromium)', () => {
  let ledger: LedgerEstate;
  let chromium: Chromium;
  let page: Page;

  beforeAll(async () => {
    ledger = await startLedgerEstate([]);
    chromium = await startChromium({ viewport: { width: 1280, height: 900 } });
    page = await chromium.newPage();
    await page.goto(ledger.api.url);
    await page.getByLabel('Token').fill(people.vera.token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation', { name: 'Pages' }).waitFor();
  });
  afterAll(async () => {
    await chromium?.close();
    await ledger?.close();
  });

  it('shows how far it has come and what it has found; cut short, where it goes on; done, when that was', async () => {
    const { database, context } = ledger.estate;
    const [collection] = Object.values(context.collections);
    if (collection === undefined) throw new Error('a collection');
    const row = page.getByRole('row').filter({ hasText: collection.name });
    const progress = {
      key: ['id'],
      replicas: ['eu', 'us'],
      after: { id: '420000' },
      rowsDone: 420_000,
      rowsOf: 1_000_000,
      differing: 3,
    };
    // The service's own comparisons wait while another worker holds the collection.
    await until(async () => {
      if (!(await takeScan(database, collection.name, 0, 'worker', Date.now()))) return false;
      const state = await getCollectionState(database, collection.name);
      if ((state?.lastScanStartedMs ?? 0) > (state?.lastScanEndedMs ?? 0)) return true;
      // The clock was read before the service's own comparison ended, so this one would look like an earlier one.
      await releaseScan(database, collection.name, 'worker');
      return false;
    }, 'the collection is held');
    await saveScanProgress(database, collection.name, progress);
    await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Overview' }).click();
    await page.reload();
    await row.getByText('42 %, 3 differing so far').waitFor();
    expect(await row.getByRole('progressbar').getAttribute('value')).toBe('0.42');
    if (process.env['SCREENSHOT'] !== undefined) await page.screenshot({ path: process.env['SCREENSHOT'] });

    const result = { equal: null, rowsScanned: 0, bytesMoved: 0, rowsFetched: 0, rounds: 0, error: 'Replica us is down.' };
    await saveScanResult(database, collection.name, result, Date.now());
    await page.reload();
    await row.getByText('could not be compared; goes on at 42 %').waitFor();

    await saveScanProgress(database, collection.name, null);
    await saveScanResult(database, collection.name, { ...result, equal: true, error: null }, Date.now());
    await page.reload();
    await row.getByText('now').or(row.getByText('ago')).first().waitFor();
    expect(await row.getByRole('progressbar').count()).toBe(0);
  });
});
