import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Divergence } from '../../src/domain/divergence.ts';
import { shapeOf, titleOf } from '../../src/runtime/group-divergence.ts';

const divergence = (
  replicas: Divergence['replicas'],
  is: Divergence['is'] = 'different',
  columns: readonly string[] = ['name'],
): Divergence => ({
  collection: 'profiles',
  key: { id: '1' },
  is,
  replicas,
  columns,
  status: 'confirmed',
  seenAt: {},
  firstSeenMs: 0,
});

describe('divergences', () => {
  it('that share who agrees with whom share a case, whatever the values are', () => {
    const one = shapeOf(divergence({ eu: { name: 'a' }, us: { name: 'b' }, ap: { name: 'a' } }));
    const other = shapeOf(divergence({ us: { name: 'y' }, ap: { name: 'x' }, eu: { name: 'x' } }));
    expect(other.fingerprint).toBe(one.fingerprint);
    expect(one.pattern).toEqual({ ap: 'A', eu: 'A', us: 'B' });
  });

  it('of another kind, another column or another side do not', () => {
    const shapes = [
      divergence({ eu: { name: 'a' }, us: { name: 'b' } }),
      divergence({ eu: { name: 'a' }, us: { name: 'b' } }, 'different', ['email']),
      divergence({ eu: { name: 'a' }, us: null }, 'missing', []),
      divergence({ eu: null, us: { name: 'a' } }, 'missing', []),
      divergence({ eu: null, us: { name: 'a' } }, 'extra', []),
    ].map((each) => shapeOf(each).fingerprint);
    expect(new Set(shapes).size).toBe(shapes.length);
  });

  it('are grouped without a value in the fingerprint or the title', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.uuid(), (a, b) => {
        const shape = shapeOf(divergence({ eu: { name: a }, us: { name: b } }));
        const text = JSON.stringify(shape) + titleOf('profiles', shape, 3);
        return !text.includes(a) && !text.includes(b);
      }),
    );
  });

  it('have a title that a person reads first', () => {
    expect(titleOf('profiles', shapeOf(divergence({ eu: { name: 'a' }, us: { name: 'b' }, ap: { name: 'a' } })), 3)).toBe(
      '3 rows of profiles differ in name: us against ap and eu',
    );
    expect(titleOf('profiles', shapeOf(divergence({ eu: { name: 'a' }, us: null, ap: { name: 'a' } }, 'missing', [])), 1)).toBe(
      '1 row of profiles is missing on us, present on ap and eu',
    );
    expect(titleOf('profiles', shapeOf(divergence({ eu: null, us: { name: 'a' } }, 'extra', [])), 2)).toBe(
      '2 rows of profiles are only on us, not on the authority',
    );
    expect(titleOf('profiles', shapeOf(divergence({ eu: { name: 'a' }, us: { name: 'b' }, ap: { name: 'c' } })), 2)).toBe(
      '2 rows of profiles differ in name between ap / eu / us',
    );
  });
});
