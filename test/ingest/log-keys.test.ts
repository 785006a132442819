import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { LogsDecoder } from '../../src/ingest/decode-otlp-logs.ts';
import { type LogKey, LogKeys, parseLogPattern } from '../../src/ingest/log-keys.ts';
import { OperationReader } from '../../src/ingest/operation-from-span.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import type { Operation } from '../../src/domain/operation.ts';
import { logsRequestType } from './otlp-proto.ts';

const shipped: LogKey = {
  pattern: String.raw`order (?<key>\d+) shipped(?: as version (?<version>\d+))?`,
  collection: 'orders',
  operation: 'write',
};
const removed: LogKey = { pattern: String.raw`^(?:removed|purged) cart (?<key>[\w-]+)$`, collection: 'carts', operation: 'delete' };
const traceId = '0af7651916cd43dd8448eb211c80319c';
const spanId = 'b7ad6b7169203331';

function operationsOf(
  keys: readonly LogKey[],
  ...records: object[]
): { readonly json: readonly Operation[]; readonly protobuf: readonly Operation[] } {
  const document = {
    resourceLogs: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shipping' } }] },
        scopeLogs: [{ logRecords: records.map((record) => ({ traceId, spanId, timeUnixNano: '1700000000000000000', ...record })) }],
      },
    ],
  };
  const binary = JSON.parse(JSON.stringify(document), (field, value: unknown) =>
    (field === 'traceId' || field === 'spanId') && typeof value === 'string' ? Buffer.from(value, 'hex') : value,
  ) as object;
  const rules = new LogKeys(keys);
  const [fromJson, fromProtobuf] = [new SpanBatch(), new SpanBatch()];
  expect(new JsonDecoder(rules).decodeText(JSON.stringify(document), fromJson, 'logs')).toEqual({ is: 'decoded' });
  const bytes = logsRequestType.encode(logsRequestType.fromObject(binary)).finish();
  expect(new LogsDecoder(rules).decode(bytes, fromProtobuf)).toEqual({ is: 'decoded' });
  return { json: [...new OperationReader().read(fromJson)], protobuf: [...new OperationReader().read(fromProtobuf)] };
}

const says = (text: string): object => ({ body: { stringValue: text } });

const members = (...values: readonly object[]): object => ({ kvlistValue: { values } });

describe('log records whose text names an object', () => {
  test.each<[string, object, Partial<Omit<Operation, 'facts'>> & { facts?: object }]>([
    [
      'the key',
      says('2023-11-14 INFO order 4711 shipped to DE'),
      { kind: 'write', service: 'shipping', traceId, spanId, facts: { objectType: 'orders', objectKey: '4711', version: undefined } },
    ],
    ['key and version', says('order 4711 shipped as version 9'), { facts: { objectType: 'orders', objectKey: '4711', version: 9n } }],
    [
      'what a member of a structured body says',
      {
        body: members(
          { key: 'level', value: { stringValue: 'info' } },
          { key: 'pid', value: { intValue: '7' } },
          { key: 'message', value: { stringValue: 'order 4711 shipped as version 9' } },
          { key: 'other', value: { stringValue: 'order 12 shipped' } },
        ),
      },
      { facts: { objectType: 'orders', objectKey: '4711', version: 9n } },
    ],
    ['the second pattern', says('purged cart c-1'), { kind: 'delete', facts: { objectType: 'carts', objectKey: 'c-1' } }],
    [
      'what the record says by itself counts more',
      { ...says('order 4711 shipped'), attributes: [{ key: 'consistency.object.key', value: { stringValue: 'own' } }] },
      { facts: { objectType: '', objectKey: 'own' } },
    ],
  ])('%s', (_, record, expected) => {
    const { json, protobuf } = operationsOf([shipped, removed], record);
    expect(protobuf).toHaveLength(1);
    expect(protobuf[0]).toMatchObject(expected);
    expect(json).toEqual(protobuf);
  });

  test.each<[string, object]>([
    ['another text', says('order shipped')],
    ['a text without a trace', { ...says('order 4711 shipped'), traceId: '' }],
    ['a body that is no text', { body: { intValue: '4711' } }],
    [
      'a text within a member of the body',
      { body: members({ key: 'http', value: members({ key: 'm', value: { stringValue: 'order 1 shipped' } }) }) },
    ],
    ['a match beyond the start of a long text', says(`${'x'.repeat(5000)} order 4711 shipped`)],
    ['a key of unreasonable length', says(`order ${'1'.repeat(1000)} shipped`)],
  ])('%s says nothing', (_, record) => {
    expect(operationsOf([shipped, removed], record)).toEqual({ json: [], protobuf: [] });
  });

  test('both encodings agree on any text', () => {
    const word = fc.constantFrom('order ', '17', ' shipped', 'cart ', 'removed ', 'ä', '\n', ' as version 3', '\u0000');
    fc.assert(
      fc.property(
        fc.array(word, { maxLength: 8 }).map((words) => words.join('')),
        (text) => {
          const { json, protobuf } = operationsOf([shipped, removed], says(text));
          expect(json).toEqual(protobuf);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('patterns', () => {
  test.each([
    ['order (\\d+)', /no group \(\?<key>/],
    ['(?<key>a)(?=b)', /RE2/],
    ['(?<key>a)\\1', /RE2/],
    ['(?<key>', /RE2/],
  ])('%s is refused', (pattern, why) => {
    const parsed = parseLogPattern(pattern);
    expect(parsed.is === 'wrong' && parsed.says).toMatch(why);
  });

  test('I7: a pattern that would hold a backtracking engine for ages costs no more than the text is long', () => {
    const rules = new LogKeys([{ pattern: '^(?<key>(?:a+)+)$', collection: 'x', operation: 'read' }]);
    const batch = new SpanBatch();
    batch.reset(['']);
    batch.openRow();
    // A backtracking engine would take 2^2040 steps: the test would not end.
    for (let i = 0; i < 20; i += 1) expect(rules.describe(`${'a'.repeat(2040)}b`, batch, () => 0)).toBe(false);
  });
});
