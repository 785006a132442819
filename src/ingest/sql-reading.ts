import type { Token } from './sql-tokens.ts';

/** What all readers of clauses need: nesting, names, words. */

/** Nesting depth of each token; a parenthesis has the depth that it opens or closes to. */
export function depthsOf(tokens: readonly Token[]): Int32Array {
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

export const isWord = (token: Token | undefined, text: string): boolean => token?.is === 'word' && token.text === text;
export const isSymbol = (token: Token | undefined, text: string): boolean => token?.is === 'symbol' && token.text === text;
export const isIdentifier = (token: Token | undefined): token is Token =>
  token?.is === 'name' || (token?.is === 'word' && !reserved.has(token.text));

/** Words that cannot be a table or column name without quotes, as far as the clauses read here need it. */
const reserved: ReadonlySet<string> = new Set(
  (
    'select from where and or not in is null as on using join inner left right full outer cross natural group order by having limit offset fetch union ' +
    'intersect except all distinct case when then else end exists between like ilike similar set values into returning with window for update of only ' +
    'lateral any some true false default insert delete merge conflict do straight_join force use ignore partition tablesample output'
  ).split(' '),
);

/** Index of the parenthesis that closes the one at `open`, or the last token. */
export function closing(tokens: readonly Token[], depths: Int32Array, open: number): number {
  const depth = depths[open];
  for (let i = open + 1; i < tokens.length; i += 1) {
    if (depths[i] === depth && isSymbol(tokens[i], ')')) return i;
  }
  return tokens.length;
}

/** A dotted name at `at`; undefined where there is none. */
export function nameAt(tokens: readonly Token[], at: number): { readonly name: string; readonly next: number } | undefined {
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
