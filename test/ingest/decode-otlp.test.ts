import fc from 'fast-check';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { eventKindOf, SpanBatch } from '../../src/ingest/span-batch.ts';
import { classifyKey } from '../../src/ingest/wanted-attributes.ts';
import { type PlainSpan, spansOf } from './batch-as-spans.ts';
import { asJson } from './otlp-as-json.ts';
import { alikeRequest, bytesField, join, mutated, textField, traceRequest } from './otlp-arbitrary.ts';
import { encodeTraces, traceRequestType } from './otlp-proto.ts';

// The oracle: protobufjs decodes, this reads its objects the obvious way.

type Plain = { readonly [name: string]: unknown };
const listOf = (value: unknown): readonly Plain[] => (Array.isArray(value) ? (value as Plain[]) : []);
/** Texts and 64-bit numbers, which protobufjs gives as text. */
const textOf = (value: unknown): string => (typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '');
const microseconds = (value: unknown): number => Number(BigInt(textOf(value) || 0) / 1000n);
const hexOf = (value: unknown): string => Buffer.from((value as Uint8Array | undefined) ?? []).toString('hex');

function expectedValue(value: Plain): string | undefined {
  if (typeof value['stringValue'] === 'string') return `1:${value['stringValue']}`;
  if (typeof value['boolValue'] === 'boolean') return `4:${value['boolValue'] ? 1 : 0}`;
  if (value['intValue'] !== undefined) {
    const whole = BigInt(textOf(value['intValue']));
    return whole >= -(2n ** 53n) + 1n && whole <= 2n ** 53n - 1n ? `2:${whole}` : `5:${whole}`;
  }
  if (typeof value['doubleValue'] === 'number') return `3:${Object.is(value['doubleValue'], -0) ? '-0' : value['doubleValue']}`;
  if (value['arrayValue'] !== undefined || value['kvlistValue'] !== undefined || value['bytesValue'] !== undefined)
    return `6:${JSON.stringify(plainValue(value))}`;
  return undefined;
}

function plainValue(value: Plain | undefined): unknown {
  if (value === undefined) return null;
  if (value['arrayValue'] !== undefined) return listOf((value['arrayValue'] as Plain)['values']).map(plainValue);
  if (value['kvlistValue'] !== undefined)
    return Object.fromEntries(
      listOf((value['kvlistValue'] as Plain)['values']).map((entry) => [
        textOf(entry['key']),
        plainValue(entry['value'] as Plain | undefined),
      ]),
    );
  if (value['bytesValue'] !== undefined) return Buffer.from(value['bytesValue'] as Uint8Array).toString('base64');
  if (value['intValue'] !== undefined)
    return Number.isSafeInteger(Number(value['intValue'])) ? Number(value['intValue']) : textOf(value['intValue']);
  return value['stringValue'] ?? value['boolValue'] ?? value['doubleValue'] ?? null;
}

function expectedAttributes(list: unknown): string[] {
  return listOf(list).flatMap((attribute) => {
    const code = classifyKey(textOf(attribute['key']));
    const value = attribute['value'] === undefined || attribute['value'] === null ? undefined : expectedValue(attribute['value'] as Plain);
    return code === 0 || value === undefined ? [] : [`${code}:${value}`];
  });
}

const coded = (keys: readonly string[]): ReadonlySet<string> => new Set(keys.map((key) => String(classifyKey(key))));
const paths = coded(['http.target', 'http.url', 'url.path', 'url.full']);
const codeOf = (attribute: string): string => attribute.slice(0, attribute.indexOf(':'));

/** A path is nothing beside a route that is a text; of a route that comes twice the last counts. */
function withoutRoutedPaths(attributes: readonly string[]): string[] {
  const isRouted = [...coded(['http.route', 'url.template'])].some((route) =>
    /^\d+:1:./s.test(attributes.findLast((attribute) => codeOf(attribute) === route) ?? ''),
  );
  return attributes.filter((attribute) => !isRouted || !paths.has(codeOf(attribute)));
}

const isId = (hex: string, length: number): boolean => hex.length === length * 2 && /[^0]/.test(hex);

function expectedSpans(decoded: Plain): readonly PlainSpan[] {
  return listOf(decoded['resourceSpans']).flatMap((perResource) => {
    const ofResource = expectedAttributes((perResource['resource'] as Plain | undefined)?.['attributes']);
    return listOf(perResource['scopeSpans']).flatMap((perScope) =>
      listOf(perScope['spans'])
        .filter((one) => isId(hexOf(one['traceId']), 16) && isId(hexOf(one['spanId']), 8))
        .map((one) => ({
          traceId: hexOf(one['traceId']),
          spanId: hexOf(one['spanId']),
          parentSpanId: isId(hexOf(one['parentSpanId']), 8) ? hexOf(one['parentSpanId']) : '0'.repeat(16),
          name: textOf(one['name']),
          kind: Number(one['kind'] ?? 0),
          startUs: microseconds(one['startTimeUnixNano']),
          endUs: microseconds(one['endTimeUnixNano']),
          status: Number((one['status'] as Plain | undefined)?.['code'] ?? 0),
          statusMessage: textOf((one['status'] as Plain | undefined)?.['message']),
          resource: ofResource,
          attributes: withoutRoutedPaths(expectedAttributes(one['attributes'])),
          events: listOf(one['events']).flatMap((happened) => {
            const kind = eventKindOf(textOf(happened['name']));
            return kind === 0
              ? []
              : [{ kind, us: microseconds(happened['timeUnixNano']), attributes: expectedAttributes(happened['attributes']) }];
          }),
          links: listOf(one['links'])
            .map((to) => [hexOf(to['traceId']), hexOf(to['spanId'])] as const)
            .filter(([trace, spanId]) => isId(trace, 16) && isId(spanId, 8))
            .map(([trace, spanId]) => trace + spanId),
        })),
    );
  });
}

const oracle = (bytes: Buffer): Plain =>
  traceRequestType.toObject(traceRequestType.decode(bytes), { longs: String, defaults: false }) as Plain;

const runs = { numRuns: Number(process.env['FUZZ_RUNS'] ?? 300) };

describe('ProtobufDecoder', () => {
  test('agrees with protobufjs on any request: any field order, unknown fields, 64-bit edges, nested values', () => {
    const decoder = new ProtobufDecoder();
    const batch = new SpanBatch();
    fc.assert(
      fc.property(traceRequest, (bytes) => {
        expect(decoder.decode(bytes, batch)).toEqual({ is: 'decoded' });
        expect(spansOf(batch)).toEqual(expectedSpans(oracle(bytes)));
      }),
      runs,
    );
  });

  test('agrees with protobufjs on spans that are nearly alike, in whatever form their attributes are written', () => {
    const decoder = new ProtobufDecoder();
    const batch = new SpanBatch();
    fc.assert(
      fc.property(alikeRequest, (bytes) => {
        expect(decoder.decode(bytes, batch)).toEqual({ is: 'decoded' });
        expect(spansOf(batch)).toEqual(expectedSpans(oracle(bytes)));
      }),
      runs,
    );
  });

  test('gives the same for the same bytes whatever it decoded before, also when its string table is spent', () => {
    const worn = new ProtobufDecoder({ distinctStrings: 16, arenaBytes: 8192 });
    fc.assert(
      fc.property(traceRequest, (bytes) => {
        const [a, b] = [new SpanBatch(), new SpanBatch()];
        worn.decode(bytes, a);
        new ProtobufDecoder().decode(bytes, b);
        expect(spansOf(a)).toEqual(spansOf(b));
      }),
      { numRuns: 60 },
    );
  });

  test('agrees on a large request: columns grow', () => {
    const attribute = (i: number): object => ({ key: 'consistency.object.key', value: { stringValue: `o-${i}` } });
    const spans = Array.from({ length: 3000 }, (_, i) => ({
      traceId: Buffer.alloc(16, 1 + (i % 250)),
      spanId: Buffer.from((i + 1).toString(16).padStart(16, '0'), 'hex'),
      name: `span ${i}`,
      attributes: Array.from({ length: i % 20 }, (__, k) => attribute(k)),
      events: Array.from({ length: i % 4 }, (__, k) => ({
        name: 'consistency.operation',
        timeUnixNano: String(k),
        attributes: [attribute(k)],
      })),
      links: Array.from({ length: i % 3 }, () => ({ traceId: Buffer.alloc(16, 3), spanId: Buffer.alloc(8, 3) })),
    }));
    const bytes = encodeTraces({
      resourceSpans: Array.from({ length: 100 }, (_, i) => ({
        resource: { attributes: [attribute(i)] },
        scopeSpans: [{ spans: spans.slice(i * 30, i * 30 + 30) }],
      })),
    });
    const batch = new SpanBatch();
    new ProtobufDecoder().decode(bytes, batch);
    expect(spansOf(batch)).toEqual(expectedSpans(oracle(bytes)));
  });

  test('a batch keeps its strings when later batches start a new table', () => {
    const decoder = new ProtobufDecoder({ distinctStrings: 8, arenaBytes: 8192 });
    const named = (name: string): Buffer =>
      encodeTraces({ resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: Buffer.alloc(16, 1), spanId: Buffer.alloc(8, 1), name }] }] }] });
    const first = new SpanBatch();
    decoder.decode(named('first'), first);
    for (let i = 0; i < 50; i += 1) decoder.decode(named(`name ${i}`), new SpanBatch());
    expect(spansOf(first)[0]?.name).toBe('first');
  });

  test('I7: mutated requests never crash, hang or accept what protobufjs refuses', () => {
    const decoder = new ProtobufDecoder();
    const batch = new SpanBatch();
    fc.assert(
      fc.property(mutated(traceRequest), (bytes) => {
        const decoded = decoder.decode(bytes, batch);
        if (decoded.is === 'malformed') expect(decoded.what).not.toBe('');
        else expect(spansOf(batch)).toHaveLength(batch.count);
      }),
      { numRuns: runs.numRuns * 3 },
    );
  });

  test.each([
    ['a length beyond the message', Buffer.from([0x0a, 0x05, 0x01])],
    ['a varint of eleven bytes', Buffer.from([0x08, ...Array.from({ length: 10 }, () => 0xff), 0x01])],
    ['field number zero', Buffer.from([0x00, 0x01])],
    ['wire type 6', Buffer.from([0x0e, 0x01])],
    ['a group that never closes', Buffer.from([0x0b, 0x08, 0x01])],
    ['a cut varint', Buffer.from([0x0a, 0x80])],
    ['a length of 2^63', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])],
  ])('refuses %s', (_, bytes) => {
    expect(new ProtobufDecoder().decode(bytes, new SpanBatch()).is).toBe('malformed');
  });

  test('values nested a thousand deep are refused, not recursed into', () => {
    let value = join([textField(1, 'x')]);
    for (let i = 0; i < 1000; i += 1) value = join([bytesField(5, join([bytesField(1, value)]))]);
    const bytes = join([
      bytesField(1, join([bytesField(1, join([bytesField(1, join([textField(1, 'service.name'), bytesField(2, value)]))]))])),
    ]);
    expect(new ProtobufDecoder().decode(bytes, new SpanBatch())).toMatchObject({
      is: 'malformed',
      what: expect.stringContaining('nested deeper'),
    });
  });

  test('spans without ids are rejected and counted; the rest is taken', () => {
    const batch = new SpanBatch();
    const good = {
      traceId: Buffer.alloc(16, 1),
      spanId: Buffer.alloc(8, 2),
      attributes: [{ key: 'error.type', value: { stringValue: 'good' } }],
    };
    const bytes = encodeTraces({
      resourceSpans: [
        {
          scopeSpans: [
            {
              spans: [
                { ...good, traceId: Buffer.alloc(16) },
                good,
                { ...good, spanId: Buffer.alloc(7, 1) },
                { ...good, traceId: Buffer.alloc(0) },
                good,
              ],
            },
          ],
        },
      ],
    });
    new ProtobufDecoder().decode(bytes, batch);
    expect(batch.count).toBe(2);
    expect(Object.fromEntries(batch.rejected)).toEqual({ 'bad-trace-id': 2, 'bad-span-id': 1 });
    expect(spansOf(batch).every((one) => one.attributes.length === 1)).toBe(true);
  });
});

describe('JsonDecoder', () => {
  test('gives the same columns as protobuf for the same request', () => {
    const [fromJson, fromProtobuf] = [new SpanBatch(), new SpanBatch()];
    const [json, binary] = [new JsonDecoder(), new ProtobufDecoder()];
    fc.assert(
      fc.property(traceRequest, (bytes) => {
        binary.decode(bytes, fromProtobuf);
        const document = JSON.stringify(asJson(oracle(bytes)));
        // JSON has no infinities; OTLP/JSON writes them as text, JSON.stringify as null.
        fc.pre(!/"doubleValue":null/.test(document) && !/"(?:Infinity|-Infinity)"/.test(document));
        expect(json.decodeText(document, fromJson)).toEqual({ is: 'decoded' });
        // JSON.stringify writes -0 as 0.
        const unsigned = (batch: SpanBatch): unknown => JSON.parse(JSON.stringify(spansOf(batch)).replaceAll(':3:-0"', ':3:0"'));
        expect(unsigned(fromJson)).toEqual(unsigned(fromProtobuf));
      }),
      runs,
    );
  });

  test.each([
    ['{"resource_spans": []}', 'resource_spans'],
    ['{"resourceSpans": [{"scope_spans": []}]}', 'resourceSpans.scope_spans'],
    ['{"data": [{"traceID": "1"}]}', 'data'],
    ['{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceID": "x"}]}]}]}', 'resourceSpans.scopeSpans.spans.traceID'],
  ])('names the unknown field of %s', (document, unknown) => {
    const decoder = new JsonDecoder();
    expect(decoder.decodeText(document, new SpanBatch())).toEqual({ is: 'decoded' });
    expect(decoder.unknownField).toBe(unknown);
  });

  const jsonSpan = (more: object): string =>
    JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: 'AB'.repeat(16), spanId: 'cd'.repeat(8), ...more }] }] }] });
  const valueOf = (value: object): object => ({ attributes: [{ key: 'consistency.version', value }] });

  test.each<[string, object, (batch: SpanBatch) => unknown, unknown]>([
    ['ids in either case', {}, (batch) => Buffer.from(batch.ids.subarray(0, 24)).toString('hex'), 'ab'.repeat(16) + 'cd'.repeat(8)],
    ['a time as text', { startTimeUnixNano: '1700000000123456789' }, (batch) => batch.startUs[0], 1_700_000_000_123_456],
    ['a time as a number', { startTimeUnixNano: 1_700_000_000_123_456_000 }, (batch) => batch.startUs[0], 1_700_000_000_123_456],
    ['a time with an exponent', { startTimeUnixNano: '1.7e18' }, (batch) => batch.startUs[0], 1_700_000_000_000_000],
    [
      'an enum by its name',
      { kind: 'SPAN_KIND_CLIENT', status: { code: 'STATUS_CODE_ERROR' } },
      (batch) => [batch.kind[0], batch.status[0]],
      [3, 2],
    ],
    [
      'a whole number with an exponent',
      valueOf({ intValue: '7.0e2' }),
      (batch) => [batch.attributes.kind[0], batch.attributes.value[0]],
      [2, 700],
    ],
    ['an enum as a number', { kind: 3, status: { code: 2 } }, (batch) => [batch.kind[0], batch.status[0]], [3, 2]],
    [
      'null for absent',
      { name: null, kind: null, parentSpanId: null, status: null, events: null, attributes: null },
      (batch) => batch.count,
      1,
    ],
    [
      'null for the value of an attribute',
      { attributes: [{ key: 'consistency.version', value: null }] },
      (batch) => batch.attributes.count,
      0,
    ],
    ['a whole number as text', valueOf({ intValue: '7' }), (batch) => [batch.attributes.kind[0], batch.attributes.value[0]], [2, 7]],
    ['a whole number as a number', valueOf({ intValue: 7 }), (batch) => [batch.attributes.kind[0], batch.attributes.value[0]], [2, 7]],
    [
      'a whole number that a double cannot hold',
      valueOf({ intValue: '-9223372036854775808' }),
      (batch) => [batch.attributes.kind[0], batch.strings[batch.attributes.value[0] ?? 0]],
      [5, '-9223372036854775808'],
    ],
    [
      'bytes as base64',
      valueOf({ bytesValue: 'AAEC/w==' }),
      (batch) => [batch.attributes.kind[0], batch.strings[batch.attributes.value[0] ?? 0]],
      [6, '"AAEC/w=="'],
    ],
    ['an empty text', valueOf({ stringValue: '' }), (batch) => [batch.attributes.kind[0], batch.attributes.value[0]], [1, 0]],
    [
      'a zero that protobuf would leave out',
      valueOf({ intValue: '0' }),
      (batch) => [batch.attributes.kind[0], batch.attributes.value[0]],
      [2, 0],
    ],
    [
      'an id in base64, as generic protobuf printers write it',
      { traceId: 'q6urq6urq6urq6urq6urqw==' },
      (batch) => [...batch.rejected],
      [['bad-trace-id', 1]],
    ],
    ['an id of zeros', { spanId: '0'.repeat(16) }, (batch) => [...batch.rejected], [['bad-span-id', 1]]],
  ])('reads %s', (_, more, look, expected) => {
    const batch = new SpanBatch();
    expect(new JsonDecoder().decodeText(jsonSpan(more), batch)).toEqual({ is: 'decoded' });
    expect(look(batch)).toEqual(expected);
  });

  test('ignores a mark of the byte order', () => {
    const batch = new SpanBatch();
    expect(new JsonDecoder().decodeBytes(Buffer.from(`\ufeff${jsonSpan({})}`), batch)).toEqual({ is: 'decoded' });
    expect(batch.count).toBe(1);
  });

  test.each<[string, 'traces' | 'logs' | 'metrics', string, string]>([
    ['an event', 'traces', jsonSpan({ events: [{ time_unix_nano: '1' }] }), 'resourceSpans.scopeSpans.spans.events.time_unix_nano'],
    ['a link', 'traces', jsonSpan({ links: [{ traceID: 'x' }] }), 'resourceSpans.scopeSpans.spans.links.traceID'],
    ['an attribute', 'traces', jsonSpan({ attributes: [{ key: 'a', val: {} }] }), 'resourceSpans.scopeSpans.spans.attributes.val'],
    [
      'a nested value',
      'traces',
      jsonSpan(valueOf({ kvlistValue: { values: [{ key: 'a', value: { string_value: 'x' } }] } })),
      'resourceSpans.scopeSpans.spans.attributes.value.kvlistValue.values.value.string_value',
    ],
    ['the scope', 'traces', '{"resourceSpans":[{"scopeSpans":[{"scope":{"title":"x"}}]}]}', 'resourceSpans.scopeSpans.scope.title'],
    [
      'a log record',
      'logs',
      '{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"message":"x"}]}]}]}',
      'resourceLogs.scopeLogs.logRecords.message',
    ],
    ['traces sent as logs', 'logs', jsonSpan({}), 'resourceSpans'],
    [
      'a data point',
      'metrics',
      '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"value":1}]}}]}]}]}',
      'resourceMetrics.scopeMetrics.metrics.gauge.dataPoints.value',
    ],
    [
      'an exponential histogram',
      'metrics',
      '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"exponentialHistogram":{"dataPoints":[{"positive":{"counts":[]}}]}}]}]}]}',
      'resourceMetrics.scopeMetrics.metrics.exponentialHistogram.dataPoints.positive.counts',
    ],
  ])('names the unknown field in %s', (_, signal, document, unknown) => {
    const decoder = new JsonDecoder();
    expect(decoder.decodeText(document, new SpanBatch(), signal)).toEqual({ is: 'decoded' });
    expect(decoder.unknownField).toBe(unknown);
  });

  test.each([
    ['[]', 'not a JSON object'],
    ['{"resourceSpans": {}}', 'resourceSpans is not a list'],
    ['{"resourceSpans": [1]}', 'resourceSpans is not a list of objects'],
    ['{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": 5}]}]}]}', 'spans.name is not text'],
    ['{"resourceSpans": [', 'not JSON'],
    ['', 'not JSON'],
    ...['1.5', '1e40', 'x', ' 7', '0x7'].map((intValue): [string, string] => [
      jsonSpan(valueOf({ intValue })),
      'intValue is not a 64-bit integer',
    ]),
    ...['-1', '1.5', 'now', '1e30'].map((time): [string, string] => [jsonSpan({ endTimeUnixNano: time }), 'endTimeUnixNano is not a time']),
  ])('refuses %s', (document, why) => {
    expect(new JsonDecoder().decodeText(document, new SpanBatch())).toMatchObject({ is: 'malformed', what: expect.stringContaining(why) });
  });
});

test('the oracle is protobufjs', () => {
  expect(traceRequestType).toBeInstanceOf(protobuf.Type);
});
