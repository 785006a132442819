import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HashTable } from '../../src/base/hash-table.ts';
import { hexOf, packHex } from '../../src/base/hex-words.ts';
import { Hash64 } from '../../src/base/hash64.ts';
import { Rows } from '../../src/base/rows.ts';

/** Few places and many keys for each, so that they stand in each other's way. */
const keys = fc.record({ low: fc.integer({ min: -3, max: 3 }), high: fc.integer({ min: 1, max: 5 }) });

test('a hash table is a map, whatever collides and is removed', () => {
  const steps = fc.array(fc.record({ key: keys, does: fc.constantFrom('add', 'remove', 'remove row', 'retain'), row: fc.nat(3) }), {
    maxLength: 400,
  });
  fc.assert(
    fc.property(steps, (list) => {
      const table = new HashTable();
      const model = new Map<string, number>();
      for (const { key, does, row } of list) {
        const name = `${key.low}/${key.high}`;
        const isKnown = model.has(name);
        if (does === 'remove') {
          table.remove(key.low, key.high);
          model.delete(name);
        } else if (does === 'retain') {
          table.retain((low, kept) => low !== key.low && kept !== row);
          for (const [other, value] of model) if (other.startsWith(`${key.low}/`) || value === row) model.delete(other);
        } else if (does === 'remove row') {
          table.removeRow(key.low, key.high, row);
          if (model.get(name) === row) model.delete(name);
        } else if (isKnown) {
          table.point(key.low, key.high, row);
          model.set(name, row);
        } else if (does === 'add') {
          table.add(key.low, key.high, row);
          model.set(name, row);
        }
        expect(table.size).toBe(model.size);
      }
      for (let low = -3; low <= 3; low += 1)
        for (let high = 1; high <= 5; high += 1) expect(table.find(low, high)).toBe(model.get(`${low}/${high}`) ?? -1);
    }),
    { numRuns: 200 },
  );
});

test('rows are given out once, and again when they came back', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 500 }), (takes) => {
      const rows = new Rows(4, 2);
      const taken: number[] = [];
      for (const isTake of takes) {
        if (isTake) {
          const row = rows.take();
          expect(taken).not.toContain(row);
          rows.words[row * 4 + 3] = row;
          taken.push(row);
        } else {
          const row = taken.shift();
          if (row !== undefined) rows.give(row);
        }
        expect(rows.count).toBe(taken.length);
      }
      // Growing and giving back leaves what others wrote.
      for (const row of taken) expect(rows.words[row * 4 + 3]).toBe(row);
    }),
  );
});

test('ids come back as they went in', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const text = Buffer.from(bytes).toString('hex');
      const words = new Int32Array(6);
      packHex(text, words, 1, 4);
      expect(hexOf(words, 1, 4)).toBe(text);
    }),
  );
});

test('a hash tells where a text ends, and a hundred thousand like names apart', () => {
  const hash = new Hash64();
  const of = (...texts: readonly string[]): string => {
    hash.start();
    for (const text of texts) hash.text(text);
    const { low, high } = hash.end();
    return `${low}/${high}`;
  };
  expect(of('ab', 'c')).not.toBe(of('a', 'bc'));
  expect(of('ab')).not.toBe(of('ab', ''));
  const seen = new Set<string>();
  const lows = new Set<number>();
  for (let i = 0; i < 100_000; i += 1) {
    seen.add(of('order', `o-${i}`));
    lows.add(hash.low >>> 22);
  }
  expect(seen.size).toBe(100_000);
  // The half that samples is even: all of its upper thousandths occur.
  expect(lows.size).toBe(1024);
});
