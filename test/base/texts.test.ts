import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Texts } from '../../src/base/texts.ts';

test('texts come back as they went in, of any characters and lengths, whatever else was removed', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.string({ unit: fc.constantFrom('a', 'é', '\0', '\ud800', '漢'), maxLength: 30 }),
    fc
      .record({ unit: fc.constantFrom('x', 'ÿ', '日'), length: fc.constantFrom(300_000, 524_284, 1_048_568, 1_100_000) })
      .map(({ unit, length }) => unit.repeat(length)),
  );
  fc.assert(
    fc.property(fc.array(fc.record({ text, removes: fc.option(fc.nat(), { nil: undefined }) }), { maxLength: 60 }), (list) => {
      const texts = new Texts();
      const kept = new Map<number, string>();
      for (const { text: one, removes } of list) {
        const number = texts.add(one);
        if (one === '') expect(number).toBe(0);
        else {
          expect(kept.has(number)).toBe(false);
          expect(number).toBeGreaterThan(0);
          // Rows hold numbers in 32 bits.
          expect(number).toBe(number >>> 0);
          kept.set(number, one);
        }
        if (removes === undefined || kept.size === 0) continue;
        const gone = [...kept.keys()][removes % kept.size] as number;
        texts.remove(gone);
        kept.delete(gone);
      }
      for (const [number, one] of kept) if (texts.read(number) !== one) throw new Error(`text ${number} is another`);
    }),
    { numRuns: 60 },
  );
});

test('a million texts of which few are wanted at a time take the memory of those few', () => {
  const texts = new Texts();
  const wanted: number[] = [];
  for (let i = 0; i < 1_000_000; i += 1) {
    wanted.push(texts.add(`message ${i} of the queue`));
    if (wanted.length > 20_000) texts.remove(wanted.shift() as number);
  }
  expect(texts.bytes).toBeLessThanOrEqual(3 * 1024 * 1024);
  expect(texts.read(wanted[0] as number)).toBe('message 980000 of the queue');
});
