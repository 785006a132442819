import { expect, test } from 'vitest';
import { Rows } from '../../src/base/rows.ts';

test('a table that grows keeps what its rows hold, and lets go of the memory that it had at once', () => {
  const rows = new Rows(4, 2);
  const before = rows.words;
  const taken = Array.from({ length: 100 }, (_, nth) => {
    const row = rows.take();
    rows.words[row * 4] = nth;
    rows.doubles[(row * 4 + 2) >> 1] = nth / 3;
    return row;
  });
  expect(before.buffer.detached).toBe(true);
  for (const [nth, row] of taken.entries()) {
    expect(rows.words[row * 4]).toBe(nth);
    expect(rows.doubles[(row * 4 + 2) >> 1]).toBe(nth / 3);
  }
  rows.give(taken[7] as number);
  expect(rows.take()).toBe(taken[7]);
  expect(rows.count).toBe(100);
});
