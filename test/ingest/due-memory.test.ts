import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { type Away, chunkBytes, DueMemory, type Held } from '../../src/ingest/due-memory.ts';
import { openAwayFile } from '../../src/io/away-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'away-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('DueMemory', () => {
  test.each<[string, Away | undefined]>([
    ['in memory', undefined],
    ['mostly in a file', openAwayFile(directory)],
    ['in memory where nothing can be written', openAwayFile(join(directory, 'missing'))],
  ])('what is held never lies over anything else that is: %s', (_, away) => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ due: fc.nat(40), bytes: fc.integer({ min: 1, max: 400_000 }), back: fc.nat(9) }), {
          minLength: 20,
          maxLength: 200,
        }),
        (steps) => {
          const memory = new DueMemory(10, away, 2 * chunkBytes);
          const all: { held: Held; bytes: number; mark: number }[] = [];
          for (const [i, { due, bytes, back }] of steps.entries()) {
            const held = memory.take(due, bytes);
            expect(held.offset % 8).toBe(0);
            new Uint8Array(memory.bufferOf(held), held.offset, bytes).fill(i & 255);
            all.push({ held, bytes, mark: i & 255 });
            const gone = all[back];
            if (gone === undefined) continue;
            const bytesNow = Buffer.from(new Uint8Array(memory.bufferOf(gone.held), gone.held.offset, gone.bytes));
            expect(bytesNow.equals(Buffer.alloc(gone.bytes, gone.mark))).toBe(true);
            all.splice(back, 1);
            memory.giveBack(gone.held);
          }
          for (const { held } of all) memory.giveBack(held);
          expect(memory.residentBytes).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('memory of what left serves what comes, and a long wait of few keeps nothing of the many beside them', () => {
    const memory = new DueMemory(250);
    const seen = new Set<ArrayBufferLike>();
    const waiting: { held: Held; dueAt: number }[] = [];
    // Every tenth waits thirty times as long as the others.
    for (let now = 0; now < 20_000; now += 1) {
      const dueAt = now + (now % 10 === 0 ? 9_000 : 300);
      const held = memory.take(dueAt, 40_000);
      seen.add(memory.bufferOf(held));
      waiting.push({ held, dueAt });
      for (let i = waiting.length - 1; i >= 0; i -= 1) {
        const one = waiting[i];
        if (one === undefined || one.dueAt > now) continue;
        waiting.splice(i, 1);
        memory.giveBack(one.held);
      }
    }
    // 1,200 at a time are held, 48 MB; beside them a chunk of each open slot is not full.
    expect([...seen].reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThan(1.6 * 1_200 * 40_000);
  });

  test('what is more than may be in memory is in a file without a name, and each is brought back when its time has come', () => {
    const file = openAwayFile(directory);
    const places: number[] = [];
    const putAway = (bytes: Uint8Array): number | undefined => {
      const place = file.putAway(bytes);
      if (place !== undefined) places.push(place);
      return place;
    };
    const memory = new DueMemory(100, { ...file, putAway }, 8 * chunkBytes);
    const waiting: { held: Held; mark: number }[] = [];
    let mostResident = 0;
    for (let now = 0; now < 5_000; now += 1) {
      // What may be in memory is.
      if (memory.residentBytes <= 8 * chunkBytes && now < 500) expect(places).toEqual([]);
      const held = memory.take(now + 500, 20_000);
      new Uint8Array(memory.bufferOf(held), held.offset, 20_000).fill(now & 255);
      waiting.push({ held, mark: now & 255 });
      const due = now < 500 ? undefined : waiting.shift();
      if (due !== undefined) {
        const bytes = new Uint8Array(memory.bufferOf(due.held), due.held.offset, 20_000);
        expect([bytes[0], bytes[19_999]]).toEqual([due.mark, due.mark]);
        memory.giveBack(due.held);
      }
      mostResident = Math.max(mostResident, memory.residentBytes);
    }
    // 500 at a time wait, 10 MB: those of a slot that is open, and of one whose time has come, are in memory too.
    expect(mostResident).toBeLessThan(16 * chunkBytes);
    expect(readdirSync(directory)).toEqual([]);
    // Room in the file is used again.
    expect(places.length).toBeGreaterThan(200);
    expect(Math.max(...places)).toBeLessThan(60);
  });
});
