import type { IngestCounters } from './ingest-loop-counters.ts';

interface Described {
  readonly metric: string;
  readonly type: 'counter' | 'gauge';
  readonly says: string;
}

const counter = (metric: string, says: string): Described => ({ metric: `homeostat_ingest_${metric}_total`, type: 'counter', says });
const gauge = (metric: string, says: string): Described => ({ metric: `homeostat_ingest_${metric}`, type: 'gauge', says });

/** What ingest counts of itself, by the counter's name; one that is not here is not shown, and the type says so when it is added. */
const described: Readonly<Record<keyof IngestCounters, Described>> = {
  payloads_accepted: counter('payloads_accepted', 'Requests acknowledged: their bytes are in the journal.'),
  payloads_by_kind: counter('payloads', 'Requests decoded, by signal, encoding and compression.'),
  bytes_received: counter('received_bytes', 'Bytes of requests as they came, compressed where they were.'),
  spans_received: counter('spans_decoded', 'Spans and log records decoded from requests.'),
  spans_accepted: counter('spans_accepted', 'Spans and log records acknowledged.'),
  spans_rejected: counter('spans_rejected', 'Spans rejected out of requests that were taken, by reason.'),
  spans_duplicate: counter('spans_duplicate', 'Spans dropped because they had come before.'),
  spans_processed: counter('spans_processed', 'Spans that have been through the detectors.'),
  spans_decoded_again: counter('spans_decoded_again', 'Spans decoded a second time, from the journal, after a crash or under load.'),
  measurements: counter('measurements', "Data points of stores' own metrics that bear on consistency; others are passed over."),
  operations: counter('operations', 'Operations that spans and log records gave.'),
  refused: counter('refused', 'Requests refused, by reason.'),
  journal_bytes_now: gauge('journal_bytes', 'Bytes in the journal.'),
  journal_max_bytes_now: gauge('journal_max_bytes', 'Bytes at which exporters are told to wait.'),
  lag_ms_now: gauge('lag_ms', 'Age of the oldest acknowledged request whose operations are not all through the detectors.'),
  backlog_payloads_now: gauge('backlog_payloads', 'Requests acknowledged and not yet processed.'),
};

const kindLabels = ['signal', 'encoding', 'compression'];

/** What is shown of ingest. */
export interface ShownIngest {
  readonly httpPort: number | null;
  readonly grpcPort: number | null;
  readonly asks: { readonly tls: boolean; readonly token: boolean };
  readonly counters: () => IngestCounters;
}

/** Prometheus text of ingest: where it listens, and its counters. Label values are ours: reasons, and kinds of request. */
export function renderIngest(ingest: ShownIngest): string {
  const counters = ingest.counters();
  const port = 'homeostat_ingest_port';
  const lines = [`# HELP ${port} Port that exporters are taken on, and what they have to bring.`, `# TYPE ${port} gauge`];
  const asks = `tls="${ingest.asks.tls}",token="${ingest.asks.token}"`;
  if (ingest.httpPort !== null) lines.push(`${port}{protocol="http",${asks}} ${ingest.httpPort}`);
  if (ingest.grpcPort !== null) lines.push(`${port}{protocol="grpc",${asks}} ${ingest.grpcPort}`);
  for (const [name, { metric, type, says }] of Object.entries(described)) {
    const value = counters[name as keyof IngestCounters];
    lines.push(`# HELP ${metric} ${says}`, `# TYPE ${metric} ${type}`);
    if (typeof value === 'number') lines.push(`${metric} ${value}`);
    else for (const [label, count] of Object.entries(value)) lines.push(`${metric}{${labelsOf(name, label)}} ${count}`);
  }
  return `${lines.join('\n')}\n`;
}

function labelsOf(name: string, label: string): string {
  if (name !== 'payloads_by_kind') return `reason="${label}"`;
  return label
    .split(' ')
    .map((word, i) => `${kindLabels[i] ?? 'kind'}="${word}"`)
    .join(',');
}
