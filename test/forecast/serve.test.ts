import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { chooseServed } from '../../src/forecast/serve.ts';

const noisy = (mean: number, count: number, name: string): Float64Array => {
  const rng = createRng(name);
  return Float64Array.from({ length: count }, () => mean + 0.3 * rng.normal());
};

describe('who is served', () => {
  it('is the model where it surely wins', () => {
    const errors = new Map([
      ['model', noisy(0.7, 200, 'm')],
      ['naive', noisy(1, 200, 'n')],
      ['ridge', noisy(0.9, 200, 'r')],
    ]);
    expect(chooseServed(errors, 'model', 1)).toMatchObject({ servedBy: 'model', bestBaseline: 'ridge' });
  });

  it('is the model where the difference may be luck, and the best baseline where that surely wins', () => {
    const rivals = (model: number): Map<string, Float64Array> =>
      new Map([
        ['model', noisy(model, 60, 'm')],
        ['naive', noisy(1, 60, 'n')],
        ['ridge', noisy(1.2, 60, 'r')],
      ]);
    expect(chooseServed(rivals(1.03), 'model', 1).servedBy).toBe('model');
    const lost = chooseServed(rivals(1.2), 'model', 1);
    expect(lost.servedBy).toBe('naive');
    expect(lost.because).toContain("above naive's on 60 windows");
    expect(chooseServed(rivals(0.99), 'model', 1, false).servedBy, 'what holds no baseline must win').toBe('naive');
  });

  it('asks for more where windows overlap and so say less', () => {
    const rng = createRng('walk');
    let drift = 0;
    const model = Float64Array.from({ length: 120 }, () => {
      drift = 0.95 * drift + 0.1 * rng.normal();
      return 0.95 + drift;
    });
    const naive = new Float64Array(120).fill(1);
    const errors = new Map([
      ['model', model],
      ['naive', naive],
    ]);
    const alone = chooseServed(errors, 'model', 0).margin;
    const overlapping = chooseServed(errors, 'model', 12).margin;
    expect(Math.abs(overlapping)).toBeLessThan(Math.abs(alone));
  });

  it('is a baseline without enough windows, and naive without any', () => {
    expect(
      chooseServed(
        new Map([
          ['model', noisy(0.1, 5, 'm')],
          ['naive', noisy(1, 5, 'n')],
        ]),
        'model',
        1,
      ).servedBy,
    ).toBe('naive');
    expect(chooseServed(new Map(), 'model', 1).servedBy).toBe('naive');
  });

  it('is said in words and plain numbers, however small or large the errors are', () => {
    const sizes = [0, 1e-300, 1e-9, 0.5, 1, 20, 1e12, 1e290];
    for (const ours of sizes) {
      for (const theirs of sizes) {
        const errors = new Map([
          ['model', noisy(1, 40, 'm').map((error) => error * ours)],
          ['naive', noisy(1, 40, 'n').map((error) => error * theirs)],
        ]);
        const { because } = chooseServed(errors, 'model', 1);
        expect(because).not.toMatch(/\d\.\d{2}|\de[+-]?\d|Infinity|NaN|\d{4}/);
        expect(because).toContain('on 40 windows');
      }
    }
    const sayOf = (ours: number, theirs: number): string =>
      chooseServed(
        new Map([
          ['model', new Float64Array(40).fill(ours)],
          ['naive', new Float64Array(40).fill(theirs)],
        ]),
        'model',
        1,
      ).because;
    expect(sayOf(0.5, 1)).toContain("50.0 % below naive's");
    expect(sayOf(1e-9, 1e-12)).toContain('that of naive');
    expect(sayOf(0.1, 1e-12)).toContain("above naive's, which is none,");
    expect(sayOf(1e280, 1)).toContain("more than ten times naive's");
  });
});
