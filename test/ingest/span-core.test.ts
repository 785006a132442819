import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { BatchPacker } from '../../src/ingest/batch-packer.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import type { PackedBatch } from '../../src/ingest/packed-batch.ts';
import { PlainSpanDecoder } from '../../src/ingest/plain-span-decoder.ts';
import { ProtobufWire } from '../../src/ingest/protobuf-wire.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { SpanCore } from '../../src/ingest/span-core.ts';
import { wantedKeys } from '../../src/ingest/wanted-attributes.ts';
import { root } from '../source-tree.ts';
import { createLoad } from '../bench/ingest-load.ts';
import { type PlainSpan, spansOf } from './batch-as-spans.ts';
import { compiledPath, compileSpanDecoder } from './compile-span-decoder.ts';
import { alikeRequest, mutated, traceRequest } from './otlp-arbitrary.ts';
import { encodeTraces } from './otlp-proto.ts';

const runs = { numRuns: Number(process.env['FUZZ_RUNS'] ?? 300) };
const strings = 32_768;
const arenaBytes = 4 * 1024 * 1024;

interface Seen {
  readonly spans: readonly PlainSpan[];
  readonly rejected: Readonly<Record<string, number>>;
  readonly counts: readonly number[];
}

const seen = (batch: SpanBatch): Seen => ({
  spans: spansOf(batch),
  rejected: Object.fromEntries(batch.rejected),
  counts: [batch.resourceCount, batch.eventCount, batch.linkCount, batch.attributes.count, batch.eventAttributes.count],
});

const span = (more: object): object => ({ traceId: Buffer.alloc(16, 1), spanId: Buffer.alloc(8, 2), ...more });
const requestOf = (spans: readonly object[]): Buffer => encodeTraces({ resourceSpans: [{ scopeSpans: [{ spans }] }] });
const text = (key: string, value: string): object => ({ key, value: { stringValue: value } });
const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

const bytesIn = ({ buffer, offset, bytes }: PackedBatch): Buffer => Buffer.from(buffer as ArrayBuffer, offset, bytes);
/** Requests of a fleet whose spans are mostly alike, of times near each other. */
const likeOrders = fc.integer({ min: 1, max: 1000 }).map((seed) => createLoad({ seed, spansPerRequest: 6 + (seed % 40) }).next());
const decodeBy = (core: SpanCore, bytes: Buffer, batch: SpanBatch): boolean => {
  if (!core.read(bytes, batch)) return false;
  core.fill(batch);
  return true;
};

test('what is committed is what the source compiles to', async () => {
  expect(await compileSpanDecoder()).toBe(readFileSync(compiledPath, 'utf8'));
}, 60_000);

describe('SpanCore', () => {
  afterEach(() => void vi.restoreAllMocks());

  test.each([
    ['any request', traceRequest],
    ['spans that are nearly alike', alikeRequest],
  ])('gives for %s what the decoder in TypeScript gives', (_, request) => {
    const [core, plain] = [new SpanCore(strings, arenaBytes), new PlainSpanDecoder(strings, arenaBytes)];
    const [ours, theirs] = [new SpanBatch(), new SpanBatch()];
    fc.assert(
      fc.property(request, (bytes) => {
        expect(decodeBy(core, bytes, ours)).toBe(true);
        plain.decode(bytes, theirs);
        expect(seen(ours)).toEqual(seen(theirs));
      }),
      runs,
    );
  });

  test('of mutated requests it takes those that are well-formed and hold no group, and gives the same, whatever came before', () => {
    const [core, plain] = [new SpanCore(strings, arenaBytes), new PlainSpanDecoder(strings, arenaBytes)];
    const [ours, theirs] = [new SpanBatch(), new SpanBatch()];
    const skip = vi.spyOn(ProtobufWire.prototype, 'skip');
    fc.assert(
      fc.property(mutated(fc.oneof(traceRequest, alikeRequest)), (bytes) => {
        skip.mockClear();
        const isWellFormed = plain.decode(bytes, theirs).is === 'decoded';
        const hasGroup = skip.mock.calls.some(([tag]) => (tag & 7) === 3);
        expect(decodeBy(core, bytes, ours)).toBe(isWellFormed && !hasGroup);
        if (isWellFormed && !hasGroup) expect(seen(ours)).toEqual(seen(theirs));
      }),
      { numRuns: runs.numRuns * 5 },
    );
  });

  test('packs what it has read as the packer in TypeScript packs it, byte for byte, and lists the same texts and attributes', () => {
    const core = new SpanCore(strings, arenaBytes);
    const packer = new BatchPacker();
    let compacted = 0;
    const some = fc.tuple(
      fc.array(fc.oneof(traceRequest, alikeRequest, likeOrders), { minLength: 1, maxLength: 8 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 120, size: 'max' }),
    );
    fc.assert(
      fc.property(some, ([requests, picks]) => {
        const batch = new SpanBatch();
        // Requests of protobuf one behind the other are one request of all that they hold.
        expect(core.read(Buffer.concat(picks.map((pick) => requests[pick % requests.length] as Buffer)), batch)).toBe(true);
        const ours = core.pack((bytes) => ({ buffer: new Uint8Array(bytes + 16).fill(0xa5).buffer, offset: 8 }));
        const listed = ours && { texts: [...(ours.texts as Int32Array)], codes: [...(ours.codes as Uint8Array)] };
        core.fill(batch);
        const theirs = packer.pack(batch);
        // It leaves long times to the other.
        if (ours === undefined || theirs?.form === undefined || theirs.hasLongTimes) {
          expect(ours).toBeUndefined();
          expect(theirs?.form === undefined || theirs.hasLongTimes).toBe(true);
          return;
        }
        compacted += 1;
        const said = ({ packed }: { readonly packed: PackedBatch }): object => ({ ...packed, buffer: null, offset: 0 });
        expect(said(ours)).toEqual(said({ packed: theirs }));
        expect(bytesIn(ours.packed)).toEqual(bytesIn(theirs));
        expect(listed).toEqual({ texts: [...(packer.texts as number[])], codes: [...(packer.codes as Uint8Array)] });
      }),
      runs,
    );
    expect(compacted).toBeGreaterThan(runs.numRuns / 10);
  });

  test.each<[string, (i: number) => object]>([
    ['an own value is empty in some of', (i) => ({ attributes: [text('consistency.object.key', ['', 'a', 'b', ''][i % 4] as string)] })],
    ['a value that is not their own differs in some of', (i) => ({ attributes: [text('db.namespace', i % 5 === 0 ? 'a' : 'b')] })],
    [
      'numbers need more than two bytes in some of',
      (i) => ({ attributes: [{ key: 'consistency.version', value: { intValue: i % 3 === 0 ? 70_000 : i - 5 } }] }),
    ],
    [
      'kind, state and name differ among',
      (i) => ({ name: `n${i % 2}`, kind: i % 3, status: { code: i % 4 === 0 ? 2 : 0, message: i % 4 === 0 ? 'x' : '' } }),
    ],
    [
      'parents are in the batch, elsewhere or none of',
      (i) => ({ spanId: Buffer.alloc(8, i + 1), ...(i % 3 === 0 ? {} : { parentSpanId: Buffer.alloc(8, i % 3 === 1 ? i : 200) }) }),
    ],
  ])('packs a request byte for byte where %s its spans', (_, more) => {
    const core = new SpanCore(strings, arenaBytes);
    const batch = new SpanBatch();
    expect(core.read(requestOf(times(60, (i) => span(more(i)))), batch)).toBe(true);
    const ours = core.pack((bytes) => ({ buffer: new ArrayBuffer(bytes), offset: 0 }));
    core.fill(batch);
    const theirs = new BatchPacker().pack(batch);
    if (ours === undefined || theirs === undefined) throw new Error('there are rows');
    expect(ours.packed.form).toEqual(theirs.form);
    expect(bytesIn(ours.packed)).toEqual(bytesIn(theirs));
  });

  test.each<[string, () => object[]]>([
    ['31 rows', () => times(31, () => span({}))],
    ['65,535 rows', () => times(65_535, () => span({}))],
    ['rows of more than 255 attributes', () => times(40, (i) => span({ attributes: times(i * 7, () => text('db.name', 'x')) }))],
    ['times that are hours apart', () => times(40, (i) => span({ startTimeUnixNano: String(BigInt(i) * 10n ** 12n) }))],
    ['spans that last for hours', () => times(40, () => span({ startTimeUnixNano: '0', endTimeUnixNano: String(5_000n * 10n ** 9n) }))],
  ])('leaves a request of %s to the packer in TypeScript', (_, make) => {
    const core = new SpanCore(strings, arenaBytes);
    const [batch, filled] = [new SpanBatch(), new SpanBatch()];
    const bytes = requestOf(make());
    expect(core.read(bytes, batch)).toBe(true);
    expect(core.pack((size) => ({ buffer: new ArrayBuffer(size), offset: 0 }))).toBeUndefined();
    decodeBy(core, bytes, filled);
    const [ours, theirs] = [new BatchPacker().pack(batch), new BatchPacker().pack(filled)];
    if (ours === undefined || theirs === undefined) throw new Error('there are rows');
    expect(bytesIn(ours)).toEqual(bytesIn(theirs));
    expect(ours.rows).toBe(make().length);
  });

  test('wants the keys that the decoder in TypeScript wants, also numbered ones, however their number is written', () => {
    const numbers = ['0', '3', '03', '15', '16', '99', '003', '', ' 3', '3 ', '+3', '3.', '-0', '1e0', '٣'];
    const keys = [...wantedKeys, ...numbers.map((number) => `db.query.parameter.${number}`)];
    const bytes = requestOf([span({ attributes: keys.map((key) => text(key, `of ${key}`)) })]);
    const [ours, theirs] = [new SpanBatch(), new SpanBatch()];
    expect(decodeBy(new SpanCore(strings, arenaBytes), bytes, ours)).toBe(true);
    new PlainSpanDecoder(strings, arenaBytes).decode(bytes, theirs);
    expect(seen(ours)).toEqual(seen(theirs));
    // Paths are nothing beside a route.
    expect(ours.attributes.count).toBe(wantedKeys.length - 4 + 4);
  });

  test('remembers texts also after one that is not remembered', () => {
    const core = new SpanCore(strings, arenaBytes);
    const batch = new SpanBatch();
    const at = String(2n ** 60n);
    const numbers = times(3, (i) => {
      decodeBy(
        core,
        requestOf([span({ name: `early ${i}`, attributes: [{ key: 'consistency.version', value: { intValue: at } }] })]),
        batch,
      );
      decodeBy(core, requestOf([span({ name: 'late' })]), batch);
      return batch.name[0];
    });
    expect(new Set(numbers).size).toBe(1);
    expect(batch.strings[numbers[0] ?? 0]).toBe('late');
  });
});

describe('ProtobufDecoder', () => {
  test.each<[string, () => Buffer]>([
    ['spans', () => requestOf(times(66_000, () => span({})))],
    ['attributes', () => requestOf(times(40, () => span({ attributes: times(14_000, () => text('db.name', 'x')) })))],
    ['paths of a span', () => requestOf([span({ attributes: times(1100, (i) => text('url.path', `/${i}`)) })])],
    ['new texts', () => requestOf([span({ attributes: times(66_000, (i) => text('db.name', `${i}`)) })])],
    ['events', () => requestOf([span({ events: times(17_000, () => ({ name: 'exception' })) })])],
    [
      'attributes of events',
      () => requestOf([span({ events: [{ name: 'exception', attributes: times(66_000, () => text('error.type', 'x')) }] })]),
    ],
    ['links', () => requestOf([span({ links: times(17_000, () => span({})) })])],
    ['resources', () => encodeTraces({ resourceSpans: times(4200, () => ({ scopeSpans: [{ spans: [span({})] }] })) })],
    [
      'attributes of resources',
      () =>
        encodeTraces({
          resourceSpans: [
            { resource: { attributes: times(66_000, () => text('service.name', 'x')) }, scopeSpans: [{ spans: [span({})] }] },
          ],
        }),
    ],
    ['bytes', () => requestOf([span({ attributes: [text('db.query.text', 'x'.repeat(17 * 1024 * 1024))] })])],
  ])('decodes a request that has more %s than the core has room for, and goes on', (_, make) => {
    const decoder = new ProtobufDecoder();
    const [ours, theirs] = [new SpanBatch(), new SpanBatch()];
    const bytes = make();
    expect(decodeBy(new SpanCore(strings, arenaBytes), bytes, theirs)).toBe(false);
    expect(decoder.decode(bytes, ours)).toEqual({ is: 'decoded' });
    new PlainSpanDecoder(strings, arenaBytes).decode(bytes, theirs);
    expect(isSame(ours, theirs)).toBe(true);
    const next = requestOf([span({ name: 'next', attributes: [text('db.name', 'x')] })]);
    decoder.decode(next, ours);
    new PlainSpanDecoder(strings, arenaBytes).decode(next, theirs);
    expect(seen(ours)).toEqual(seen(theirs));
  });

  test('lets go of what large requests have touched once a thousand smaller ones have come', () => {
    const decoder = new ProtobufDecoder();
    const batch = new SpanBatch();
    const small = requestOf([span({ name: 'small' })]);
    decoder.decode(requestOf([span({ attributes: [text('db.query.text', 'x'.repeat(2 * 1024 * 1024))] })]), batch);
    const before = batch.strings;
    const tables = times(1500, () => {
      decoder.decode(small, batch);
      return batch.strings;
    });
    expect(tables.findIndex((table) => table !== before)).toBe(999);
    expect(new Set(tables).size).toBe(2);
    expect(spansOf(batch)[0]?.name).toBe('small');
  });

  test('decodes where there is no memory for the core', () => {
    const script = `
      const { ProtobufDecoder } = await import('./src/ingest/decode-otlp-protobuf.ts');
      const { SpanBatch } = await import('./src/ingest/span-batch.ts');
      const { SpanCore } = await import('./src/ingest/span-core.ts');
      const batch = new SpanBatch();
      const bytes = Buffer.from(process.argv[1], 'hex');
      let opened = true;
      try { new SpanCore(16, 8192); } catch { opened = false; }
      console.log(opened, new ProtobufDecoder().decode(bytes, batch).is, batch.strings[batch.name[0]]);`;
    const bytes = requestOf([span({ name: 'alone' })]).toString('hex');
    const said = execFileSync(process.execPath, ['--wasm-max-mem-pages=300', '--input-type=module', '-e', script, bytes], {
      cwd: joinPath(root),
      encoding: 'utf8',
    });
    expect(said.trim()).toBe('false decoded alone');
  });
});

/** As `seen`, of batches that are too large to make objects of. */
function isSame(one: SpanBatch, other: SpanBatch): boolean {
  const textOf = (batch: SpanBatch, number: number | undefined): string => batch.strings[number ?? -1] ?? '<no string>';
  const attributes = (batch: SpanBatch, columns: SpanBatch['attributes']): string =>
    times(
      columns.count,
      (i) => `${columns.code[i]}:${columns.kind[i]}:${columns.kind[i] === 1 ? textOf(batch, columns.value[i]) : columns.value[i]}`,
    ).join();
  const rows = (batch: SpanBatch): unknown[] => [
    batch.count,
    Buffer.from(batch.ids.subarray(0, batch.count * 32)),
    batch.name.subarray(0, batch.count).join(),
    batch.attributeStart.subarray(0, batch.count + 1).join(),
    batch.eventStart.subarray(0, batch.count + 1).join(),
    batch.linkStart.subarray(0, batch.count + 1).join(),
    batch.resource.subarray(0, batch.count).join(),
    attributes(batch, batch.attributes),
    attributes(batch, batch.eventAttributes),
    attributes(batch, batch.resourceAttributes),
    Buffer.from(batch.linkIds.subarray(0, batch.linkCount * 24)),
  ];
  return rows(one).every((value, i) => (Buffer.isBuffer(value) ? value.equals(rows(other)[i] as Buffer) : value === rows(other)[i]));
}
