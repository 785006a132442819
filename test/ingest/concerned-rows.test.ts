import { expect, test } from 'vitest';
import { ConcernedRows } from '../../src/ingest/concerned-rows.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { encodeTraces } from './otlp-proto.ts';

const attribute = (key: string, stringValue: string): object => ({ key, value: { stringValue } });
const span = (attributes: object[], events: object[] = []): object => ({
  traceId: Buffer.alloc(16, 1),
  spanId: Buffer.alloc(8, 2),
  name: 'x',
  attributes,
  events,
});

test('finds what names a collection or a table, in statements, attributes and events, and little else', () => {
  const spans = [
    span([attribute('db.query.text', 'UPDATE "Public"."Accounts" SET balance = 1')]),
    span([attribute('db.query.text', 'UPDATE orders SET total = 1')]),
    span([attribute('consistency.object.type', 'account')]),
    span([attribute('consistency.object.type', 'ACCOUNTS')]),
    span([], [{ name: 'consistency.operation', attributes: [attribute('consistency.object.type', 'accounts')] }]),
    span([attribute('db.statement', 'SET profile:7 {}'), attribute('db.system', 'redis')]),
    span([attribute('http.route', '/accounts')]),
  ];
  const batch = new SpanBatch();
  const decoder = new ProtobufDecoder();
  const concerned = new ConcernedRows(['public.accounts', 'profile', '']);
  for (let round = 0; round < 2; round += 1) {
    decoder.decode(encodeTraces({ resourceSpans: [{ scopeSpans: [{ spans }] }] }), batch);
    const found: number[] = [];
    concerned.find(
      batch,
      (row) => row !== 3,
      (rows, count) => found.push(...rows.subarray(0, count)),
    );
    expect(found).toEqual([0, 4, 5]);
  }
  expect(new ConcernedRows([]).isEmpty).toBe(true);
});
