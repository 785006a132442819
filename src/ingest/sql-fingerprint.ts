import type { Statement } from '../domain/operation.ts';
import { assignmentsOf, clauseEnds, endOfClause, isRelative, isVersionLike } from './sql-assignments.ts';
import { insertedKey } from './sql-inserted-key.ts';
import { type Comparison, comparisonsOf, type KeySource } from './sql-predicates.ts';
import { closing, depthsOf, isIdentifier, isSymbol, isWord } from './sql-reading.ts';
import { tablesOf } from './sql-tables.ts';
import { dialectOf, type SqlDialect, type Token, tokenizeSql } from './sql-tokens.ts';

/**
 * What a SQL text does: verb, tables, key and version predicates, locks. Read from tokens and clause positions, not from a full grammar:
 * one path for PostgreSQL, MySQL and SQL Server, for text with `?` in place of literals and for text that was cut off, where a grammar
 * of one dialect refuses. The oracles in the tests are `pgsql-ast-parser` for what both can read, and a MariaDB server that runs the
 * statements. Costs a few microseconds a distinct text; `StatementCache` pays it once.
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
  // MariaDB's EXECUTE IMMEDIATE 'text'.
  if (isWord(tokens[0], 'execute') && isWord(tokens[1], 'immediate') && tokens[2]?.is === 'text')
    return readStatement(tokens[2].text, dialect);
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
  if (isRoutine(tokens)) return [tokens];
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

/** CREATE PROCEDURE and its kin: the statements of the body are only put down, not run. */
function isRoutine(tokens: readonly Token[]): boolean {
  if (!isWord(tokens[0], 'create')) return false;
  return tokens.slice(1, longestDefiner).some((token) => token.is === 'word' && routines.has(token.text));
}

const routines: ReadonlySet<string> = new Set(['procedure', 'function', 'trigger', 'event', 'package']);
/** `CREATE OR REPLACE DEFINER = user@host AGGREGATE FUNCTION` */
const longestDefiner = 10;

function readOne(tokens: readonly Token[]): Part {
  const depths = depthsOf(tokens);
  const { start, depth, inner } = readCommonTables(tokens, depths);
  const first = tokens[start];
  if (first === undefined || first.is !== 'word') return inner ?? nothing;
  const verb = verbOf(tokens, start);
  const assigned = verb === 'update' || verb === 'insert' || verb === 'merge' ? assignmentsOf(tokens, depths, start, depth) : [];
  const assignedTo = verb === 'update' ? assigned.flatMap(({ qualifier }) => qualifier ?? []) : [];
  // A routine's tables are those of statements that are not run.
  const tables = isRoutine(tokens) ? [] : tablesOf(tokens, depths, verb, start, commonTables(tokens, depths), assignedTo);
  if (verb !== 'select' && !writes.has(verb)) return { ...nothing, verb, tables: verb === 'ddl' ? tables : [] };
  const where = clauseOf(tokens, depths, start, depth, 'where');
  const compared = where === undefined ? [] : comparisonsOf(tokens, where.start, where.end);
  // What an insert compares is said of the rows that it copies or collides with, not of its own; of a UNION, of one part's rows only.
  const keyed =
    verb === 'insert' || (verb === 'select' && isUnion(tokens, depths, start, depth))
      ? []
      : compared.filter((comparison) => comparison.operator === '=' && comparison.isCertain);
  const keyColumns = [...new Set(keyed.map((comparison) => comparison.column))];
  const assignedColumns = new Set(assigned.map((assignment) => assignment.column));
  const part: Part = {
    verb,
    tables,
    keyColumns,
    keySources: verb === 'insert' ? insertedKey(tokens, depths, start, depth, tables[0] ?? '') : keySourcesOf(keyed),
    hasVersionPredicate: compared.some(
      (comparison) =>
        (comparison.operator === '=' && isVersionLike(comparison.column)) || (verb === 'update' && assignedColumns.has(comparison.column)),
    ),
    isLocking: isLockingAt(tokens),
    hasOnConflict: first.text === 'replace' || first.text === 'upsert' || (verb === 'insert' && hasOnConflictAt(tokens, start)),
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

function isUnion(tokens: readonly Token[], depths: Int32Array, start: number, depth: number): boolean {
  return tokens.some(
    (token, i) =>
      i > start && (depths[i] as number) <= depth && token.is === 'word' && /^(?:union|intersect|except|minus)$/.test(token.text),
  );
}

/**
 * Names that WITH lists of any depth define. In its own body such a name is the table that is called so, unless the list is recursive:
 * WITH orders AS (SELECT * FROM orders WHERE ...).
 */
function commonTables(tokens: readonly Token[], depths: Int32Array): (name: string, at: number) => boolean {
  const bodies = new Map<string, { readonly open: number; readonly close: number }>();
  for (let i = 0; i < tokens.length; i += 1) {
    if (!isWord(tokens[i], 'with')) continue;
    const isRecursive = isWord(tokens[i + 1], 'recursive');
    let at = isRecursive ? i + 2 : i + 1;
    while (isIdentifier(tokens[at])) {
      const name = (tokens[at] as Token).text;
      let open = isSymbol(tokens[at + 1], '(') ? closing(tokens, depths, at + 1) + 1 : at + 1;
      if (!isWord(tokens[open], 'as')) break;
      while (tokens[open]?.is === 'word') open += 1;
      if (!isSymbol(tokens[open], '(')) break;
      const close = closing(tokens, depths, open);
      bodies.set(name, isRecursive ? { open: 0, close: 0 } : { open, close });
      if (!isSymbol(tokens[close + 1], ',')) break;
      at = close + 2;
    }
  }
  return (name, at) => {
    const body = bodies.get(name);
    return body !== undefined && !(at > body.open && at < body.close);
  };
}

/** Skips opening parentheses and a WITH list; gives where the main verb stands, and a writing part of the list. */
function readCommonTables(
  tokens: readonly Token[],
  depths: Int32Array,
): { readonly start: number; readonly depth: number; readonly inner: Part | undefined } {
  let at = 0;
  while (isSymbol(tokens[at], '(')) at += 1;
  const depth = depths[at] ?? 0;
  let inner: Part | undefined;
  if (!isWord(tokens[at], 'with')) return { start: at, depth, inner };
  at += 1;
  if (isWord(tokens[at], 'recursive')) at += 1;
  while (isIdentifier(tokens[at])) {
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
  return { start: at, depth, inner };
}

function verbOf(tokens: readonly Token[], start: number): Verb {
  const word = (tokens[start] as Token).text;
  const next = tokens[start + 1];
  if (word === 'set') return autocommitVerb(tokens, start);
  // MariaDB's compound statement outside of a routine.
  if (word === 'begin' && isWord(next, 'not')) return 'other';
  // LOAD DATA, LOAD XML; not LOAD INDEX.
  if (word === 'load') return isWord(next, 'data') || isWord(next, 'xml') ? 'insert' : 'other';
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

/** MySQL's SET autocommit = 0 opens a transaction with the next statement, = 1 commits it. */
function autocommitVerb(tokens: readonly Token[], start: number): Verb {
  const at = tokens.findIndex(
    (token, i) => i > start && /^(?:@@)?autocommit$/i.test(token.text) && (isSymbol(tokens[i + 1], '=') || isSymbol(tokens[i + 1], ':=')),
  );
  if (at < 0 || isWord(tokens[at - 1], 'global') || /^@@global$/i.test(tokens[at - 2]?.text ?? '')) return 'other';
  const value = (tokens[at + 2] as Token | undefined)?.text.toLowerCase() ?? '';
  if (value === '0' || value === 'off' || value === 'false') return 'begin';
  return value === '1' || value === 'on' || value === 'true' ? 'commit' : 'other';
}

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
    return { start: i + 1, end: endOfClause(tokens, depths, i + 1, depth, (token) => clauseEnds.has(token.text)) };
  }
  return undefined;
}

function keySourcesOf(keyed: readonly Comparison[]): readonly KeySource[] {
  // `id` names one row by itself; otherwise all that is compared, in the order of names, without optimistic locks.
  const id = keyed.find((comparison) => comparison.column === 'id' || comparison.column === '_id');
  if (id !== undefined) return [id.value];
  return keyed
    .filter((comparison) => !isVersionLike(comparison.column))
    .toSorted((a, b) => (a.column < b.column ? -1 : a.column > b.column ? 1 : 0))
    .map((comparison) => comparison.value);
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
  let at = start + 1;
  while (tokens[at]?.is === 'word' && insertModifiers.has((tokens[at] as Token).text)) at += 1;
  if (isWord(tokens[at], 'ignore') || (isWord(tokens[start + 1], 'or') && tokens[start + 2]?.is === 'word')) return true;
  return tokens.some(
    (token, i) =>
      isWord(token, 'on') && (isWord(tokens[i + 1], 'conflict') || (isWord(tokens[i + 1], 'duplicate') && isWord(tokens[i + 2], 'key'))),
  );
}

const insertModifiers: ReadonlySet<string> = new Set(['low_priority', 'delayed', 'high_priority']);

/** Text with literals and parameters as `?`, words in lower case, lists of values as one. */
function fingerprintOf(tokens: readonly Token[]): string {
  const words: string[] = [];
  for (const token of tokens) {
    const word = token.is === 'text' || token.is === 'number' || token.is === 'parameter' ? '?' : token.text;
    // (?, ?, ?) of IN and VALUES is one shape whatever its length.
    if (word === '?' && words.at(-1) === ',' && words.at(-2) === '?') words.pop();
    else words.push(word);
    // (?), (?) of rows likewise.
    if (word === ')' && words.length >= 7 && words.slice(-7).join(' ') === '( ? ) , ( ? )') words.length -= 4;
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
