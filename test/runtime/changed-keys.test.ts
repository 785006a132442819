import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ChangedKeys } from '../../src/runtime/changed-keys.ts';
import { coverRanges, isIn } from '../../src/runtime/dirty-ranges.ts';
import { Settled } from '../../src/runtime/settled.ts';

const key = (id: number): { readonly id: string } => ({ id: String(id) });
const idsOf = (batch: ReadonlyMap<string, { readonly key: { readonly [column: string]: string } }>): readonly (string | undefined)[] =>
  [...batch.values()].map((one) => one.key['id']);

describe('keys that were written', () => {
  test('are taken once each, the oldest first, when they have settled; written again, they are taken again', () => {
    const changed = new ChangedKeys(['id']);
    for (const [id, atMs] of [
      [1, 10],
      [2, 20],
      [1, 30],
      [3, 40],
    ] as const)
      changed.mark(key(id), atMs);
    expect(changed.oldestMs()).toBe(10);
    expect(idsOf(changed.take(20, 10))).toEqual(['1', '2']);
    changed.mark(key(1), 50);
    expect(idsOf(changed.take(100, 1))).toEqual(['3']);
    expect(idsOf(changed.take(100, 10))).toEqual(['1']);
    expect(changed.oldestMs()).toBeUndefined();
  });

  test('that could not be compared are as old as they were', () => {
    const changed = new ChangedKeys(['id']);
    changed.mark(key(1), 10);
    const batch = changed.take(10, 10);
    changed.mark(key(1), 20);
    changed.mark(key(2), 21);
    changed.putBack(batch, 30);
    expect(changed.oldestMs()).toBe(10);
    expect(idsOf(changed.take(100, 10))).toEqual(['1', '2']);
  });

  test('beyond the bound become ranges, where they are single whole numbers: as old as the oldest in them, one by one outside of them', () => {
    const changed = new ChangedKeys(['id'], 3);
    for (const [at, id] of [7, 8, 1_000, 1_001].entries()) changed.mark(key(id), 100 + at);
    expect([changed.size, changed.hasRanges, changed.everything]).toEqual([0, true, undefined]);
    expect(changed.oldestMs()).toBe(100);
    changed.mark(key(8), 200);
    changed.mark(key(9), 201);
    expect(idsOf(changed.take(300, 10))).toEqual(['9']);
    expect(changed.takeRanges(99)).toEqual([]);
    const ranges = changed.takeRanges(100);
    expect(ranges).toEqual([
      { low: 7n, high: 8n, sinceMs: 100 },
      { low: 1_000n, high: 1_001n, sinceMs: 102 },
    ]);
    expect([changed.hasRanges, changed.oldestMs()]).toEqual([false, undefined]);
    changed.putBackRanges(ranges);
    expect(changed.takeRanges(100)).toEqual(ranges);
  });

  test.each([
    ['text', (id: number): Record<string, string> => ({ id: `n${id}` }), ['id']],
    ['two columns', (id: number): Record<string, string> => ({ id: String(id), part: '1' }), ['id', 'part']],
  ])('beyond the bound become the whole collection where they are %s, which is as old as the oldest of them', (_what, keyOf, columns) => {
    const changed = new ChangedKeys(columns, 3);
    for (let id = 0; id < 10; id += 1) changed.mark(keyOf(id), 100 + id);
    expect(changed.everything).toMatch(/more than 3 keys/);
    expect(changed.size).toBe(0);
    expect(changed.oldestMs()).toBe(100);
    changed.clearEverything();
    expect(changed.everything).toBeUndefined();
    changed.mark(keyOf(1), 200);
    expect(changed.oldestMs()).toBe(200);
  });
});

describe('ranges of keys', () => {
  test('hold every key, stand apart, ascend, are no more than a bound, and leave the widest gaps out', () => {
    const part = fc.record({ low: fc.bigInt(-500n, 500n), length: fc.bigInt(0n, 20n), sinceMs: fc.nat(100) });
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 8 }), (parts, most) => {
        const keys = parts.map(({ low, length, sinceMs }) => ({ low, high: low + length, sinceMs }));
        const ranges = coverRanges(keys, most);
        expect(ranges.length).toBeLessThanOrEqual(most);
        for (const { low, high } of keys) expect(isIn(ranges, low) && isIn(ranges, high)).toBe(true);
        for (const [at, { low }] of ranges.entries()) if (at > 0) expect(low).toBeGreaterThan((ranges[at - 1]?.high ?? 0n) + 1n);
        expect(Math.min(...ranges.map(({ sinceMs }) => sinceMs))).toBe(Math.min(...keys.map(({ sinceMs }) => sinceMs)));
        // No gap that was closed is wider than one that was left.
        const exact = coverRanges(keys, 1_000);
        const gapsOf = (all: readonly { low: bigint; high: bigint }[]): readonly bigint[] =>
          all.slice(1).map(({ low }, at) => low - (all[at]?.high ?? low));
        const widest = gapsOf(exact).toSorted((a, b) => (a > b ? -1 : a < b ? 1 : 0));
        const left = gapsOf(ranges).toSorted((a, b) => (a > b ? -1 : a < b ? 1 : 0));
        expect(left).toEqual(widest.slice(0, left.length));
        expect(left.length).toBe(Math.min(most - 1, widest.length));
      }),
    );
  });
});

describe('positions that are let go of', () => {
  test('never cover a mark that has not been dealt with', () => {
    const step = fc.record({ afterMs: fc.integer({ min: 0, max: 60 }), id: fc.integer({ min: 0, max: 5 }), isTaken: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 200 }), (steps) => {
        const changed = new ChangedKeys(['id']);
        const settled = new Settled();
        /** The position after which each key that waits was first told. */
        const told = new Map<string, number>();
        let nowMs = 0;
        for (const [position, { afterMs, id, isTaken }] of steps.entries()) {
          nowMs += afterMs;
          changed.mark(key(id), nowMs);
          if (!told.has(String(id))) told.set(String(id), position);
          settled.reached(String(position), nowMs);
          if (isTaken) for (const done of idsOf(changed.take(nowMs - 30, 2))) told.delete(done ?? '');
          const before = settled.before(changed.oldestMs() ?? Number.POSITIVE_INFINITY);
          if (before === undefined) continue;
          for (const first of told.values()) expect(first).toBeGreaterThan(Number(before));
          settled.forget(before);
        }
      }),
    );
  });

  test('reach the last one once all is dealt with', () => {
    const settled = new Settled();
    for (let n = 0; n < 20_000; n += 1) settled.reached(String(n), n * 3);
    expect(settled.before(Number.POSITIVE_INFINITY)).toBe('19999');
    expect(Number(settled.before(30_000))).toBeGreaterThan(9_900);
    settled.forget('19999');
    expect(settled.before(Number.POSITIVE_INFINITY)).toBeUndefined();
  });
});
