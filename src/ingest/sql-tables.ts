import type { Statement } from '../domain/operation.ts';
import { clauseEnds } from './sql-assignments.ts';
import { closing, isIdentifier, isSymbol, isWord, nameAt } from './sql-reading.ts';
import type { Token } from './sql-tokens.ts';

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
/** What may stand between SELECT and its list: a STRAIGHT_JOIN after these joins nothing. */
const selectModifiers = /^(?:select|all|distinct|distinctrow|high_priority|sql_\w+)$/;
/** Words after which a comma goes on with the list. */
const listWords: ReadonlySet<string> = new Set(['from', 'using', 'update', 'truncate', 'table', 'delete', 'join', 'straight_join']);

interface Use {
  readonly name: string;
  /** What the rest of the statement calls it. */
  readonly alias: string | undefined;
  readonly isTarget: boolean;
}

/**
 * Tables in the order of use, those that are written first. `assignedTo`: the qualifiers of the columns that an UPDATE sets, which in
 * MySQL say what is written of several joined tables.
 */
export function tablesOf(
  tokens: readonly Token[],
  depths: Int32Array,
  verb: Statement['verb'],
  start: number,
  isCommonAt: (name: string, at: number) => boolean,
  assignedTo: readonly string[],
): readonly string[] {
  const uses: Use[] = [];
  const opener: number[] = [];
  /** By depth: whether a comma goes on with a list of tables there (`FROM a JOIN b ON a.id = b.id, c`). */
  const inList: boolean[] = [];
  let readTo = 0;
  for (let i = 0; i < tokens.length; i += 1) {
    const token = tokens[i] as Token;
    const depth = depths[i] as number;
    if (isSymbol(token, '(')) {
      opener.push(i);
      inList[depth + 1] = false;
    } else if (isSymbol(token, ')')) opener.pop();
    const isMain = i === start && (verb === 'insert' || verb === 'merge' || verb === 'delete');
    const goesOn = i >= readTo && inList[depth] === true && isSymbol(token, ',');
    const begins = token.is === 'word' && (isMain || tableWords.has(token.text)) && !isOtherwise(tokens, i, start, verb, opener.at(-1));
    if (token.is === 'word' && endsList(token.text)) inList[depth] = false;
    if (!begins && !goesOn) continue;
    if (token.text === 'from' || i === start) inList[depth] = true;
    const isTarget =
      depth === depths[start] &&
      (i === start ||
        token.text === 'into' ||
        (token.text === 'from' && verb === 'delete') ||
        (token.text === 'update' && verb === 'update'));
    const mayCall = token.text !== 'into' && token.text !== 'copy' && verb !== 'ddl' && !(i === start && verb === 'insert');
    readTo = readList(tokens, depths, i + 1, tokens.length, { isList: goesOn || listWords.has(token.text), mayCall }, (name, alias, at) => {
      if (!isCommonAt(name, at) && !(name === 'dual' && tokens[at]?.is === 'word')) uses.push({ name, alias, isTarget });
    });
  }
  const written = targetsOf(uses, verb, isWord(tokens[start], 'delete'), assignedTo);
  const aliases = new Set(uses.flatMap((use) => (use.alias === undefined ? [] : [use.alias])));
  // Names after DELETE and UPDATE may be aliases of the list that follows: they are no tables.
  const rest = uses.filter((use) => !(use.isTarget && use.alias === undefined && aliases.has(use.name))).map((use) => use.name);
  return [...new Set([...written, ...rest])];
}

const endsList = (word: string): boolean =>
  clauseEnds.has(word) ? word !== 'on' : word === 'where' || word === 'set' || word === 'into' || word === 'values' || word === 'select';

/** Whether a word that stands before tables does not do so here. */
function isOtherwise(tokens: readonly Token[], i: number, start: number, verb: Statement['verb'], open: number | undefined): boolean {
  const word = (tokens[i] as Token).text;
  const previous = tokens[i - 1];
  if (word === 'from') {
    const caller = open === undefined ? undefined : tokens[open - 1];
    if (caller?.is === 'word' && fromFunctions.has(caller.text)) return true;
    if (isWord(previous, 'distinct') && tokens[i - 2]?.is === 'word' && /^(?:is|not)$/.test((tokens[i - 2] as Token).text)) return true;
    return verb === 'insert' && isWord(tokens[start], 'copy');
  }
  if (word === 'update') return i !== start && !isSymbol(previous, '(');
  if (word === 'table') return verb !== 'ddl' && i !== start && !isWord(tokens[start], 'truncate');
  if (word === 'into') return verb === 'select';
  if (word === 'straight_join') return previous?.is === 'word' && selectModifiers.test(previous.text);
  return word === 'using' && isSymbol(tokens[i + 1], '(');
}

/** Reads `a AS x, (b JOIN c ...), f(...), (SELECT ...) s` as far as it goes; gives where it ends. */
function readList(
  tokens: readonly Token[],
  depths: Int32Array,
  from: number,
  end: number,
  word: { readonly isList: boolean; readonly mayCall: boolean },
  add: (name: string, alias: string | undefined, at: number) => void,
): number {
  let at = from;
  while (at < end) {
    while (tokens[at]?.is === 'word' && modifiers.has((tokens[at] as Token).text)) {
      at += 1;
      // MERGE/DELETE TOP (n)
      if (isSymbol(tokens[at], '(') && isWord(tokens[at - 1], 'top')) at = closing(tokens, depths, at) + 1;
    }
    const read = nameAt(tokens, at);
    if (read !== undefined) {
      const nameStart = at;
      at = read.next;
      // DELETE t.* FROM ...
      if (isSymbol(tokens[at], '.') && isSymbol(tokens[at + 1], '*')) at += 2;
      if (isWord(tokens[at], 'partition') && isSymbol(tokens[at + 1], '(')) at = closing(tokens, depths, at + 1) + 1;
      const isCall = isSymbol(tokens[at], '(') && word.mayCall;
      if (isCall) at = closing(tokens, depths, at) + 1;
      const aliased = isWord(tokens[at], 'as') ? at + 1 : at;
      const alias = isIdentifier(tokens[aliased]) ? (tokens[aliased] as Token).text : undefined;
      at = alias === undefined ? aliased : aliased + 1;
      if (!isCall) add(read.name, alias, nameStart);
      if (isCall && isSymbol(tokens[at], '(')) at = closing(tokens, depths, at) + 1;
      at = pastHints(tokens, depths, at);
    } else {
      if (!isSymbol(tokens[at], '(')) return at;
      // A subquery is read where its own FROM stands; parentheses around tables hold a list.
      const close = closing(tokens, depths, at);
      readList(tokens, depths, at + 1, close, word, add);
      at = close + 1;
      if (isWord(tokens[at], 'as')) at += 1;
      if (isIdentifier(tokens[at])) at += 1;
      if (isSymbol(tokens[at], '(') && word.isList) at = closing(tokens, depths, at) + 1;
    }
    if (!word.isList || !isSymbol(tokens[at], ',')) return at;
    at += 1;
  }
  return at;
}

/** USE INDEX (...), FORCE KEY FOR ORDER BY (...) of MySQL, WITH (...) of SQL Server. */
function pastHints(tokens: readonly Token[], depths: Int32Array, from: number): number {
  let at = from;
  for (;;) {
    let open = at + 1;
    if (tokens[at]?.is === 'word' && /^(?:use|force|ignore)$/.test((tokens[at] as Token).text)) {
      if (!isWord(tokens[at + 1], 'index') && !isWord(tokens[at + 1], 'key')) return at;
      open = at + 2;
      if (isWord(tokens[open], 'for')) open += isWord(tokens[open + 1], 'join') ? 2 : 3;
    } else if (!isWord(tokens[at], 'with')) return at;
    if (!isSymbol(tokens[open], '(')) return at;
    at = closing(tokens, depths, open) + 1;
  }
}

/** What a statement writes: `DELETE a, b FROM x AS a ...` says so by alias, a joined UPDATE by the columns that it sets. */
function targetsOf(uses: readonly Use[], verb: Statement['verb'], isDelete: boolean, assignedTo: readonly string[]): readonly string[] {
  const called = (name: string): Use | undefined =>
    uses.find((use) => use.alias === name) ??
    uses.find((use) => use.alias === undefined && !use.isTarget && lastPart(use.name) === name) ??
    uses.find((use) => use.alias === undefined && lastPart(use.name) === name);
  const targets = uses.filter((use) => use.isTarget);
  if (verb === 'update') {
    const assigned = assignedTo.flatMap((qualifier) => called(qualifier) ?? []);
    if (assigned.length > 0) return assigned.map((use) => use.name);
  }
  const written = isDelete ? targets : targets.slice(0, 1);
  return written.map((use) => (use.alias === undefined ? (uses.find((other) => other.alias === use.name)?.name ?? use.name) : use.name));
}

const lastPart = (name: string): string => name.slice(name.lastIndexOf('.') + 1);
