import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { openLmdbJournal } from '../../src/io/journal/lmdb.ts';
import { startIngest } from '../../src/runtime/ingest-loop.ts';
import { encodeTraces, retryInfoType, statusType } from '../ingest/otlp-proto.ts';
import { call, send } from '../io/otlp/exporting.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

const mount = (path: string, size: string): boolean =>
  spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path]).status === 0;

async function canMount(): Promise<boolean> {
  const path = await mkdtemp(join(tmpdir(), 'full-disk-try-'));
  const can = process.platform === 'linux' && mount(path, '64k');
  if (can) spawnSync('umount', [path]);
  await rm(path, { recursive: true, force: true });
  return can;
}

const spansEach = 40;
/** A request of `spansEach` spans whose ids say which request it was, of 200 kB. */
const requestOf = (nth: number): Buffer =>
  encodeTraces({
    resourceSpans: [
      {
        scopeSpans: [
          {
            spans: Array.from({ length: spansEach }, (_, i) => {
              const spanId = Buffer.alloc(8);
              spanId.writeUInt32BE(nth + 1);
              spanId.writeUInt32BE(i, 4);
              return { traceId: Buffer.alloc(16, 7), spanId, name: 'x'.repeat(5_000), startTimeUnixNano: '1700000000000000000' };
            }),
          },
        ],
      },
    ],
  });
const idsOf = (nth: number): string[] =>
  Array.from({ length: spansEach }, (_, i) => (nth + 1).toString(16).padStart(8, '0') + i.toString(16).padStart(8, '0'));

describe.skipIf(!(await canMount()))('a full disk under the journal (needs the right to mount a small file system)', () => {
  test('exporters are told when to come again, over HTTP and gRPC; what was acknowledged is processed, once; it heals with room', async () => {
    const path = await mkdtemp(join(tmpdir(), 'full-disk-'));
    expect(mount(path, '40m')).toBe(true);
    closers.push(async () => {
      spawnSync('umount', ['-l', path]);
      await rm(path, { recursive: true, force: true });
    });
    await mkdir(join(path, 'journal'));
    const journal = await openLmdbJournal({ directory: join(path, 'journal'), maxBytes: 256 * 1024 * 1024 });
    closers.push(() => journal.close());
    const processed: string[] = [];
    const failures: unknown[] = [];
    const ingest = await startIngest({
      host: '127.0.0.1',
      httpPort: 0,
      grpcPort: 0,
      journal,
      clock: systemClock,
      onOperations: (operations) => void processed.push(...operations.map((operation) => operation.spanId)),
      onFailure: (error) => failures.push(error),
    });
    closers.push(() => ingest.close());
    const client = new Client(`127.0.0.1:${ingest.grpcPort}`, credentials.createInsecure());
    closers.push(() => Promise.resolve(client.close()));

    let nth = 0;
    const acknowledged: string[] = [];
    const overHttp = async (): Promise<boolean> => {
      const {
        headers,
        body,
        status: code,
      } = await send(ingest.httpPort ?? 0, '/v1/traces', { 'content-type': 'application/x-protobuf' }, requestOf(nth));
      if (code === 200) acknowledged.push(...idsOf(nth));
      else {
        expect(code).toBe(503);
        expect(Number(headers['retry-after'])).toBeGreaterThan(0);
        expect(statusType.toObject(statusType.decode(body))).toMatchObject({ code: status.UNAVAILABLE });
      }
      nth += 1;
      return code === 200;
    };
    const overGrpc = async (): Promise<boolean> => {
      const { error } = await call(client, '/opentelemetry.proto.collector.trace.v1.TraceService/Export', requestOf(nth));
      if (error === null) acknowledged.push(...idsOf(nth));
      else {
        expect(error.code).toBe(status.UNAVAILABLE);
        const details = error.metadata.get('grpc-status-details-bin')[0];
        expect(details).toBeInstanceOf(Buffer);
        const found = statusType.toObject(statusType.decode(details as Buffer)) as { details: { value: Buffer }[] };
        expect(retryInfoType.toObject(retryInfoType.decode(found.details[0]?.value ?? Buffer.alloc(0)))).toHaveProperty('retryDelay');
      }
      nth += 1;
      return error === null;
    };

    for (let i = 0; i < 5; i += 1) {
      expect(await overHttp()).toBe(true);
      expect(await overGrpc()).toBe(true);
    }
    // Somebody else fills the disk to the last byte.
    const { bavail, bsize } = await statfs(path);
    const filler = join(path, 'everything-else');
    await writeFile(filler, Buffer.alloc(bavail * bsize)).catch(() => undefined);
    let refused = 0;
    for (let i = 0; i < 10; i += 1) {
      if (!(await overHttp())) refused += 1;
      if (!(await overGrpc())) refused += 1;
    }
    expect(refused).toBeGreaterThan(10);
    expect(failures[0]).toMatchObject({ code: 'journal-write', retry: 'later' });
    // Told once a second at most, not for every request.
    expect(failures.length).toBeLessThan(refused);

    await rm(filler);
    await vi.waitFor(async () => expect(await overHttp()).toBe(true), { timeout: 20_000, interval: 100 });
    await vi.waitFor(async () => expect(await overGrpc()).toBe(true), { timeout: 20_000, interval: 100 });
    await ingest.idle();
    expect(processed.toSorted()).toEqual(acknowledged.toSorted());
  });
});
