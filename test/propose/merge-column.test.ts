import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ColumnClass } from '../../src/domain/collection.ts';
import type { CanonicalType } from '../../src/domain/row.ts';
import { canonicalText, isCanonical } from '../../src/domain/row-encoding.ts';
import { mergeColumn } from '../../src/propose/merge-column.ts';

const json = (value: unknown): string => canonicalText('json', JSON.stringify(value));
const member = fc.constantFrom('a', 'b', 'c d', '', 'NULL', '"', '\\', '{', ',', 'é');
/**
 * Names in an object: without `"`. V8 13.6 reads `{"": 1, "\"": 2}` as if the second name were a backslash once it has read
 * `{"": 1, "\\": 2}`; the merge sees that the text does not read back and leaves it alone, which is no join.
 */
const name = member.filter((text) => text !== '"');
const arrayTextOf = (members: readonly string[]): string => mergeColumn('set', 'json', [json(members)])?.value ?? '';

/** Values that can be joined, by class and type. */
const joinable: readonly (readonly [ColumnClass, CanonicalType, fc.Arbitrary<string | null>])[] = [
  ['register-max', 'int', fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }).map(String)],
  ['register-max', 'numeric', fc.constantFrom('1', '1.5', '-2.25', '100000000000000000000.01')],
  ['register-min', 'int', fc.option(fc.integer().map(String))],
  ['clock', 'timestamptz', fc.constantFrom('2026-01-01 00:00:00+00', '2026-01-01 00:00:00.5+00', '2025-12-31 23:59:59.999999+00')],
  ['tombstone', 'timestamptz', fc.option(fc.constantFrom('2026-01-01 00:00:00+00', '2026-01-02 00:00:00+00'))],
  ['tombstone', 'bool', fc.option(fc.constantFrom('true', 'false'))],
  [
    'counter',
    'json',
    fc
      .record({ p: fc.dictionary(fc.constantFrom('eu', 'us', 'ap'), fc.nat(9)), n: fc.dictionary(fc.constantFrom('eu', 'us'), fc.nat(9)) })
      .map(json),
  ],
  ['set', 'json', fc.array(fc.oneof(member, fc.nat(5)), { maxLength: 4 }).map((list) => json([...new Set(list)]))],
  [
    'set',
    'json',
    fc
      .record({ adds: fc.dictionary(name, fc.subarray(['t1', 't2', 't3'])), removes: fc.dictionary(name, fc.subarray(['t1', 't2'])) })
      .map(json),
  ],
];

describe.each(joinable)('%s of %s', (columnClass, type, values) => {
  const merge = (...list: readonly (string | null)[]): string | null => {
    const merged = mergeColumn(columnClass, type, list);
    if (merged === null) expect.fail(`not joined: ${list.join(' | ')}`);
    return merged.value;
  };
  test('is a join: commutative, associative, idempotent, and canonical', () => {
    fc.assert(
      fc.property(values, values, values, (a, b, c) => {
        const joined = merge(a, b);
        expect(merge(b, a)).toBe(joined);
        expect(merge(merge(a, b), c)).toBe(merge(a, merge(b, c)));
        expect(merge(a, b, c)).toBe(merge(merge(c, a), b));
        expect(merge(joined, joined)).toBe(joined);
        expect(merge(joined, a)).toBe(joined);
        if (joined !== null) expect(isCanonical(type, joined)).toBe(true);
      }),
    );
  });
});

describe('sets in arrays', () => {
  test('keep every member, whatever needs quotes', () => {
    expect(mergeColumn('set', 'array', ['{a,"b c"}', '{"","NULL"}', '{"\\"","{"}'])).toEqual({
      value: '{"","\\"",NULL,a,"b c","{"}'.replace('NULL', '"NULL"'),
    });
    expect(arrayTextOf(['b', 'a'])).toBe('["a", "b"]');
  });
  test.each([['{{a},{b}}'], ['{a,NULL}'], ['a,b'], ['{a']])('%s is not joined', (text) =>
    expect(mergeColumn('set', 'array', [text, '{a}'])).toBeNull(),
  );
});

test.each<[ColumnClass, CanonicalType, readonly string[]]>([
  ['plain', 'text', ['a', 'b']],
  ['money', 'numeric', ['1', '2']],
  ['counter', 'int', ['1', '2']],
  ['counter', 'json', ['{"p": {"eu": -1}}', '{"p": {}}']],
  ['counter', 'json', ['{"p": {}, "q": {}}', '{}']],
  ['set', 'json', ['["a"]', '{"adds": {}}']],
  ['set', 'json', ['[12345678901234567890]', '[1]']],
  ['register-max', 'text', ['abc', 'b']],
  ['register-max', 'json', ['1', '2']],
])('%s of %s %j is left to a person', (columnClass, type, values) => expect(mergeColumn(columnClass, type, values)).toBeNull());
