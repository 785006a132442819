import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { defaultConfig } from '../../src/config.ts';
import { openLmdbJournal } from '../../src/io/journal/lmdb.ts';
import { type DetectConsumer, openDetectConsumer } from '../../src/runtime/detect-consumer.ts';
import { detectStageOptions } from '../../src/runtime/detect-options.ts';
import { type Ingest, startIngest } from '../../src/runtime/ingest-loop.ts';
import { createLoad } from '../bench/ingest-load.ts';
import { send } from '../io/otlp/exporting.ts';

/** The detectors' thread dies for real: of an exception, and of too little memory. Nothing that was acknowledged may be lost by it. */

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function journalFolder(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'detect-consumer-'));
  closers.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

interface Running {
  readonly ingest: Ingest;
  readonly consumer: DetectConsumer;
  readonly deaths: string[];
  readonly close: () => Promise<void>;
}

async function start(
  directory: string,
  heapMb?: number,
  around: (consumer: DetectConsumer) => DetectConsumer = (it) => it,
): Promise<Running> {
  const journal = await openLmdbJournal({ directory });
  const deaths: string[] = [];
  let settled = 0;
  const consumer = openDetectConsumer({
    stage: { ...detectStageOptions(defaultConfig()), latenessMs: 200, graceMs: 0 },
    clock: systemClock,
    onReport: (report) => {
      settled = Math.max(settled, report.settled);
    },
    settled: () => settled,
    onDeath: (says) => deaths.push(says),
    ...(heapMb === undefined ? {} : { heapMb }),
  });
  const ingest = await startIngest({
    host: '127.0.0.1',
    httpPort: 0,
    grpcPort: null,
    journal,
    clock: systemClock,
    consumer: around(consumer),
    onFailure: (error) => deaths.push(String(error)),
  });
  const close = async (): Promise<void> => {
    await ingest.close();
    await consumer.close();
    await journal.close();
  };
  return { ingest, consumer, deaths, close };
}

const template = createLoad({ seed: 41, spansPerRequest: 960 }).template();

async function post(ingest: Ingest): Promise<number> {
  const body = Buffer.from(template.fresh());
  const { status } = await send(ingest.httpPort ?? 0, '/v1/traces', { 'content-type': 'application/x-protobuf' }, body);
  return status;
}

describe('the detectors’ thread', () => {
  test('dies of an exception, is started again, and gets all that the journal has once more, what it remembered included', async () => {
    let isPoisoned = false;
    const { ingest, consumer, deaths, close } = await start(await journalFolder(), undefined, (inner) => ({
      ...inner,
      room: () => inner.room(),
      get settled() {
        return inner.settled;
      },
      get operations() {
        return inner.operations;
      },
      get duplicateSpans() {
        return inner.duplicateSpans;
      },
      take: (sequence, packed, strings) => {
        // A batch says that it has fewer rows than none, once: what reads it throws.
        const isThird = isPoisoned && packed !== undefined && sequence % 5 === 2;
        if (isThird) isPoisoned = false;
        inner.take(sequence, packed !== undefined && isThird ? { ...packed, rows: -1 } : packed, strings);
      },
    }));
    closers.push(close);
    // These have been through the detectors, which remember them.
    for (let i = 0; i < 3; i += 1) expect(await post(ingest)).toBe(200);
    const seen = (): object => ({ operations: consumer.operations, waiting: consumer.counts?.waiting_spans_now });
    await vi.waitFor(() => expect(seen()).toEqual({ operations: 3 * 960, waiting: 0 }), { timeout: 20_000, interval: 20 });
    isPoisoned = true;
    for (let i = 0; i < 10; i += 1) expect(await post(ingest)).toBe(200);
    await vi.waitFor(() => expect(deaths).toHaveLength(1), { timeout: 20_000, interval: 20 });
    expect(deaths[0]).toMatch(/thread died: .*started again in 1 s and gets from the journal what it had/);
    // While it is away, exporters are served.
    for (let i = 0; i < 5; i += 1) expect(await post(ingest)).toBe(200);
    await vi.waitFor(() => expect(consumer.operations).toBe(18 * 960), { timeout: 40_000, interval: 50 });
    expect(deaths).toHaveLength(1);
    expect(ingest.counters().spans_accepted).toBe(18 * 960);
  });

  test('dies of too little memory while exporters are served, and another process finds everything in the journal', async () => {
    const directory = await journalFolder();
    const small = await start(directory, 10);
    let sent = 0;
    for (; small.deaths.length === 0 && sent < 400; sent += 1) expect(await post(small.ingest)).toBe(200);
    await vi.waitFor(() => expect(small.deaths.length).toBeGreaterThan(0), { timeout: 30_000, interval: 20 });
    expect(small.deaths[0]).toMatch(/memory/);
    for (let i = 0; i < 5; i += 1, sent += 1) expect(await post(small.ingest)).toBe(200);
    await small.close();

    const large = await start(directory);
    closers.push(large.close);
    await vi.waitFor(() => expect(large.consumer.operations).toBe(sent * 960), { timeout: 60_000, interval: 50 });
    expect(large.deaths).toEqual([]);
  });
});
