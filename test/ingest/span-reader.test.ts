import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Operation } from '../../src/domain/operation.ts';
import { BatchPacker } from '../../src/ingest/batch-packer.ts';
import { BatchExpander } from '../../src/ingest/compact-batch.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { OperationReader } from '../../src/ingest/operation-from-span.ts';
import { unpackBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { isPlainRow, SpanReader } from '../../src/ingest/span-reader.ts';
import { WordTable } from '../../src/ingest/word-table.ts';
import { wantedKeys } from '../../src/ingest/wanted-attributes.ts';
import { encodeTraces } from './otlp-proto.ts';

/** Every field that detectors read, whether it is a field or a getter. */
const fields: readonly (keyof Operation)[] = [
  'kind',
  'traceId',
  'spanId',
  'parentSpanId',
  'index',
  'service',
  'spanName',
  'spanKind',
  'startUs',
  'endUs',
  'failed',
  'sqlState',
  'errorType',
  'httpStatus',
  'system',
  'host',
  'namespace',
  'target',
  'statement',
  'links',
  'message',
  'key',
  'rows',
  'language',
  'region',
  'session',
  'idempotencyKey',
  'facts',
];
const plain = (operation: Operation): object => Object.fromEntries(fields.map((field) => [field, operation[field]]));

const texts = [
  '',
  '7',
  'GET',
  'postgresql',
  'mysql',
  'redis',
  'mongodb',
  'kafka',
  'aws-api',
  'Publish',
  'send',
  'process',
  'receive',
  'orders',
  '/orders/17',
  'http://shop:80/orders/17?x=1',
  '["a","b"]',
  'RETRY',
  'timeout',
  '40001',
  'write',
  'committed',
  'SELECT * FROM orders WHERE id = $1',
  "UPDATE orders SET n = 1 WHERE id = '17'",
  'GET user:17',
  'INSERT INTO outbox (id) VALUES ($1)',
];
const value = fc.oneof(
  fc.constantFrom(...texts).map((stringValue) => ({ stringValue })),
  fc.constantFrom(-1, 0, 1, 2, 7, 404, 500, 5432, 2 ** 40).map((intValue) => ({ intValue: String(intValue) })),
  fc.constantFrom(0.5, 2, -0).map((doubleValue) => ({ doubleValue })),
  fc.boolean().map((boolValue) => ({ boolValue })),
);
const parameters = ['db.query.parameter.0', 'db.query.parameter.1'];
/** Those that decide what a span is; each run has one or two of them, and some others, so that its spans are alike. */
const deciding = [
  'db.system.name',
  'db.query.text',
  'db.operation.name',
  'messaging.system',
  'http.request.method',
  'rpc.system',
  'aws.sns.topic.arn',
];
const keysOfRun = fc
  .tuple(fc.subarray(deciding, { minLength: 1, maxLength: 2 }), fc.subarray([...wantedKeys, ...parameters], { minLength: 2, maxLength: 4 }))
  .map((parts) => parts.flat());

const spanWith = (attributes: fc.Arbitrary<object[]>) =>
  fc.record({
    traceId: fc.constantFrom(Buffer.alloc(16, 1), Buffer.from('00112233445566778899aabbccddeeff', 'hex')),
    spanId: fc.integer({ min: 1, max: 9 }).map((n) => Buffer.alloc(8, n)),
    parentSpanId: fc.option(
      fc.integer({ min: 1, max: 9 }).map((n) => Buffer.alloc(8, n)),
      { nil: Buffer.alloc(0) },
    ),
    name: fc.constantFrom('a', 'a', 'begin', 'orders settle'),
    kind: fc.constantFrom(1, 3, 3, 5),
    startTimeUnixNano: fc.integer({ min: 1, max: 9 }).map((n) => String(n * 1_000_000)),
    endTimeUnixNano: fc.integer({ min: 1, max: 9 }).map((n) => String(n * 1_000_000)),
    attributes,
    status: fc.constantFrom({}, {}, {}, { code: 2, message: 'no such host' }),
    links: fc.array(fc.constant({ traceId: Buffer.alloc(16, 3), spanId: Buffer.alloc(8, 4) }), { maxLength: 1 }),
    events: fc.array(fc.constant({ name: 'exception', attributes: [{ key: 'exception.type', value: { stringValue: 'Timeout' } }] }), {
      maxLength: 1,
    }),
  });
const requests = keysOfRun
  .chain((keys) => fc.tuple(...keys.map((key) => fc.array(value, { minLength: 1, maxLength: 3 }).map((values) => ({ key, values })))))
  .chain((few) => {
    // Few values for each key, so that spans differ in one or none of them.
    const of = ({ key, values }: (typeof few)[number]) => fc.constantFrom(...values).map((own) => ({ key, value: own }));
    const attributes = fc.oneof(
      { weight: 4, arbitrary: fc.tuple(...few.map(of)) },
      { weight: 1, arbitrary: fc.array(fc.oneof(...few.map(of)), { maxLength: 9 }) },
    );
    const resource = fc.record({
      resource: fc.array(fc.oneof(...few.map(of)), { maxLength: 1 }),
      spans: fc.array(spanWith(attributes), { minLength: 4, maxLength: 16 }),
    });
    return fc.array(fc.array(resource, { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 2 });
  });

describe('SpanReader', () => {
  test('says of every span what an operation reader says, however spans share their descriptions', { timeout: 60_000 }, () => {
    // One reader for all runs: what it has learned from one request must not show in another.
    const spans = new SpanReader();
    const decoder = new ProtobufDecoder({ distinctStrings: 256 });
    const batch = new SpanBatch();
    let shared = 0;
    fc.assert(
      fc.property(requests, (some) => {
        for (const resourceSpans of some) {
          decoder.decode(
            encodeTraces({
              resourceSpans: resourceSpans.map(({ resource, spans: own }) => ({
                resource: { attributes: resource },
                scopeSpans: [{ spans: own }],
              })),
            }),
            batch,
          );
          const expected = new OperationReader().read(batch);
          const held = { batch, ids: new Int32Array(batch.ids.buffer) };
          for (let row = 0; row < batch.count; row += 1) {
            expect(isPlainRow(batch, row)).toBe(true);
            expect(plain(spans.read(held, row))).toEqual(plain(expected[row] as Operation));
            shared += 1;
          }
        }
      }),
      { numRuns: 1_500 },
    );
    expect(spans.described).toBeLessThan(shared);
  });

  test('says the same of spans whose classes are known, in whatever order they are read and of whatever part of a batch', {
    timeout: 60_000,
  }, () => {
    const spans = new SpanReader();
    const decoder = new ProtobufDecoder({ distinctStrings: 256 });
    const [packer, expander] = [new BatchPacker(), new BatchExpander()];
    const [batch, waited, part] = [new SpanBatch(), new SpanBatch(), new SpanBatch()];
    let known = 0;
    fc.assert(
      fc.property(requests, fc.integer({ min: 1, max: 5 }), fc.boolean(), (some, step, isPart) => {
        for (const resourceSpans of some) {
          const scopeSpans = (own: (typeof resourceSpans)[number]['spans']): object[] => Array.from({ length: 6 }, () => ({ spans: own }));
          const resources = resourceSpans.map(({ resource, spans: own }) => ({
            resource: { attributes: resource },
            scopeSpans: scopeSpans(own),
          }));
          decoder.decode(encodeTraces({ resourceSpans: resources }), batch);
          const packed = packer.pack(batch);
          if (packed === undefined) throw new Error('there are spans');
          unpackBatch(expander.expand(packed), batch.strings, waited);
          if (expander.classes > 0) {
            waited.classify(expander.classes, expander.classOf);
            known += 1;
          }
          let read = waited;
          if (isPart) {
            const rows = Int32Array.from({ length: Math.ceil(waited.count / 2) }, (_, nth) => nth * 2);
            part.copyRows(waited, rows, rows.length);
            read = part;
          }
          const expected = new OperationReader().read(read);
          const held = { batch: read, ids: new Int32Array(read.ids.buffer) };
          for (let nth = read.count * step - 1; nth >= 0; nth -= step) {
            const row = nth % read.count;
            expect(plain(spans.read(held, row))).toEqual(plain(expected[row] as Operation));
          }
        }
      }),
      { numRuns: 300 },
    );
    expect(known).toBeGreaterThan(100);
  });

  test.each([
    ['service.name', ['shop', 'mail'], 'resource'],
    ['server.address', ['db-1', 'db-2'], 'span'],
    ['db.query.text', ['SELECT * FROM orders WHERE id = $1', 'SELECT * FROM stock WHERE id = $1'], 'span'],
    ['messaging.message.id', ['', 'm-1'], 'span'],
    ['consistency.operation', ['read', 'write'], 'span'],
    ['consistency.object.key', ['', '7'], 'span'],
  ] as const)('spans that differ in %s alone are told apart, whatever came before', (key, values, where) => {
    const attribute = (stringValue: string): object => ({ key, value: { stringValue } });
    const system = key.startsWith('messaging') ? 'messaging.system' : 'db.system.name';
    const span = (nth: number, value_: string | undefined): object => ({
      traceId: Buffer.alloc(16, 1),
      spanId: Buffer.alloc(8, nth + 1),
      name: 'a span',
      kind: 3,
      attributes: [{ key: system, value: { stringValue: 'kafka' } }, ...(value_ === undefined ? [] : [attribute(value_)])],
    });
    const [first, second] = values;
    const resourceSpans =
      where === 'resource'
        ? values.map((one) => ({
            resource: { attributes: [attribute(one)] },
            scopeSpans: [{ spans: Array.from({ length: 20 }, (_, nth) => span(nth, undefined)) }],
          }))
        : [{ scopeSpans: [{ spans: Array.from({ length: 41 }, (_, nth) => span(nth, nth % 3 === 0 ? first : second)) }] }];
    const batch = new SpanBatch();
    new ProtobufDecoder().decode(encodeTraces({ resourceSpans }), batch);
    const expected = new OperationReader().read(batch);
    expect(plain(expected[0] as Operation)).not.toEqual({ ...plain(expected.at(-1) as Operation), spanId: expected[0]?.spanId });
    const packed = new BatchPacker().pack(batch);
    if (packed === undefined) throw new Error('there are spans');
    const expander = new BatchExpander();
    unpackBatch(expander.expand(packed), batch.strings, batch);
    expect(expander.classes).toBeGreaterThan(0);
    batch.classify(expander.classes, expander.classOf);
    const spans = new SpanReader();
    const held = { batch, ids: new Int32Array(batch.ids.buffer) };
    for (let row = 0; row < batch.count; row += 1) expect(plain(spans.read(held, row))).toEqual(plain(expected[row] as Operation));
  });

  test('a fleet of made-up names is forgotten and learned again, and nothing is mixed up', () => {
    const spans = new SpanReader();
    const decoder = new ProtobufDecoder();
    const batch = new SpanBatch();
    for (let round = 0; round < 60; round += 1) {
      decoder.decode(
        encodeTraces({
          resourceSpans: [
            {
              resource: { attributes: [{ key: 'service.name', value: { stringValue: `service-${round}` } }] },
              scopeSpans: [
                {
                  spans: Array.from({ length: 1_000 }, (_, nth) => ({
                    traceId: Buffer.alloc(16, 1),
                    spanId: Buffer.alloc(8, 1),
                    name: `n${round * 1_000 + nth}`,
                  })),
                },
              ],
            },
          ],
        }),
        batch,
      );
      const held = { batch, ids: new Int32Array(batch.ids.buffer) };
      for (const row of [0, 1, 500, 999, 0, 999])
        expect(spans.read(held, row)).toMatchObject({ service: `service-${round}`, spanName: `n${round * 1_000 + row}` });
      for (let row = 0; row < batch.count; row += 1) spans.read(held, row);
      expect(spans.described).toBeLessThan(22_000);
    }
  });
});

describe('WordTable', () => {
  test('numbers what is new in order and finds what is known, like a map of texts', () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.integer({ min: -2, max: 2 }), { maxLength: 4 }), { maxLength: 2_000 }), (sequences) => {
        const table = new WordTable();
        const known = new Map<string, number>();
        for (const words of sequences) {
          const number = known.get(words.join());
          expect(table.find(Int32Array.from(words), words.length)).toBe(number ?? -1 - known.size);
          if (number === undefined) known.set(words.join(), known.size);
        }
        expect(table.size).toBe(known.size);
      }),
      { numRuns: 50 },
    );
  });
});
