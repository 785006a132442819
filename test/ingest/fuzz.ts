import { createRng, type Rng } from '../../src/base/rng.ts';
import { BatchPacker } from '../../src/ingest/batch-packer.ts';
import { BatchExpander, sift } from '../../src/ingest/compact-batch.ts';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { LogsDecoder } from '../../src/ingest/decode-otlp-logs.ts';
import { MetricsDecoder } from '../../src/ingest/decode-otlp-metrics.ts';
import { type Decoded, ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { OperationReader } from '../../src/ingest/operation-from-span.ts';
import { unpackBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { createLoad } from '../bench/ingest-load.ts';
import { encodeTraces, logsRequestType, metricsRequestType, traceRequestType } from './otlp-proto.ts';

/**
 * Requests that were damaged in every way that bytes can be, through everything that a receiver does with them before detectors look:
 * decode, pack, expand, unpack, operations. A fault is an exception; a hang shows as the slowest input, growth as memory that the next thousand
 * inputs do not give back.
 */
export interface Fuzzed {
  readonly inputs: number;
  readonly malformed: number;
  readonly operations: number;
  readonly slowestMs: number;
  /** Heap and buffers after a collection, after the first tenth and at the end; only where the collector can be called. */
  readonly grownMb: number | undefined;
}

type Target = {
  readonly name: string;
  readonly seeds: readonly Buffer[];
  readonly isText: boolean;
  readonly decode: (bytes: Buffer, batch: SpanBatch) => Decoded;
};

export function fuzz(options: {
  readonly seed: number | string;
  readonly inputs: number;
  readonly collect?: (() => void) | undefined;
  readonly onInput?: (target: string, bytes: Buffer) => void;
}): Fuzzed {
  const rng = createRng(options.seed);
  const targets = makeTargets(rng);
  const [packer, expander] = [new BatchPacker(), new BatchExpander()];
  const [batch, again] = [new SpanBatch(), new SpanBatch()];
  const reader = new OperationReader();
  let malformed = 0;
  let operations = 0;
  let slowestMs = 0;
  let heldBefore: number | undefined;
  const held = (): number => {
    options.collect?.();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return (heapUsed + arrayBuffers) / 1e6;
  };
  for (let i = 0; i < options.inputs; i += 1) {
    if (i === Math.floor(options.inputs / 10) && options.collect !== undefined) heldBefore = held();
    const target = targets[i % targets.length] as Target;
    const original = rng.pick(target.seeds);
    const bytes = mutate(rng, original, rng.pick(target.seeds), target.isText);
    options.onInput?.(target.name, bytes);
    const from = performance.now();
    if (target.decode(bytes, batch).is === 'malformed') malformed += 1;
    else {
      const packed = packer.pack(batch);
      if (packed !== undefined) {
        sift(packed, (ids) => ids[0] !== ids[1]);
        unpackBatch(expander.expand(packed), batch.strings, again);
        operations += reader.read(again).length;
      }
    }
    slowestMs = Math.max(slowestMs, performance.now() - from);
  }
  return {
    inputs: options.inputs,
    malformed,
    operations,
    slowestMs,
    grownMb: heldBefore === undefined ? undefined : held() - heldBefore,
  };
}

function makeTargets(rng: Rng): readonly Target[] {
  const load = createLoad({ seed: rng.int(1_000_000), spansPerRequest: 7 });
  // Enough spans to be packed compact.
  const larger = createLoad({ seed: rng.int(1_000_000), spansPerRequest: 40 });
  const traces = [
    ...Array.from({ length: 8 }, () => load.next()),
    ...Array.from({ length: 4 }, () => larger.next()),
    ...Array.from({ length: 16 }, () => encodeTraces(strangeRequest(rng))),
    encodeTraces(richRequest),
  ];
  const [protobuf, json, logs, metrics] = [new ProtobufDecoder(), new JsonDecoder(), new LogsDecoder(), new MetricsDecoder()];
  const text = (bytes: Buffer): Buffer => {
    const plain = traceRequestType.toObject(traceRequestType.decode(bytes), { longs: String });
    return Buffer.from(
      JSON.stringify(plain, (key, value: unknown) =>
        key.endsWith('Id') && isBytes(value) ? Buffer.from(value.data).toString('hex') : value,
      ),
    );
  };
  return [
    { name: 'traces', seeds: traces, isText: false, decode: (bytes, batch) => protobuf.read(bytes, batch) },
    { name: 'logs', seeds: [encoded(logsRequestType, logsRequest)], isText: false, decode: (bytes, batch) => logs.decode(bytes, batch) },
    {
      name: 'metrics',
      seeds: [encoded(metricsRequestType, metricsRequest)],
      isText: false,
      decode: (bytes, batch) => metrics.decode(bytes, batch),
    },
    {
      name: 'json',
      seeds: traces.slice(-6).map(text),
      isText: true,
      decode: (bytes, batch) => json.decodeText(bytes.toString('utf8'), batch, 'traces'),
    },
  ];
}

/** One to four damages, one on the other. `other` is what a stretch may be taken from. */
function mutate(rng: Rng, original: Buffer, other: Buffer, isText: boolean): Buffer {
  let bytes = Buffer.from(original);
  for (let left = rng.int(3) === 0 ? 1 + rng.int(4) : 1; left > 0; left -= 1) {
    const at = rng.int(bytes.length + 1);
    const length = 1 + rng.int(rng.int(4) === 0 ? 200 : 8);
    // What keeps the length is half of it: a request that is refused at its first field tests little.
    switch (rng.pick(isText ? textDamage : damage)) {
      case 0:
        if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << rng.int(8));
        break;
      case 1:
        if (at < bytes.length) bytes[at] = rng.pick([0, 1, 0x7f, 0x80, 0xff, 0x22, 0x5c, 0x7b]);
        break;
      case 2:
        bytes = bytes.subarray(0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + length))]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
        break;
      case 5: {
        const from = rng.int(other.length);
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(from, from + length), bytes.subarray(at)]);
        break;
      }
      case 6:
        bytes = Buffer.concat([bytes.subarray(0, at), rng.pick(edges), bytes.subarray(at)]);
        break;
      case 7:
        bytes = Buffer.concat([bytes.subarray(0, at), rng.pick(edges), bytes.subarray(Math.min(bytes.length, at + length))]);
        break;
      default: {
        // A value of the text becomes another.
        const wanted = rng.int(40);
        let seen = 0;
        bytes = Buffer.from(
          bytes.toString('utf8').replaceAll(/:"[^"]*"|:-?\d+/g, (value) => (seen++ === wanted ? rng.pick(values) : value)),
        );
      }
    }
    // Copies of copies must not become the test.
    if (bytes.length > 20_000) bytes = bytes.subarray(0, 20_000);
    if (bytes.length === 0) break;
  }
  return bytes;
}

const damage = [0, 0, 0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7];
const textDamage = [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8, 8];

/** Varints at their limits, lengths that lie, groups, wire types that are none, deep nesting, broken UTF-8. */
const edges: readonly Buffer[] = [
  Buffer.alloc(10, 0xff),
  Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
  Buffer.from([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
  Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]),
  Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x07]),
  Buffer.from([0x4a, 0x00]),
  Buffer.from([0x0b]),
  Buffer.from([0x0c]),
  Buffer.from([0x0f, 0x07]),
  Buffer.from(Array.from({ length: 120 }, (_, i) => (i % 2 === 0 ? 0x2a : 120 - i))),
  Buffer.from(Array.from({ length: 120 }, (_, i) => (i % 2 === 0 ? 0x32 : 120 - i))),
  Buffer.from([0xed, 0xa0, 0x80, 0xf4, 0x90, 0x80, 0x80, 0xc0, 0xaf]),
  Buffer.from('"\\ud800":{"a":[[[[[[[['),
];

const values: readonly string[] = [
  ':null',
  ':{}',
  ':[]',
  ':""',
  ':true',
  ':-0',
  ':1e999',
  ':"-9223372036854775808"',
  ':"18446744073709551616"',
  ':"\\u0000"',
  ':{"__proto__":{"stringValue":1}}',
  `:"SELECT ${'('.repeat(500)}"`,
  `:${'['.repeat(200)}${']'.repeat(200)}`,
];

const attribute = (key: string, value: object): object => ({ key, value });
const nested = { kvlistValue: { values: [attribute('a', { arrayValue: { values: [{ intValue: '-1' }, { bytesValue: 'AAE=' }] } })] } };

/** Keys that mean something, with values of every kind, fitting or not. */
function strangeRequest(rng: Rng): object {
  const value = (): object =>
    rng.pick([
      { stringValue: rng.pick(['', '7', 'x', 'SELECT 1', 'SET a:1 2', '["a",null]', '{"a":1}', 'postgresql', 'redis', 'mongodb']) },
      { intValue: rng.pick(['0', '-1', '9007199254740993', '-9223372036854775808']) },
      { doubleValue: rng.pick([0.5, -0, 1e300, Number.NaN]) },
      { boolValue: rng.int(2) === 1 },
      { bytesValue: Buffer.from([1, 2]) },
      { arrayValue: { values: [{ stringValue: 'a' }, {}] } },
      nested,
      {},
    ]);
  const attributes = (): object[] => Array.from({ length: 6 }, () => attribute(rng.pick(keys), value()));
  const spans = Array.from({ length: 3 }, (_, i) => ({
    traceId: Buffer.alloc(16, 1),
    spanId: Buffer.alloc(8, i + 1),
    name: rng.pick(['', 'x', 'send orders']),
    kind: rng.int(7),
    endTimeUnixNano: '1700000000000000001',
    attributes: attributes(),
    events: [{ name: rng.pick(['exception', 'consistency.operation']), attributes: attributes() }],
    status: { code: rng.int(3) },
  }));
  return { resourceSpans: [{ resource: { attributes: attributes() }, scopeSpans: [{ spans }] }] };
}

const keys = `
  service.name session.id db.system.name db.system db.query.text db.statement db.operation.name db.query.summary
  db.collection.name db.response.status_code db.response.returned_rows db.postgresql.values db.query.parameter.0
  aws.dynamodb.table_names server.address server.port messaging.system messaging.operation.type messaging.message.id
  messaging.destination.name messaging.kafka.offset messaging.batch.message_count aws.sqs.queue.url http.route url.full
  http.request.header.idempotency-key rpc.grpc.status_code error.type exception.message consistency.object.key
  consistency.operation consistency.version consistency.version.base consistency.saga.step consistency.transaction.outcome
`
  .trim()
  .split(/\s+/);

/** What the load does not have: events, links, failures, large numbers, arrays and maps, both generations of names. */
const richRequest = {
  resourceSpans: [
    {
      resource: { attributes: [attribute('service.name', { stringValue: 'a' }), attribute('consistency.domain', { stringValue: 'd' })] },
      scopeSpans: [
        {
          spans: [
            {
              traceId: Buffer.alloc(16, 3),
              spanId: Buffer.alloc(8, 4),
              parentSpanId: Buffer.alloc(8, 5),
              name: 'UPDATE',
              kind: 3,
              startTimeUnixNano: '18446744073709551615',
              endTimeUnixNano: '1700000000000000001',
              attributes: [
                attribute('db.system', { stringValue: 'mysql' }),
                attribute('db.statement', { stringValue: "INSERT INTO `t` (id, v) VALUES (1, 'x''y') ON DUPLICATE KEY UPDATE v = v + 1" }),
                attribute('db.query.parameter.0', { doubleValue: -0 }),
                attribute('consistency.version', { intValue: '9223372036854775807' }),
                attribute('consistency.version.base', nested),
                attribute('messaging.rocketmq.message.keys', { arrayValue: { values: [{ stringValue: 'k' }] } }),
              ],
              events: [
                { timeUnixNano: '1', name: 'exception', attributes: [attribute('exception.message', { stringValue: '(code: 40001)' })] },
                {
                  timeUnixNano: '2',
                  name: 'consistency.operation',
                  attributes: [
                    attribute('consistency.object.key', { stringValue: 'k' }),
                    attribute('consistency.operation', { boolValue: true }),
                  ],
                },
              ],
              links: [{ traceId: Buffer.alloc(16, 6), spanId: Buffer.alloc(8, 7) }],
              status: { code: 2, message: 'deadlock detected' },
            },
          ],
        },
      ],
    },
  ],
};

const logsRequest = {
  resourceLogs: [
    {
      resource: { attributes: [attribute('service.name', { stringValue: 'a' })] },
      scopeLogs: [
        {
          logRecords: [
            {
              timeUnixNano: '1700000000000000001',
              observedTimeUnixNano: '1700000000000000002',
              body: { stringValue: 'order 7 was saved' },
              attributes: [
                attribute('consistency.object.key', { stringValue: '7' }),
                attribute('consistency.operation', { stringValue: 'write' }),
              ],
              traceId: Buffer.alloc(16, 1),
              spanId: Buffer.alloc(8, 2),
            },
          ],
        },
      ],
    },
  ],
};

const point = { timeUnixNano: '1700000000000000001', attributes: [attribute('replica', { stringValue: 'r' })] };
const metricsRequest = {
  resourceMetrics: [
    {
      resource: { attributes: [attribute('service.name', { stringValue: 'a' })] },
      scopeMetrics: [
        {
          metrics: [
            { name: 'postgresql.replication.data_delay', unit: 'By', gauge: { dataPoints: [{ ...point, asInt: '-5' }] } },
            {
              name: 'mysql.locks',
              unit: '1',
              sum: { dataPoints: [{ ...point, asDouble: 1.5 }], aggregationTemporality: 2, isMonotonic: true },
            },
            {
              name: 'db.client.operation.duration',
              histogram: { dataPoints: [{ ...point, count: '3', sum: 2, bucketCounts: ['1', '2'], explicitBounds: [0.5] }] },
            },
          ],
        },
      ],
    },
  ],
};

/** `JSON.stringify` shows a Buffer as what its toJSON gives. */
const isBytes = (value: unknown): value is { data: number[] } =>
  typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer';

function encoded(type: typeof traceRequestType, request: object): Buffer {
  return Buffer.from(type.encode(type.fromObject(request)).finish());
}
