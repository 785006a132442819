import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonBytesDecoder } from '../../src/ingest/decode-otlp-json-bytes.ts';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { spansOf } from './batch-as-spans.ts';
import { asJson } from './otlp-as-json.ts';
import { traceRequest } from './otlp-arbitrary.ts';
import { traceRequestType } from './otlp-proto.ts';

const fromBytes = new JsonBytesDecoder();
const general = new JsonDecoder();
const [a, b] = [new SpanBatch(), new SpanBatch()];

/** Whether the reader of bytes took it; what it takes must be what the general reader reads, with nothing to complain of. */
function isTaken(bytes: Buffer): boolean {
  if (!fromBytes.decode(bytes, a)) return false;
  expect(general.decodeText(bytes.toString('utf8'), b)).toEqual({ is: 'decoded' });
  expect(general.unknownField).toBe('');
  expect(spansOf(a)).toEqual(spansOf(b));
  expect([...a.rejected]).toEqual([...b.rejected]);
  return true;
}

const requests = traceRequest.map((bytes) =>
  asJson(traceRequestType.toObject(traceRequestType.decode(bytes), { longs: String, enums: Number, bytes: Buffer })),
);

/** What somebody may write in place of a value. */
const oddValue = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    'true',
    [],
    {},
    [[]],
    [{}],
    [null],
    0,
    -0,
    1.5,
    -1,
    1e21,
    '',
    'SPAN_KIND_SERVER',
    'NaN',
    '007',
    '-0',
  ),
  fc.bigInt({ min: -(2n ** 66n), max: 2n ** 66n }).map(String),
  fc.double(),
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom<unknown>(
    { stringValue: 'x' },
    { stringValue: null },
    { intValue: '5', stringValue: 5 },
    { arrayValue: { values: [{ boolValue: true }] } },
  ),
  fc.constantFrom<unknown>(
    { kvlistValue: { values: [{ key: 'a', value: { intValue: 7 } }] } },
    { bytesValue: 5 },
    { arrayValue: [] },
    { doubleValue: '1.5' },
  ),
);
const oddName = fc.constantFrom(
  'name',
  'spans',
  'kind',
  'flags',
  'attributes',
  'value',
  'key',
  'stringValue',
  'code',
  'resource_spans',
  'x',
  '__proto__',
  '0',
);

/** Exchanges a member here and there, adds one, or turns the order of members around. */
function strange(
  value: unknown,
  odd: () => { readonly does: number; readonly value: unknown; readonly name: string } | undefined,
): unknown {
  const how = odd();
  if (how?.does === 0) return how.value;
  if (Array.isArray(value)) return value.map((item) => strange(item, odd));
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).map(([name, content]): [string, unknown] => [name, strange(content, odd)]);
  if (how?.does === 1) members.push([how.name, how.value]);
  if (how?.does === 2) members.reverse();
  return Object.fromEntries(members);
}

/** The same document with other white space, or with characters escaped. */
function written(document: unknown, how: number): string {
  const text = JSON.stringify(document, null, how === 1 ? 2 : how === 2 ? '\t' : undefined);
  if (how === 3) return text.replaceAll(/[a-e ]/g, (letter) => `\\u00${letter.charCodeAt(0).toString(16)}`);
  if (how === 4)
    return text.replaceAll(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).replaceAll('/', '\\/');
  return text;
}

const oddities = fc.array(fc.option(fc.record({ does: fc.nat(2), value: oddValue, name: oddName }), { nil: undefined, freq: 12 }), {
  minLength: 1,
  maxLength: 60,
});

describe('the reader of bytes', () => {
  test('takes what exporters write, and reads it as the general reader does', () => {
    fc.assert(
      fc.property(requests, fc.nat(4), (document, how) => {
        const text = written(document, how);
        // Infinities have no JSON; integers that a double does not hold and escaped keys are left to the general reader.
        fc.pre(how !== 3 && !/"doubleValue":\s*(?:null|")|"intValue":\s*"-?\d{16,}"|\\u[dD][89a-fA-F]/.test(text));
        expect(isTaken(Buffer.from(text))).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test('takes nothing that the general reader would read otherwise, or complain of', () => {
    let taken = 0;
    let left = 0;
    fc.assert(
      fc.property(requests, oddities, fc.nat(4), (document, list, how) => {
        let nth = 0;
        const odd = strange(document, () => list[nth++ % list.length]);
        if (isTaken(Buffer.from(written(odd, how)))) taken += 1;
        else left += 1;
      }),
      { numRuns: 700 },
    );
    expect(Math.min(taken, left)).toBeGreaterThan(50);
  });

  test('takes no damaged document that the general reader would not', () => {
    const cut = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      put: fc.constantFrom('', '"', '\\', '{', '}', ',', '0', '\u0001', '\\u12', 'é', '\ud800'),
      drop: fc.nat(3),
    });
    fc.assert(
      fc.property(requests, fc.nat(2), fc.array(cut, { minLength: 1, maxLength: 3 }), (document, how, cuts) => {
        let bytes = Buffer.from(written(document, how));
        for (const { at, put, drop } of cuts) {
          const from = Math.floor(at * bytes.length);
          bytes = Buffer.concat([bytes.subarray(0, from), Buffer.from(put), bytes.subarray(from + drop)]);
        }
        isTaken(bytes);
      }),
      { numRuns: 700 },
    );
  });

  test.each([
    '{"resourceSpans":[{"resource":{},"resource":{}}]}',
    '{"resourceSpans":[]} x',
    '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a","name":"b"}]}]}]}',
    '{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"12a4"}]}]}]}',
    '{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":01}]}]}]}',
    '\u{feff}{"resourceSpans":[]}',
    '{"resource\\u0053pans":[]}',
    '{"resourceSpans":null}',
    '',
  ])('leaves %s to the general reader', (document) => {
    expect(fromBytes.decode(Buffer.from(document), a)).toBe(false);
  });

  test('names of fields that nobody knows take no place from those that are known', () => {
    for (let nth = 0; nth < 2000; nth += 1) fromBytes.decode(Buffer.from(`{"x${nth}":1}`), a);
    expect(isTaken(Buffer.from('{"resourceSpans":[{"schemaUrl":"x"}]}'))).toBe(true);
  });
});
