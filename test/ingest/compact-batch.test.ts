import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BatchPacker } from '../../src/ingest/batch-packer.ts';
import { BatchExpander, idsAtOnce, isDropped, sift } from '../../src/ingest/compact-batch.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { idWordsARow } from '../../src/ingest/dedupe.ts';
import { packBatch, type PackedBatch } from '../../src/ingest/packed-batch.ts';
import type { Place } from '../../src/ingest/packed-regions.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { createLoad } from '../bench/ingest-load.ts';
import { traceRequest } from './otlp-arbitrary.ts';
import { encodeTraces } from './otlp-proto.ts';

const bytesOf = ({ buffer, offset, bytes }: PackedBatch): Buffer => Buffer.from(buffer as ArrayBuffer, offset, bytes);

/** Memory that held something else before, with something else around it. */
const dirty =
  (around = 64) =>
  (bytes: number): Place => ({ buffer: new Uint8Array(bytes + around * 2).fill(0xa5).buffer, offset: around });

const decoded = (bytes: Buffer): SpanBatch => {
  const batch = new SpanBatch();
  new ProtobufDecoder().decode(bytes, batch);
  return batch;
};
const present = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('there are spans');
  return value;
};

/** A few requests, each of them many times, as spans of one place in the code are alike. */
const requestsOfLikeSpans = fc
  .tuple(fc.array(traceRequest, { minLength: 1, maxLength: 8 }), fc.array(fc.nat(), { minLength: 1, maxLength: 120, size: 'max' }))
  .map(([requests, picks]) => picks.map((pick) => requests[pick % requests.length] as Buffer));

describe('BatchPacker and BatchExpander', () => {
  test('what waits compact comes out byte by byte as it went in, batch after batch', () => {
    const [packer, expander] = [new BatchPacker(), new BatchExpander()];
    let compacted = 0;
    fc.assert(
      fc.property(requestsOfLikeSpans, (requests) => {
        // Requests of protobuf one behind the other are one request of all that they hold.
        const batch = decoded(Buffer.concat(requests));
        const compact = packer.pack(batch, dirty());
        const packed = packBatch(batch, dirty(8));
        if (packed === undefined || compact === undefined) {
          expect(compact).toBe(packed);
          return;
        }
        if (compact.form !== undefined) compacted += 1;
        const { buffer, offset } = compact;
        const around = [...new Uint8Array(buffer, 0, offset), ...new Uint8Array(buffer, offset + compact.bytes)];
        expect(around.every((byte) => byte === 0xa5)).toBe(true);
        expect(bytesOf(expander.expand(compact))).toEqual(bytesOf(packed));
      }),
      { numRuns: 300 },
    );
    expect(compacted).toBeGreaterThan(100);
  });

  test('batches of different sizes are kept apart: each comes out as it was, in whatever order', () => {
    const [packer, expander] = [new BatchPacker(), new BatchExpander()];
    const load = createLoad({ seed: 8, spansPerRequest: 40 });
    const larger = createLoad({ seed: 9, spansPerRequest: 3000 });
    const batches = [load, larger, load, load, larger].map((one) => decoded(one.next()));
    const packed = batches.map((one) => present(packBatch(one, dirty(8))));
    const compact = batches.map((one) => present(packer.pack(one, dirty())));
    expect(compact.every(({ form }) => form !== undefined)).toBe(true);
    for (const nth of [3, 0, 4, 1, 2]) expect(bytesOf(expander.expand(compact[nth] as never))).toEqual(bytesOf(packed[nth] as never));
  });

  test('what is asked of rows is their ids and ends, whether they are compact or not, and those that nobody wants are marked', () => {
    const packer = new BatchPacker();
    let compacted = 0;
    fc.assert(
      fc.property(requestsOfLikeSpans, fc.array(fc.boolean(), { minLength: 1 }), (requests, wanted) => {
        const batch = decoded(Buffer.concat(requests));
        const packed = packBatch(batch, dirty(8));
        const compact = packer.pack(batch, dirty());
        if (packed === undefined || compact === undefined) return;
        if (compact.form !== undefined) compacted += 1;
        for (const one of [packed, compact]) {
          const ends: number[] = [];
          const kept = sift(one, (ids, nth, count, endUs) => {
            const row = ends.push(endUs) - 1;
            expect(nth).toBe(row % idsAtOnce);
            expect(count).toBe(Math.min(idsAtOnce, packed.rows - row + nth));
            const words = Buffer.from(ids.buffer, nth * idWordsARow * 4, idWordsARow * 4);
            expect(words).toEqual(Buffer.from(batch.ids.subarray(row * 32, row * 32 + 24)));
            return wanted[row % wanted.length] === true;
          });
          // Ends before starts are no times.
          expect(ends).toEqual([...batch.endUs.subarray(0, packed.rows)].map((us, row) => Math.max(us, batch.startUs[row] as number)));
          const left = ends.filter((_, row) => wanted[row % wanted.length] === true);
          expect(kept).toMatchObject({ rows: left.length, minEndUs: Math.min(...left), maxEndUs: Math.max(...left) });
          expect(kept.dropped === undefined).toBe(left.length === packed.rows);
          for (let row = 0; row < packed.rows; row += 1) expect(isDropped(kept, row)).toBe(wanted[row % wanted.length] === false);
        }
      }),
      { numRuns: 200 },
    );
    expect(compacted).toBeGreaterThan(60);
  });

  const second = 1_000_000_000n;
  const id = (length: number, number: number): Buffer => {
    const bytes = Buffer.alloc(length);
    bytes.writeUInt32BE(number + 1, length - 4);
    return bytes;
  };
  const span = (trace: number, own: number, parent: number | undefined, more: object = {}): object => ({
    traceId: id(16, trace),
    spanId: id(8, own),
    ...(parent === undefined ? {} : { parentSpanId: id(8, parent) }),
    name: 'a span',
    startTimeUnixNano: String(1_700_000_000n * second),
    endTimeUnixNano: String(1_700_000_001n * second),
    ...more,
  });
  const whole = (key: string, value: number): object => ({ key, value: { intValue: value } });
  const cases: Record<string, readonly object[]> = {
    'spans of one id in several traces, whose parents have it too': Array.from({ length: 80 }, (_, nth) => span(nth % 7, nth % 5, nth % 3)),
    'parents that are in no row, in traces that alternate': Array.from({ length: 80 }, (_, nth) => span(nth % 2, nth, nth + 1000)),
    'a span that is its own parent, and parents that come later': Array.from({ length: 80 }, (_, nth) =>
      span(1, nth, Math.min(nth + 1, 79)),
    ),
    'rows without attributes among rows of up to two hundred': Array.from({ length: 80 }, (_, nth) =>
      span(nth, nth, undefined, {
        attributes: Array.from({ length: (nth % 4) * 66 }, (_, i) => whole('consistency.version', (nth + i) % 3 === 0 ? 70_000 + i : i)),
      }),
    ),
    'traces whose ids differ in one word': Array.from({ length: 80 }, (_, nth) =>
      span(0, nth, undefined, { traceId: Buffer.alloc(16, 7).fill(nth, (nth % 4) * 4, (nth % 4) * 4 + 4) }),
    ),
    'more rows than two bytes number': Array.from({ length: 66_000 }, (_, nth) => span(nth, nth, nth - 1)),
    'a row of more attributes than a byte counts': Array.from({ length: 40 }, (_, nth) =>
      span(nth, nth, undefined, { attributes: Array.from({ length: nth * 10 }, (_, i) => whole('consistency.version', i)) }),
    ),
  };
  test.each(Object.entries(cases))('%s', (_, spans) => {
    const batch = decoded(Buffer.from(encodeTraces({ resourceSpans: [{ scopeSpans: [{ spans }] }] })));
    expect(batch.count).toBe(spans.length);
    const compact = present(new BatchPacker().pack(batch, dirty()));
    expect(bytesOf(new BatchExpander().expand(compact))).toEqual(bytesOf(present(packBatch(batch, dirty(8)))));
  });

  test('a span of ordinary instrumentation waits in forty bytes', () => {
    const batch = decoded(createLoad({ seed: 8, spansPerRequest: 960 }).next());
    expect(present(new BatchPacker().pack(batch, dirty())).bytes / 960).toBeLessThan(40);
  });
});
