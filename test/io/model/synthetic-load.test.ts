import { describe, expect, it } from 'vitest';
import { createRng } from '../../../src/base/rng.ts';
import { kinds } from '../../../src/io/model/synthetic-kinds.ts';
import { syntheticLoad } from '../../../src/io/model/synthetic-load.ts';

describe('generated load', () => {
  const panel = syntheticLoad(2 * kinds.length, 1_000, createRng(7));

  it('is the same from the same seed and another from another', () => {
    expect(syntheticLoad(2 * kinds.length, 1_000, createRng(7))).toEqual(panel);
    expect(syntheticLoad(2, 1_000, createRng(8))[0]?.grid.values).not.toEqual(panel[0]?.grid.values);
  });

  it('is finite, never negative, and of several step widths, with gaps in some', () => {
    for (const { grid } of panel) expect(grid.values.every((value) => Number.isFinite(value) && value >= 0)).toBe(true);
    expect(new Set(panel.map(({ grid }) => grid.stepMs)).size).toBe(3);
    expect(panel.some(({ grid }) => grid.missing.includes(1))).toBe(true);
  });

  it('is mostly nothing where it is sparse, and hardly ever changes where it is flat', () => {
    const share = (kind: string, holds: (values: Float64Array, i: number) => boolean): number => {
      const values = panel.find(({ name }) => name.startsWith(kind))?.grid.values ?? new Float64Array(0);
      return values.filter((_, i) => holds(values, i)).length / values.length;
    };
    expect(share('sparse', (values, i) => values[i] === 0)).toBeGreaterThan(0.5);
    expect(share('flat', (values, i) => values[i] === values[i - 1])).toBeGreaterThan(0.9);
  });
});
