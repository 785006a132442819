/** What comes in: a sentence, the path of the bytes with totals and rates, what was refused and why, and what stores say of themselves. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { MeasuredState } from '../../io/store/measurements.ts';
import { read } from './api.ts';
import { Empty, ExporterVariables } from './empty.tsx';
import { type Figures, parseMetrics, prefix } from './figures.ts';
import { Ago, Panel, Problem, Tag, Waiting } from './parts.tsx';
import { count, number, span } from './words.ts';

interface Seen {
  readonly atMs: number;
  readonly figures: Figures;
  /** A second, over the time since the page looked before; empty at first sight. */
  readonly rates: Figures;
}

const everyMs = 2_000;

export function IngestPage(): JSX.Element {
  const [seen, setSeen] = useState<Seen | undefined>();
  const [measured, setMeasured] = useState<readonly MeasuredState[]>([]);
  const [error, setError] = useState<string | null>(null);
  const last = useRef<Seen | undefined>(undefined);
  useEffect(() => {
    let isOver = false;
    const load = async (): Promise<void> => {
      try {
        const response = await fetch('/metrics');
        if (!response.ok) throw new Error(`the metrics cannot be read (${response.status})`);
        const figures = parseMetrics(await response.text());
        const answer = await read<{ readonly items: readonly MeasuredState[] }>('/api/v1/measurements');
        if (isOver) return;
        const atMs = performance.now();
        const before = last.current;
        const rates = new Map<string, number>();
        if (before !== undefined)
          for (const [name, value] of figures) rates.set(name, ((value - (before.figures.get(name) ?? 0)) / (atMs - before.atMs)) * 1000);
        last.current = { atMs, figures, rates };
        setSeen(last.current);
        setMeasured(answer.items);
        setError(null);
      } catch (failure) {
        setError(failure instanceof Error ? failure.message : String(failure));
      }
    };
    void load();
    const timer = setInterval(() => void load(), everyMs);
    return () => {
      isOver = true;
      clearInterval(timer);
    };
  }, []);
  if (seen === undefined) return error === null ? <Waiting what="metrics" /> : <Problem error={{ message: error }} />;
  const { figures } = seen;
  return (
    <div class="wide">
      {error === null ? null : <Problem error={{ message: error }} />}
      {figures.has(`${prefix}spans_accepted_total`) ? <Intake seen={seen} /> : <Elsewhere />}
      <Measured items={measured} />
    </div>
  );
}

function Elsewhere(): JSX.Element {
  return (
    <Empty title="Operations come in elsewhere">
      <p>
        This process serves the page; another, started with `--role ingest`, takes what exporters send and counts it in its own /metrics.
      </p>
    </Empty>
  );
}

/** Steps that bytes go through, in order. */
const steps: readonly (readonly [string, string])[] = [
  ['received_bytes', 'bytes received'],
  ['payloads_accepted', 'requests acknowledged, durable in the journal'],
  ['spans_decoded', 'spans and log records decoded'],
  ['spans_accepted', 'spans and log records acknowledged'],
  ['spans_duplicate', 'duplicates dropped'],
  ['spans_processed', 'through the detectors'],
  ['operations', 'operations that they gave'],
  ['measurements', "numbers of stores' own metrics"],
  ['spans_decoded_again', 'decoded again from the journal'],
];

function Intake({ seen: { figures, rates } }: { readonly seen: Seen }): JSX.Element {
  const total = (name: string): number => figures.get(`${prefix}${name}_total`) ?? 0;
  const isQuiet = total('payloads_accepted') === 0;
  const lagMs = figures.get(`${prefix}lag_ms`) ?? 0;
  const journal = figures.get(`${prefix}journal_bytes`) ?? 0;
  const journalMax = figures.get(`${prefix}journal_max_bytes`) ?? 0;
  const refusals = [...labelled(figures, 'refused_total'), ...labelled(figures, 'spans_rejected_total')];
  const rate = rates.get(`${prefix}spans_accepted_total`);
  return (
    <>
      {isQuiet ? (
        <Empty title="No span has come in yet">
          <p>
            Point any OpenTelemetry exporter here. The first trace shows within seconds, the first finding as soon as there is one to make:
          </p>
          <ExporterVariables />
        </Empty>
      ) : (
        <p class="lead">
          {rate === undefined ? 'Counting' : `${rateWords('', rate)} spans a second`}; {count(total('spans_accepted'), 'span')} since this
          process started, {lagMs < 2_000 ? 'all processed' : `the oldest that is not yet processed came ${span(lagMs)} ago`}.{' '}
          {refusals.length === 0
            ? 'Nothing was refused.'
            : `${number(refusals.reduce((sum, { value }) => sum + value, 0))} were refused, for the reasons below.`}
        </p>
      )}
      {isQuiet && refusals.length === 0 ? null : (
        <Panel
          title="From exporter to detectors"
          aside={
            <>
              journal {bytes(journal)} of {bytes(journalMax)} · <a href="/metrics">all metrics</a>
            </>
          }
        >
          <div class="diff-scroll">
            <table class="grid">
              <thead>
                <tr>
                  <th scope="col">step</th>
                  <th scope="col" class="right">
                    since the start
                  </th>
                  <th scope="col" class="right">
                    a second
                  </th>
                </tr>
              </thead>
              <tbody>
                {steps.map(([name, words]) => (
                  <tr key={name}>
                    <th scope="row">{words}</th>
                    <td class="num">{name === 'received_bytes' ? bytes(total(name)) : number(total(name))}</td>
                    <td class="num">{rateWords(name, rates.get(`${prefix}${name}_total`))}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </Panel>
      )}
      {refusals.length === 0 ? null : <Refusals items={refusals} rates={rates} />}
      {isQuiet ? null : <Kinds figures={figures} />}
    </>
  );
}

interface Labelled {
  readonly name: string;
  readonly label: string;
  readonly value: number;
}

/** Why something is refused, and what its sender has to change. */
const reasons: Readonly<Record<string, string>> = {
  path: 'the path is not /v1/traces, /v1/logs or /v1/metrics, or the gRPC method is unknown: look at the endpoint',
  method: 'not a POST: look at who asks',
  'media-type': 'neither protobuf nor JSON: set OTEL_EXPORTER_OTLP_PROTOCOL',
  'content-encoding': 'a compression other than gzip: set OTEL_EXPORTER_OTLP_COMPRESSION to gzip or none',
  'too-large': 'larger than ingest.maxBodyMb allows: export smaller batches',
  malformed: 'not what it says it is: the exporter or a proxy damages it',
  busy: 'told to come back: more came than is processed; nothing is lost where the exporter tries again',
  token: 'the bearer token is missing or wrong: set OTEL_EXPORTER_OTLP_HEADERS',
  failed: 'the journal could not be written: look at the disk',
  slow: 'the body did not come in time',
  protocol: 'another protocol than the port speaks: 4318 is HTTP, 4317 is gRPC, and TLS only where ingest.tls is set',
  'bad-trace-id': 'spans whose trace id is not 16 bytes, or zero',
  'bad-span-id': 'spans whose span id is not 8 bytes, or zero',
};

function Refusals({ items, rates }: { readonly items: readonly Labelled[]; readonly rates: Figures }): JSX.Element {
  return (
    <Panel title="Refused">
      <table class="grid">
        <thead>
          <tr>
            <th scope="col">why</th>
            <th scope="col" class="right">
              since the start
            </th>
            <th scope="col" class="right">
              a second
            </th>
          </tr>
        </thead>
        <tbody>
          {items.map(({ name, label, value }) => (
            <tr key={name}>
              <th scope="row">
                <Tag tone={label === 'busy' ? 'waiting' : 'neutral'}>{label}</Tag> <span class="muted">{reasons[label] ?? ''}</span>
              </th>
              <td class="num">{number(value)}</td>
              <td class="num">{rateWords(label, rates.get(name))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}

function Kinds({ figures }: { readonly figures: Figures }): JSX.Element {
  const kinds = [...figures].flatMap(([name, value]) => {
    const match = /^homeostat_ingest_payloads_total\{signal="(\w+)",encoding="(\w+)",compression="(\w+)"\}$/.exec(name);
    return match === null ? [] : [{ name, signal: match[1] ?? '', encoding: match[2] ?? '', compression: match[3] ?? '', value }];
  });
  return (
    <Panel title="What exporters send">
      <table class="grid">
        <thead>
          <tr>
            <th scope="col">signal</th>
            <th scope="col">encoding</th>
            <th scope="col">compression</th>
            <th scope="col" class="right">
              requests
            </th>
          </tr>
        </thead>
        <tbody>
          {kinds.map((kind) => (
            <tr key={kind.name}>
              <th scope="row">{kind.signal}</th>
              <td>{kind.encoding}</td>
              <td>{kind.compression}</td>
              <td class="num">{number(kind.value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}

const kindWords: Readonly<Record<MeasuredState['kind'], readonly [string, (value: number) => string]>> = {
  'replication-lag-ms': ['replica is behind', span],
  'replication-lag-bytes': ['replica is behind', bytes],
  'consumer-lag': ['messages to take', number],
  'lock-waits': ['waits for locks', number],
  'lock-wait-ms': ['waited for locks', span],
  deadlocks: ['deadlocks', number],
};

function Measured({ items }: { readonly items: readonly MeasuredState[] }): JSX.Element {
  const nowMs = Date.now();
  return (
    <Panel title="What stores say of themselves">
      {items.length === 0 ? (
        <p class="muted">
          Nothing yet. Send the metrics of the Collector’s postgresql, mysql, kafkametrics, rabbitmq or mongodb receivers to the same
          endpoint: replication lag then explains stale reads, and lock waits go into the forecasts. Other metrics are passed over.
        </p>
      ) : (
        <div class="diff-scroll">
          <table class="grid">
            <thead>
              <tr>
                <th scope="col">what</th>
                <th scope="col">of</th>
                <th scope="col" class="right">
                  now
                </th>
                <th scope="col" class="right">
                  usually
                </th>
                <th scope="col" class="right">
                  highest
                </th>
                <th scope="col">measured</th>
              </tr>
            </thead>
            <tbody>
              {items.map((item) => {
                const [what, words] = kindWords[item.kind];
                return (
                  <tr key={`${item.metric} ${item.kind} ${item.instance} ${item.subject}`}>
                    <th scope="row" title={item.metric}>
                      {what}
                    </th>
                    <td>
                      {item.replica || item.subject || item.instance || item.system}{' '}
                      <span class="muted">
                        {item.system}
                        {item.instance !== '' && (item.replica !== '' || item.subject !== '') ? ` on ${item.instance}` : ''}
                      </span>
                    </td>
                    <td class="num">{words(item.value)}</td>
                    <td class="num">{words(item.usual)}</td>
                    <td class="num">{words(item.highest)}</td>
                    <td>
                      <Ago ms={item.atMs} nowMs={nowMs} />
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </Panel>
  );
}

function labelled(figures: Figures, metric: string): readonly Labelled[] {
  return [...figures].flatMap(([name, value]) => {
    const match = name.startsWith(`${prefix}${metric}{`) ? /reason="([\w-]+)"/.exec(name) : null;
    return match === null || value === 0 ? [] : [{ name, label: match[1] ?? '', value }];
  });
}

function rateWords(name: string, rate: number | undefined): string {
  if (rate === undefined) return '';
  if (name === 'received_bytes') return bytes(rate);
  return number(rate, rate > 0 && rate < 10 ? 1 : 0);
}

function bytes(value: number): string {
  if (value < 1024) return `${Math.round(value)} B`;
  if (value < 1024 ** 2) return `${number(value / 1024, 1)} kB`;
  if (value < 1024 ** 3) return `${number(value / 1024 ** 2, 1)} MB`;
  return `${number(value / 1024 ** 3, 1)} GB`;
}
