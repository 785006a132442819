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
