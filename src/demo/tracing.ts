import { createRequire } from 'node:module';
import { type Attributes, type Context, context, createContextKey, type Span, type Tracer, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { PgInstrumentation } from '@opentelemetry/instrumentation-pg';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace';
import type pg from 'pg';

/** What a query's span says about the object that it touches: the optional `consistency.*` attributes. */
export interface QueryFacts {
  readonly objectType: string;
  readonly objectKey: string;
  readonly operation: 'read' | 'write';
  readonly replica: string;
  readonly session?: string | undefined;
  readonly transaction?: string | undefined;
  /** From the rows that came back; undefined where none did. */
  readonly version?: (rows: readonly Readonly<Record<string, unknown>>[]) => number | undefined;
  /** A short digest of the row that a write left, in the shop's own way; the same wherever the same row is. */
  readonly digest?: (rows: readonly Readonly<Record<string, unknown>>[]) => string | undefined;
  /** The version that a write was derived from; '' where the object did not exist. A function where only the database knows it. */
  readonly base?: number | '' | ((rows: readonly Readonly<Record<string, unknown>>[]) => number | undefined);
}

export interface Tracing {
  readonly tracer: Tracer;
  /** The `pg` module with the OpenTelemetry instrumentation in it. */
  readonly pg: typeof pg;
  close(): Promise<void>;
}

const attributesKey = createContextKey('query attributes');
const factsKey = createContextKey('query facts');
const retryEveryMs = 500;
/** Spans are held for as long as a restart of the receiver can take; a Collector would do the same from its disk. */
const giveUpAfterMs = 180_000;

/** Starts the OpenTelemetry SDK as any Node service would, and only then loads `pg`. */
export function startTracing(name: string, otlpUrl: string): Tracing {
  const ofSpan = new WeakMap<Span, QueryFacts>();
  const exporter = new PatientExporter(new OTLPTraceExporter({ url: `${otlpUrl}/v1/traces`, timeoutMillis: 10_000 }));
  const sdk = new NodeSDK({
    autoDetectResources: false,
    resource: resourceFromAttributes({ 'service.name': name, 'service.version': '1.0.0', 'deployment.environment.name': 'demo' }),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter,
        scheduledDelayMillis: 250,
        maxQueueSize: 100_000,
        maxExportBatchSize: 512,
        exportTimeoutMillis: giveUpAfterMs,
      }),
    ],
    metricReaders: [],
    logRecordProcessors: [],
    instrumentations: [
      new PgInstrumentation({
        // Polling loops run outside of any request: a span a poll would drown the traces that mean something.
        requireParentSpan: true,
        ignoreConnectSpans: true,
        requestHook: (span) => {
          const facts = context.active().getValue(factsKey) as QueryFacts | undefined;
          if (facts !== undefined) ofSpan.set(span, facts);
          const attributes = context.active().getValue(attributesKey) as Attributes | undefined;
          if (attributes !== undefined) span.setAttributes(attributes);
        },
        responseHook: (span, { data }) => {
          const facts = ofSpan.get(span);
          // An update that matched nothing wrote nothing: it must not claim a version.
          if (facts !== undefined && (facts.operation === 'read' || (data.rowCount ?? 0) > 0))
            span.setAttributes(factAttributes(facts, data.rows as Record<string, unknown>[]));
        },
      }),
    ],
  });
  sdk.start();
  return {
    tracer: trace.getTracer('shop', '1.0.0'),
    // The instrumentation patches what `require` loads from now on.
    pg: createRequire(import.meta.url)('pg') as typeof pg,
    close: () => sdk.shutdown(),
  };
}

/** Runs queries whose spans shall carry `facts`. */
export function withFacts<T>(facts: QueryFacts, run: () => Promise<T>): Promise<T> {
  const inner: Context = context.active().setValue(factsKey, facts);
  return context.with(inner, run);
}

/** Runs queries whose spans shall carry `attributes`. */
export function withAttributes<T>(attributes: Attributes, run: () => Promise<T>): Promise<T> {
  return context.with(context.active().setValue(attributesKey, attributes), run);
}

function factAttributes(facts: QueryFacts, rows: readonly Readonly<Record<string, unknown>>[]): Record<string, string | number> {
  const version = facts.version?.(rows);
  const base = typeof facts.base === 'function' ? facts.base(rows) : facts.base;
  const digest = facts.digest?.(rows);
  return {
    'consistency.object.type': facts.objectType,
    'consistency.object.key': facts.objectKey,
    'consistency.operation': facts.operation,
    'consistency.replica.id': facts.replica,
    ...(version === undefined ? {} : { 'consistency.version': version }),
    ...(base === undefined ? {} : { 'consistency.version.base': base }),
    ...(digest === undefined ? {} : { 'consistency.value.digest': digest }),
    ...(facts.session === undefined ? {} : { 'consistency.session.id': facts.session }),
    ...(facts.transaction === undefined ? {} : { 'consistency.transaction.id': facts.transaction }),
  };
}

type ExportDone = Parameters<SpanExporter['export']>[1];

/** Tries a batch again until the receiver takes it: a receiver that restarts must not cost evidence. */
class PatientExporter implements SpanExporter {
  readonly #inner: SpanExporter;
  #closing = false;

  constructor(inner: SpanExporter) {
    this.#inner = inner;
  }

  export(spans: ReadableSpan[], done: ExportDone): void {
    const deadline = performance.now() + giveUpAfterMs;
    const attempt = (): void => {
      this.#inner.export(spans, (result) => {
        if (result.code === 0 || this.#closing || performance.now() > deadline) done(result);
        else setTimeout(attempt, retryEveryMs);
      });
    };
    attempt();
  }

  async forceFlush(): Promise<void> {
    await this.#inner.forceFlush?.();
  }

  async shutdown(): Promise<void> {
    this.#closing = true;
    await this.#inner.shutdown();
  }
}
