import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Row } from '../../src/domain/row.ts';
import { columnsOf, holdsAfter, parseDeclaredInvariant } from '../../src/propose/declared-invariant.ts';
import { addDecimals, compareDecimals, decimalText, parseDecimal } from '../../src/propose/decimal.ts';

const rows = (given: Record<string, readonly (Row | null)[]>) => new Map(Object.entries(given));
const balance = (value: string | null): Row => ({ id: '1', balance: value });

function holds(
  sentence: string,
  before: Record<string, readonly (Row | null)[]>,
  after: Record<string, readonly (Row | null)[]>,
  reference: string | null = null,
): boolean {
  const declared = parseDeclaredInvariant(sentence);
  if (declared.is === 'unknown') expect.fail(declared.says);
  return holdsAfter(declared, rows(before), rows(after), reference);
}

describe('declared invariants', () => {
  test('sum is unchanged: every replica ends with the reference’s total before', () => {
    const before = { eu: [balance('1930.00')], us: [balance('1880')] };
    expect(holds('sum(balance) is unchanged', before, { eu: [balance('1930.00')], us: [balance('1930')] }, 'eu')).toBe(true);
    expect(holds('sum(balance) is unchanged', before, { eu: [balance('1880')], us: [balance('1880')] }, 'eu')).toBe(false);
    expect(holds('sum(balance) is unchanged', before, { eu: [balance('1930')], us: [balance('1880')] }, 'eu')).toBe(false);
  });

  test('money that moves between two accounts keeps the sum, money that appears does not', () => {
    const before = { eu: [balance('10'), balance('20')], us: [balance('10'), balance('25')], ap: [balance('10'), balance('20')] };
    const moved = [balance('0'), balance('30')];
    expect(holds('sum(balance) is unchanged', before, { eu: moved, us: moved, ap: moved })).toBe(true);
    expect(holds('sum(balance) is unchanged', before, { eu: [balance('1'), balance('30')], us: moved, ap: moved })).toBe(false);
  });

  test('without a reference that agrees a sum is not shown to be unchanged', () => {
    const before = { eu: [balance('1')], us: [balance('2')] };
    expect(holds('sum(balance) is unchanged', before, { eu: [balance('2')], us: [balance('2')] })).toBe(false);
  });

  test.each([
    ['count is unchanged', { eu: [balance('1')], us: [null] }, { eu: [balance('1')], us: [balance('1')] }, 'eu', true],
    ['count is unchanged', { eu: [balance('1')], us: [null] }, { eu: [null], us: [null] }, 'eu', false],
    ['balance is never negative', { eu: [balance('1')] }, { eu: [balance('-0.01')] }, null, false],
    ['balance is never negative', { eu: [balance('1')] }, { eu: [balance('0')] }, null, true],
    ['balance >= -5.5', { eu: [balance('1')] }, { eu: [balance('-5.50')] }, null, true],
    ['balance != 3', { eu: [balance('1')] }, { eu: [balance('3.0')] }, null, false],
    ['balance is never null', { eu: [balance('1')] }, { eu: [balance(null)] }, null, false],
    ['balance never decreases', { eu: [balance('9')] }, { eu: [balance('10')] }, null, true],
    ['balance never decreases', { eu: [balance('10')] }, { eu: [balance('9')] }, null, false],
    ['balance never decreases', { eu: [balance('10')] }, { eu: [null] }, null, false],
    ['balance never changes', { eu: [balance('10')] }, { eu: [balance('11')] }, null, false],
    ['balance never changes', { eu: [null] }, { eu: [balance('11')] }, null, true],
    ['held <= balance', { eu: [] }, { eu: [{ held: '9', balance: '10' }] }, null, true],
    ['held <= balance', { eu: [] }, { eu: [{ held: '11', balance: '10' }] }, null, false],
    ['held <= balance', { eu: [] }, { eu: [{ held: null, balance: '10' }] }, null, true],
  ] as const)('%s', (sentence, before, after, reference, expected) => {
    expect(holds(sentence, before, after, reference)).toBe(expected);
  });

  test.each(['sum(balance) stays', 'balance', '', 'sum() is unchanged', 'balance ~ 3', 'sum(balance is unchanged', 'drop table x'])(
    '"%s" is not understood, and says what is',
    (sentence) => {
      const declared = parseDeclaredInvariant(sentence);
      expect(declared).toMatchObject({ is: 'unknown', says: expect.stringContaining('is unchanged') });
    },
  );

  test('names its columns', () => {
    const columns = (sentence: string) => {
      const declared = parseDeclaredInvariant(sentence);
      return declared.is === 'unknown' ? null : columnsOf(declared);
    };
    expect(columns('sum( balance )  is unchanged')).toEqual(['balance']);
    expect(columns('held <= balance')).toEqual(['held', 'balance']);
    expect(columns('count is unchanged')).toEqual([]);
  });
});

describe('decimals', () => {
  const cents = fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n });
  test('adds exactly, whatever the scale (bigint cents as the oracle)', () => {
    fc.assert(
      fc.property(cents, cents, (a, b) => {
        const text = (value: bigint): string => decimalText({ unscaled: value, scale: 2 });
        const [left, right] = [parseDecimal(text(a)), parseDecimal(text(b))];
        if (left === null || right === null) expect.fail();
        expect(decimalText(addDecimals(left, right))).toBe(text(a + b));
        expect(Math.sign(compareDecimals(left, right))).toBe(a < b ? -1 : a > b ? 1 : 0);
      }),
    );
  });
  test.each([['NaN'], ['Infinity'], [''], ['1e999'], ['0x10'], ['1_000'], ['--1']])('%s is not a decimal', (text) =>
    expect(parseDecimal(text)).toBeNull(),
  );
  test('1e-7 and 0.0000001 are equal', () =>
    expect(compareDecimals(parseDecimal('1e-7') ?? expect.fail(), parseDecimal('0.0000001') ?? expect.fail())).toBe(0));
});
