import { isValue, type KeySource, sourceOf } from './sql-predicates.ts';
import { closing, isIdentifier, isSymbol, isWord } from './sql-reading.ts';
import type { Token } from './sql-tokens.ts';

/**
 * Of a one-row insert the value that names the row: `id`, the one column of ON CONFLICT, or a column that is named for a key. Without a
 * list of columns it is the first value; a list that names no key has one that the database makes.
 */
export function insertedKey(
  tokens: readonly Token[],
  depths: Int32Array,
  start: number,
  depth: number,
  table: string,
): readonly KeySource[] {
  const set = tokens.findIndex((token, i) => i > start && depths[i] === depth && isWord(token, 'set'));
  if (set >= 0 && !isWord(tokens[set - 1], 'update')) return assignedKey(tokens, depths, set, depth, table);
  const values = tokens.findIndex((token, i) => i > start && depths[i] === depth && (isWord(token, 'values') || isWord(token, 'value')));
  if (values < 0 || !isSymbol(tokens[values + 1], '(')) return [];
  const close = closing(tokens, depths, values + 1);
  if (isSymbol(tokens[close + 1], ',')) return [];
  let column = 0;
  if (isSymbol(tokens[values - 1], ')')) {
    let open = values - 1;
    while (open > start && !(isSymbol(tokens[open], '(') && depths[open] === depth)) open -= 1;
    const names = tokens.slice(open + 1, values - 1).filter((token) => isIdentifier(token));
    const wanted = [...keyNames, ...keyNamesOf(table), ...conflictColumn(tokens, values)];
    column = wanted.map((name) => names.findIndex((token) => token.text === name)).find((at) => at >= 0) ?? -1;
    if (column < 0) return [];
  }
  let at = values + 2;
  for (let skipped = 0; skipped < column && at < close; at += 1) {
    if (depths[at] === depth + 1 && isSymbol(tokens[at], ',')) skipped += 1;
  }
  const token = tokens[at];
  const isWhole = (depths[at + 1] === depth + 1 && isSymbol(tokens[at + 1], ',')) || at + 1 === close || isSymbol(tokens[at + 1], '::');
  return isValue(token) && isWhole ? [sourceOf(token)] : [];
}

/** MySQL's `INSERT INTO t SET id = 5, n = 1`. */
function assignedKey(tokens: readonly Token[], depths: Int32Array, set: number, depth: number, table: string): readonly KeySource[] {
  const wanted = [...keyNames, ...keyNamesOf(table)];
  const values = new Map<string, Token>();
  for (let i = set + 1; i < tokens.length && !isWord(tokens[i], 'on'); i += 1) {
    const name = tokens[i];
    const value = tokens[i + 2];
    if (depths[i] !== depth || !isIdentifier(name) || !isSymbol(tokens[i + 1], '=') || !isValue(value)) continue;
    const after = tokens[i + 3];
    if (after === undefined || isSymbol(after, ',') || isWord(after, 'on') || isWord(after, 'returning')) values.set(name.text, value);
  }
  const key = wanted.find((name) => values.has(name));
  return key === undefined ? [] : [sourceOf(values.get(key) as Token)];
}

const keyNames: readonly string[] = ['id', '_id', 'uuid', 'guid'];

/** `order_id`, `orderid` and `orders_id` of `shop.orders`. */
function keyNamesOf(table: string): readonly string[] {
  const bare = table.slice(table.lastIndexOf('.') + 1);
  const one = bare
    .replace(/ies$/, 'y')
    .replace(/(s|x|ch|sh)es$/, '$1')
    .replace(/(?<!s)s$/, '');
  return [...new Set([one, bare])].flatMap((name) => [`${name}_id`, `${name}id`]);
}

/** The column that ON CONFLICT (column) is about. */
function conflictColumn(tokens: readonly Token[], from: number): readonly string[] {
  for (let i = from; i < tokens.length; i += 1) {
    if (!isWord(tokens[i], 'conflict') || !isWord(tokens[i - 1], 'on')) continue;
    const column = tokens[i + 2];
    return isSymbol(tokens[i + 1], '(') && isIdentifier(column) && isSymbol(tokens[i + 3], ')') ? [column.text] : [];
  }
  return [];
}
