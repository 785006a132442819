import { execFileSync } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRng } from '../../../src/base/rng.ts';
import { FileBytes } from '../../../src/io/otlp/file-bytes.ts';

/** Text that gzip makes a third of, so that pieces end anywhere in it. */
const rng = createRng(11);
const text = Buffer.from(Array.from({ length: 40_000 }, (_unused, n) => `${n} ${rng.int(1_000_000_000)}\n`).join(''));
const zipped = gzipSync(text);

async function readAll(path: string): Promise<{ readonly read: Buffer; readonly says: string }> {
  const bytes = new FileBytes(path);
  const parts: Buffer[] = [];
  try {
    for (let part = await bytes.next(); part !== undefined; part = await bytes.next()) parts.push(Buffer.from(part));
    return { read: Buffer.concat(parts), says: '' };
  } catch (error) {
    return { read: Buffer.concat(parts), says: error instanceof Error ? error.message : String(error) };
  }
}

describe('the bytes of a file', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'homeostat-bytes-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function readBytes(bytes: Buffer): Promise<{ readonly read: Buffer; readonly says: string }> {
    const path = join(folder, 'file');
    await writeFile(path, bytes);
    return readAll(path);
  }

  it.each([
    ['plain', text, ''],
    ['empty', Buffer.alloc(0), ''],
    ['one byte', Buffer.from('{'), ''],
    ['gzip', zipped, ''],
    ['gzip with padding behind', Buffer.concat([zipped, Buffer.alloc(512)]), ''],
    ['gzip with something else behind', Buffer.concat([zipped, Buffer.from('something else')]), 'Z_DATA_ERROR'],
    ['a short gzip with something else behind', Buffer.concat([gzipSync('short'), Buffer.from('something else')]), 'Z_DATA_ERROR'],
    ['gzip of two members', Buffer.concat([zipped, zipped]), ''],
  ])('are all there: %s', async (_name, bytes, because) => {
    const { read, says } = await readBytes(bytes);
    const wanted =
      bytes[0] !== 0x1f
        ? bytes
        : bytes.length === 2 * zipped.length
          ? Buffer.concat([text, text])
          : bytes.length < 100
            ? Buffer.from('short')
            : text;
    expect(read.equals(wanted)).toBe(true);
    if (because === '') expect(says).toBe('');
    else expect(says).toMatch(new RegExp(`damaged or cut off \\(${because}\\)`));
  });

  it('of gzip that is cut off or damaged are there as far as they are good', async () => {
    for (const share of [0.1, 0.5, 0.99]) {
      const at = Math.floor(zipped.length * share);
      const cut = await readBytes(zipped.subarray(0, at));
      expect(cut.says).toMatch(/cut off/);
      expect(cut.read.equals(text.subarray(0, cut.read.length))).toBe(true);
      // A block of gzip is some tens of kilobytes; nothing of the blocks before it is missing.
      expect(cut.read.length).toBeGreaterThan(text.length * share - 200_000);
      const damaged = Buffer.concat([zipped.subarray(0, at), Buffer.alloc(64, 0xff), zipped.subarray(at + 64)]);
      const { read, says } = await readBytes(damaged);
      expect(says).toMatch(/damaged/);
      expect(read.subarray(0, cut.read.length).equals(cut.read)).toBe(true);
    }
  });

  it.skipIf(process.platform === 'win32')('come through a pipe too, gzip or not', async () => {
    for (const [name, bytes] of [
      ['plain', text],
      ['zipped', zipped],
    ] as const) {
      const path = join(folder, name);
      execFileSync('mkfifo', [path]);
      const [{ read, says }] = await Promise.all([readAll(path), pipeline([bytes], createWriteStream(path))]);
      expect(says).toBe('');
      expect(read.equals(text)).toBe(true);
    }
  });
});
