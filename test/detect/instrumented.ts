import { expect } from 'vitest';
import { createDetection, type DetectionOptions } from '../../src/detect/run.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import type { Operation } from '../../src/domain/operation.ts';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { OperationReader } from '../../src/ingest/operation-from-span.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';

export const internal = 1;
export const server = 2;
export const client = 3;
export const producer = 4;
export const consumer = 5;

type Value = string | number | boolean | readonly string[];

/** One span as an instrumentation exports it, written short: names for ids, milliseconds for times. */
export interface Span {
  readonly id: string;
  readonly parent?: string;
  readonly trace?: string;
  readonly service: string;
  readonly name: string;
  readonly kind: number;
  readonly at: number;
  readonly lasts?: number;
  readonly attributes?: Readonly<Record<string, Value>>;
  readonly links?: readonly (readonly [trace: string, span: string])[];
  /** Status error; with an exception event where given. */
  readonly error?: { readonly type?: string; readonly message?: string } | true;
}

/** What a service's SDK says of itself on every export. */
export type Resources = Readonly<Record<string, Readonly<Record<string, Value>>>>;

const epochMs = 1_767_600_000_000;

export function operationsOf(spans: readonly Span[], resources: Resources = {}): readonly Operation[] {
  const batch = new SpanBatch();
  const decoder = new JsonDecoder();
  const document = {
    resourceSpans: [...Map.groupBy(spans, (span) => span.service)].map(([service, own]) => ({
      resource: { attributes: attributesOf({ 'service.name': service, ...resources[service] }) },
      scopeSpans: [{ scope: { name: 'test' }, spans: own.map(otlpSpan) }],
    })),
  };
  const decoded = decoder.decode(document, batch);
  if (decoded.is !== 'decoded') throw new Error(decoded.what);
  return new OperationReader().read(batch);
}

export function findingsOf(spans: readonly Span[], resources: Resources = {}, options: DetectionOptions = {}): readonly Anomaly[] {
  const detection = createDetection(options);
  detection.add(operationsOf(spans, resources));
  return detection.finish();
}

/** `kind/grade`, sorted. */
export function kindsOf(anomalies: readonly Anomaly[]): readonly string[] {
  return anomalies.map(({ kind, grade }) => `${kind}/${grade}`).toSorted((a, b) => (a < b ? -1 : 1));
}

function otlpSpan(span: Span): object {
  const startMs = epochMs + span.at;
  const error = span.error === true ? {} : span.error;
  return {
    traceId: hexOf(span.trace ?? 't', 32),
    spanId: hexOf(span.id, 16),
    parentSpanId: span.parent === undefined ? '' : hexOf(span.parent, 16),
    name: span.name,
    kind: span.kind,
    startTimeUnixNano: nanos(startMs),
    endTimeUnixNano: nanos(startMs + (span.lasts ?? 2)),
    attributes: attributesOf(span.attributes ?? {}),
    links: (span.links ?? []).map(([trace, id]) => ({ traceId: hexOf(trace, 32), spanId: hexOf(id, 16) })),
    events:
      error === undefined || (error.type === undefined && error.message === undefined)
        ? []
        : [
            {
              name: 'exception',
              timeUnixNano: nanos(startMs + (span.lasts ?? 2)),
              attributes: attributesOf({
                ...(error.type === undefined ? {} : { 'exception.type': error.type }),
                ...(error.message === undefined ? {} : { 'exception.message': error.message }),
              }),
            },
          ],
    status: span.error === undefined ? {} : { code: 2, ...(error?.message === undefined ? {} : { message: error.message }) },
  };
}

function nanos(ms: number): string {
  return `${Math.round(ms * 1000)}000`;
}

function attributesOf(values: Readonly<Record<string, Value>>): readonly object[] {
  return Object.entries(values).map(([key, value]) => ({ key, value: valueOf(value) }));
}

function valueOf(value: Value): object {
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'number') return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
  return { arrayValue: { values: value.map((item) => ({ stringValue: item })) } };
}

function hexOf(name: string, digits: number): string {
  return Buffer.from(name, 'utf8').toString('hex').padStart(digits, '0').slice(-digits);
}

export const java: Resources = { orders: { 'telemetry.sdk.language': 'java' }, billing: { 'telemetry.sdk.language': 'java' } };
export const python: Resources = { orders: { 'telemetry.sdk.language': 'python' }, billing: { 'telemetry.sdk.language': 'python' } };
export const go: Resources = { orders: { 'telemetry.sdk.language': 'go' }, billing: { 'telemetry.sdk.language': 'go' } };
export const dotnet: Resources = { orders: { 'telemetry.sdk.language': 'dotnet' }, billing: { 'telemetry.sdk.language': 'dotnet' } };
export const node: Resources = { orders: { 'telemetry.sdk.language': 'nodejs' }, billing: { 'telemetry.sdk.language': 'nodejs' } };

export const serve = (more: Partial<Span> = {}): Span => ({
  id: 'root',
  service: 'orders',
  name: 'POST /orders',
  kind: server,
  at: 0,
  lasts: 100,
  attributes: { 'http.request.method': 'POST', 'http.route': '/orders', 'http.response.status_code': more.error === undefined ? 201 : 500 },
  ...more,
});

/** OpenTelemetry Java agent, JDBC. */
export const jdbc = (id: string, at: number, sql: string, more: Partial<Span> = {}): Span => ({
  id,
  parent: 'root',
  service: 'orders',
  name: `${sql.split(' ')[0]?.toUpperCase()} shop`,
  kind: client,
  at,
  attributes: {
    'db.system': 'postgresql',
    'db.name': 'shop',
    'db.user': 'app',
    'db.connection_string': 'postgresql://db:5432',
    'db.statement': sql,
    'db.operation': sql.split(' ')[0] ?? '',
    'server.address': 'db',
    'server.port': 5432,
    'thread.id': 41,
  },
  ...more,
});

export const kafkaSend = (id: string, at: number, more: Partial<Span> = {}): Span => ({
  id,
  parent: 'root',
  service: 'orders',
  name: 'order-placed publish',
  kind: producer,
  at,
  attributes: {
    'messaging.system': 'kafka',
    'messaging.destination.name': 'order-placed',
    'messaging.operation': 'publish',
    'messaging.client_id': 'producer-1',
    'messaging.kafka.destination.partition': 0,
    'messaging.kafka.message.offset': 17,
  },
  ...more,
});

export const kafkaProcess = (id: string, at: number, more: Partial<Span> = {}): Span => ({
  id,
  service: 'billing',
  name: 'order-placed process',
  kind: consumer,
  at,
  lasts: 20,
  attributes: {
    'messaging.system': 'kafka',
    'messaging.destination.name': 'order-placed',
    'messaging.operation': 'process',
    'messaging.kafka.consumer.group': 'billing',
    'messaging.kafka.destination.partition': 0,
    'messaging.kafka.message.offset': 17,
  },
  ...more,
});

/** Its name, its spans, the services' resources, and the findings that it must give as `kind/grade`. */
export type InstrumentedCase = readonly [string, readonly Span[], Resources, readonly string[]];

export function expectKinds(spans: readonly Span[], resources: Resources, expected: readonly string[]): void {
  const found = findingsOf(spans, resources);
  expect(kindsOf(found), found.map((finding) => finding.title).join('\n')).toEqual(expected.toSorted((a, b) => (a < b ? -1 : 1)));
}
