import type { Statement } from '../domain/operation.ts';
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

/** Tables in the order of use, the written one first. */
export function tablesOf(
  tokens: readonly Token[],
  depths: Int32Array,
  verb: Statement['verb'],
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

/**
 * MySQL's `DELETE a, b FROM t AS a JOIN ...` and `DELETE FROM a USING t AS a ...`: where the names after DELETE are aliases of the list that
 */
export function deletedTables(tokens: readonly Token[], start: number): ReadonlyMap<string, string> {
  const isNamedFirst = !isWord(tokens[start + 1], 'from');
  const list = tokens.findIndex((token, i) => i > start && isWord(token, isNamedFirst ? 'from' : 'using'));
  const aliases = new Map<string, string>();
  if (list < 0) return aliases;
  let at = list + 1;
  for (; at < tokens.length; at += 1) {
    const before = tokens[at - 1] as Token;
    if (at !== list + 1 && !isWord(before, 'join') && !isSymbol(before, ',')) continue;
    const name = nameAt(tokens, at);
    if (name === undefined) continue;
    const alias = tokens[isWord(tokens[name.next], 'as') ? name.next + 1 : name.next];
    if (isIdentifier(alias)) aliases.set(alias.text, name.name);
  }
  return aliases;
}
