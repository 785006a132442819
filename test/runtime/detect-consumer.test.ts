import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { createLoad } from '../bench/ingest-load.ts';
import { startConsumer } from './started-consumer.ts';

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

const small = fileURLToPath(new URL('./small-process.ts', import.meta.url));
const template = createLoad({ seed: 41, spansPerRequest: 960 }).template();

async function post(port: number): Promise<number> {
  const body = new Uint8Array(template.fresh());
  const { status } = await fetch(`http://127.0.0.1:${port}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-protobuf' },
    body,
  });
  return status;
}

interface SmallProcess {
  readonly port: number;
  readonly deaths: readonly string[];
  readonly hasEnded: () => boolean;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
  readonly close: () => Promise<unknown>;
}

/** A process whose detectors' thread has so little memory that it dies. */
async function startSmallProcess(directory: string): Promise<SmallProcess> {
  const child = spawn(process.execPath, [small, directory], { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
  const deaths: string[] = [];
  let hasEnded = false;
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.once('exit', (code, signal) => {
      hasEnded = true;
      resolve(signal ?? code);
    }),
  );
  const close = (): Promise<unknown> => {
    child.kill('SIGKILL');
    return ended;
  };
  closers.push(close);
  const port = await new Promise<number>((resolve, reject) => {
    child.on('message', (said) => (typeof said === 'number' ? resolve(said) : deaths.push(said as string)));
    void ended.then((how) => reject(new Error(`the process ended with ${how}`)));
  });
  return { port, deaths, hasEnded: () => hasEnded, ended, close };
}

describe('the detectors’ thread', () => {
  test('dies of an exception, is started again, and gets all that the journal has once more, what it remembered included', async () => {
    let isPoisoned = false;
    const { ingest, port, consumer, deaths, close } = await startConsumer(await journalFolder(), {
      around: (inner) => ({
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
      }),
    });
    closers.push(close);
    // These have been through the detectors, which remember them.
    for (let i = 0; i < 3; i += 1) expect(await post(port)).toBe(200);
    const seen = (): object => ({ operations: consumer.operations, waiting: consumer.counts?.waiting_spans_now });
    await vi.waitFor(() => expect(seen()).toEqual({ operations: 3 * 960, waiting: 0 }), { timeout: 20_000, interval: 20 });
    isPoisoned = true;
    for (let i = 0; i < 10; i += 1) expect(await post(port)).toBe(200);
    await vi.waitFor(() => expect(deaths).toHaveLength(1), { timeout: 20_000, interval: 20 });
    expect(deaths[0]).toMatch(/thread died: .*started again in 1 s and gets from the journal what it had/);
    // While it is away, exporters are served.
    for (let i = 0; i < 5; i += 1) expect(await post(port)).toBe(200);
    await vi.waitFor(() => expect(consumer.operations).toBe(18 * 960), { timeout: 40_000, interval: 50 });
    expect(deaths).toHaveLength(1);
    expect(ingest.counters().spans_accepted).toBe(18 * 960);
  });

  test.runIf(process.platform === 'linux')('gives way to the thread that acknowledges', async () => {
    const { consumer, close } = await startConsumer(await journalFolder());
    closers.push(close);
    await consumer.idle();
    const threads = readdirSync('/proc/self/task').map((thread) => ({
      name: readFileSync(`/proc/self/task/${thread}/comm`, 'utf8'),
      nice: getPriority(Number(thread)),
    }));
    expect(threads.filter(({ name }) => name.includes('detect')).map(({ nice }) => nice)).toEqual([5]);
    expect(getPriority(process.pid)).toBe(0);
  });

  test('dies of too little memory, alone or with its process, and another process finds all that was acknowledged in the journal', {
    timeout: 120_000,
  }, async () => {
    const directory = await journalFolder();
    const process = await startSmallProcess(directory);
    let acknowledged = 0;
    const postUntil = async (isEnough: () => boolean): Promise<void> => {
      for (let tries = 0; tries < 400 && !isEnough() && !process.hasEnded(); tries += 1) {
        const status = await post(process.port).catch(() => undefined);
        // V8 may end the whole process where a thread needs more at once than what it is allowed to die with.
        if (status === undefined) expect(await process.ended).toBe('SIGABRT');
        else {
          expect(status).toBe(200);
          acknowledged += 1;
        }
      }
    };
    await postUntil(() => process.deaths.length > 0);
    await vi.waitFor(() => expect(process.hasEnded() || process.deaths.length > 0).toBe(true), { timeout: 30_000, interval: 20 });
    if (!process.hasEnded()) expect(process.deaths[0]).toMatch(/memory/);
    // While it is away, exporters are served.
    const before = acknowledged;
    await postUntil(() => acknowledged === before + 5);
    expect(acknowledged === before + 5 || process.hasEnded()).toBe(true);
    await process.close();

    const large = await startConsumer(directory);
    closers.push(large.close);
    await vi.waitFor(() => expect(large.consumer.operations).toBeGreaterThanOrEqual(acknowledged * 960), { timeout: 60_000, interval: 50 });
    // One request may have reached the journal whose answer nobody got.
    expect(large.consumer.operations).toBeLessThanOrEqual((acknowledged + 1) * 960);
    expect(large.deaths).toEqual([]);
  });
});
