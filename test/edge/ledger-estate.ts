import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultConfig, type Person } from '../../src/config.ts';
import { type Api, startApi } from '../../src/edge/api/server.ts';
import { listProposals } from '../../src/io/store/proposals.ts';
import { domainOf, type Estate, startEstate, until } from '../integration/estate.ts';

export const people = {
  alice: { name: 'alice', role: 'approver', domains: undefined, token: 'token-of-alice-0001' },
  bob: { name: 'bob', role: 'approver', domains: undefined, token: 'token-of-bob-000002' },
  olga: { name: 'olga', role: 'operator', domains: undefined, token: 'token-of-olga-00006' },
  vera: { name: 'vera', role: 'viewer', domains: undefined, token: 'token-of-vera-00003' },
  omar: { name: 'omar', role: 'operator', domains: ['other'], token: 'token-of-omar-00004' },
  agent: { name: 'agent', role: 'agent', domains: undefined, token: 'token-of-agent-0005' },
} as const satisfies Record<string, Person>;

export type Answer = Readonly<Record<string, unknown>>;

export interface LedgerEstate {
  readonly estate: Estate;
  readonly api: Api;
  readonly dataDir: string;
  /** Calls the API as one of the people, or as nobody. */
  call(
    who: keyof typeof people | null,
    method: 'GET' | 'POST',
    path: string,
    body?: unknown,
  ): Promise<{ readonly status: number; readonly body: Answer }>;
  /** Proposals that wait, once there are that many. */
  waiting(atLeast: number): Promise<readonly { readonly id: string; readonly digest: string; readonly says: string }[]>;
  balance(region: string, id: number): Promise<string>;
  close(): Promise<void>;
}

/** A strict ledger on two real databases, the real loops, and the real API before them. `wrong` accounts differ in us. */
export async function startLedgerEstate(wrong: readonly number[]): Promise<LedgerEstate> {
  const estate = await startEstate({
    regions: ['eu', 'us'],
    domain: domainOf('ledger', { consistency: 'strict', risk: 'high', repair: { mode: 'review', approvals: 2 } }),
    schema: [
      'create table profiles (id bigint primary key, owner text, email text, balance numeric(12,2) not null, updated_at timestamptz not null)',
    ],
    collection: { name: 'accounts', columnClasses: { balance: 'money', updated_at: 'clock', email: 'pii' }, authority: 'eu' },
  });
  for (const region of ['eu', 'us']) {
    await estate.sql(
      region,
      `insert into profiles select i, 'owner ' || i, 'o' || i || '@example.org', 1000 + i, '2026-01-01' from generate_series(1, 50) i`,
    );
  }
  const dataDir = await mkdtemp(join(tmpdir(), 'homeostat-api-'));
  const api = await startApi({
    context: estate.context,
    metrics: async () => estate.context.metrics.render(),
    host: '127.0.0.1',
    port: 0,
    dataDir,
    config: { ...defaultConfig(), people: Object.values(people) },
  });
  const loops = await estate.run();
  const call: LedgerEstate['call'] = async (who, method, path, body) => {
    const response = await fetch(`${api.url}${path}`, {
      method,
      headers: {
        ...(who === null ? {} : { authorization: `Bearer ${people[who].token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Answer };
  };
  // One case at a time: what differs in the same way would be one proposal.
  for (const id of wrong)
    await estate.sql('us', `update profiles set balance = balance - 50, updated_at = '2025-12-31' where id = $1`, [id]);
  return {
    estate,
    api,
    dataDir,
    call,
    waiting: (atLeast) =>
      until(async () => {
        const { items } = await listProposals(estate.database, { state: 'waiting' }, {});
        return items.length >= atLeast && items;
      }, `${atLeast} proposals wait`),
    balance: async (region, id) => String((await estate.sql(region, 'select balance from profiles where id = $1', [id])).rows[0]?.balance),
    close: async () => {
      await api.close();
      await loops.stop();
      await estate.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
