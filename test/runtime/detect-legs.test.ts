import { expect, test } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import { parseConfig } from '../../src/config.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { packBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { StringTables } from '../../src/ingest/string-tables.ts';
import { detectStageOptions } from '../../src/runtime/detect-options.ts';
import { DetectStage } from '../../src/runtime/detect-stage.ts';
import { encodeTraces } from '../ingest/otlp-proto.ts';

const startMs = Date.UTC(2026, 0, 1);
const latenessMs = 10_000;

/** The stage as a file configures it, on a clock that is held. */
function openStage(targets: string): { readonly stage: DetectStage; readonly at: (ms: number, ...spans: object[]) => void } {
  let nowMs = 0;
  const clock: Clock = { nowMs: () => startMs + nowMs, monotonicMs: () => nowMs };
  const text = `domains: { shop: { consistency: eventual } }
collections:
  carts: { domain: shop, key: [id], replicas: { a: { url: postgres://a/shop }, b: { url: postgres://b/shop } } }
  other: { domain: shop, key: [id], replicas: { a: { url: postgres://a/shop }, b: { url: postgres://b/shop } } }
ingest: { latenessMs: ${latenessMs} }
${targets}`;
  const parsed = parseConfig(text, 'homeostat.yaml', {});
  if (parsed.is !== 'config') throw new Error(JSON.stringify(parsed.problems));
  const stage = new DetectStage(detectStageOptions(parsed.config), clock);
  const tables = new StringTables();
  let sequence = 0;
  return {
    stage,
    at: (ms, ...spans) => {
      nowMs = ms;
      const batch = new SpanBatch();
      const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] };
      new ProtobufDecoder().decode(encodeTraces({ resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }), batch);
      const packed = packBatch(batch);
      sequence += 1;
      if (packed !== undefined) stage.take({ sequence, packed, strings: tables.added(batch.strings) });
    },
  };
}

let spans = 0;
function call(operation: number, replica: string, tookMs: number, type = 'carts'): object {
  const text = (key: string, stringValue: string): object => ({ key, value: { stringValue } });
  const id = (number: number): Buffer => {
    const bytes = Buffer.alloc(8, 1);
    bytes.writeUInt32LE(number, 0);
    return bytes;
  };
  spans += 1;
  return {
    traceId: Buffer.alloc(16, operation),
    spanId: id(1_000 + spans),
    parentSpanId: id(operation),
    name: 'set',
    kind: 3,
    startTimeUnixNano: String(BigInt(startMs + 100 * operation) * 1_000_000n),
    endTimeUnixNano: String(BigInt(startMs + 100 * operation + tookMs) * 1_000_000n),
    attributes: [
      text('db.system.name', 'redis'),
      text('db.operation.name', 'SET'),
      text('consistency.object.type', type),
      text('consistency.object.key', '7'),
      text('consistency.replica.id', replica),
      { key: 'consistency.version', value: { intValue: operation } },
    ],
  };
}

const target = 'targets: { ring: { kind: client-quorum, collections: [carts], replicas: [a, b, c], read: 1, write: 1 } }\n';

test('an operation whose slowest call comes after a drain is whole at the next one, and is not counted as lost', () => {
  const { stage, at } = openStage(target);
  at(1_000, ...['a', 'b', 'c'].map((replica) => call(1, replica, 5)), call(2, 'a', 5), call(2, 'b', 6), call(3, 'a', 5, 'other'));
  expect(stage.drainLegs()).toMatchObject([{ collection: 'carts', operations: [] }]);
  // Another exporter's turn: the slow replica answered after 9 s.
  at(10_500, call(2, 'c', 9_000));
  at(11_000);
  const [first] = stage.drainLegs();
  expect(first?.operations.map(({ startUs }) => startUs / 1_000 - startMs)).toEqual([100]);
  at(20_500);
  const [second] = stage.drainLegs();
  expect(second?.operations.map(({ trips }) => trips.map(({ replica, tripMs, version }) => [replica, tripMs, version]))).toEqual([
    [
      ['a', 5, 2n],
      ['b', 6, 2n],
      ['c', 9_000, 2n],
    ],
  ]);
  expect([first?.leftOut, second?.leftOut]).toEqual([
    { alone: 0, failed: 0, repeated: 0 },
    { alone: 0, failed: 0, repeated: 0 },
  ]);
});

test.each(['', `${target}forecast: { enabled: false }\n`])('nothing is kept where nobody asks for it: %j', (targets) => {
  const { stage, at } = openStage(targets);
  at(1_000, ...['a', 'b', 'c'].map((replica) => call(1, replica, 5)));
  at(60_000);
  expect(stage.drainLegs()).toEqual([]);
});
