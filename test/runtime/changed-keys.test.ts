import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ChangedKeys } from '../../src/runtime/changed-keys.ts';
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

  test('beyond the bound become the whole collection, which is as old as the oldest of them', () => {
    const changed = new ChangedKeys(['id'], 3);
    for (let id = 0; id < 10; id += 1) changed.mark(key(id), 100 + id);
    expect(changed.everything).toMatch(/more than 3 keys/);
    expect(changed.size).toBe(0);
    expect(changed.oldestMs()).toBe(100);
    changed.clearEverything();
    expect(changed.everything).toBeUndefined();
    changed.mark(key(1), 200);
    expect(changed.oldestMs()).toBe(200);
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
