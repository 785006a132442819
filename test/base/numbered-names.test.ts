import { expect, it } from 'vitest';
import { NumberedNames } from '../../src/base/numbered-names.ts';

it('gives each name one number, and takes those beyond the bound for no name', () => {
  const names = new NumberedNames(3);
  const given = ['a', 'b', 'a', '', 'c', 'd', 'b', 'd', 'c'];
  const numbers = given.map((name) => names.numberOf(name));
  expect(numbers.map((number) => names.nameOf(number))).toEqual(['a', 'b', 'a', '', 'c', '', 'b', '', 'c']);
  expect(new Set(numbers)).toEqual(new Set([0, 1, 2, 3]));
  expect(names.nameOf(4)).toBe('');
});
