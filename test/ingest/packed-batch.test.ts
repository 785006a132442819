import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sift } from '../../src/ingest/compact-batch.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { movePacked, packBatch, unpackBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { StringTables, StringTablesTwin } from '../../src/ingest/string-tables.ts';
import { createLoad } from '../bench/ingest-load.ts';
import { spansOf } from './batch-as-spans.ts';
import { traceRequest } from './otlp-arbitrary.ts';
import { encodeTraces } from './otlp-proto.ts';

describe('packBatch', () => {
  test('what is packed on one side is on the other what it was, batch after batch, into a batch that held others', () => {
    const decoder = new ProtobufDecoder({ distinctStrings: 64, arenaBytes: 16_384 });
    const [batch, again] = [new SpanBatch(), new SpanBatch()];
    const [tables, twin] = [new StringTables(), new StringTablesTwin()];
    fc.assert(
      fc.property(traceRequest, (bytes) => {
        decoder.decode(bytes, batch);
        const packed = packBatch(batch);
        if (packed === undefined) {
          expect(batch.count).toBe(0);
          return;
        }
        const strings = twin.take(structuredClone(tables.added(batch.strings)));
        // Another buffer, as a thread gets it; what was packed from may be written over.
        unpackBatch(structuredClone(packed, { transfer: [packed.buffer] }), strings, again);
        const before = spansOf(batch);
        // Ends before starts are no times; they leave as none.
        expect(spansOf(again)).toEqual(before.map((span) => ({ ...span, endUs: Math.max(span.endUs, span.startUs) })));
      }),
      { numRuns: 300 },
    );
  });

  test('batches sent later than they were packed still find their strings, in whatever order', () => {
    const decoder = new ProtobufDecoder();
    const load = createLoad({ seed: 8, spansPerRequest: 60 });
    const [tables, twin] = [new StringTables(), new StringTablesTwin()];
    const sent = Array.from({ length: 6 }, () => {
      const batch = new SpanBatch();
      decoder.decode(load.next(), batch);
      const packed = packBatch(batch);
      if (packed === undefined) throw new Error('the load has spans');
      return { packed, batch, strings: batch.strings };
    });
    for (const { packed, batch, strings } of sent.toReversed()) {
      const again = new SpanBatch();
      unpackBatch(packed, twin.take(structuredClone(tables.added(strings))), again);
      expect(spansOf(again)).toEqual(spansOf(batch));
    }
  });

  test('a span of ordinary instrumentation travels in eighty bytes', () => {
    const batch = new SpanBatch();
    new ProtobufDecoder().decode(createLoad({ seed: 8, spansPerRequest: 960 }).next(), batch);
    expect((packBatch(batch)?.bytes ?? Number.NaN) / 960).toBeLessThan(80);
  });

  describe('what fits no small number takes more room and stays what it is', () => {
    const second = 1_000_000_000n;
    const span = (nth: number, seconds = 1n, more: object = {}): object => ({
      traceId: Buffer.alloc(16, 1 + (nth % 200)),
      spanId: Buffer.alloc(8, 1),
      name: `span ${nth}`,
      startTimeUnixNano: String(1_700_000_000n * second),
      endTimeUnixNano: String((1_700_000_000n + seconds) * second),
      ...more,
    });
    const whole = (key: string, value: number | string): object => ({ key, value: { intValue: value } });
    const cases: Record<string, readonly object[]> = {
      'a span of five hours': [span(1), span(2, 18_000n)],
      'spans of days apart': [span(1), span(2, 1n, { startTimeUnixNano: '1', endTimeUnixNano: '2000' })],
      'more names than two bytes number': Array.from({ length: 66_000 }, (_, nth) => span(nth)),
      'more large values than two bytes number': Array.from({ length: 100 }, (_, nth) =>
        span(nth, 1n, { attributes: Array.from({ length: 700 }, (_, i) => whole('consistency.version', 70_000 + nth * 700 + i)) }),
      ),
      'a span of three hundred attributes among others': [
        span(1, 1n, { attributes: [whole('consistency.version', 3)] }),
        span(2, 1n, { attributes: Array.from({ length: 300 }, (_, i) => whole('consistency.version', i)) }),
        span(3, 1n, { attributes: [whole('consistency.version', -1), whole('consistency.version.base', '9007199254740993')] }),
      ],
    };
    test.each(Object.entries(cases))('%s', (_, spans) => {
      const [batch, again] = [new SpanBatch(), new SpanBatch()];
      new ProtobufDecoder().decode(encodeTraces({ resourceSpans: [{ scopeSpans: [{ spans }] }] }), batch);
      expect(batch.count).toBe(spans.length);
      const packed = packBatch(batch);
      if (packed === undefined) throw new Error('there are spans');
      const ends: number[] = [];
      sift(packed, (_ids, _nth, _count, endUs) => ends.push(endUs) > 0);
      expect(ends).toEqual([...batch.endUs.subarray(0, batch.count)]);
      unpackBatch(movePacked(packed, { buffer: new ArrayBuffer(packed.bytes + 64), offset: 64 }), batch.strings, again);
      expect(spansOf(again)).toEqual(spansOf(batch));
    });
  });

  test('memory that held something else is written over as a whole', () => {
    const decoder = new ProtobufDecoder();
    fc.assert(
      fc.property(traceRequest, fc.integer({ min: 0, max: 255 }), (bytes, dirt) => {
        const [batch, again] = [new SpanBatch(), new SpanBatch()];
        decoder.decode(bytes, batch);
        const packed = packBatch(batch, (size) => ({ buffer: new Uint8Array(size + 8).fill(dirt).buffer, offset: 8 }));
        if (packed === undefined) return;
        unpackBatch(packed, batch.strings, again);
        expect(spansOf(again)).toEqual(spansOf(batch).map((one) => ({ ...one, endUs: Math.max(one.endUs, one.startUs) })));
      }),
      { numRuns: 200 },
    );
  });
});
