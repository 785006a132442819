import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base';
import { OTLPTraceExporter as GrpcExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtobufExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, type SpanExporter, TracerProvider } from '@opentelemetry/sdk-trace';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import type { Operation } from '../../../src/domain/operation.ts';
import { openMemoryJournal } from '../../../src/io/journal/memory.ts';
import { startIngest } from '../../../src/runtime/ingest-loop.ts';

/** The exporters that services really use: what the SDK says it sent is what comes out, span for span. */
describe('exporters of OpenTelemetry JS', () => {
  const compressions = [CompressionAlgorithm.NONE, CompressionAlgorithm.GZIP];
  const exporters: readonly [string, (http: string, grpc: string, compression: CompressionAlgorithm) => SpanExporter][] = [
    ['http/protobuf', (http, _, compression) => new ProtobufExporter({ url: `${http}/v1/traces`, compression })],
    ['http/json', (http, _, compression) => new JsonExporter({ url: `${http}/v1/traces`, compression })],
    ['grpc', (_, grpc, compression) => new GrpcExporter({ url: grpc, compression })],
  ];
  const cases = exporters.flatMap(([name, create]) => compressions.map((compression) => [name, compression, create] as const));

  test.each(cases)('%s, compression %s', async (_, compression, create) => {
    const seen: Operation[] = [];
    const ingest = await startIngest({
      host: '127.0.0.1',
      httpPort: 0,
      grpcPort: 0,
      journal: openMemoryJournal(),
      clock: systemClock,
      onOperations: (more) => void seen.push(...more),
      onFailure: () => undefined,
    });
    const exporter = create(`http://127.0.0.1:${ingest.httpPort}`, `http://127.0.0.1:${ingest.grpcPort}`, compression);
    const provider = new TracerProvider({
      resource: resourceFromAttributes({ 'service.name': 'shop' }),
      spanProcessors: [new BatchSpanProcessor({ exporter, maxQueueSize: 10_000 })],
    });
    const tracer = provider.getTracer('test');
    const sent: string[] = [];
    for (let i = 0; i < 500; i += 1) {
      const span = tracer.startSpan('INSERT orders', {
        kind: 2,
        attributes: {
          'db.system.name': 'postgresql',
          'db.query.text': 'INSERT INTO orders (id, total) VALUES ($1, $2)',
          'consistency.object.type': 'order',
          'consistency.object.key': `o-${i}`,
          'consistency.version': i,
        },
      });
      span.addEvent('consistency.operation', { 'consistency.operation': 'append', 'consistency.object.key': `line-${i}` });
      if (i % 10 === 0) {
        span.recordException(Object.assign(new Error('could not serialize access due to concurrent update'), { name: 'DatabaseError' }));
        span.setStatus({ code: 2, message: 'failed' });
      }
      sent.push(span.spanContext().spanId);
      span.end();
    }
    await provider.forceFlush();
    await provider.shutdown();
    await ingest.idle();
    await ingest.close();
    expect(seen.filter((operation) => operation.index === 0).map((operation) => operation.spanId)).toEqual(sent);
    expect(seen).toHaveLength(1000);
    expect(seen[20]).toMatchObject({
      kind: 'write',
      service: 'shop',
      spanKind: 3,
      target: 'orders',
      failed: true,
      sqlState: '40001',
      facts: { objectType: 'order', objectKey: 'o-10', version: 10n, transactionOutcome: 'aborted' },
    });
    expect(seen[21]).toMatchObject({ kind: 'append', index: 1, facts: { objectKey: 'line-10', version: undefined } });
    expect(ingest.counters()).toMatchObject({ spans_accepted: 500, spans_processed: 500, refused: {} });
  });
});
