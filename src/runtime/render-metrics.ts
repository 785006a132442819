import { countOpenDivergences } from '../io/store/divergences.ts';
import { listDomainStates } from '../io/store/domain-state.ts';
import { countUnrung } from '../io/store/outbox.ts';
import { countProposals } from '../io/store/proposals.ts';
import { countRepairs } from '../io/store/repairs.ts';
import { listReplicaStates } from '../io/store/scans.ts';
import type { RuntimeContext } from './context.ts';
import { renderIngest, type ShownIngest } from './render-ingest.ts';

/** Prometheus text: what this process counted, and how the store stands. */
export async function renderMetrics(context: RuntimeContext, ingest: ShownIngest | undefined): Promise<string> {
  const { database } = context;
  const lines: string[] = [];
  const gauge = (name: string, help: string, samples: readonly { readonly labels: string; readonly value: number }[]): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, ...samples.map(({ labels, value }) => `${name}${labels} ${value}`));
  };
  gauge(
    'homeostat_divergences_open',
    'Open divergences by collection and status.',
    (await countOpenDivergences(database)).map((one) => ({
      labels: `{collection="${one.collection}",status="${one.status}"}`,
      value: one.rows,
    })),
  );
  gauge(
    'homeostat_proposals',
    'Proposals by domain and state.',
    (await countProposals(database)).map((one) => ({ labels: `{domain="${one.domain}",state="${one.state}"}`, value: one.count })),
  );
  gauge(
    'homeostat_repairs',
    'Repairs by domain, state and whether a person approved them.',
    (await countRepairs(database)).map((one) => ({
      labels: `{domain="${one.domain}",state="${one.state}",automatic="${one.automatic}"}`,
      value: one.count,
    })),
  );
  const states = await listDomainStates(database);
  gauge(
    'homeostat_breaker_open',
    '1 while automatic repair of the domain has stopped.',
    states.map((one) => ({ labels: `{domain="${one.domain}"}`, value: one.breaker === 'open' ? 1 : 0 })),
  );
  gauge(
    'homeostat_domain_frozen',
    '1 while a person has frozen the domain.',
    states.map((one) => ({ labels: `{domain="${one.domain}"}`, value: one.frozen ? 1 : 0 })),
  );
  gauge(
    'homeostat_replica_up',
    '1 if the replica answered the last comparison.',
    (await listReplicaStates(database)).map((one) => ({
      labels: `{collection="${one.collection}",replica="${one.replica}"}`,
      value: one.isUp ? 1 : 0,
    })),
  );
  gauge('homeostat_outbox_unrung', 'Bells that have still to ring.', [{ labels: '', value: await countUnrung(database) }]);
  const own = ingest === undefined ? '' : renderIngest(ingest);
  return `${context.metrics.render()}${lines.join('\n')}\n${own}`;
}
