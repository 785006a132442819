import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../../integration/estate.ts';
import { type Answer, type LedgerEstate, people, startLedgerEstate } from '../ledger-estate.ts';

/** What a failed call says. */
function errorOf(answer: { readonly body: Answer }): { readonly code: string; readonly message: string; readonly rule?: string } {
  return answer.body['error'] as { readonly code: string; readonly message: string; readonly rule?: string };
}

describe('the API before a strict ledger', () => {
  let ledger: LedgerEstate;
  let id: string;
  let digest: string;
  beforeAll(async () => {
    ledger = await startLedgerEstate([7]);
    const [proposal] = await ledger.waiting(1);
    id = proposal?.id ?? '';
    digest = proposal?.digest ?? '';
  });
  afterAll(async () => {
    await ledger.close();
  });

  it('asks for a token, and knows whose it is', async () => {
    expect((await ledger.call(null, 'GET', '/api/v1/proposals')).status).toBe(401);
    expect((await ledger.call('vera', 'GET', '/api/v1/me')).body).toMatchObject({ name: 'vera', role: 'viewer' });
    const wrong = await fetch(`${ledger.api.url}/api/v1/me`, { headers: { authorization: 'Bearer nobody-has-this-one' } });
    expect(wrong.status).toBe(401);
  });

  it('keeps the local token readable for one user alone, and its bearer is admin', async () => {
    const file = join(ledger.dataDir, 'token');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const response = await fetch(`${ledger.api.url}/api/v1/me`, {
      headers: { authorization: `Bearer ${readFileSync(file, 'utf8').trim()}` },
    });
    expect(await response.json()).toMatchObject({ role: 'admin' });
  });

  it.each([
    'anomalies',
    'divergences',
    'cases',
    'proposals',
    'repairs',
    'outcomes',
    'forecasts',
    'suggestions',
    'domains',
    'collections',
    'replicas',
    'audit',
  ])('lists %s in pages', async (noun) => {
    const answer = await ledger.call('vera', 'GET', `/api/v1/${noun}?limit=1`);
    expect(answer.status).toBe(200);
    expect(answer.body).toHaveProperty('items');
    expect(answer.body).toHaveProperty('nextCursor');
  });

  it('pages through the audit chain without a gap, and answers one entry by its number', async () => {
    const seqs: number[] = [];
    for (let cursor = ''; ; ) {
      const { body } = await ledger.call('vera', 'GET', `/api/v1/audit?limit=2${cursor === '' ? '' : `&cursor=${cursor}`}`);
      seqs.push(...(body['items'] as readonly { readonly seq: number }[]).map((entry) => entry.seq));
      if (body['nextCursor'] === null || seqs.length > 1000) break;
      cursor = body['nextCursor'] as string;
    }
    expect(seqs.length).toBeGreaterThan(1);
    expect(seqs.toReversed()).toEqual(seqs.map((_, index) => index + 1));
    expect((await ledger.call('vera', 'GET', '/api/v1/audit/1')).body).toMatchObject({ seq: 1 });
  });

  it('says what is not there, and which cursor is not ours', async () => {
    expect((await ledger.call('vera', 'GET', '/api/v1/proposals/P999999')).status).toBe(404);
    expect((await ledger.call('vera', 'GET', '/api/v1/proposals?cursor=zzz')).status).toBe(400);
    expect((await ledger.call('vera', 'GET', '/api/v1/proposals?limit=0')).status).toBe(400);
    expect(errorOf(await ledger.call('vera', 'GET', '/api/v1/nothing')).code).toBe('not-found');
  });

  it('names the methods of a path that is asked with another', async () => {
    const ask = async (method: string, path: string): Promise<unknown> => {
      const response = await fetch(`${ledger.api.url}${path}`, { method });
      return [response.status, response.headers.get('allow')];
    };
    expect(await ask('DELETE', '/api/v1/proposals')).toEqual([405, 'GET']);
    expect(await ask('PUT', '/api/v1/domains/ledger/freeze')).toEqual([405, 'POST']);
    expect(await ask('GET', '/api/v1/proposals/P1/approve')).toEqual([405, 'POST']);
  });

  it('takes no zero byte for an id, a filter or a reason, and does not break on one', async () => {
    expect((await ledger.call('vera', 'GET', '/api/v1/cases/%00')).status).toBe(400);
    expect((await ledger.call('vera', 'GET', '/api/v1/proposals?domain=%00')).status).toBe(400);
    expect((await ledger.call('alice', 'POST', `/api/v1/proposals/${id}/reject`, { digest, reason: 'no\0' })).status).toBe(400);
  });

  it('never answers with a connection URL', async () => {
    for (const noun of ['collections', 'replicas', 'overview']) {
      expect(JSON.stringify((await ledger.call('olga', 'GET', `/api/v1/${noun}`)).body)).not.toContain('postgres://');
    }
  });

  it('hides personal data from those who only look', async () => {
    const asVera = JSON.stringify((await ledger.call('vera', 'GET', `/api/v1/proposals/${id}`)).body);
    const asAlice = JSON.stringify((await ledger.call('alice', 'GET', `/api/v1/proposals/${id}`)).body);
    expect(asAlice).toContain('o7@example.org');
    expect(asVera).not.toContain('o7@example.org');
    expect(JSON.stringify((await ledger.call('vera', 'GET', '/api/v1/divergences')).body)).not.toContain('o7@example.org');
  });

  it('shows nothing of a domain to people of another', async () => {
    expect((await ledger.call('omar', 'GET', '/api/v1/proposals')).body['items']).toEqual([]);
    expect((await ledger.call('omar', 'GET', `/api/v1/proposals/${id}`)).status).toBe(404);
    expect((await ledger.call('omar', 'POST', '/api/v1/domains/ledger/freeze', { reason: 'x' })).status).toBe(403);
  });

  it('refuses by role, and names the rule', async () => {
    const answer = await ledger.call('vera', 'POST', `/api/v1/proposals/${id}/approve`, { digest });
    expect(answer.status).toBe(403);
    expect(errorOf(answer)).toMatchObject({ code: 'not-allowed', rule: 'role' });
    expect((await ledger.call('agent', 'GET', '/api/v1/proposals')).status).toBe(403);
    expect((await ledger.call('alice', 'POST', '/api/v1/domains/ledger/freeze', { reason: 'x' })).status).toBe(403);
  });

  it('answers 409 to a wrong digest, and nothing happens', async () => {
    const before = (await ledger.call('alice', 'GET', `/api/v1/proposals/${id}`)).body;
    const answer = await ledger.call('alice', 'POST', `/api/v1/proposals/${id}/approve`, { digest: 'f'.repeat(64) });
    expect(answer.status).toBe(409);
    const after = (await ledger.call('alice', 'GET', `/api/v1/proposals/${id}`)).body;
    expect(after['state']).toBe('waiting');
    expect(after['approvals']).toEqual(before['approvals']);
    expect(await ledger.balance('us', 7)).toBe('957.00');
    expect((await ledger.call('alice', 'POST', `/api/v1/proposals/${id}/approve`, { digest: 'short' })).status).toBe(400);
  });

  it('wants a reason for a rejection', async () => {
    expect((await ledger.call('alice', 'POST', `/api/v1/proposals/${id}/reject`, { digest, reason: ' ' })).status).toBe(400);
    expect((await ledger.call('alice', 'GET', `/api/v1/proposals/${id}`)).body['state']).toBe('waiting');
  });

  it('refuses a decision that another site sends with this browser', async () => {
    const response = await fetch(`${ledger.api.url}/api/v1/proposals/${id}/approve`, {
      method: 'POST',
      headers: { authorization: `Bearer ${people.alice.token}`, origin: 'https://evil.example', 'content-type': 'application/json' },
      body: JSON.stringify({ digest }),
    });
    expect(response.status).toBe(403);
  });

  it('needs two people for money, and tells open pages of each step', async () => {
    const stop = new AbortController();
    const response = await fetch(`${ledger.api.url}/api/v1/events`, {
      headers: { authorization: `Bearer ${people.vera.token}` },
      signal: stop.signal,
    });
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    const heard: string[] = [];
    const listening = (async () => {
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const chunk = await reader?.read();
        if (chunk === undefined || chunk.done) return;
        heard.push(chunk.value);
      }
    })().catch(() => undefined);

    const first = await ledger.call('alice', 'POST', `/api/v1/proposals/${id}/approve`, { digest, comment: 'seen' });
    expect(first).toMatchObject({ status: 200, body: { have: 1, need: 2, repairId: null } });
    expect(await ledger.balance('us', 7)).toBe('957.00');
    const second = await ledger.call('bob', 'POST', `/api/v1/proposals/${id}/approve`, { digest });
    expect(second.status).toBe(200);
    const repairId = String(second.body['repairId']);
    await until(
      async () => (await ledger.call('vera', 'GET', `/api/v1/repairs/${repairId}`)).body['state'] === 'sealed',
      'the repair is sealed',
    );
    expect(await ledger.balance('us', 7)).toBe('1007.00');
    await until(async () => heard.join('').includes('event: repair'), 'the page hears of the repair');
    stop.abort();
    await listening;

    const undone = await ledger.call('olga', 'POST', `/api/v1/repairs/${repairId}/undo`, { reason: 'the other side was right' });
    expect(undone.status).toBe(200);
    await until(
      async () => (await ledger.call('vera', 'GET', `/api/v1/repairs/${repairId}`)).body['state'] === 'compensated',
      'it is undone',
    );
    expect(await ledger.balance('us', 7)).toBe('957.00');
  });

  it('freezes and unfreezes a domain', async () => {
    expect((await ledger.call('olga', 'POST', '/api/v1/domains/ledger/freeze', { reason: 'sale' })).status).toBe(200);
    expect((await ledger.call('vera', 'GET', '/api/v1/domains/ledger')).body['state']).toMatchObject({
      frozen: true,
      frozenBy: 'olga',
      frozenReason: 'sale',
    });
    expect((await ledger.call('olga', 'POST', '/api/v1/domains/ledger/unfreeze', { reason: 'over' })).status).toBe(200);
    expect((await ledger.call('olga', 'POST', '/api/v1/domains/leger/freeze', { reason: 'x' })).status).toBe(404);
  });

  it('stops a domain without a word, too: who does it by hand at night is not sent back for a reason', async () => {
    const authorization = `Bearer ${people.olga.token}`;
    const post = (verb: string, more: { body?: string; headers?: Readonly<Record<string, string>> } = {}): Promise<Response> =>
      fetch(`${ledger.api.url}/api/v1/domains/ledger/${verb}`, {
        method: 'POST',
        ...(more.body === undefined ? {} : { body: more.body }),
        headers: { authorization, ...more.headers },
      });
    expect((await post('freeze')).status).toBe(200);
    expect((await ledger.call('vera', 'GET', '/api/v1/domains/ledger')).body['state']).toMatchObject({
      frozen: true,
      frozenReason: 'no reason given',
    });
    expect((await post('unfreeze', { body: '', headers: { 'content-type': 'application/json' } })).status).toBe(200);
  });

  it('asks for a comparison', async () => {
    expect((await ledger.call('olga', 'POST', '/api/v1/collections/accounts/scan', {})).status).toBe(200);
    expect((await ledger.call('olga', 'POST', '/api/v1/collections/nothing/scan', {})).status).toBe(404);
  });

  it('describes every route that it has', async () => {
    const { paths } = (await (await fetch(`${ledger.api.url}/openapi.json`)).json()) as {
      readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly requestBody?: unknown }>>>>;
    };
    for (const noun of [
      'anomalies',
      'divergences',
      'cases',
      'proposals',
      'repairs',
      'outcomes',
      'forecasts',
      'suggestions',
      'domains',
      'collections',
      'replicas',
      'audit',
      'debt',
    ]) {
      expect(Object.keys(paths)).toContain(`/api/v1/${noun}`);
    }
    expect(paths['/api/v1/proposals/{id}/approve']?.['post']?.requestBody).toBeDefined();
    expect((await fetch(`${ledger.api.url}/healthz`)).status).toBe(200);
    expect((await fetch(`${ledger.api.url}/readyz`)).status).toBe(200);
    expect(await (await fetch(`${ledger.api.url}/metrics`)).text()).toContain('homeostat_');
  });

  it('opens the page once for a link, with a policy that lets nothing in from elsewhere', async () => {
    const first = await fetch(ledger.api.loginUrl, { redirect: 'manual' });
    expect(first.headers.get('set-cookie')).toMatch(/HttpOnly; SameSite=Strict/);
    const again = await fetch(ledger.api.loginUrl, { redirect: 'manual' });
    expect(again.headers.get('set-cookie')).toBeNull();
    expect([first, again].map(({ headers }) => headers.get('location'))).toEqual(['/', '/?link=used']);
    const page = await fetch(`${ledger.api.url}/queue`);
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
  });
});
