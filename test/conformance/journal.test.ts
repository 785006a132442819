import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { open } from 'lmdb';
import { afterEach, describe, expect, test } from 'vitest';
import type { Journal, JournalRecord } from '../../src/io/journal/journal.ts';
import { openLmdbJournal } from '../../src/io/journal/lmdb.ts';
import { openMemoryJournal } from '../../src/io/journal/memory.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'journal-'));
  closers.push(() => rm(path, { recursive: true, force: true }));
  return path;
}

const record = (bytes: Buffer, more: Partial<JournalRecord> = {}): JournalRecord => ({
  signal: 'traces',
  encoding: 'protobuf',
  compression: 'none',
  receivedAtMs: 1_700_000_000_123.5,
  bytes,
  ...more,
});

const journals: readonly { readonly name: string; readonly open: (maxBytes: number) => Promise<Journal> }[] = [
  { name: 'memory', open: (maxBytes) => Promise.resolve(openMemoryJournal({ maxBytes })) },
  { name: 'lmdb', open: async (maxBytes) => openLmdbJournal({ directory: await directory(), maxBytes }) },
];

describe.each(journals)('the $name journal', ({ open }) => {
  const opened = async (maxBytes = 1024 * 1024): Promise<Journal> => {
    const journal = await open(maxBytes);
    closers.push(() => journal.close());
    return journal;
  };

  test('gives back what it was given, by rising sequence, whatever is appended at once', async () => {
    const journal = await opened(64 * 1024 * 1024);
    const records = [
      record(Buffer.from('a')),
      record(Buffer.alloc(0)),
      record(gzipSync('x'.repeat(100_000)), { compression: 'gzip', signal: 'logs' }),
      record(Buffer.alloc(300_000, 7), { encoding: 'json', signal: 'metrics' }),
      record(Buffer.alloc(50_000, 9), { encoding: 'columns' }),
      record(Buffer.alloc(50, 9), { encoding: 'columns', signal: 'logs' }),
    ];
    const appended = await Promise.all(records.map((one) => journal.append(one)));
    expect(appended).toEqual(records.map((_, i) => ({ is: 'durable', sequence: journal.first + i })));
    expect(journal.next).toBe(journal.first + records.length);
    records.forEach((one, i) => expect(journal.read(journal.first + i)).toEqual(one));
    expect(journal.read(journal.next)).toBeUndefined();
    expect(journal.read(journal.first - 1)).toBeUndefined();
  });

  test('refuses what would pass its bound, keeps what it has, and takes again once something is released', async () => {
    const journal = await opened(10_000);
    const bytes = Buffer.alloc(3_000, 1);
    const first = journal.first;
    for (let i = 0; i < 3; i += 1) expect(await journal.append(record(bytes))).toMatchObject({ is: 'durable' });
    expect(await journal.append(record(bytes))).toEqual({ is: 'full' });
    expect(journal.bytes).toBeLessThanOrEqual(10_000);
    expect(journal.bytesBetween(first, journal.next)).toBe(journal.bytes);
    await journal.release(first + 1);
    expect(journal.read(first)).toBeUndefined();
    expect(journal.read(first + 1)).toEqual(record(bytes));
    expect(await journal.append(record(bytes))).toEqual({ is: 'durable', sequence: first + 3 });
    await journal.release(journal.next + 100);
    expect(journal).toMatchObject({ first: first + 4, next: first + 4, bytes: 0 });
  });

  test('counts its bytes right over any appends and releases', async () => {
    const journal = await opened();
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.nat({ max: 5_000 }).map((append) => ({ append })),
            fc.nat({ max: 5 }).map((release) => ({ release })),
          ),
          {
            maxLength: 12,
          },
        ),
        async (steps) => {
          for (const step of steps) {
            if ('append' in step) await journal.append(record(Buffer.alloc(step.append)));
            else await journal.release(journal.first + step.release);
            let kept = 0;
            for (let sequence = journal.first; sequence < journal.next; sequence += 1) {
              const found = journal.read(sequence);
              if (found === undefined) throw new Error(`${sequence} is gone`);
              kept += found.bytes.length;
            }
            const overhead = (journal.bytes - kept) / Math.max(1, journal.next - journal.first);
            expect([0, 32]).toContain(overhead);
            expect(journal.bytesBetween(journal.first, journal.next)).toBe(journal.bytes);
          }
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('the lmdb journal on disk', () => {
  test('has after a reopen what it had before, and goes on counting where it was', async () => {
    const path = await directory();
    const before = await openLmdbJournal({ directory: path });
    for (let i = 0; i < 5; i += 1) await before.append(record(Buffer.from(`payload ${i}`)));
    await before.release(before.first + 2);
    const { first, next, bytes } = before;
    await before.close();
    const after = await openLmdbJournal({ directory: path });
    expect(after).toMatchObject({ first, next, bytes });
    expect(after.read(first)?.bytes.toString()).toBe('payload 2');
    await after.release(next);
    await after.close();
    const empty = await openLmdbJournal({ directory: path });
    closers.push(() => empty.close());
    // Sequences of an earlier life must not come again.
    expect(empty.first).toBeGreaterThanOrEqual(next);
  });

  test('over any appends, releases and restarts reads what was appended and not released, from however many files', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            {
              weight: 3,
              arbitrary: fc.array(fc.integer({ min: 1, max: 700_000 }), { minLength: 1, maxLength: 6 }).map((append) => ({ append })),
            },
            { weight: 2, arbitrary: fc.nat({ max: 8 }).map((release) => ({ release })) },
            { weight: 1, arbitrary: fc.constant({ restart: true }) },
          ),
          { minLength: 4, maxLength: 16 },
        ),
        async (steps) => {
          const path = await directory();
          const reopen = (): Promise<Journal> => openLmdbJournal({ directory: path, maxBytes: 64 * 1024 * 1024 });
          let journal = await reopen();
          const kept = new Map<number, Buffer>();
          let last = 0;
          for (const step of steps) {
            if ('append' in step) {
              const records = step.append.map((size, nth) => record(Buffer.alloc(size, size + nth)));
              const appended = await Promise.all(records.map((one) => journal.append(one)));
              appended.forEach((each, nth) => {
                if (each.is !== 'durable') throw new Error('the journal is full');
                expect(each.sequence).toBeGreaterThan(last);
                last = each.sequence;
                kept.set(each.sequence, records[nth]?.bytes ?? Buffer.alloc(0));
              });
            } else if ('release' in step) {
              await journal.release(journal.first + step.release);
              for (const sequence of kept.keys()) if (sequence < journal.first) kept.delete(sequence);
            } else {
              const { first, next, bytes } = journal;
              await journal.close();
              journal = await reopen();
              if (first < next) expect(journal).toMatchObject({ first, next, bytes });
            }
            expect(journal.bytes).toBe([...kept.values()].reduce((sum, one) => sum + one.length + 32, 0));
            for (let sequence = journal.first - 2; sequence < journal.next + 2; sequence += 1) {
              const found = journal.read(sequence)?.bytes;
              const wanted = kept.get(sequence);
              if (wanted === undefined ? found !== undefined : found?.equals(wanted) !== true)
                throw new Error(`${sequence} is not what it was`);
            }
          }
          await journal.release(journal.next);
          await journal.close();
          // Of what was released only the file that is written may be left.
          expect((await readdir(path)).filter((name) => name.endsWith('.mdb')).length).toBeLessThanOrEqual(1);
        },
      ),
      { numRuns: 25 },
    );
  });

  test('reads what an earlier version kept in one piece, and lets go of it once it is released', async () => {
    const path = await directory();
    const old = open<Buffer, number>({ path: join(path, 'payloads'), encoding: 'binary', maxDbs: 1 });
    // Sequence and kind: JSON logs, as they came.
    await old.put(1_700_000_000_000 * 16 + 6, Buffer.from('an old record'));
    await old.close();
    await writeFile(join(path, 'reserve'), Buffer.alloc(10));
    const journal = await openLmdbJournal({ directory: path });
    closers.push(() => journal.close());
    expect(journal).toMatchObject({ first: 1_700_000_000_000, next: 1_700_000_000_001 });
    expect(journal.read(journal.first)).toMatchObject({ signal: 'logs', encoding: 'json', bytes: Buffer.from('an old record') });
    expect(await journal.append(record(Buffer.from('a new one')))).toEqual({ is: 'durable', sequence: 1_700_000_000_001 });
    await journal.release(1_700_000_000_001);
    expect((await readdir(path)).toSorted()).toEqual(['1700000000001.mdb', '1700000000001.mdb-lock']);
    expect(journal.read(1_700_000_000_001)?.bytes.toString()).toBe('a new one');
  });

  test('starts where a power failure left a file of which nothing had reached the disk', async () => {
    const path = await directory();
    const before = await openLmdbJournal({ directory: path });
    await before.append(record(Buffer.from('kept')));
    await before.close();
    await writeFile(join(path, `${before.next}.mdb`), Buffer.alloc(8192));
    const after = await openLmdbJournal({ directory: path });
    closers.push(() => after.close());
    expect(after.read(before.first)?.bytes.toString()).toBe('kept');
  });

  test.each([
    ['garbage', Buffer.alloc(20_000, 'x')],
    ['half of a page', Buffer.alloc(2_000, 1)],
  ])('names a file that holds %s instead of ending the process, and starts once it is moved away', async (_, bytes) => {
    const path = await directory();
    const damaged = join(path, '1700000000000.mdb');
    await writeFile(damaged, bytes);
    await expect(openLmdbJournal({ directory: path })).rejects.toMatchObject({
      code: 'journal',
      message: expect.stringMatching(/1700000000000\.mdb is damaged: .*move it away/),
    });
    await rm(damaged);
    const journal = await openLmdbJournal({ directory: path });
    closers.push(() => journal.close());
    expect(await journal.append(record(Buffer.from('new')))).toMatchObject({ is: 'durable' });
  });

  const mount = smallDisk();
  test.skipIf(mount === undefined)(
    `a full disk refuses, loses nothing, and heals${mount === undefined ? ' (needs the right to mount a small file system)' : ''}`,
    async () => {
      const path = await directory();
      mount?.(path, '22m');
      closers.push(async () => void spawnSync('umount', [path]));
      await mkdir(join(path, 'journal'));
      const journal = await openLmdbJournal({ directory: join(path, 'journal'), maxBytes: 256 * 1024 * 1024 });
      closers.push(() => journal.close());
      const bytes = Buffer.alloc(400_000, 9);
      const durable: number[] = [];
      const refused: unknown[] = [];
      for (let i = 0; i < 60; i += 1) {
        try {
          const appended = await journal.append(record(bytes));
          if (appended.is === 'durable') durable.push(appended.sequence);
        } catch (error) {
          refused.push(error);
        }
      }
      expect(durable.length).toBeGreaterThan(10);
      expect(refused.length).toBeGreaterThan(10);
      // Before LMDB meets the end of the disk itself: it does not survive that.
      for (const error of refused)
        expect(error).toMatchObject({ code: 'journal-write', retry: 'later', message: expect.stringContaining('nearly full') });
      for (const sequence of durable) expect(journal.read(sequence)?.bytes.equals(bytes)).toBe(true);
      // Not a byte left: releasing still works, and then there is room again.
      const { bavail, bsize } = await statfs(path);
      await writeFile(join(path, 'everything-else'), Buffer.alloc(bavail * bsize)).catch(() => undefined);
      const [half = 0] = durable.slice(durable.length >> 1);
      await journal.release(half);
      expect(journal.first).toBe(half);
      let took = 0;
      for (let i = 0; i < 6; i += 1) {
        await journal.release(journal.first + 1);
        took += await journal.append(record(bytes)).then(
          () => 1,
          () => 0,
        );
      }
      expect(took).toBeGreaterThan(3);
    },
  );
});

/** Mounts a file system of a size; undefined where that is not allowed here. */
function smallDisk(): ((path: string, size: string) => void) | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return undefined;
  const mountAt = (path: string, size: string): number | null =>
    spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path]).status;
  const probe = spawnSync('mktemp', ['-d']).stdout.toString().trim();
  const isAllowed = probe !== '' && mountAt(probe, '64k') === 0;
  if (isAllowed) spawnSync('umount', [probe]);
  if (probe !== '') spawnSync('rmdir', [probe]);
  return isAllowed ? (path, size) => void mountAt(path, size) : undefined;
}
