import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { dropRows, isDroppedRow, packBatch, unpackBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { StringTables, StringTablesTwin } from '../../src/ingest/string-tables.ts';
import { createLoad } from '../bench/ingest-load.ts';
import { spansOf } from './batch-as-spans.ts';
import { traceRequest } from './otlp-arbitrary.ts';

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

  test('a span of ordinary instrumentation waits in some hundred bytes', () => {
    const batch = new SpanBatch();
    new ProtobufDecoder().decode(createLoad({ seed: 8, spansPerRequest: 960 }).next(), batch);
    expect((packBatch(batch)?.buffer.byteLength ?? Number.NaN) / 960).toBeLessThan(110);
  });

  test('rows that nobody wants are marked, and no other', () => {
    const batch = new SpanBatch();
    new ProtobufDecoder().decode(createLoad({ seed: 8, spansPerRequest: 30 }).next(), batch);
    const packed = packBatch(batch);
    if (packed === undefined) throw new Error('the load has spans');
    const ends: number[] = [];
    const kept = dropRows(packed, (ids, row, endUs) => {
      expect(Buffer.from(ids.subarray(row * 32, row * 32 + 32))).toEqual(Buffer.from(batch.ids.subarray(row * 32, row * 32 + 32)));
      ends.push(endUs);
      return row % 3 > 0;
    });
    const wanted = ends.filter((_, row) => row % 3 > 0);
    expect(kept).toEqual({ rows: 20, minEndUs: Math.min(...wanted), maxEndUs: Math.max(...wanted) });
    expect(ends).toEqual([...batch.endUs.subarray(0, 30)]);
    const again = new SpanBatch();
    unpackBatch(packed, batch.strings, again);
    for (let row = 0; row < 30; row += 1) expect(isDroppedRow(again, row)).toBe(row % 3 === 0);
  });
});
