import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { getProposal } from '../../../src/io/store/proposals.ts';
import { until } from '../../integration/estate.ts';
import { type Chromium, chromiumAvailable, startChromium } from '../../servers/chromium.ts';
import { type LedgerEstate, people, startLedgerEstate } from '../ledger-estate.ts';

/** A real browser on the real page, before a real ledger: what a person does with mouse and keys, and what the world is like afterwards. */
describe.skipIf(!chromiumAvailable)('the approval page (chromium)', () => {
  let ledger: LedgerEstate;
  let chromium: Chromium;
  let page: Page;
  const errors: string[] = [];

  const signIn = async (who: keyof typeof people): Promise<void> => {
    await chromium.context.clearCookies();
    await page.goto(ledger.api.url);
    await page.getByLabel('Token').fill(people[who].token);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation', { name: 'Pages' }).waitFor();
  };
  const stateOf = async (id: string): Promise<string | undefined> => (await getProposal(ledger.estate.database, id))?.state;

  beforeAll(async () => {
    ledger = await startLedgerEstate([7]);
    await ledger.waiting(1);
    chromium = await startChromium();
    page = await chromium.newPage();
    page.on('pageerror', (error) => errors.push(error.message));
    page.on('console', (message) => {
      // Reading without a session is how the page learns that it must ask for a token.
      if (message.type() === 'error' && !/40[139]/.test(message.text())) errors.push(message.text());
    });
  });
  afterAll(async () => {
    await chromium.close();
    await ledger.close();
  });

  it('asks for a token and then shows what is wrong and what waits', async () => {
    // A link that opens nothing any more says so.
    await page.goto(`${ledger.api.url}/login?code=used`);
    expect(await page.getByRole('status').innerText()).toContain('has been used');
    await page.goto(ledger.api.url);
    expect(await page.getByRole('status').count()).toBe(0);
    await page.getByLabel('Token').fill('not-a-token-of-anyone');
    await page.getByRole('button', { name: 'Sign in' }).click();
    expect(await page.getByRole('alert').innerText()).toContain('nobody has this token');
    await signIn('alice');
    await page.getByText('1 row is diverged.').waitFor();
    await page.getByText('1 proposal waits for people.').waitFor();
  });

  it('lists the proposal and opens it by keyboard', async () => {
    await page.getByRole('link', { name: /^Queue/ }).click();
    await page.locator('.queue-row').waitFor();
    expect(await page.locator('.queue-row').innerText()).toContain('needs 2 people');
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await page.locator('table.diff').waitFor();
    expect(page.url()).toContain('/proposals/P1');
  });

  it('shows what each replica holds and what would be there afterwards', async () => {
    const balance = page.locator('table.diff tr', { has: page.locator('th', { hasText: 'balance' }) });
    expect((await balance.locator('td').allInnerTexts()).map((text) => text.trim())).toEqual(['1007', '957', '1007']);
    await page.getByText('range digests equal afterwards').waitFor();
    await page.getByText('money-column').waitFor();
  });

  it('approves with exactly the digest on the screen, by key, and says that one more person is needed', async () => {
    const sent = page.waitForRequest((request) => request.url().endsWith('/approve'));
    await page.keyboard.press('a');
    await page.getByRole('dialog').getByRole('button', { name: 'Approve, as 1 of 2' }).click();
    const body = (await sent).postDataJSON() as { readonly digest: string };
    const proposal = await getProposal(ledger.estate.database, 'P1');
    expect(body.digest).toBe(proposal?.digest);
    await page.getByText('waiting for 2 people (1 of 2)').waitFor();
    await page.getByText('you have approved already').waitFor();
    expect(await page.getByRole('button', { name: /Approve and apply/ }).isDisabled()).toBe(true);
    expect(await ledger.balance('us', 7)).toBe('957.00');
  });

  it('is applied after the second person, and the open page says so by itself', async () => {
    await signIn('bob');
    await page.goto(`${ledger.api.url}/proposals/P1`);
    await page.getByRole('button', { name: /Approve and apply to us/ }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Approve and apply to us' }).click();
    await page.locator('.actions').getByText('verified', { exact: true }).waitFor();
    expect(await ledger.balance('us', 7)).toBe('1007.00');
  });

  it('refuses a digest that is not the one on the server, in words, and changes nothing', async () => {
    await ledger.estate.sql('us', `update profiles set balance = 1 where id = 9`);
    await until(async () => (await stateOf('P2')) === 'waiting', 'a second proposal waits');
    // Another proposal came while this page was open: what it sends is no longer what the server holds.
    await page.route('**/api/v1/proposals/P2/approve', (route) =>
      route.continue({
        postData: JSON.stringify({ digest: '0'.repeat(64) }),
        headers: { ...route.request().headers(), 'content-type': 'application/json' },
      }),
    );
    await page.goto(`${ledger.api.url}/proposals/P2`);
    await page.getByRole('button', { name: /^A Approve/ }).click();
    await page
      .getByRole('dialog')
      .getByRole('button', { name: /^Approve/ })
      .click();
    await page.getByText('Nothing was changed.').waitFor();
    expect((await getProposal(ledger.estate.database, 'P2'))?.state).toBe('waiting');
    expect((await ledger.call('bob', 'GET', '/api/v1/proposals/P2')).body['approvals']).toEqual([]);
    await page.unroute('**/api/v1/proposals/P2/approve');
    await page.keyboard.press('Escape');
  });

  it('does not reject without a reason', async () => {
    await page.keyboard.press('r');
    const dialog = page.getByRole('dialog');
    expect(await dialog.getByRole('button', { name: 'Reject', exact: true }).isDisabled()).toBe(true);
    await dialog.getByLabel(/^Why\?/).fill('us is right: the customer paid there');
    await dialog.getByRole('button', { name: 'Reject', exact: true }).click();
    await until(async () => (await stateOf('P2')) === 'rejected', 'it is rejected');
    expect(await ledger.balance('us', 9)).toBe('1.00');
  });

  it('collects what comes later in a strip and moves nothing', async () => {
    await page.goto(`${ledger.api.url}/queue`);
    await page.getByRole('heading', { name: 'Nothing waits for you' }).waitFor();
    // Of what was compared, not of what nobody has looked at.
    await page.getByText(/agreed when they were compared last|differ, and are being|no comparison has ended/).waitFor();
    await ledger.estate.sql('us', 'delete from profiles where id between 20 and 30');
    await page.getByRole('button', { name: '1 new: show' }).click();
    await page.locator('.queue-row').waitFor();
  });

  it('shows a viewer everything but the buttons', async () => {
    await signIn('vera');
    const [proposal] = await ledger.waiting(1);
    await page.goto(`${ledger.api.url}/proposals/${proposal?.id ?? ''}`);
    await page.getByText('your role (viewer) does not cover ledger').waitFor();
    expect(await page.getByRole('button', { name: /Approve/ }).isDisabled()).toBe(true);
    expect(await page.locator('table.diff').innerText()).not.toContain('@example.org');
  });

  it('opens every page without an error, wide and narrow', async () => {
    for (const [width, height] of [
      [1280, 820],
      [390, 844],
    ] as const) {
      await page.setViewportSize({ width, height });
      for (const path of ['/', '/queue', '/anomalies', '/forecasts', '/debt', '/policies', '/ingest', '/audit', '/cases/C1']) {
        await page.goto(`${ledger.api.url}${path}`);
        await page.locator('main h1, main h2, main .queue-row').first().waitFor();
        expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${path} fits ${width}`).toBe(true);
      }
    }
    expect(errors).toEqual([]);
  });
});
