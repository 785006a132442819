import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRng } from '../../../src/base/rng.ts';
import type { Suggestion } from '../../../src/domain/suggestion.ts';
import { suggesters } from '../../../src/forecast/registry.ts';
import { getSuggestion, saveSuggestions } from '../../../src/io/store/suggestions.ts';
import { until } from '../../integration/estate.ts';
import { type Chromium, chromiumAvailable, startChromium } from '../../servers/chromium.ts';
import { type LedgerEstate, people, startLedgerEstate } from '../ledger-estate.ts';

/** Two people decide on what the suggesters' own examples suggest, in a real browser. */
describe.skipIf(!chromiumAvailable)('suggestion cards (chromium)', () => {
  let ledger: LedgerEstate;
  let chromium: Chromium;
  let page: Page;
  let made: readonly Suggestion[];
  const errors: string[] = [];
  const signIn = async (who: keyof typeof people): Promise<void> => {
    await chromium.context.clearCookies();
    await page.goto(ledger.api.url);
    await page.getByLabel('Token').fill(people[who].token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation', { name: 'Pages' }).waitFor();
    await page.goto(`${ledger.api.url}/forecasts`);
  };
  beforeAll(async () => {
    ledger = await startLedgerEstate([]);
    made = suggesters
      .filter(({ id }) => id === 'split' || id === 'quorum')
      .flatMap((suggester) =>
        [suggester, ...(suggester.also === undefined ? [] : [suggester.also])].flatMap(({ example }) =>
          suggester.suggest({ ...example, rng: createRng('page') }),
        ),
      )
      .map((one) => ({ ...one, domain: 'ledger', collection: 'accounts', createdAtMs: Date.now() }));
    await ledger.estate.database.transaction((tx) => saveSuggestions(tx, made, ['accounts'], Date.now()));
    chromium = await startChromium();
    page = await chromium.newPage();
    page.on('pageerror', (error) => errors.push(error.message));
  }, 120_000);
  afterAll(async () => {
    await chromium.close();
    await ledger.close();
  });

  it('shows what, why, the replay with and without, the way back and the commands', async () => {
    await signIn('alice');
    for (const { says, because, rollback } of made) {
      await page.getByText(says).waitFor();
      await page.getByText(because).waitFor();
      await page.getByText(rollback).waitFor();
    }
    expect(await page.getByRole('img', { name: /^Cost with and without it/ }).count()).toBe(made.length);
    await page.getByText('synchronous_standby_names').waitFor();
    // What clients wait for is theirs to change.
    const clients = page.locator('section', { hasText: 'Let clients of' });
    await clients.getByText(/^Cassandra: CONSISTENCY \w+ for reads/).waitFor();
    await clients.getByText(/To be done by hand\. Back out: Let clients wait for R=1, W=1 again/).waitFor();
    await clients.getByText(/counted by the answers of all replicas in the last hour: [\d.]+ % of 800 reads, whenever they came/).waitFor();
    if (process.env['SCREENSHOT'] !== undefined) await page.screenshot({ path: process.env['SCREENSHOT'], fullPage: true });
  });

  it('is approved once two people have said yes to it, and rejected with a reason', async () => {
    const [split, quorum] = [made.find(({ kind }) => kind === 'split'), made.find(({ kind }) => kind === 'quorum')];
    if (split === undefined || quorum === undefined) expect.fail('both are suggested');
    const stateOf = async (id: string): Promise<string | undefined> => (await getSuggestion(ledger.estate.database, id))?.state;
    await page.getByRole('button', { name: 'Approve this split' }).click();
    await page.getByText('Another person is needed.').waitFor();
    expect(await stateOf(split.id)).toBe('open');
    await signIn('bob');
    await page.getByRole('button', { name: 'Approve this split' }).click();
    await until(async () => (await stateOf(split.id)) === 'approved', 'the split is approved');
    // Nothing here can carry a split of this collection out: the button is not offered.
    expect(await page.getByRole('button', { name: /^Carry it out/ }).count()).toBe(0);
    await page.locator('section', { hasText: quorum.says }).getByRole('button', { name: 'Reject…' }).click();
    await page.getByRole('dialog').getByRole('textbox').fill('not before the audit');
    await page.getByRole('dialog').getByRole('button', { name: 'Reject' }).click();
    await until(async () => (await stateOf(quorum.id)) === 'rejected', 'the quorum is rejected');
    expect(errors).toEqual([]);
  });
});
