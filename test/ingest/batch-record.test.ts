import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BatchRecordReader, BatchRecordWriter } from '../../src/ingest/batch-record.ts';
import { BatchExpander } from '../../src/ingest/compact-batch.ts';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { LogKeys } from '../../src/ingest/log-keys.ts';
import { unpackBatch } from '../../src/ingest/packed-batch.ts';
import type { Place } from '../../src/ingest/packed-regions.ts';
import { Malformed } from '../../src/ingest/protobuf-wire.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { codeOf } from '../../src/ingest/wanted-attributes.ts';
import { createLoad } from '../bench/ingest-load.ts';
import { spansOf } from './batch-as-spans.ts';
import { traceRequest } from './otlp-arbitrary.ts';
import { encodeTraces } from './otlp-proto.ts';

const take = (bytes: number): Buffer => Buffer.allocUnsafeSlow(bytes).fill(0xaa);
const inBuffer = (bytes: number): Place => ({ buffer: new ArrayBuffer(bytes), offset: 0 });
const write = (batch: SpanBatch, largest = Number.POSITIVE_INFINITY): Buffer => {
  const writer = new BatchRecordWriter();
  const packed = writer.pack(batch, inBuffer);
  const record = packed && writer.write(packed, batch.strings, largest, take);
  if (record === undefined) throw new Error('a batch with rows is a record');
  return record;
};
/** Ends before starts are no times; they leave as none. */
const asPacked = (batch: SpanBatch) => spansOf(batch).map((span) => ({ ...span, endUs: Math.max(span.endUs, span.startUs) }));

const load = (seed: number, spansPerRequest = 960): SpanBatch => {
  const batch = new SpanBatch();
  new ProtobufDecoder().decode(createLoad({ seed, spansPerRequest }).next(), batch);
  return batch;
};

describe('a batch as the journal keeps it', () => {
  test('reads as what it was, one after the other, by a reader that has no table of the writer', () => {
    const decoder = new ProtobufDecoder({ distinctStrings: 64, arenaBytes: 16_384 });
    const [writer, reader, expander] = [new BatchRecordWriter(), new BatchRecordReader(), new BatchExpander()];
    const [batch, again] = [new SpanBatch(), new SpanBatch()];
    fc.assert(
      fc.property(traceRequest, fc.boolean(), (bytes, isLog) => {
        decoder.decode(bytes, batch);
        batch.isLog = isLog;
        const packed = writer.pack(batch, inBuffer);
        const record = packed && writer.write(packed, batch.strings, Number.POSITIVE_INFINITY, take);
        if (packed === undefined || record === undefined) {
          expect(batch.count).toBe(0);
          return;
        }
        const before = asPacked(batch);
        // What the consumer gets at once is the same.
        unpackBatch(expander.expand(packed), batch.strings, again);
        expect(spansOf(again)).toEqual(before);
        // Wherever in memory it lies.
        for (const offset of [0, 1 + (bytes.length % 7)]) {
          const elsewhere = Buffer.allocUnsafeSlow(offset + record.length);
          record.copy(elsewhere, offset);
          reader.read(elsewhere.subarray(offset), again);
          expect(spansOf(again)).toEqual(before);
        }
        expect(again.isLog).toBe(isLog);
      }),
      { numRuns: 300 },
    );
  });

  test('texts of any characters come back as they were, half a surrogate pair too', () => {
    const again = new SpanBatch();
    const json = new JsonDecoder(new LogKeys());
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 8 }), { minLength: 1, maxLength: 4 }), (names) => {
        const spans = names.map((name, nth) => ({ traceId: '1'.padStart(32, '0'), spanId: String(nth + 1).padStart(16, '0'), name }));
        const batch = new SpanBatch();
        json.decodeBytes(Buffer.from(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] })), batch, 'traces');
        new BatchRecordReader().read(write(batch), again);
        expect(spansOf(again).map(({ name }) => name)).toEqual(spansOf(batch).map(({ name }) => name));
      }),
      { numRuns: 200 },
    );
  });

  test('is less than a tenth of what came in protobuf, and is not made where what came is smaller', () => {
    const bytes = createLoad({ seed: 8, spansPerRequest: 960 }).next();
    const batch = load(8);
    const { length } = write(batch);
    expect(length * 10).toBeLessThan(bytes.length);
    expect(() => write(batch, length)).toThrow();
    expect(write(batch, length + 1).length).toBe(length);
  });

  test('attributes are found by their names: other codes, and names that nobody wants any more, are read for what they are', () => {
    const encoded = encodeTraces({
      resourceSpans: [
        {
          scopeSpans: [
            {
              spans: [
                {
                  traceId: Buffer.alloc(16, 1),
                  spanId: Buffer.alloc(8, 1),
                  name: 'a',
                  attributes: [
                    { key: 'db.namespace', value: { stringValue: 'shop' } },
                    { key: 'http.route', value: { stringValue: '/orders' } },
                  ],
                },
              ],
            },
          ],
        },
      ],
    });
    const [batch, again] = [new SpanBatch(), new SpanBatch()];
    new ProtobufDecoder().decode(encoded, batch);
    const bytes = write(batch);
    // As a version would have written it in which one code meant another key, and the other a key that is gone.
    const renamed = (from: string, to: string): number => bytes.write(to, bytes.lastIndexOf(from), 'latin1');
    renamed('db.namespace', 'cloud.region');
    renamed('http.route', 'http.gone!');
    new BatchRecordReader().read(bytes, again);
    expect(spansOf(again)[0]?.attributes).toEqual([`${codeOf('cloud.region')}:1:shop`, '0:1:/orders']);
  });

  test('a reader that has seen many strings begins a new table, and what it read before keeps its own', () => {
    const reader = new BatchRecordReader();
    const kept = new SpanBatch();
    const [first, many] = [load(1), new SpanBatch()];
    reader.read(write(first), kept);
    const before = spansOf(kept);
    const table = kept.strings;
    const named = (from: number): SpanBatch => {
      const spans = Array.from({ length: 40_000 }, (_, i) => ({
        traceId: Buffer.alloc(16, 1),
        spanId: Buffer.alloc(8, 1),
        name: `n${from + i}`,
      }));
      const batch = new SpanBatch();
      new ProtobufDecoder().decode(encodeTraces({ resourceSpans: [{ scopeSpans: [{ spans }] }] }), batch);
      return batch;
    };
    for (const from of [0, 40_000, 80_000]) {
      const batch = named(from);
      reader.read(write(batch), many);
      expect(spansOf(many).map(({ name }) => name)).toEqual(spansOf(batch).map(({ name }) => name));
    }
    expect(many.strings).not.toBe(table);
    expect(spansOf(kept)).toEqual(before);
  });

  test('a record of the version before, whose columns are never compact and whose header is shorter, reads as what it was', () => {
    const [batch, again] = [load(4, 20), new SpanBatch()];
    const bytes = write(batch);
    const earlier = Buffer.concat([bytes.subarray(0, 64), bytes.subarray(96)]);
    earlier.writeInt32LE(1, 0);
    new BatchRecordReader().read(earlier, again);
    expect(spansOf(again)).toEqual(asPacked(batch));
  });

  test('reads from the middle of other memory, as stores and pools hand it out', () => {
    const bytes = write(load(2));
    const [alone, inside] = [new SpanBatch(), new SpanBatch()];
    new BatchRecordReader().read(bytes, alone);
    for (const offset of [64, 61]) {
      const around = Buffer.alloc(bytes.length + 128, 7);
      bytes.copy(around, offset);
      new BatchRecordReader().read(around.subarray(offset, offset + bytes.length), inside);
      expect(spansOf(inside)).toEqual(spansOf(alone));
    }
  });

  test('damaged bytes are refused or read as something, and never more than that', () => {
    const bytes = write(load(3, 12));
    const again = new SpanBatch();
    const reader = new BatchRecordReader();
    const readOrRefuse = (damaged: Buffer): void => {
      try {
        reader.read(damaged, again);
      } catch (error) {
        if (!(error instanceof Malformed) && !(error instanceof RangeError)) throw error;
      }
    };
    for (let length = 0; length < bytes.length; length += 1) expect(() => reader.read(bytes.subarray(0, length), again)).toThrow(Malformed);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), (flips) => {
        const damaged = Buffer.from(bytes);
        for (const [at, value] of flips) damaged[at] = value;
        readOrRefuse(damaged);
      }),
      { numRuns: 2_000 },
    );
  });
});
