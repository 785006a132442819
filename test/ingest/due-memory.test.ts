import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DueMemory, type Held } from '../../src/ingest/due-memory.ts';

describe('DueMemory', () => {
  test('what is held never lies over anything else that is', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ due: fc.nat(40), bytes: fc.integer({ min: 1, max: 400_000 }), back: fc.nat(9) }), {
          minLength: 20,
          maxLength: 200,
        }),
        (steps) => {
          const memory = new DueMemory(10);
          const all: { held: Held; bytes: number; mark: number }[] = [];
          for (const [i, { due, bytes, back }] of steps.entries()) {
            const held = memory.take(due, bytes);
            expect(held.offset % 8).toBe(0);
            new Uint8Array(held.buffer, held.offset, bytes).fill(i & 255);
            all.push({ held, bytes, mark: i & 255 });
            const gone = all[back];
            if (gone === undefined) continue;
            const bytesNow = Buffer.from(new Uint8Array(gone.held.buffer, gone.held.offset, gone.bytes));
            expect(bytesNow.equals(Buffer.alloc(gone.bytes, gone.mark))).toBe(true);
            all.splice(back, 1);
            memory.giveBack(gone.held);
          }
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
      seen.add(held.buffer);
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
});
