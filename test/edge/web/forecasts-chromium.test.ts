import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRng } from '../../../src/base/rng.ts';
import { systemClock } from '../../../src/base/clock.ts';
import type { SeriesId } from '../../../src/domain/forecast.ts';
import { saveForecasts } from '../../../src/io/store/forecasts.ts';
import { loadSeriesBlock, packSeries, saveSeriesPoints } from '../../../src/io/store/series.ts';
import { saveSuggestions } from '../../../src/io/store/suggestions.ts';
import { type ForecastLoop, startForecastLoop } from '../../../src/runtime/forecast-loop.ts';
import { type Chromium, chromiumAvailable, startChromium } from '../../servers/chromium.ts';
import { type LedgerEstate, people, startLedgerEstate } from '../ledger-estate.ts';

const stepMs = 300_000;
const steps = 400;
const modelDir = new URL('../../../models/contention/v2', import.meta.url).pathname;

/** History in the store, one real round of the real loop, the real API, and what a person sees of it. */
describe.skipIf(!chromiumAvailable)('the forecasts page (chromium)', () => {
  let ledger: LedgerEstate;
  let chromium: Chromium;
  let page: Page;
  let loop: ForecastLoop;

  beforeAll(async () => {
    ledger = await startLedgerEstate([]);
    chromium = await startChromium({ viewport: { width: 1280, height: 1400 } });
    page = await chromium.newPage();
    await page.goto(ledger.api.url);
    await page.getByLabel('Token').fill(people.vera.token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation', { name: 'Pages' }).waitFor();
  });
  afterAll(async () => {
    await loop?.close();
    await chromium.close();
    await ledger.close();
  });

  it('teaches what to do while there is no forecast', async () => {
    await page.getByRole('link', { name: 'Forecasts' }).click();
    await page.getByText('No forecast yet').waitFor();
    await page.getByText('npx homeostat forecast load.csv --backtest').waitFor();
  });

  it('shows where it is hot, what is to come, and who predicted it and why', async () => {
    const { database, context } = ledger.estate;
    const rng = createRng('page');
    const lastStep = Math.floor(Date.now() / stepMs) - 2;
    const series = (bucket: number): SeriesId => ({ collection: 'accounts', bucket, region: 'eu', metric: 'operations' });
    const points = Array.from({ length: steps }, (_, i) => {
      const load = (bucket: number): number =>
        Math.max(0, (bucket === 5 ? 60 : 8) * (1 + 0.6 * Math.sin((2 * Math.PI * i) / 288)) * (1 + 0.1 * rng.normal()));
      const atMs = (lastStep - steps + 1 + i) * stepMs;
      const buckets = Array.from({ length: 12 }, (__, bucket) => load(bucket));
      const total = buckets.reduce((sum, one) => sum + one, 0);
      return [
        ...buckets.map((value, bucket) => ({ series: series(bucket), stepMs, atMs, value })),
        { series: series(-1), stepMs, atMs, value: total },
      ];
    });
    await saveSeriesPoints(database, points.flat());
    loop = startForecastLoop({
      store: {
        saveSeriesPoints: (list) => saveSeriesPoints(database, list),
        loadSeriesBlock: (width, fromMs) => loadSeriesBlock(database, width, fromMs),
        packSeries: (width, beforeMs) => database.transaction((tx) => packSeries(tx, width, beforeMs)),
        saveForecasts: (list) => saveForecasts(database, list),
        saveSuggestions: (list, names) => database.transaction((tx) => saveSuggestions(tx, list, names, Date.now())),
      },
      drain: () => Promise.resolve([]),
      clock: systemClock,
      collections: Object.values(context.collections),
      domains: context.domains,
      everyMs: 3_600_000,
      modelDir,
      retrain: false,
    });
    const report = await loop.runOnce(new AbortController().signal);
    expect(report).toMatchObject({ series: 13, forecasts: 13 });

    await page.reload();
    await page.getByText('accounts: operations by key range').waitFor();
    const heat = page.locator('.heat svg');
    expect(await heat.getAttribute('aria-label')).toContain('hottest is range 5');
    expect(await heat.locator('path').count()).toBeGreaterThan(2);
    await page.getByText(/Model: contention-v2 on (wasm|cpu|tfjs-node)/).waitFor();
    await page
      .getByText(/^At most .* Served by .*: /)
      .first()
      .waitFor();
    // The hottest range's history is on its card, and the band runs on from it.
    const card = page.locator('section, article, div').filter({ hasText: 'accounts range 5' }).last();
    expect(await card.count()).toBe(1);
    expect((await page.locator('.chart .line').first().getAttribute('d'))?.split('L').length).toBeGreaterThan(90);
    const shot = process.env['HOMEOSTAT_SCREENSHOT'];
    if (shot !== undefined) await page.screenshot({ path: shot });
  });
});
