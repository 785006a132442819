import { createRng } from '../../src/base/rng.ts';
import { traceRequestType } from '../ingest/otlp-proto.ts';

/**
 * Export requests as a shop's services would send them: traces of a request, four statements and a message, with the attributes that
 * instrumentations set, some 400 bytes a span. A template is encoded once; `fresh` then writes new trace and span ids, object keys and
 * times into it in place, so that a generator costs little beside the server that it loads and no two spans are the same.
 */
export interface Template {
  readonly bytes: Buffer;
  readonly spans: number;
  /** The same bytes with ids, keys and times of another moment, `agoMs` before now. The buffer is used again by the next call. */
  fresh(agoMs?: number): Buffer;
  /** The same for a moment given as milliseconds since 1970. */
  freshAt(atMs: number): Buffer;
}

export interface Load {
  /** One `ExportTraceServiceRequest`. */
  next(): Buffer;
  template(): Template;
}

/** Object keys are this and eight hexadecimal digits; nothing else in a request begins like it. */
const marker = 'order~';
const spansPerTrace = 6;
const baseNs = 1_760_000_000_000_000_000n;

/** `spansPerSecond`: of event time, 120,000 unless it says otherwise. */
export function createLoad(options: { readonly seed: number; readonly spansPerRequest: number; readonly spansPerSecond?: number }): Load {
  const rng = createRng(options.seed);
  const stepNs = BigInt(Math.round((spansPerTrace * 1e9) / (options.spansPerSecond ?? 120_000)));
  let clockNs = baseNs;
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
    text('code.function.name', 'com.example.shop.orders.OrderRepository.save'),
  ];

  /** POST /orders: read the order, check the stock, update it with a version predicate, write the outbox row; a relay sends the message. */
  const trace = (spans: object[]): void => {
    const traceId = id(16);
    const root = id(8);
    const at = (offsetUs: number): string => String(clockNs + BigInt(offsetUs) * 1000n);
    clockNs += stepNs;
    const order = `${marker}${rng.int(0x1_0000_0000).toString(16).padStart(8, '0')}`;
    const version = rng.int(1000);
    const statement = (index: number, verb: string, table: string, query: string, facts: object[]): object => ({
      traceId,
      spanId: id(8),
      parentSpanId: root,
      name: `${verb} shop.${table}`,
      kind: 3,
      startTimeUnixNano: at(1000 * (index + 1)),
      endTimeUnixNano: at(1000 * (index + 1) + 700),
      attributes: pad([
        text('db.system.name', 'postgresql'),
        text('db.namespace', 'shop'),
        text('db.query.text', query),
        text('server.address', 'db-1.internal'),
        whole('server.port', 5432),
        ...facts,
      ]),
    });
    const object = [text('consistency.object.type', 'order'), text('consistency.object.key', order)];
    spans.push(
      {
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
      },
      statement(0, 'SELECT', 'orders', 'SELECT id, status, total, version FROM orders WHERE id = $1', [
        ...object,
        text('consistency.operation', 'read'),
        whole('consistency.version', version),
      ]),
      statement(1, 'SELECT', 'stock', 'SELECT sku, quantity FROM stock WHERE sku = ANY($1) AND warehouse = $2', []),
      statement(2, 'UPDATE', 'orders', 'UPDATE orders SET status = $1, version = version + 1 WHERE id = $2 AND version = $3', [
        ...object,
        text('consistency.operation', 'write'),
        whole('consistency.version', version + 1),
        whole('consistency.version.base', version),
      ]),
      statement(3, 'INSERT', 'outbox', 'INSERT INTO outbox (id, topic, payload) VALUES ($1, $2, $3)', []),
      {
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
          text('messaging.kafka.message.key', order),
          text('messaging.message.id', order),
          whole('messaging.kafka.offset', rng.int(1_000_000)),
        ]),
      },
    );
  };

  const next = (): Buffer => {
    const perService: object[] = [];
    let left = options.spansPerRequest;
    const services = Math.max(1, Math.min(4, Math.floor(left / 6)));
    for (let service = 0; service < services; service += 1) {
      const spans: object[] = [];
      const want = service === services - 1 ? left : Math.floor(options.spansPerRequest / services / 6) * 6;
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
  };
  return { next, template: () => templateOf(next(), options.spansPerRequest) };
}

/** Moments are shared by all templates: no id comes twice. */
let moment = 0;

function templateOf(bytes: Buffer, spans: number): Template {
  const ids: number[] = [];
  const times: number[] = [];
  walk(bytes, 0, bytes.length, 0, ids, times);
  const keys: number[] = [];
  for (let at = bytes.indexOf(marker); at >= 0; at = bytes.indexOf(marker, at + 1)) keys.push(at + marker.length);
  const copy = Buffer.from(bytes);
  const view = new DataView(copy.buffer, copy.byteOffset, copy.byteLength);
  const idWords = Int32Array.from(ids, (at) => bytes.readInt32LE(at));
  const timesLow = Uint32Array.from(times, (at) => bytes.readUInt32LE(at));
  const timesHigh = Uint32Array.from(times, (at) => bytes.readUInt32LE(at + 4));
  const keyWords = Uint32Array.from(keys, (at) => Number.parseInt(bytes.toString('latin1', at, at + 8), 16));
  const freshAt = (atMs: number): Buffer => {
    moment += 1;
    const mark = Math.imul(moment, 0x9e3779b1);
    for (let i = 0; i < ids.length; i += 1) view.setInt32(ids[i] as number, (idWords[i] as number) ^ mark, true);
    const shift = BigInt(Math.round(atMs)) * 1_000_000n - baseNs;
    const [low, high] = [Number(BigInt.asUintN(32, shift)), Number(BigInt.asUintN(32, shift >> 32n))];
    for (let i = 0; i < times.length; i += 1) {
      const sum = (timesLow[i] as number) + low;
      view.setUint32(times[i] as number, sum, true);
      view.setUint32((times[i] as number) + 4, (timesHigh[i] as number) + high + (sum > 0xffffffff ? 1 : 0), true);
    }
    for (let i = 0; i < keys.length; i += 1) {
      const value = ((keyWords[i] as number) ^ mark) >>> 0;
      for (let k = 0; k < 8; k += 1) copy[(keys[i] as number) + k] = digits.charCodeAt((value >>> (k * 4)) & 15);
    }
    return copy;
  };
  return { bytes, spans, fresh: (agoMs = 0) => freshAt(Date.now() - agoMs), freshAt };
}

const digits = '0123456789abcdef';

/** Offsets of the ids (last four bytes of each) and times of all spans. Depth 0: request, 1: ResourceSpans, 2: ScopeSpans, 3: Span. */
function walk(bytes: Buffer, start: number, end: number, depth: number, ids: number[], times: number[]): void {
  let at = start;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at] as number;
      at += 1;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  };
  while (at < end) {
    const tag = varint();
    if ((tag & 7) === 1) {
      if (depth === 3) times.push(at);
      at += 8;
    } else if ((tag & 7) === 5) at += 4;
    else if ((tag & 7) === 0) varint();
    else {
      const length = varint();
      const field = tag >>> 3;
      if (depth === 3) {
        if ((field === 1 || field === 2 || field === 4) && length >= 8) ids.push(at + length - 4);
      } else if ((depth === 0 && field === 1) || ((depth === 1 || depth === 2) && field === 2))
        walk(bytes, at, at + length, depth + 1, ids, times);
      at += length;
    }
  }
}
