import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonDecoder } from '../../../src/ingest/decode-otlp-json.ts';
import { SpanBatch } from '../../../src/ingest/span-batch.ts';
import { readOtlpBatches } from '../../../src/io/otlp/read-file.ts';
import { RequestSplitter } from '../../../src/io/otlp/request-splitter.ts';
import { type PlainSpan, spansOf } from '../../ingest/batch-as-spans.ts';
import { asJson } from '../../ingest/otlp-as-json.ts';
import { traceRequest } from '../../ingest/otlp-arbitrary.ts';
import { traceRequestType } from '../../ingest/otlp-proto.ts';

const documents = traceRequest.map((bytes) =>
  asJson(traceRequestType.toObject(traceRequestType.decode(bytes), { longs: String, enums: Number })),
);

/** The resource first and the scope first, as exporters write them; with members around them that mean nothing. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).map(([name, content]): [string, unknown] => [name, ordered(content)]);
  const rank = (name: string): number => (name === 'resource' || name === 'scope' ? 0 : name === 'scopeSpans' || name === 'spans' ? 2 : 1);
  return Object.fromEntries(members.toSorted(([a], [b]) => rank(a) - rank(b)));
}

function read(parts: readonly Buffer[]): PlainSpan[] {
  const decoder = new JsonDecoder();
  const batch = new SpanBatch();
  return parts.flatMap((part) => {
    expect(decoder.decodeBytes(part, batch)).toEqual({ is: 'decoded' });
    return [...spansOf(batch)];
  });
}

describe('a request that is cut up', () => {
  test('has the spans of the whole, each with its resource, wherever its bytes were cut', () => {
    fc.assert(
      fc.property(
        documents,
        fc.nat(400),
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 8 }),
        fc.boolean(),
        (document, partBytes, steps, isWide) => {
          const text = Buffer.from(JSON.stringify(ordered(document), null, isWide ? 1 : undefined));
          const splitter = new RequestSplitter(partBytes);
          const parts: Buffer[] = [];
          const rest = Buffer.from(' \n{"next":1}');
          const all = Buffer.concat([text, rest]);
          let endedAt = -1;
          for (let at = 0, nth = 0; at < all.length && !splitter.isDone; nth += 1) {
            const step = steps[nth % steps.length] ?? 1;
            parts.push(...splitter.feed(all.subarray(at, at + step)));
            if (splitter.isDone) endedAt = at + splitter.endedAt;
            at += step;
          }
          expect(endedAt).toBe(text.length);
          expect(splitter.complaint).toBe('');
          expect(read(parts)).toEqual(read([text]));
        },
      ),
      { numRuns: 150 },
    );
  });

  test('says where spans went out before their resource came', () => {
    const splitter = new RequestSplitter(1);
    const spans = [{ name: 'a', traceId: 'ab'.repeat(16), spanId: 'cd'.repeat(8) }];
    const parts = [...splitter.feed(Buffer.from(JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }], resource: {} }] })))];
    expect(read(parts)).toHaveLength(1);
    expect(splitter.complaint).toContain('resource comes after its spans');
  });
});

describe('a file of one large document', () => {
  const folder = mkdtempSync(join(tmpdir(), 'homeostat-large-'));
  const span = (nth: number) => ({
    traceId: nth.toString(16).padStart(32, '0'),
    spanId: nth.toString(16).padStart(16, '0'),
    name: `GET /${'x'.repeat(600)}`,
  });
  const count = 14_000;

  test.each([
    ['on one line', undefined],
    ['over many lines', 1],
  ])('%s is read in parts, and the lines behind it too', async (_, indent) => {
    const file = join(folder, `large-${indent}.json`);
    const large = {
      resourceSpans: [
        {
          resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
          scopeSpans: [{ spans: Array.from({ length: count }, (__, nth) => span(nth + 1)) }],
        },
      ],
    };
    const small = { resourceSpans: [{ scopeSpans: [{ spans: [span(count + 1)] }] }] };
    writeFileSync(file, `${JSON.stringify(large, null, indent)}\n${JSON.stringify(small)}\nnonsense\n`);
    const problems: string[] = [];
    let spans = 0;
    let batches = 0;
    let largest = 0;
    for await (const batch of readOtlpBatches(file, { onProblem: (sentence) => problems.push(sentence) })) {
      spans += batch.count;
      batches += 1;
      largest = Math.max(largest, batch.count);
    }
    expect(spans).toBe(count + 1);
    expect(batches).toBeGreaterThan(6);
    expect(largest).toBeLessThan(count / 4);
    expect(problems).toEqual([expect.stringContaining('not JSON')]);
    const lines = indent === undefined ? 3 : JSON.stringify(large, null, indent).split('\n').length + 2;
    expect(problems[0]).toContain(`:${lines}: `);
    rmSync(file);
  });

  test('that holds no spans is told', async () => {
    const file = join(folder, 'other.json');
    writeFileSync(file, JSON.stringify({ rows: Array.from({ length: 90_000 }, (_, nth) => ({ nth, text: 'y'.repeat(100) })) }));
    const problems: string[] = [];
    for await (const batch of readOtlpBatches(file, { onProblem: (sentence) => problems.push(sentence) })) expect(batch.count).toBe(0);
    expect(problems).toEqual([expect.stringContaining('holds no resourceSpans')]);
    rmSync(folder, { recursive: true });
  });
});
