import { createRng } from '../../src/base/rng.ts';
import { traceRequestType } from '../ingest/otlp-proto.ts';

/**
 * Export requests as a shop's services would send them: traces of a handful of spans (a request, statements, a message), with the
 * attributes that instrumentations set, some 400 bytes a span, every trace and span id new.
 */
export interface Load {
  /** One `ExportTraceServiceRequest`. */
  next(): Buffer;
}

export function createLoad(options: { readonly seed: number; readonly spansPerRequest: number }): Load {
  const rng = createRng(options.seed);
  let clockNs = 1_760_000_000_000_000_000n;
  const id = (length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    for (let i = 0; i < length; i += 4) bytes.writeUInt32LE(rng.int(0x1_0000_0000), i);
    bytes[0] = (bytes[0] ?? 0) | 1;
    return bytes;
  };
  const text = (key: string, value: string): object => ({ key, value: { stringValue: value } });
  const whole = (key: string, value: number): object => ({ key, value: { intValue: value } });
  const pad = (attributes: object[]): object[] => [
    ...attributes,
    text('thread.name', `worker-${rng.int(32)}`),
    whole('thread.id', rng.int(200)),
    text('code.namespace', 'com.example.shop.orders.OrderRepository'),
  ];

  const trace = (spans: object[]): void => {
    const traceId = id(16);
    const root = id(8);
    const at = (offsetUs: number): string => String(clockNs + BigInt(offsetUs) * 1000n);
    clockNs += 50_000n;
    const order = rng.int(1_000_000);
    spans.push({
      traceId,
      spanId: root,
      name: 'POST /orders/{id}',
      kind: 2,
      startTimeUnixNano: at(0),
      endTimeUnixNano: at(9000),
      attributes: pad([
        text('http.request.method', 'POST'),
        text('http.route', '/orders/{id}'),
        text('url.path', `/orders/${order}`),
        text('url.scheme', 'http'),
        whole('http.response.status_code', 200),
        text('server.address', 'shop.internal'),
        text('user_agent.original', 'okhttp/4.9.0'),
        text('network.protocol.version', '1.1'),
      ]),
    });
    for (let i = 0; i < 5; i += 1) {
      const isWrite = i % 2 === 1;
      spans.push({
        traceId,
        spanId: id(8),
        parentSpanId: root,
        name: isWrite ? 'UPDATE shop.orders' : 'SELECT shop.orders',
        kind: 3,
        startTimeUnixNano: at(1000 * (i + 1)),
        endTimeUnixNano: at(1000 * (i + 1) + 700),
        attributes: pad([
          text('db.system.name', 'postgresql'),
          text('db.namespace', 'shop'),
          text(
            'db.query.text',
            isWrite
              ? 'UPDATE orders SET status = $1, version = version + 1 WHERE id = $2 AND version = $3'
              : 'SELECT id, status, total, version FROM orders WHERE id = $1',
          ),
          text('server.address', `db-${rng.int(3)}.internal`),
          whole('server.port', 5432),
          text('consistency.object.type', 'order'),
          text('consistency.object.key', String(order)),
          whole('consistency.version', i),
        ]),
      });
    }
    spans.push({
      traceId,
      spanId: id(8),
      parentSpanId: root,
      name: 'send orders',
      kind: 4,
      startTimeUnixNano: at(7000),
      endTimeUnixNano: at(7400),
      attributes: pad([
        text('messaging.system', 'kafka'),
        text('messaging.operation.type', 'send'),
        text('messaging.destination.name', 'orders'),
        text('messaging.client.id', 'producer-1'),
        text('messaging.kafka.message.key', String(order)),
        whole('messaging.kafka.offset', rng.int(1_000_000)),
      ]),
    });
  };

  return {
    next: () => {
      const perService: object[] = [];
      let left = options.spansPerRequest;
      const services = Math.max(1, Math.min(4, Math.floor(left / 7)));
      for (let service = 0; service < services; service += 1) {
        const spans: object[] = [];
        const want = service === services - 1 ? left : Math.floor(options.spansPerRequest / services);
        while (spans.length < want) trace(spans);
        spans.length = want;
        left -= want;
        perService.push({
          resource: {
            attributes: [
              text('service.name', `shop-${service}`),
              text('service.instance.id', 'a1b2c3'),
              text('telemetry.sdk.language', 'java'),
              text('telemetry.sdk.version', '1.60.0'),
              text('host.name', 'node-17'),
            ],
          },
          scopeSpans: [{ scope: { name: 'io.opentelemetry.jdbc', version: '2.20.0' }, spans }],
        });
      }
      return Buffer.from(traceRequestType.encode(traceRequestType.fromObject({ resourceSpans: perService })).finish());
    },
  };
}
