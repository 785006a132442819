import type { Statement } from '../domain/operation.ts';
import { dialectOf, type SqlDialect, type Token, tokenizeSql } from './sql-tokens.ts';

/**
 * What a SQL text does: verb, tables, key and version predicates, locks. Read from tokens and clause positions, not from a full grammar:
 * one path for PostgreSQL, MySQL and SQL Server, for text with `?` in place of literals and for text that was cut off, where a grammar
 * of one dialect refuses. `pgsql-ast-parser` is the oracle in the tests for what both can read. Costs a few microseconds a distinct
 * text; `StatementCache` pays it once.
 */
export interface ReadStatement {
  readonly statement: Statement;
  /** The key that literals in the text show; '' where they do not. */
  readonly key: string;
  /** Positions of the bound parameters that make the key, in order; empty where it is not bound. */
  readonly keyParameters: readonly number[];
}

export function readStatement(sql: string, dialect: SqlDialect): ReadStatement {
  const tokens = tokenizeSql(sql, dialect);
  const parts = splitStatements(tokens).map((part) => readOne(part));
  // Several statements in one text: the first that writes says what the text does, else the first that reads.
  const main = parts.find((part) => writes.has(part.verb)) ?? parts.find((part) => part.verb === 'select') ?? parts[0] ?? nothing;
  const tables = [...new Set([...main.tables, ...parts.flatMap((part) => part.tables)])];
  const literal = main.keySources.every((source) => source.literal !== undefined)
    ? main.keySources.map((source) => source.literal).join('|')
    : '';
  const positions = main.keySources.map((source) => source.position);
  return {
    statement: {
      verb: main.verb,
      tables,
      keyColumns: main.keyColumns,
      hasVersionPredicate: parts.some((part) => part.hasVersionPredicate),
      isLocking: parts.some((part) => part.isLocking),
      hasOnConflict: main.hasOnConflict,
      hasReturning: main.hasReturning,
      isRelativeUpdate: main.isRelativeUpdate,
      fingerprint: fingerprintOf(tokens),
    },
    key: literal,
    keyParameters: positions.length > 0 && positions.every((position) => position >= 0) ? positions : [],
  };
}

/** Reads each distinct text once. Two generations bound it: the older is dropped when the newer is full. */
export class StatementCache {
  readonly #limit: number;
  #young = new Map<string, ReadStatement>();
  #old = new Map<string, ReadStatement>();

  constructor(limit = 8192) {
    this.#limit = limit;
  }

  read(sql: string, system: string): ReadStatement {
    const dialect = dialectOf(system);
    // Quotes and comments differ between dialects, so the same text is kept apart for each.
    const key = dialect === 'ansi' ? sql : `${dialect}:${sql}`;
    const found = this.#young.get(key);
    if (found !== undefined) return found;
    const read = this.#old.get(key) ?? readStatement(sql, dialect);
    if (this.#young.size >= this.#limit) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, read);
    return read;
  }
}

type Verb = Statement['verb'];

interface KeySource {
  readonly literal: string | undefined;
  readonly position: number;
}

interface Part {
  readonly verb: Verb;
  readonly tables: readonly string[];
  readonly keyColumns: readonly string[];
  readonly keySources: readonly KeySource[];
  readonly hasVersionPredicate: boolean;
  readonly isLocking: boolean;
  readonly hasOnConflict: boolean;
  readonly hasReturning: boolean;
  readonly isRelativeUpdate: boolean;
}

const nothing: Part = {
  verb: 'other',
  tables: [],
  keyColumns: [],
  keySources: [],
  hasVersionPredicate: false,
  isLocking: false,
  hasOnConflict: false,
  hasReturning: false,
  isRelativeUpdate: false,
};

const writes: ReadonlySet<Verb> = new Set<Verb>(['insert', 'update', 'delete', 'merge']);
const verbs: Readonly<Record<string, Verb>> = {
  select: 'select',
  values: 'select',
  table: 'select',
  insert: 'insert',
  replace: 'insert',
  copy: 'insert',
  upsert: 'insert',
  update: 'update',
  delete: 'delete',
  truncate: 'delete',
  merge: 'merge',
  begin: 'begin',
  commit: 'commit',
  end: 'commit',
  rollback: 'rollback',
  abort: 'rollback',
  create: 'ddl',
  alter: 'ddl',
  drop: 'ddl',
  rename: 'ddl',
  comment: 'ddl',
  grant: 'ddl',
  revoke: 'ddl',
};

function splitStatements(tokens: readonly Token[]): readonly (readonly Token[])[] {
  const parts: Token[][] = [];
  let part: Token[] = [];
  for (const token of tokens) {
    if (token.is === 'symbol' && token.text === ';') {
      if (part.length > 0) parts.push(part);
      part = [];
    } else part.push(token);
  }
  if (part.length > 0) parts.push(part);
  return parts;
}

/** Nesting depth of each token; a parenthesis has the depth that it opens or closes to. */
function depthsOf(tokens: readonly Token[]): Int32Array {
  const depths = new Int32Array(tokens.length);
  let depth = 0;
  for (let i = 0; i < tokens.length; i += 1) {
    const token = tokens[i] as Token;
    if (token.is === 'symbol' && token.text === ')') depth = Math.max(0, depth - 1);
    depths[i] = depth;
    if (token.is === 'symbol' && token.text === '(') depth += 1;
  }
  return depths;
}

const isWord = (token: Token | undefined, text: string): boolean => token?.is === 'word' && token.text === text;
const isSymbol = (token: Token | undefined, text: string): boolean => token?.is === 'symbol' && token.text === text;
const isIdentifier = (token: Token | undefined): token is Token =>
  token?.is === 'name' || (token?.is === 'word' && !reserved.has(token.text));

/** Words that cannot be a table or column name without quotes, as far as the clauses read here need it. */
const reserved: ReadonlySet<string> = new Set(
  (
    'select from where and or not in is null as on using join inner left right full outer cross natural group order by having limit offset fetch union ' +
    'intersect except all distinct case when then else end exists between like ilike similar set values into returning with window for update of only ' +
    'lateral any some true false default insert delete merge conflict do straight_join force use ignore partition tablesample output'
  ).split(' '),
);

function readOne(tokens: readonly Token[]): Part {
  const depths = depthsOf(tokens);
  const { start, depth, names, inner } = readCommonTables(tokens, depths);
  const first = tokens[start];
  if (first === undefined || first.is !== 'word') return inner ?? nothing;
  const verb = verbOf(tokens, start);
  const tables = tablesOf(tokens, depths, verb, start, names);
  if (verb !== 'select' && !writes.has(verb)) return { ...nothing, verb, tables: verb === 'ddl' ? tables : [] };
  const where = clauseOf(tokens, depths, start, depth, 'where');
  const assigned = verb === 'update' || verb === 'insert' || verb === 'merge' ? assignmentsOf(tokens, depths, start, depth) : [];
  const compared = where === undefined ? [] : comparisonsOf(tokens, where.start, where.end);
  const keyed = compared.filter((comparison) => comparison.operator === '=');
  const keyColumns = [...new Set(keyed.map((comparison) => comparison.column))];
  const assignedColumns = new Set(assigned.map((assignment) => assignment.column));
  const part: Part = {
    verb,
    tables,
    keyColumns,
    keySources: verb === 'insert' ? insertedKey(tokens, depths, start, depth) : keySourcesOf(keyed),
    hasVersionPredicate: compared.some(
      (comparison) =>
        (comparison.operator === '=' && isVersionLike(comparison.column)) || (verb === 'update' && assignedColumns.has(comparison.column)),
    ),
    isLocking: isLockingAt(tokens),
    hasOnConflict: first.text === 'replace' || first.text === 'upsert' || hasOnConflictAt(tokens, start),
    hasReturning: tokens.some(
      (token, i) =>
        i > start && depths[i] === depth && (isWord(token, 'returning') || (isWord(token, 'output') && isWord(tokens[i + 1], 'inserted'))),
    ),
    isRelativeUpdate: isRelative(assigned),
  };
  if (inner === undefined || writes.has(verb)) return part;
  // WITH x AS (UPDATE ...) SELECT ...: what the text does is what its writing part does.
  return { ...inner, tables: [...new Set([...inner.tables, ...part.tables])], isLocking: inner.isLocking || part.isLocking };
}

/** Skips opening parentheses and a WITH list; gives where the main verb stands, names defined, and a writing part among them. */
function readCommonTables(
  tokens: readonly Token[],
  depths: Int32Array,
): { readonly start: number; readonly depth: number; readonly names: ReadonlySet<string>; readonly inner: Part | undefined } {
  let at = 0;
  while (isSymbol(tokens[at], '(')) at += 1;
  const depth = depths[at] ?? 0;
  const names = new Set<string>();
  let inner: Part | undefined;
  if (!isWord(tokens[at], 'with')) return { start: at, depth, names, inner };
  at += 1;
  if (isWord(tokens[at], 'recursive')) at += 1;
  while (isIdentifier(tokens[at])) {
    names.add((tokens[at] as Token).text);
    at += 1;
    // Optional column list, then AS [NOT MATERIALIZED] ( body ).
    if (isSymbol(tokens[at], '(')) at = closing(tokens, depths, at) + 1;
    while (tokens[at]?.is === 'word' && !isSymbol(tokens[at], '(')) at += 1;
    if (!isSymbol(tokens[at], '(')) break;
    const close = closing(tokens, depths, at);
    const bodyWord = tokens[at + 1];
    if (inner === undefined && bodyWord?.is === 'word' && writes.has(verbs[bodyWord.text] ?? 'other'))
      inner = readOne(tokens.slice(at + 1, close));
    at = close + 1;
    if (!isSymbol(tokens[at], ',')) break;
    at += 1;
  }
  return { start: at, depth, names, inner };
}

/** Index of the parenthesis that closes the one at `open`, or the last token. */
function closing(tokens: readonly Token[], depths: Int32Array, open: number): number {
  const depth = depths[open];
  for (let i = open + 1; i < tokens.length; i += 1) {
    if (depths[i] === depth && isSymbol(tokens[i], ')')) return i;
  }
  return tokens.length;
}

function verbOf(tokens: readonly Token[], start: number): Verb {
  const word = (tokens[start] as Token).text;
  const next = tokens[start + 1];
  if (word === 'start') return isWord(next, 'transaction') ? 'begin' : 'other';
  if (word === 'xa')
    return next?.text === 'start' || next?.text === 'begin'
      ? 'begin'
      : next?.text === 'commit'
        ? 'commit'
        : next?.text === 'rollback'
          ? 'rollback'
          : 'other';
  if (word === 'rollback') {
    // ROLLBACK [WORK | TRANSACTION] TO [SAVEPOINT] x ends no transaction.
    const rest = tokens.slice(start + 1, start + 4);
    return rest.some((token) => isWord(token, 'to')) ? 'other' : 'rollback';
  }
  if (word === 'copy') return tokens.slice(start).some((token) => isWord(token, 'from')) ? 'insert' : 'select';
  return verbs[word] ?? 'other';
}

const tableWords: ReadonlySet<string> = new Set(['from', 'join', 'into', 'update', 'using', 'table', 'truncate', 'copy', 'straight_join']);
/** Functions whose arguments hold FROM as a separator. */
const fromFunctions: ReadonlySet<string> = new Set(['extract', 'substring', 'trim', 'overlay', 'position']);
const modifiers: ReadonlySet<string> = new Set([
  'only',
  'lateral',
  'low_priority',
  'quick',
  'ignore',
  'delayed',
  'high_priority',
  'if',
  'not',
  'exists',
  'table',
  'top',
]);

/** Tables in the order of use, the written one first. */
function tablesOf(
  tokens: readonly Token[],
  depths: Int32Array,
  verb: Verb,
  start: number,
  commonTables: ReadonlySet<string>,
): readonly string[] {
  const found: string[] = [];
  let written: string | undefined;
  const opener: number[] = [];
  const add = (name: string): void => {
    if (!commonTables.has(name) && !found.includes(name)) found.push(name);
  };
  for (let i = 0; i < tokens.length; i += 1) {
    const token = tokens[i] as Token;
    if (isSymbol(token, '(')) opener.push(i);
    else if (isSymbol(token, ')')) opener.pop();
    if (
      token.is !== 'word' ||
      (!tableWords.has(token.text) && !(i === start && (verb === 'insert' || verb === 'merge' || verb === 'delete')))
    )
      continue;
    const previous = tokens[i - 1];
    if (token.text === 'from') {
      const open = opener.at(-1);
      const caller = open === undefined ? undefined : tokens[open - 1];
      if (caller?.is === 'word' && fromFunctions.has(caller.text)) continue;
      if (isWord(previous, 'distinct') && tokens[i - 2]?.is === 'word' && /^(?:is|not)$/.test((tokens[i - 2] as Token).text)) continue;
      if (verb === 'insert' && isWord(tokens[start], 'copy')) continue;
    }
    if (token.text === 'update' && i !== start && !isSymbol(previous, '(')) continue;
    if (token.text === 'table' && verb !== 'ddl' && i !== start && !isWord(tokens[start], 'truncate')) continue;
    if (token.text === 'into' && verb === 'select') continue;
    if (token.text === 'using' && isSymbol(tokens[i + 1], '(')) {
      continue;
    }
    let at = i + 1;
    for (;;) {
      while (tokens[at]?.is === 'word' && modifiers.has((tokens[at] as Token).text)) {
        at += 1;
        // MERGE/DELETE TOP (n)
        if (isSymbol(tokens[at], '(') && isWord(tokens[at - 1], 'top')) at = closing(tokens, depths, at) + 1;
      }
      const read = nameAt(tokens, at);
      if (read === undefined) {
        // A subquery or function in the list: go past it, more tables may follow.
        if (!isSymbol(tokens[at], '(')) break;
        at = closing(tokens, depths, at) + 1;
      } else {
        at = read.next;
        const isCall =
          isSymbol(tokens[at], '(') &&
          token.text !== 'into' &&
          !(i === start && verb === 'insert') &&
          verb !== 'ddl' &&
          token.text !== 'copy';
        if (isCall) at = closing(tokens, depths, at) + 1;
        else {
          add(read.name);
          const isTarget =
            i === start ||
            token.text === 'into' ||
            (verb === 'delete' && token.text === 'from') ||
            (verb === 'update' && token.text === 'update');
          if (isTarget && written === undefined && depths[i] === depths[start]) written = read.name;
        }
      }
      if (isWord(tokens[at], 'as')) at += 1;
      if (isIdentifier(tokens[at])) at += 1;
      if (isSymbol(tokens[at], '(') && token.text === 'from') at = closing(tokens, depths, at) + 1;
      if (
        !isSymbol(tokens[at], ',') ||
        (token.text !== 'from' && token.text !== 'using' && token.text !== 'update' && token.text !== 'truncate' && token.text !== 'table')
      )
        break;
      at += 1;
    }
  }
  return written === undefined ? found : [written, ...found.filter((name) => name !== written)];
}

/** A dotted name at `at`; undefined where there is none. */
function nameAt(tokens: readonly Token[], at: number): { readonly name: string; readonly next: number } | undefined {
  if (!isIdentifier(tokens[at])) return undefined;
  let name = (tokens[at] as Token).text;
  let next = at + 1;
  while (isSymbol(tokens[next], '.') && (tokens[next + 1]?.is === 'word' || tokens[next + 1]?.is === 'name')) {
    name += `.${(tokens[next + 1] as Token).text}`;
    next += 2;
  }
  if (isSymbol(tokens[next], '*') && isSymbol(tokens[next - 1], '.')) return undefined;
  return { name, next };
}

const clauseEnds: ReadonlySet<string> = new Set([
  'group',
  'order',
  'having',
  'limit',
  'offset',
  'fetch',
  'union',
  'intersect',
  'except',
  'returning',
  'for',
  'window',
  'lock',
  'on',
  'when',
  'option',
]);

/** Tokens of a clause of the main statement, without its key word. */
function clauseOf(
  tokens: readonly Token[],
  depths: Int32Array,
  start: number,
  depth: number,
  word: string,
): { readonly start: number; readonly end: number } | undefined {
  for (let i = start; i < tokens.length; i += 1) {
    if (depths[i] !== depth || !isWord(tokens[i], word)) continue;
    let end = i + 1;
    while (end < tokens.length) {
      if ((depths[end] as number) < depth) break;
      const token = tokens[end] as Token;
      if (depths[end] === depth && token.is === 'word' && clauseEnds.has(token.text)) break;
      end += 1;
    }
    return { start: i + 1, end };
  }
  return undefined;
}

interface Comparison {
  readonly column: string;
  readonly operator: string;
  readonly value: KeySource;
}

const comparisonOperators: ReadonlySet<string> = new Set(['=', '<', '>', '<=', '>=', '<>', '!=', '<=>', '==']);

/** `column <op> value` in either order, outside subqueries; a comparison of two columns is a join, not a predicate. */
function comparisonsOf(tokens: readonly Token[], start: number, end: number): readonly Comparison[] {
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

const isValue = (token: Token | undefined): token is Token => token?.is === 'text' || token?.is === 'number' || token?.is === 'parameter';
const sourceOf = (token: Token): KeySource =>
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

/** Names that optimistic locking uses. */
export function isVersionLike(column: string): boolean {
  return /^(?:version|ver|rev|revision|etag|xmin|rowversion|optlock|generation|epoch|seq_no|_version|updated_at|updatedat|modified_at|last_modified|lastmodified|update_time|updated_on)$|(?:_|lock|row|opt|object|entity)version$|_rev$|_etag$|_lock$/.test(
    column,
  );
}

const isTimeLike = (column: string): boolean =>
  /(?:_at|_on|_time|_ts|timestamp|_date|modified|updated|changed)$/.test(column) || column === 'updatedat';

function keySourcesOf(keyed: readonly Comparison[]): readonly KeySource[] {
  // `id` names one row by itself; otherwise all that is compared, in the order of names, without optimistic locks.
  const id = keyed.find((comparison) => comparison.column === 'id' || comparison.column === '_id');
  if (id !== undefined) return [id.value];
  return keyed
    .filter((comparison) => !isVersionLike(comparison.column))
    .toSorted((a, b) => (a.column < b.column ? -1 : a.column > b.column ? 1 : 0))
    .map((comparison) => comparison.value);
}

/** The value of the first inserted column, or of `id` where it is among them, of a one-row insert. */
function insertedKey(tokens: readonly Token[], depths: Int32Array, start: number, depth: number): readonly KeySource[] {
  const values = tokens.findIndex((token, i) => i > start && depths[i] === depth && (isWord(token, 'values') || isWord(token, 'value')));
  if (values < 0 || !isSymbol(tokens[values + 1], '(')) return [];
  const close = closing(tokens, depths, values + 1);
  if (isSymbol(tokens[close + 1], ',')) return [];
  let column = 0;
  if (isSymbol(tokens[values - 1], ')')) {
    let open = values - 1;
    while (open > start && !(isSymbol(tokens[open], '(') && depths[open] === depth)) open -= 1;
    const names = tokens.slice(open + 1, values - 1).filter((token) => isIdentifier(token));
    column = Math.max(
      0,
      names.findIndex((token) => token.text === 'id' || token.text === '_id'),
    );
  }
  let at = values + 2;
  for (let skipped = 0; skipped < column && at < close; at += 1) {
    if (depths[at] === depth + 1 && isSymbol(tokens[at], ',')) skipped += 1;
  }
  const token = tokens[at];
  const isWhole = (depths[at + 1] === depth + 1 && isSymbol(tokens[at + 1], ',')) || at + 1 === close || isSymbol(tokens[at + 1], '::');
  return isValue(token) && isWhole ? [sourceOf(token)] : [];
}

interface Assignment {
  readonly column: string;
  /** The new value is computed from the column's own old value, inside the database. */
  readonly isRelative: boolean;
  /** A time or a constant function such as now(). */
  readonly isBookkeeping: boolean;
}

/** Assignments of SET clauses of the main statement, those of ON CONFLICT DO UPDATE and ON DUPLICATE KEY UPDATE included. */
function assignmentsOf(tokens: readonly Token[], depths: Int32Array, start: number, depth: number): readonly Assignment[] {
  const found: Assignment[] = [];
  for (let i = start; i < tokens.length; i += 1) {
    if (depths[i] !== depth) continue;
    const isDuplicate = isWord(tokens[i], 'update') && isWord(tokens[i - 1], 'key');
    if (!isWord(tokens[i], 'set') && !isDuplicate) continue;
    let at = i + 1;
    while (at < tokens.length) {
      const name = nameAt(tokens, at);
      if (name === undefined || !(isSymbol(tokens[name.next], '=') || isSymbol(tokens[name.next], ':='))) break;
      const column = name.name.slice(name.name.lastIndexOf('.') + 1);
      const from = name.next + 1;
      let end = from;
      while (end < tokens.length && !(depths[end] === depth && (isSymbol(tokens[end], ',') || isClauseWord(tokens[end])))) end += 1;
      found.push(assignmentOf(tokens, from, end, column));
      if (!isSymbol(tokens[end], ',')) break;
      at = end + 1;
    }
  }
  return found;
}

const isClauseWord = (token: Token | undefined): boolean =>
  token?.is === 'word' && (token.text === 'where' || token.text === 'from' || token.text === 'output' || clauseEnds.has(token.text));

function assignmentOf(tokens: readonly Token[], from: number, end: number, column: string): Assignment {
  let isRelative = false;
  for (let i = from; i < end; i += 1) {
    const token = tokens[i] as Token;
    if (!isIdentifier(token) || token.text !== column) continue;
    // EXCLUDED.n and VALUES(n) are the new value, not the old one.
    if (isSymbol(tokens[i - 1], '.') && (tokens[i - 2]?.text === 'excluded' || tokens[i - 2]?.text === 'new')) continue;
    if (isSymbol(tokens[i - 1], '(') && isWord(tokens[i - 2], 'values')) continue;
    if (end - from > 1) isRelative = true;
  }
  const first = tokens[from];
  const isClock =
    first?.is === 'word' &&
    /^(?:now|current_timestamp|current_date|clock_timestamp|sysdate|localtimestamp|utc_timestamp|getdate|sysutcdatetime|default)$/.test(
      first.text,
    );
  return { column, isRelative, isBookkeeping: isClock || isTimeLike(column) || isVersionLike(column) };
}

/** Relative as a whole: some real column is computed from itself, and none is given a value from outside. */
function isRelative(assignments: readonly Assignment[]): boolean {
  return (
    assignments.some((assignment) => assignment.isRelative && !assignment.isBookkeeping) &&
    assignments.every((assignment) => assignment.isRelative || assignment.isBookkeeping)
  );
}

/** At any depth: the rows that a subquery locks are locked. */
function isLockingAt(tokens: readonly Token[]): boolean {
  for (let i = 0; i < tokens.length; i += 1) {
    const token = tokens[i];
    if (isWord(token, 'for')) {
      const next = tokens[i + 1]?.text;
      if (
        next === 'update' ||
        next === 'share' ||
        (next === 'no' && tokens[i + 2]?.text === 'key') ||
        (next === 'key' && tokens[i + 2]?.text === 'share')
      )
        return true;
    }
    if (isWord(token, 'lock') && isWord(tokens[i + 1], 'in') && isWord(tokens[i + 2], 'share')) return true;
    if (token?.is === 'word' && (token.text === 'updlock' || token.text === 'xlock')) return true;
  }
  return false;
}

function hasOnConflictAt(tokens: readonly Token[], start: number): boolean {
  if (isWord(tokens[start + 1], 'ignore') || (isWord(tokens[start + 1], 'or') && tokens[start + 2]?.is === 'word')) return true;
  return tokens.some(
    (token, i) =>
      isWord(token, 'on') && (isWord(tokens[i + 1], 'conflict') || (isWord(tokens[i + 1], 'duplicate') && isWord(tokens[i + 2], 'key'))),
  );
}

/** Text with literals and parameters as `?`, words in lower case, lists of values as one. */
function fingerprintOf(tokens: readonly Token[]): string {
  const words: string[] = [];
  for (const token of tokens) {
    const word = token.is === 'text' || token.is === 'number' || token.is === 'parameter' ? '?' : token.text;
    // (?, ?, ?) of IN and VALUES is one shape whatever its length.
    if (word === '?' && words.at(-1) === ',' && words.at(-2) === '?') words.pop();
    else words.push(word);
  }
  let text = '';
  for (const word of words) {
    const isTight = text === '' || word === ',' || word === ';' || word === ')' || word === '.' || text.endsWith('(') || text.endsWith('.');
    text += isTight ? word : ` ${word}`;
    if (text.length > longestFingerprint) return text.slice(0, longestFingerprint);
  }
  return text.endsWith(';') ? text.slice(0, -1) : text;
}

const longestFingerprint = 2048;
