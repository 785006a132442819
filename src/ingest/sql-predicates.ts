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
}

const comparisonOperators: ReadonlySet<string> = new Set(['=', '<', '>', '<=', '>=', '<>', '!=', '<=>', '==']);

/** `column <op> value` in either order, outside subqueries; a comparison of two columns is a join, not a predicate. */
export function comparisonsOf(tokens: readonly Token[], start: number, end: number): readonly Comparison[] {
  const found: Comparison[] = [];
  let i = start;
  while (i < end) {
    const token = tokens[i] as Token;
    if (isSymbol(token, '(') && tokens[i + 1]?.is === 'word' && (isWord(tokens[i + 1], 'select') || isWord(tokens[i + 1], 'with'))) {
      i = closingWithin(tokens, i, end) + 1;
      continue;
    }
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
    i += 1;
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
function rowComparison(tokens: readonly Token[], at: number, start: number, end: number, operator: string): readonly Comparison[] {
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
  // = true, = now(), = current_user: an equality with something that is no column.
  if (token?.is === 'word' && /^(?:true|false|null|current_\w+|now|uuid|gen_random_uuid)$/.test(token.text))
    return { literal: undefined, position: -1 };
  return undefined;
}

function valueBefore(tokens: readonly Token[], at: number, start: number): KeySource | undefined {
  const token = tokens[at];
  return at >= start && isValue(token) ? sourceOf(token) : undefined;
}
