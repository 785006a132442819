import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Place } from '../../src/ingest/packed-regions.ts';
import { giveBack, SharedSlabs } from '../../src/runtime/shared-slabs.ts';

const mebibyte = 1024 * 1024;

/** Bytes of all different buffers. */
const bytesOf = (places: readonly Place[]): number =>
  [...new Set(places.map(({ buffer }) => buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0);

const markOf = (place: Place, bytes: number, mark: number): void => void new Uint8Array(place.buffer, place.offset, bytes).fill(mark);
const hasMark = (place: Place, bytes: number, mark: number): boolean =>
  Buffer.from(new Uint8Array(place.buffer, place.offset, bytes)).equals(Buffer.alloc(bytes, mark));

describe('SharedSlabs', () => {
  test('places that are in use never lie over each other, whatever the order in which others are given back', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 350_000 }), back: fc.nat(7) }), { minLength: 20, maxLength: 200 }),
        (steps) => {
          const slabs = new SharedSlabs(4 * mebibyte);
          const held: { place: Place; bytes: number; mark: number }[] = [];
          let mark = 0;
          for (const { bytes, back } of steps) {
            const place = slabs.take(bytes);
            if (place !== undefined) {
              expect(place.offset % 8).toBe(0);
              mark = (mark + 1) & 255;
              markOf(place, bytes, mark);
              held.push({ place, bytes, mark });
            }
            expect(bytesOf(held.map((one) => one.place))).toBeLessThanOrEqual(4 * mebibyte);
            const gone = held[back];
            if (gone === undefined) continue;
            expect(hasMark(gone.place, gone.bytes, gone.mark)).toBe(true);
            held.splice(back, 1);
            giveBack(gone.place);
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test('what is given back serves again: any number of batches goes through the same few slabs', () => {
    const slabs = new SharedSlabs(64 * mebibyte);
    const seen = new Set<ArrayBufferLike>();
    const flying: Place[] = [];
    for (let i = 0; i < 2000; i += 1) {
      const place = slabs.take(90_000);
      if (place === undefined) throw new Error('there is room');
      seen.add(place.buffer);
      flying.push(place);
      if (flying.length > 15) giveBack(flying.shift() as Place);
    }
    expect(seen.size).toBeLessThanOrEqual(4);
  });

  test('past its bound it has no room, and has again once something is given back', () => {
    const slabs = new SharedSlabs(2 * mebibyte);
    const places: Place[] = [];
    for (let place = slabs.take(300_000); place !== undefined; place = slabs.take(300_000)) places.push(place);
    expect(places.length).toBe(6);
    for (const place of places.slice(0, 3)) giveBack(place);
    expect(slabs.take(300_000)).toBeDefined();
  });

  test('a batch larger than a slab has one of its own, alone any size, and leaves no memory behind', () => {
    const slabs = new SharedSlabs(8 * mebibyte);
    const large = slabs.take(30 * mebibyte);
    expect(large?.buffer.byteLength).toBeGreaterThanOrEqual(30 * mebibyte);
    expect(slabs.take(1000)).toBeUndefined();
    if (large !== undefined) giveBack(large);
    expect(slabs.take(1000)?.buffer.byteLength).toBe(mebibyte);
  });

  test('after the thread that had them died, all its memory is let go of and what others hold stays as it is', () => {
    const slabs = new SharedSlabs(mebibyte);
    const kept = slabs.take(900_000);
    expect(slabs.take(900_000)).toBeUndefined();
    slabs.abandon();
    const next = slabs.take(900_000);
    expect(next).toBeDefined();
    expect(next?.buffer).not.toBe(kept?.buffer);
  });
});
