import { expect, test } from 'vitest';
import { JoinedTexts } from '../../src/base/joined-texts.ts';

test('a pair gives its two texts with a zero between, also beyond the bound and when asked again', () => {
  const joined = new JoinedTexts(2);
  const pairs = [
    ['a', 'bc'],
    ['ab', 'c'],
    ['a', 'c'],
    ['', ''],
  ] as const;
  for (let round = 0; round < 2; round += 1)
    for (const [first, second] of pairs) expect(joined.of(first, second)).toBe(`${first}\0${second}`);
});
