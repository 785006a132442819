import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import type { Operation } from '../../src/domain/operation.ts';
import type { Journal } from '../../src/io/journal/journal.ts';
import { openLmdbJournal } from '../../src/io/journal/lmdb.ts';
import { openMemoryJournal } from '../../src/io/journal/memory.ts';
import { type Ingest, type IngestOptions, startIngest } from '../../src/runtime/ingest-loop.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function start(journal: Journal, onOperations: IngestOptions['onOperations'], more: Partial<IngestOptions> = {}): Promise<Ingest> {
  const ingest = await startIngest({
    host: '127.0.0.1',
    httpPort: 0,
    grpcPort: null,
    journal,
    clock: systemClock,
    onOperations,
    onFailure: () => undefined,
    ...more,
  });
  closers.push(() => ingest.close());
  return ingest;
}

const span = (traceId: string, spanId: string, attributes: Record<string, string> = {}): object => ({
  traceId,
  spanId,
  name: 'INSERT orders',
  kind: 3,
  startTimeUnixNano: '1700000000000001500',
  endTimeUnixNano: '1700000000000002500',
  attributes: Object.entries(attributes).map(([key, stringValue]) => ({ key, value: { stringValue } })),
});

const request = (...spans: object[]): string =>
  JSON.stringify({
    resourceSpans: [{ resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] }, scopeSpans: [{ spans }] }],
  });

const post = (ingest: Ingest, body: string | Buffer, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`http://127.0.0.1:${ingest.httpPort}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : new Uint8Array(body),
  });

const id = (n: number, length: number): string => n.toString(16).padStart(length, '0');

describe('startIngest', () => {
  test('a posted span comes out as an operation, once', async () => {
    const seen: Operation[] = [];
    const ingest = await start(openMemoryJournal(), (operations) => void seen.push(...operations));
    const body = request(
      span(id(1, 32), id(1, 16), { 'db.system.name': 'postgresql', 'db.query.text': 'INSERT INTO orders (id) VALUES ($1)' }),
    );
    expect((await post(ingest, body)).status).toBe(200);
    expect((await post(ingest, gzipSync(body), { 'content-encoding': 'gzip' })).status).toBe(200);
    await ingest.idle();
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({
      kind: 'write',
      service: 'shop',
      target: 'orders',
      startUs: 1_700_000_000_000_001,
      endUs: 1_700_000_000_000_002,
    });
    expect(ingest.counters()).toMatchObject({ spans_accepted: 2, spans_duplicate: 1, operations: 1, backlog_payloads_now: 0 });
  });

  test('what fails downstream is delivered again, in order', async () => {
    const seen: string[] = [];
    let failures = 2;
    const ingest = await start(openMemoryJournal(), (operations) => {
      if (failures > 0) {
        failures -= 1;
        throw new Error('the database is away');
      }
      seen.push(...operations.map((operation) => operation.spanId));
    });
    await post(ingest, request(span(id(1, 32), id(1, 16))));
    await post(ingest, request(span(id(1, 32), id(2, 16))));
    await ingest.idle();
    expect(seen).toEqual([id(1, 16), id(2, 16)]);
  });

  test('a full journal answers 503 with Retry-After and keeps what it acknowledged', async () => {
    let release: (() => void) | undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const seen: Operation[] = [];
    const ingest = await start(openMemoryJournal({ maxBytes: 500 }), async (operations) => {
      await gate;
      seen.push(...operations);
    });
    const statuses: number[] = [];
    for (let i = 1; i <= 4; i += 1) {
      const response = await post(ingest, request(span(id(1, 32), id(i, 16))));
      statuses.push(response.status);
      if (response.status === 503) expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    }
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(0);
    expect(statuses.at(-1)).toBe(503);
    release?.();
    await ingest.idle();
    expect(seen).toHaveLength(statuses.filter((status) => status === 200).length);
  });

  test('the journal keeps what was read, or what came where that is smaller', async () => {
    const journal = openMemoryJournal();
    const ingest = await start(journal, () => undefined);
    const body = request(...Array.from({ length: 200 }, (_, i) => span(id(1, 32), id(i + 1, 16))));
    const zipped = gzipSync(body);
    await post(ingest, body);
    await post(ingest, zipped, { 'content-encoding': 'gzip' });
    expect(journal.read(journal.first)).toMatchObject({ encoding: 'columns', compression: 'none' });
    expect(journal.read(journal.first)?.bytes.length).toBeLessThan(body.length / 3);
    expect(journal.read(journal.first + 1)).toMatchObject({ encoding: 'json', compression: 'gzip', bytes: zipped });
  });

  test('I4: what was acknowledged and not processed is processed after a restart', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'journal-'));
    closers.push(() => rm(directory, { recursive: true, force: true }));
    const first = await openLmdbJournal({ directory });
    const stuck = await startIngest({
      host: '127.0.0.1',
      httpPort: 0,
      grpcPort: null,
      journal: first,
      clock: systemClock,
      onOperations: () => new Promise(() => undefined),
      onFailure: () => undefined,
    });
    expect((await post(stuck, request(span(id(7, 32), id(1, 16)), span(id(7, 32), id(2, 16))))).status).toBe(200);
    expect((await post(stuck, gzipSync(request(span(id(7, 32), id(3, 16)))), { 'content-encoding': 'gzip' })).status).toBe(200);
    await first.close();

    const second = await openLmdbJournal({ directory });
    closers.push(() => second.close());
    const seen: string[] = [];
    const ingest = await start(second, (operations) => void seen.push(...operations.map((operation) => operation.spanId)), {
      replayWindowMs: 0,
    });
    await ingest.idle();
    expect(seen).toEqual([id(1, 16), id(2, 16), id(3, 16)]);
    await ingest.close();
    expect(second.first).toBe(second.next);
    expect(second.bytes).toBe(0);
  });
});
