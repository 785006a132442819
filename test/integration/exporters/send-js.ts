import { CompressionAlgorithm } from '@opentelemetry/otlp-exporter-base';
import { OTLPTraceExporter as GrpcExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtoExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';

/** Sends `count` spans with the real JavaScript SDK. */
export async function sendWithJavaScript(
  protocol: 'http-proto' | 'http-json' | 'grpc',
  endpoint: string,
  compression: 'gzip' | 'none',
  count: number,
): Promise<void> {
  const algorithm = compression === 'gzip' ? CompressionAlgorithm.GZIP : CompressionAlgorithm.NONE;
  const exporter =
    protocol === 'grpc'
      ? new GrpcExporter({ url: endpoint, compression: algorithm })
      : new (protocol === 'http-proto' ? ProtoExporter : JsonExporter)({ url: `${endpoint}/v1/traces`, compression: algorithm });
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'javascript-shop' }),
    spanProcessors: [new BatchSpanProcessor({ exporter, maxQueueSize: 10_000 })],
  });
  const tracer = provider.getTracer('exporters');
  for (let number = 0; number < count; number += 1) {
    const attributes = { 'db.system.name': 'postgresql', 'db.query.text': `INSERT INTO orders (id) VALUES (${number})` };
    tracer.startSpan('INSERT orders', { attributes }).end();
  }
  await provider.shutdown();
}
