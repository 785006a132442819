import { context, trace, TraceFlags } from '@opentelemetry/api';
import { OTLPLogExporter as GrpcLogs } from '@opentelemetry/exporter-logs-otlp-grpc';
import { OTLPLogExporter as JsonLogs } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as ProtoLogs } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPMetricExporter as GrpcMetrics } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { OTLPMetricExporter as JsonMetrics } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as ProtoMetrics } from '@opentelemetry/exporter-metrics-otlp-proto';
import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchLogRecordProcessor, LoggerProvider, type LogRecordExporter } from '@opentelemetry/sdk-logs';
import { MeterProvider, PeriodicExportingMetricReader, type PushMetricExporter } from '@opentelemetry/sdk-metrics';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import type { Measurement } from '../../../src/domain/measurement.ts';
import type { Operation } from '../../../src/domain/operation.ts';
import { openMemoryJournal } from '../../../src/io/journal/memory.ts';
import { startIngest } from '../../../src/runtime/ingest-loop.ts';

/** The real exporters of logs and metrics: what is sent is what comes out. */
interface Exporters {
  readonly name: string;
  readonly logs: (http: string, grpc: string, compression: CompressionAlgorithm) => LogRecordExporter;
  readonly metrics: (http: string, grpc: string, compression: CompressionAlgorithm) => PushMetricExporter;
}
const exporters: readonly Exporters[] = [
  {
    name: 'http/protobuf',
    logs: (http, _, compression) => new ProtoLogs({ url: `${http}/v1/logs`, compression }),
    metrics: (http, _, compression) => new ProtoMetrics({ url: `${http}/v1/metrics`, compression }),
  },
  {
    name: 'http/json',
    logs: (http, _, compression) => new JsonLogs({ url: `${http}/v1/logs`, compression }),
    metrics: (http, _, compression) => new JsonMetrics({ url: `${http}/v1/metrics`, compression }),
  },
  {
    name: 'grpc',
    logs: (_, grpc, compression) => new GrpcLogs({ url: grpc, compression }),
    metrics: (_, grpc, compression) => new GrpcMetrics({ url: grpc, compression }),
  },
];
const cases = exporters.flatMap((one) =>
  [CompressionAlgorithm.NONE, CompressionAlgorithm.GZIP].map((compression) => ({ ...one, compression })),
);
const count = 700;

describe.each(cases)('OpenTelemetry JS, $name, compression $compression', ({ logs, metrics, compression }) => {
  test('every log record and every number of a known metric comes out', async () => {
    const operations: Operation[] = [];
    const measurements: Measurement[] = [];
    const ingest = await startIngest({
      host: '127.0.0.1',
      httpPort: 0,
      grpcPort: 0,
      journal: openMemoryJournal(),
      clock: systemClock,
      logKeys: [{ pattern: 'order (?<key>\\d+) shipped', collection: 'order', operation: 'write' }],
      onOperations: (more) => void operations.push(...more),
      onMeasurements: (more) => void measurements.push(...more),
      onFailure: (error) => {
        throw error;
      },
    });
    const [http, grpc] = [`http://127.0.0.1:${ingest.httpPort}`, `http://127.0.0.1:${ingest.grpcPort}`];
    const resource = resourceFromAttributes({ 'service.name': 'shop', 'server.address': 'db-eu' });

    const loggers = new LoggerProvider({
      resource,
      processors: [new BatchLogRecordProcessor({ exporter: logs(http, grpc, compression), maxQueueSize: 10_000 })],
    });
    const logger = loggers.getLogger('test');
    const span = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: TraceFlags.SAMPLED };
    const within = trace.setSpanContext(context.active(), span);
    for (let i = 0; i < count; i += 1) {
      logger.emit({ body: `order ${i} shipped`, context: within });
      logger.emit({ body: 'nothing of note', context: within });
    }
    await loggers.shutdown();

    const meters = new MeterProvider({
      resource,
      readers: [new PeriodicExportingMetricReader({ exporter: metrics(http, grpc, compression), exportIntervalMillis: 3_600_000 })],
    });
    const meter = meters.getMeter('test');
    const lag = meter.createGauge('postgresql.wal.lag', { unit: 's' });
    for (let i = 0; i < 50; i += 1) lag.record(i, { operation: 'replay', replication_client: `standby-${i}` });
    meter.createCounter('postgresql.deadlocks').add(3);
    meter.createHistogram('http.server.request.duration').record(1);
    await meters.shutdown();

    await ingest.idle();
    await ingest.close();
    expect(operations.map(({ facts, traceId, service }) => [facts?.objectKey, traceId, service])).toEqual(
      Array.from({ length: count }, (_, i) => [String(i), span.traceId, 'shop']),
    );
    const lags = measurements.filter(({ kind }) => kind === 'replication-lag-ms');
    expect(lags.map(({ subject, value, instance }) => [subject, value, instance])).toEqual(
      Array.from({ length: 50 }, (_, i) => [`standby-${i}`, i * 1000, 'db-eu']),
    );
    expect(measurements.filter(({ kind }) => kind === 'deadlocks')).toMatchObject([{ value: 3, isCumulative: true }]);
    expect(ingest.counters()).toMatchObject({ refused: {}, spans_accepted: count, measurements: 51 });
  });
});
