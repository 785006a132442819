import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { createSpanDedupe } from '../../src/ingest/dedupe.ts';

const hex = (value: number, length: number): string => value.toString(16).padStart(length, '0');

test('agrees with a set while everything fits', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat({ max: 20 }), fc.nat({ max: 20 })), { maxLength: 300 }), (spans) => {
      const dedupe = createSpanDedupe({ capacity: 512 });
      const known = new Set<string>();
      for (const [trace, span] of spans) {
        const name = `${trace} ${span}`;
        expect(dedupe.isNewSpan(hex(trace + 1, 32), hex(span + 1, 16))).toBe(!known.has(name));
        known.add(name);
      }
      expect(dedupe.dropped).toBe(spans.length - known.size);
    }),
  );
});

test('ids that differ in one bit are different spans', () => {
  const dedupe = createSpanDedupe();
  for (let bit = 0; bit < 192; bit += 1) {
    const ids = new Uint8Array(24);
    ids[bit >> 3] = 1 << (bit & 7);
    expect(dedupe.isNew(ids, 0)).toBe(true);
  }
  expect(dedupe.dropped).toBe(0);
});

test('knows at least the last `capacity` spans and forgets older ones', () => {
  const capacity = 10_000;
  const dedupe = createSpanDedupe({ capacity });
  for (let i = 0; i < 5 * capacity; i += 1) expect(dedupe.isNewSpan(hex(1, 32), hex(i + 1, 16))).toBe(true);
  for (let i = 4 * capacity; i < 5 * capacity; i += 1) expect(dedupe.isNewSpan(hex(1, 32), hex(i + 1, 16))).toBe(false);
  expect(dedupe.isNewSpan(hex(1, 32), hex(1, 16))).toBe(true);
});

test('a million random spans are all new, once', () => {
  const rng = createRng(5);
  const dedupe = createSpanDedupe();
  const ids = new Uint8Array(24);
  const words = new Uint32Array(ids.buffer);
  for (let i = 0; i < 1_000_000; i += 1) {
    for (let k = 0; k < 6; k += 1) words[k] = rng.int(0x1_0000_0000);
    if (!dedupe.isNew(ids, 0)) throw new Error(`span ${i} was taken for another`);
  }
  expect(dedupe.dropped).toBe(0);
});

test('a trace of a hundred thousand spans is remembered as a whole, and so are the small ones beside it', () => {
  const dedupe = createSpanDedupe({ capacity: 1 << 18 });
  const traceOf = (i: number): number => (i % 2 === 0 ? 1 : 2 + (i >> 4));
  for (let i = 0; i < 250_000; i += 1)
    if (!dedupe.isNewSpan(hex(traceOf(i), 32), hex(i + 1, 16))) throw new Error(`span ${i} was taken for another`);
  for (let i = 0; i < 250_000; i += 7) expect(dedupe.isNewSpan(hex(traceOf(i), 32), hex(i + 1, 16))).toBe(false);
});
