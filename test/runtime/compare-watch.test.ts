import { describe, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import type { Divergence } from '../../src/domain/divergence.ts';
import type { Shape } from '../../src/domain/row.ts';
import type { SecondLook } from '../../src/runtime/compare-confirm.ts';
import { UnmarkedWatch } from '../../src/runtime/compare-watch.ts';
import { RecentWrites } from '../../src/runtime/recent-writes.ts';

const shape: Shape = { key: ['id'], columns: [] };
const divergence: Divergence = {
  collection: 't',
  key: { id: '1' },
  is: 'different',
  replicas: { eu: { id: '1' }, us: { id: '1' } },
  columns: ['v'],
  status: 'suspected',
  seenAt: {},
  firstSeenMs: 0,
};

/** Whether a row that changes at `phaseMs` and every half `periodMs` from then looks the same in every look. */
async function looksSteady(seed: number, periodMs: number, lookTakesMs: number): Promise<boolean> {
  let nowMs = 0;
  const rng = createRng(seed);
  const phaseMs = createRng(seed + 1_000_000).next() * periodMs;
  const isOther = (): boolean => Math.floor((nowMs + phaseMs) / (periodMs / 2)) % 2 === 1;
  const first = isOther();
  const look = (divergences: readonly Divergence[]): Promise<SecondLook> => {
    nowMs += lookTakesMs;
    const isChanged = isOther() !== first;
    return Promise.resolve({
      unchanged: isChanged ? [] : divergences,
      changed: isChanged ? divergences : [],
      healed: [],
      seenNow: new Map(),
    });
  };
  const watch = new UnmarkedWatch({ shape, divergences: [divergence], look, rng });
  while (!watch.isSatisfied) {
    nowMs += watch.nextGapMs();
    await watch.look(() => nowMs);
  }
  return !watch.isMoving(divergence);
}

describe('looks at a row that goes back and forth', () => {
  test.each([1, 2, 3, 5, 7, 10, 20, 25, 40, 50])('find it out whatever its period, %d ms too', async (periodMs) => {
    let steady = 0;
    for (let seed = 0; seed < 1_000; seed += 1) if (await looksSteady(seed, periodMs, 1)) steady += 1;
    // Chance alone would be 0.2; slow writers are seen by fewer independent looks.
    expect(steady).toBeLessThanOrEqual(10);
  });
});

describe('many rows without marks', () => {
  test('are all watched; those that have moved, and rows with marks, are looked at no more', async () => {
    const marked = { ...divergence, key: { id: 'marked' }, stamps: { eu: '1', us: '1' } };
    const many = Array.from({ length: 50_000 }, (_none, at) => ({ ...divergence, key: { id: String(at) } }));
    const seen: number[] = [];
    const look = (divergences: readonly Divergence[]): Promise<SecondLook> => {
      seen.push(divergences.length);
      const [last] = divergences.slice(-1);
      const moved = seen.length === 3 && last !== undefined ? [last] : [];
      return Promise.resolve({ unchanged: divergences, changed: moved, healed: [], seenNow: new Map() });
    };
    const watch = new UnmarkedWatch({ shape, divergences: [marked, ...many], look, rng: createRng(1) });
    for (let looks = 0; looks < 4; looks += 1) await watch.look(() => 0);
    expect(seen).toEqual([50_000, 50_000, 50_000, 49_999]);
    expect(many.filter((one) => watch.isMoving(one)).map((one) => one.key)).toEqual([{ id: '49999' }]);
    expect(watch.isMoving(marked)).toBe(false);
  });
});

describe('what feeds have told lately', () => {
  test('is known since when, by collection, and forgotten beyond a bound', () => {
    const writes = new RecentWrites(2);
    writes.note('a', 'k', 100);
    expect(writes.wasToldSince('a', 'k', 100)).toBe(true);
    expect(writes.wasToldSince('a', 'k', 101)).toBe(false);
    expect(writes.wasToldSince('b', 'k', 0)).toBe(false);
    for (const text of ['l', 'm', 'n', 'o']) writes.note('a', text, 200);
    expect(writes.wasToldSince('a', 'k', 0)).toBe(false);
    expect(writes.wasToldSince('a', 'o', 200)).toBe(true);
  });
});
