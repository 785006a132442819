import { stringify } from 'yaml';
import { type Region, regions } from './regions.ts';

/** People who may approve: two, since a strict ledger asks for two. */
export interface Approver {
  readonly name: string;
  readonly token: string;
}

/**
 * The homeostat.yaml of the demo: what somebody with such a shop would write, with shorter times, so that a spectator sees
 * something happen. The staleness budget stays well above the feed's ordinary and late delays.
 */
export function configText(urls: Readonly<Record<Region, string>>, approvers: readonly Approver[]): string {
  const replicas = (table: string) =>
    Object.fromEntries(
      regions.map((region) => [
        region,
        { url: urls[region], table: `public.${table}`, region, role: region === 'eu' && table === 'accounts' ? 'leader' : 'peer' },
      ]),
    );
  const residency = [...regions];
  return stringify({
    database: 'embedded',
    queue: 'database',
    domains: {
      ledger: { consistency: 'strict', stalenessMs: 8_000, residency, repair: { mode: 'review', approvals: 2 } },
      profiles: { consistency: 'eventual', stalenessMs: 8_000, residency, repair: { mode: 'auto', rowsPerHour: 500 } },
      orders: { consistency: 'session', stalenessMs: 8_000, residency, repair: { mode: 'review', approvals: 1 } },
    },
    collections: {
      accounts: {
        domain: 'ledger',
        key: ['id'],
        columns: { balance: { class: 'money' }, updated_at: { class: 'clock' } },
        authority: 'eu',
        scanEveryMs: 2_000,
        replicas: replicas('accounts'),
      },
      profiles: {
        domain: 'profiles',
        key: ['id'],
        columns: { email: { class: 'pii' }, name: { class: 'pii' }, updated_at: { class: 'clock' } },
        strategy: 'last-writer-wins',
        scanEveryMs: 2_000,
        replicas: replicas('profiles'),
      },
      orders: {
        domain: 'orders',
        key: ['id'],
        columns: { total: { class: 'money' }, updated_at: { class: 'clock' } },
        strategy: 'last-writer-wins',
        scanEveryMs: 2_000,
        replicas: replicas('orders'),
      },
    },
    people: Object.fromEntries(approvers.map(({ name, token }) => [name, { role: 'approver', token }])),
    ingest: { latenessMs: 4_000 },
    detect: { detectors: { 'saga-uncompensated': { deadlineMs: 4_000 } } },
    forecast: { stepMs: 2_000 },
  });
}
