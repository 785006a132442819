import { isIdentifier, isSymbol, isWord, nameAt } from './sql-reading.ts';
import type { Token } from './sql-tokens.ts';

export interface KeySource {
  readonly literal: string | undefined;
  readonly position: number;
}

export interface Comparison {
  readonly column: string;
  readonly operator: string;
  readonly value: KeySource;
  /** False under OR, NOT or CASE: rows are found for which it does not hold, so it names none. */
  readonly isCertain: boolean;
}

type Found = Omit<Comparison, 'isCertain'>;

const comparisonOperators: ReadonlySet<string> = new Set(['=', '<', '>', '<=', '>=', '<>', '!=', '<=>', '==']);

/** `column <op> value` in either order, outside subqueries; a comparison of two columns is a join, not a predicate. */
export function comparisonsOf(tokens: readonly Token[], start: number, end: number): readonly Comparison[] {
  const doubtful = doubtfulTokens(tokens, start, end);
  const found: Comparison[] = [];
  let i = start;
  while (i < end) {
    if (isSubquery(tokens, i)) {
      i = closingWithin(tokens, i, end) + 1;
      continue;
    }
    for (const one of comparisonsAt(tokens, i, start, end)) found.push({ ...one, isCertain: doubtful[i - start] === 0 });
    i += 1;
  }
  return found;
}

const isSubquery = (tokens: readonly Token[], at: number): boolean =>
  isSymbol(tokens[at], '(') && (isWord(tokens[at + 1], 'select') || isWord(tokens[at + 1], 'with'));

interface Range {
  readonly start: number;
  readonly end: number;
}

/** For each token of the clause, in how many doubtful ranges it stands. */
function doubtfulTokens(tokens: readonly Token[], start: number, end: number): Int32Array {
  const counts = new Int32Array(end - start + 1);
  for (const range of doubtfulRanges(tokens, start, end)) {
    counts[range.start - start] = (counts[range.start - start] ?? 0) + 1;
    counts[range.end - start] = (counts[range.end - start] ?? 0) - 1;
  }
  for (let i = 1; i < counts.length; i += 1) counts[i] = (counts[i] ?? 0) + (counts[i - 1] ?? 0);
  return counts;
}

/** Where a comparison that holds is not needed for a row to be found: parentheses (or the whole clause) with an OR, NOT, CASE. */
function doubtfulRanges(tokens: readonly Token[], start: number, end: number): readonly Range[] {
  const ranges: Range[] = [];
  const open: { at: number; isOr: boolean; isNot: boolean }[] = [{ at: start, isOr: false, isNot: false }];
  let cases = 0;
  let caseStart = start;
  for (let i = start; i < end; i += 1) {
    const token = tokens[i] as Token;
    if (token.is === 'symbol') {
      if (token.text === '(') open.push({ at: i, isOr: false, isNot: isWord(tokens[i - 1], 'not') });
      else if (token.text === ')' && open.length > 1) {
        const group = open.pop();
        if (group !== undefined && (group.isOr || group.isNot)) ranges.push({ start: group.at, end: i });
      }
    } else if (token.is === 'word') {
      const group = open.at(-1);
      if ((token.text === 'or' || token.text === 'xor') && group !== undefined) group.isOr = true;
      else if (token.text === 'not' && isIdentifier(tokens[i + 1])) ranges.push({ start: i, end: endOfTerm(tokens, i + 1, end) });
      else if (token.text === 'case') {
        if (cases === 0) caseStart = i;
        cases += 1;
      } else if (token.text === 'end' && cases > 0) {
        cases -= 1;
        if (cases === 0) ranges.push({ start: caseStart, end: i });
      }
    }
  }
  if (cases > 0) ranges.push({ start: caseStart, end });
  for (const group of open) if (group.isOr || group.isNot) ranges.push({ start: group.at, end });
  return ranges;
}

function endOfTerm(tokens: readonly Token[], from: number, end: number): number {
  let i = from;
  while (i < end && !isWord(tokens[i], 'and') && !isSymbol(tokens[i], ')')) i += 1;
  return i;
}

/** Comparisons whose operator stands at `i`. */
function comparisonsAt(tokens: readonly Token[], i: number, start: number, end: number): readonly Found[] {
  const found: Found[] = [];
  const token = tokens[i] as Token;
  const isNot = isWord(token, 'is') && isWord(tokens[i + 1], 'not') && isWord(tokens[i + 2], 'distinct') && isWord(tokens[i + 3], 'from');
  if (isNot) {
    const column = columnBefore(tokens, i - 1, start);
    const value = valueAt(tokens, i + 4, end);
    if (column !== undefined && value !== undefined) found.push({ column, operator: '=', value });
  } else if (token.is === 'symbol' && comparisonOperators.has(token.text)) {
    const operator = token.text === '==' || token.text === '<=>' ? '=' : token.text;
    found.push(...rowComparison(tokens, i, start, end, operator));
    const left = columnBefore(tokens, i - 1, start);
    const right = valueAt(tokens, i + 1, end);
    if (left !== undefined && right !== undefined) found.push({ column: left, operator, value: right });
    else if (left === undefined) {
      const value = valueBefore(tokens, i - 1, start);
      const column = columnAt(tokens, i + 1, end);
      if (value !== undefined && column !== undefined) found.push({ column, operator, value });
    }
  }
  return found;
}

function closingWithin(tokens: readonly Token[], open: number, end: number): number {
  let depth = 0;
  for (let i = open; i < end; i += 1) {
    if (isSymbol(tokens[i], '(')) depth += 1;
    else if (isSymbol(tokens[i], ')')) {
      depth -= 1;
      if (depth === 0) return i;
    }
  }
  return end;
}

/** `(a, b) = (?, ?)` compares each column. */
function rowComparison(tokens: readonly Token[], at: number, start: number, end: number, operator: string): readonly Found[] {
  if (operator !== '=' || !isSymbol(tokens[at - 1], ')') || !isSymbol(tokens[at + 1], '(')) return [];
  let open = at - 1;
  while (open > start && !isSymbol(tokens[open], '(')) open -= 1;
  const close = closingWithin(tokens, at + 1, end);
  const columns = tokens.slice(open + 1, at - 1).filter((token) => isIdentifier(token));
  const values = tokens.slice(at + 2, close).filter((token) => isValue(token));
  if (columns.length !== values.length || columns.length * 2 - 1 !== at - 1 - (open + 1)) return [];
  return columns.map((column, k) => ({ column: column.text, operator, value: sourceOf(values[k] as Token) }));
}

export const isValue = (token: Token | undefined): token is Token =>
  token?.is === 'text' || token?.is === 'number' || token?.is === 'parameter';
export const sourceOf = (token: Token): KeySource =>
  token.is === 'parameter' ? { literal: undefined, position: token.position } : { literal: token.text, position: -1 };

/** The column that ends at `at`, last part of its name; undefined where something else ends there. */
function columnBefore(tokens: readonly Token[], at: number, start: number): string | undefined {
  let end = at;
  // lower(email) = ? compares a function, but parentheses around a lone column are nothing; a cast of a column is the column.
  if (isIdentifier(tokens[end]) && isSymbol(tokens[end - 1], '::')) end -= 2;
  const token = tokens[end];
  if (end < start || !isIdentifier(token)) return undefined;
  const before = tokens[end - 1];
  if (before?.is === 'symbol' && /^[-+*/%|&^#~<>!=@]+$/.test(before.text) && end - 1 >= start) return undefined;
  return token.text;
}

function columnAt(tokens: readonly Token[], at: number, end: number): string | undefined {
  const read = nameAt(tokens, at);
  if (read === undefined || read.next > end || isSymbol(tokens[read.next], '(')) return undefined;
  return read.name.slice(read.name.lastIndexOf('.') + 1);
}

/** A literal, parameter, or a signed or cast one, at `at`, that is the whole operand. */
function valueAt(tokens: readonly Token[], at: number, end: number): KeySource | undefined {
  let first = at;
  let sign = '';
  if (isSymbol(tokens[first], '-') || isSymbol(tokens[first], '+')) {
    sign = isSymbol(tokens[first], '-') ? '-' : '';
    first += 1;
  }
  const wrapped = isWord(tokens[first], 'cast') && isSymbol(tokens[first + 1], '(') ? first + 2 : first;
  const token = tokens[wrapped];
  if (wrapped >= end) return undefined;
  // Typed literals: uuid '...', date '...', binary ?
  const value = token?.is === 'word' && tokens[wrapped + 1]?.is === 'text' ? tokens[wrapped + 1] : token;
  if (isValue(value)) {
    const source = sourceOf(value);
    return source.literal === undefined ? source : { literal: sign + source.literal, position: -1 };
  }
  // = (select ...): an equality with what only the database knows.
  if (isSubquery(tokens, first)) return { literal: undefined, position: -1 };
  // = true, = now(), = current_user: an equality with something that is no column.
  if (token?.is === 'word' && /^(?:true|false|null|current_\w+|now|uuid|gen_random_uuid)$/.test(token.text))
    return { literal: undefined, position: -1 };
  return undefined;
}

function valueBefore(tokens: readonly Token[], at: number, start: number): KeySource | undefined {
  const token = tokens[at];
  return at >= start && isValue(token) ? sourceOf(token) : undefined;
}
