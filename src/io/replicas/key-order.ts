/** Key order as the SQL connectors have it: numbers and times by value, all else by the bytes of the canonical text. */
import type { KeyRange } from '../../domain/key-range.ts';
import type { CanonicalType, Key, Shape } from '../../domain/row.ts';

/**
 * Negative, zero or positive. Where an engine orders otherwise (it should not), a comparison by order sees keys that it need not have
 * seen, and misses none.
 */
export function compareKeysInOrder(shape: Shape, a: Key, b: Key): number {
  for (const name of shape.key) {
    const one = a[name] ?? '';
    const two = b[name] ?? '';
    if (one === two) continue;
    const type = shape.columns.find((column) => column.name === name)?.type ?? 'text';
    const order = compareTexts(type, one, two);
    if (order !== 0) return order;
  }
  return 0;
}

function compareTexts(type: CanonicalType, a: string, b: string): number {
  switch (type) {
    case 'int':
    case 'numeric':
    case 'float':
      return compareDecimals(a, b) ?? compareBytes(a, b);
    case 'date':
    case 'timestamp':
    case 'timestamptz':
      return compareTimes(a, b);
    case 'bool':
    case 'text':
    case 'bytes':
    case 'uuid':
    case 'time':
    case 'interval':
    case 'json':
    case 'array':
    case 'bits':
    case 'inet':
      return compareBytes(a, b);
    default: {
      const never: never = type;
      throw new RangeError(String(never));
    }
  }
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** NaN is above all, as PostgreSQL has it. */
const ranks: Readonly<Record<string, number>> = { '-Infinity': -1, Infinity: 1, NaN: 2 };

/** Plain decimals of any length, exactly; undefined where one is no number. */
function compareDecimals(a: string, b: string): number | undefined {
  const [exactA, exactB] = [Number(a), Number(b)];
  if (Number.isSafeInteger(exactA) && Number.isSafeInteger(exactB)) return exactA - exactB;
  const [rankA = 0, rankB = 0] = [ranks[a], ranks[b]];
  if (rankA !== 0 || rankB !== 0) return rankA - rankB;
  const [one, two] = [a, b].map((text) => /^(-?)(\d+)(?:\.(\d+))?$/.exec(text));
  if (one === null || one === undefined || two === null || two === undefined) return undefined;
  const [, signA = '', wholeA = '', partA = ''] = one;
  const [, signB = '', wholeB = '', partB = ''] = two;
  if (signA !== signB) return signA === '-' ? -1 : 1;
  const size = wholeA.length - wholeB.length || compareBytes(wholeA, wholeB) || compareBytes(partA, partB);
  return signA === '-' ? -size : size;
}

/** Years before 1 count down, and some have more than four digits. */
function compareTimes(a: string, b: string): number {
  const [one, two] = [timeOrder(a), timeOrder(b)];
  return one.year - two.year || compareBytes(one.rest, two.rest);
}

function timeOrder(text: string): { readonly year: number; readonly rest: string } {
  if (text.endsWith('infinity')) return { year: text.startsWith('-') ? -Infinity : Infinity, rest: '' };
  const end = text.indexOf('-');
  const year = Number(text.slice(0, end));
  return { year: text.endsWith(' BC') ? 1 - year : year, rest: text.slice(end).replace(/ BC$/, '').replace(/\+00$/, '') };
}

export function isInRange(shape: Shape, key: Key, range: KeyRange): boolean {
  if (range.after !== null && compareKeysInOrder(shape, key, range.after) <= 0) return false;
  return range.upTo === null || compareKeysInOrder(shape, key, range.upTo) <= 0;
}
