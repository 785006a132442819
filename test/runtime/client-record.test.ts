import { expect, it } from 'vitest';
import type { ClientLegs } from '../../src/forecast/client-legs.ts';
import { createClientRecord } from '../../src/runtime/client-record.ts';

const drained = (fromMs: number, count: number, leftOut = { alone: 1, failed: 2, repeated: 3 }): ClientLegs => ({
  collection: 'orders',
  operations: Array.from({ length: count }, (_, i) => ({
    collection: 'orders',
    kind: i % 2 === 0 ? 'write' : 'read',
    within: String(i),
    startUs: 1_000 * (fromMs + i),
    trips: [],
  })),
  leftOut,
  madeWay: 5,
});

it('an hour of operations is kept, in order of time, with what was left out of it', () => {
  const record = createClientRecord();
  expect(record.of('orders', 0)).toBeNull();
  record.see([drained(1_000, 4)], 1_000);
  record.see([drained(0, 2)], 2_000);
  const both = record.of('orders', 3_600_999);
  expect(both?.operations.map(({ startUs }) => startUs / 1_000)).toEqual([0, 1, 1_000, 1_001, 1_002, 1_003]);
  expect([both?.leftOut, both?.madeWay]).toEqual([{ alone: 2, failed: 4, repeated: 6 }, 10]);
  expect(record.of('orders', 3_601_000)?.operations).toHaveLength(2);
  expect(record.of('orders', 3_602_000)).toBeNull();
  expect(record.of('carts', 0)).toBeNull();
});

it('more than are kept are thinned over the whole hour, reads and writes alike', () => {
  const record = createClientRecord(100);
  for (let minute = 0; minute < 10; minute += 1) record.see([drained(60_000 * minute, 40)], 60_000 * minute);
  const kept = record.of('orders', 600_000);
  const count = (kind: string): number => kept?.operations.filter((one) => one.kind === kind).length ?? 0;
  expect(count('read')).toBe(count('write'));
  expect(kept?.operations.length).toBeLessThanOrEqual(100);
  expect(kept?.operations.length).toBeGreaterThan(25);
  expect(new Set(kept?.operations.map(({ startUs }) => Math.floor(startUs / 60_000_000))).size).toBe(10);
  expect((kept?.operations.length ?? 0) + (kept?.madeWay ?? 0)).toBe(10 * 45);
});
