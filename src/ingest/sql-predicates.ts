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
  /** False under OR, NOT or CASE, or where it is only part of an expression: rows are found for which it does not hold. */
  readonly isCertain: boolean;
}

/** A comparison whose operands may be only parts of longer ones: `id = 5 + n`. */
type Found = Omit<Comparison, 'isCertain'> & { readonly isWhole: boolean };

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
    for (const { isWhole, ...one } of comparisonsAt(tokens, i, start, end))
      found.push({ ...one, isCertain: isWhole && doubtful[i - start] === 0 });
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

/**
 * Where a comparison that holds is not needed for a row to be found: after NOT, in CASE, in the upper bound of BETWEEN, in parentheses (or
 * the whole clause) with an OR, in those of a function, and in those whose value is used: `(id = 1) = 0`.
 */
function doubtfulRanges(tokens: readonly Token[], start: number, end: number): readonly Range[] {
  const ranges: Range[] = [];
  const open: { at: number; isDoubtful: boolean; betweens: number }[] = [{ at: start, isDoubtful: false, betweens: 0 }];
  let cases = 0;
  let caseStart = start;
  for (let i = start; i < end; i += 1) {
    const token = tokens[i] as Token;
    const group = open.at(-1);
    if (token.is === 'symbol') {
      if (token.text === '(') open.push({ at: i, isDoubtful: !beginsOperand(tokens, i, start), betweens: 0 });
      else if (token.text === ')' && open.length > 1) {
        const closed = open.pop();
        if (closed !== undefined && (closed.isDoubtful || !endsOperand(tokens, i + 1, end))) ranges.push({ start: closed.at, end: i });
      }
    } else if (token.is === 'word' && group !== undefined) {
      if (token.text === 'or' || token.text === 'xor') group.isDoubtful = true;
      else if (token.text === 'not' && !isWord(tokens[i - 1], 'is')) ranges.push({ start: i, end: endOfTerm(tokens, i + 1, end) });
      else if (token.text === 'between') group.betweens += 1;
      else if (token.text === 'and' && group.betweens > 0) {
        group.betweens -= 1;
        ranges.push({ start: i, end: endOfTerm(tokens, i + 1, end) });
      } else if (token.text === 'case') {
        if (cases === 0) caseStart = i;
        cases += 1;
      } else if (token.text === 'end' && cases > 0) {
        cases -= 1;
        if (cases === 0) ranges.push({ start: caseStart, end: i });
      }
    }
  }
  if (cases > 0) ranges.push({ start: caseStart, end });
  for (const group of open) if (group.isDoubtful) ranges.push({ start: group.at, end });
  return ranges;
}

function endOfTerm(tokens: readonly Token[], from: number, end: number): number {
  let i = from;
  while (i < end && !connectives.has(wordAt(tokens, i)) && !isSymbol(tokens[i], ')'))
    i = isSymbol(tokens[i], '(') ? closingWithin(tokens, i, end) + 1 : i + 1;
  return Math.min(i, end);
}

const connectives: ReadonlySet<string> = new Set(['and', 'or', 'xor']);
const wordAt = (tokens: readonly Token[], at: number): string => {
  const token = tokens[at];
  return token?.is === 'word' ? token.text : '';
};

/** Whether what stands at `at` is the first of its operand: nothing before it belongs to the same expression. */
function beginsOperand(tokens: readonly Token[], at: number, start: number): boolean {
  if (at <= start || isSymbol(tokens[at - 1], '(')) return true;
  const before = wordAt(tokens, at - 1);
  return connectives.has(before) || before === 'not' || (before === 'binary' && beginsOperand(tokens, at - 1, start));
}

/** Whether an operand ends before `at`. A text that was cut off ends anywhere (`id = ?...`). */
function endsOperand(tokens: readonly Token[], at: number, end: number): boolean {
  const token = tokens[at];
  if (at >= end || token === undefined) return true;
  if (token.is === 'symbol') return token.text === ')' || token.text === ',' || token.text === '.' || token.text === '::';
  return connectives.has(wordAt(tokens, at)) || isWord(token, 'collate');
}

/** Comparisons whose operator stands at `i`. */
function comparisonsAt(tokens: readonly Token[], i: number, start: number, end: number): readonly Found[] {
  const token = tokens[i] as Token;
  const isSame = isWord(token, 'is') && isWord(tokens[i + 1], 'not') && isWord(tokens[i + 2], 'distinct') && isWord(tokens[i + 3], 'from');
  if (!isSame && !(token.is === 'symbol' && comparisonOperators.has(token.text))) return [];
  const operator = isSame || token.text === '==' || token.text === '<=>' ? '=' : token.text;
  const rows = rowComparison(tokens, i, start, end, operator);
  if (rows.length > 0) return rows;
  const left = columnBefore(tokens, i - 1, start);
  const right = valueAt(tokens, isSame ? i + 4 : i + 1, end);
  if (left !== undefined && right !== undefined)
    return [{ column: left.column, operator, value: right.value, isWhole: left.isWhole && right.isWhole }];
  const value = left === undefined ? valueBefore(tokens, i - 1, start) : undefined;
  const column = columnAt(tokens, i + 1, end);
  if (value === undefined || column === undefined) return [];
  return [{ column: column.column, operator, value: value.value, isWhole: value.isWhole && column.isWhole }];
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
  if (columns.length !== values.length || columns.length * 2 - 1 !== at - 1 - (open + 1) || values.length * 2 - 1 !== close - (at + 2))
    return [];
  const isWhole = beginsOperand(tokens, open, start) && endsOperand(tokens, close + 1, end);
  return columns.map((column, k) => ({ column: column.text, operator, value: sourceOf(values[k] as Token), isWhole }));
}

export const isValue = (token: Token | undefined): token is Token =>
  token?.is === 'text' || token?.is === 'number' || token?.is === 'parameter';
export const sourceOf = (token: Token): KeySource =>
  token.is === 'parameter' ? { literal: undefined, position: token.position } : { literal: token.text, position: -1 };

interface Column {
  readonly column: string;
  readonly isWhole: boolean;
}

interface Value {
  readonly value: KeySource;
  readonly isWhole: boolean;
}

/** The column that ends at `at`, last part of its name; undefined where something else ends there. */
function columnBefore(tokens: readonly Token[], at: number, start: number): Column | undefined {
  let end = at;
  // lower(email) = ? compares a function; a cast of a column is the column, and so is one with a collation.
  if (isIdentifier(tokens[end]) && (isSymbol(tokens[end - 1], '::') || isWord(tokens[end - 1], 'collate'))) end -= 2;
  const token = tokens[end];
  if (end < start || !isIdentifier(token)) return undefined;
  let first = end;
  while (first - 2 >= start && isSymbol(tokens[first - 1], '.') && isIdentifier(tokens[first - 2])) first -= 2;
  const before = tokens[first - 1];
  if (first > start && before?.is === 'symbol' && /^[-+*/%|&^#~<>!=@]+$/.test(before.text)) return undefined;
  return { column: token.text, isWhole: beginsOperand(tokens, first, start) };
}

function columnAt(tokens: readonly Token[], at: number, end: number): Column | undefined {
  const read = nameAt(tokens, at);
  if (read === undefined || read.next > end || isSymbol(tokens[read.next], '(')) return undefined;
  return { column: read.name.slice(read.name.lastIndexOf('.') + 1), isWhole: endsOperand(tokens, read.next, end) };
}

const unknownValue: KeySource = { literal: undefined, position: -1 };

/** A literal or parameter at `at`, or a signed, cast or bracketed one. */
function valueAt(tokens: readonly Token[], at: number, end: number): Value | undefined {
  let first = at;
  let sign = '';
  if (isSymbol(tokens[first], '-') || isSymbol(tokens[first], '+')) {
    sign = isSymbol(tokens[first], '-') ? '-' : '';
    first += 1;
  }
  const isCast = isWord(tokens[first], 'cast') && isSymbol(tokens[first + 1], '(');
  if (first === at && isSymbol(tokens[at], '(') && !isSubquery(tokens, at)) {
    const close = closingWithin(tokens, at, end);
    const inner = valueAt(tokens, at + 1, close);
    return inner?.isWhole === true ? { value: inner.value, isWhole: endsOperand(tokens, close + 1, end) } : undefined;
  }
  const at0 = isCast ? first + 2 : first;
  const token = tokens[at0];
  if (at0 >= end) return undefined;
  // Typed literals: uuid '...', date '...', binary ?
  const isTyped = token?.is === 'word' && (tokens[at0 + 1]?.is === 'text' || (token.text === 'binary' && isValue(tokens[at0 + 1])));
  const value = isTyped ? tokens[at0 + 1] : token;
  const last = isCast ? closingWithin(tokens, first + 1, end) : isTyped ? at0 + 1 : at0;
  if (isValue(value)) {
    const source = sourceOf(value);
    return {
      value: source.literal === undefined ? source : { literal: sign + source.literal, position: -1 },
      isWhole: endsOperand(tokens, last + 1, end),
    };
  }
  // = (select ...): an equality with what only the database knows.
  if (isSubquery(tokens, first)) return { value: unknownValue, isWhole: endsOperand(tokens, closingWithin(tokens, first, end) + 1, end) };
  // = true, = now(), = current_user: an equality with something that is no column.
  if (token?.is === 'word' && /^(?:true|false|null|current_\w+|now|uuid|gen_random_uuid)$/.test(token.text)) {
    const after = isSymbol(tokens[at0 + 1], '(') ? closingWithin(tokens, at0 + 1, end) + 1 : at0 + 1;
    return { value: unknownValue, isWhole: endsOperand(tokens, after, end) };
  }
  return undefined;
}

function valueBefore(tokens: readonly Token[], at: number, start: number): Value | undefined {
  const token = tokens[at];
  if (at < start || !isValue(token)) return undefined;
  const source = sourceOf(token);
  const isNegative = at > start && isSymbol(tokens[at - 1], '-');
  return {
    value: isNegative && source.literal !== undefined ? { literal: `-${source.literal}`, position: -1 } : source,
    isWhole: beginsOperand(tokens, isNegative ? at - 1 : at, start),
  };
}
