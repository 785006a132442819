import { isIdentifier, isSymbol, isWord, nameAt } from './sql-reading.ts';
import type { Token } from './sql-tokens.ts';

/** Names that optimistic locking uses. */
export function isVersionLike(column: string): boolean {
  return /^(?:version|version_id|version_no|version_number|ver|rev|revision|etag|xmin|rowversion|optlock|generation|epoch|seq_no|_version|updated_at|updatedat|modified_at|last_modified|lastmodified|update_time|updated_on)$|(?:_|lock|row|opt|object|entity)version$|_rev$|_etag$|_lock$/.test(
    column,
  );
}

const isTimeLike = (column: string): boolean =>
  /(?:_at|_on|_time|_ts|timestamp|_date|modified|updated|changed)$/.test(column) || column === 'updatedat';

export interface Assignment {
  readonly column: string;
  /** The table or alias that the column is said to be of. */
  readonly qualifier: string | undefined;
  /** The new value is computed from the column's own old value, inside the database. */
  readonly isRelative: boolean;
  /** A time or a constant function such as now(). */
  readonly isBookkeeping: boolean;
}

/** Assignments of SET clauses of the main statement, those of ON CONFLICT DO UPDATE and ON DUPLICATE KEY UPDATE included. */
export function assignmentsOf(tokens: readonly Token[], depths: Int32Array, start: number, depth: number): readonly Assignment[] {
  const found: Assignment[] = [];
  const own = targetNames(tokens, start);
  for (let i = start; i < tokens.length; i += 1) {
    if (depths[i] !== depth) continue;
    const isDuplicate = isWord(tokens[i], 'update') && isWord(tokens[i - 1], 'key');
    if (!isWord(tokens[i], 'set') && !isDuplicate) continue;
    let at = i + 1;
    while (at < tokens.length) {
      const name = nameAt(tokens, at);
      if (name === undefined || !(isSymbol(tokens[name.next], '=') || isSymbol(tokens[name.next], ':='))) break;
      const parts = name.name.split('.');
      const column = parts.at(-1) ?? '';
      const qualifier = parts.at(-2);
      const from = name.next + 1;
      const end = endOfClause(tokens, depths, from, depth, (token) => token.text === ',' || isClauseWord(token));
      found.push({ ...assignmentOf(tokens, from, end, column, qualifier === undefined ? own : new Set([...own, qualifier])), qualifier });
      if (!isSymbol(tokens[end], ',')) break;
      at = end + 1;
    }
  }
  return found;
}

/** Where a clause ends that begins at `from`: at what `isEnd` says, but not at the WHEN of a CASE. */
export function endOfClause(
  tokens: readonly Token[],
  depths: Int32Array,
  from: number,
  depth: number,
  isEnd: (token: Token) => boolean,
): number {
  let cases = 0;
  let end = from;
  for (; end < tokens.length && (depths[end] as number) >= depth; end += 1) {
    const token = tokens[end] as Token;
    if (depths[end] !== depth) continue;
    if (isWord(token, 'case')) cases += 1;
    else if (cases > 0) cases -= isWord(token, 'end') ? 1 : 0;
    else if ((token.is === 'word' || token.is === 'symbol') && isEnd(token)) break;
  }
  return end;
}

const isClauseWord = (token: Token | undefined): boolean =>
  token?.is === 'word' && (token.text === 'where' || token.text === 'from' || token.text === 'output' || clauseEnds.has(token.text));

/** What the written table is called in its own statement: its name and its alias. */
function targetNames(tokens: readonly Token[], start: number): ReadonlySet<string> {
  let at = start + 1;
  while (tokens[at]?.is === 'word' && beforeTarget.has((tokens[at] as Token).text)) at += 1;
  const name = nameAt(tokens, at);
  if (name === undefined) return new Set();
  const alias = tokens[isWord(tokens[name.next], 'as') ? name.next + 1 : name.next];
  const own = name.name.slice(name.name.lastIndexOf('.') + 1);
  return new Set(isIdentifier(alias) ? [own, alias.text] : [own]);
}

const beforeTarget: ReadonlySet<string> = new Set(['into', 'only', 'ignore', 'low_priority', 'delayed', 'high_priority']);

function assignmentOf(
  tokens: readonly Token[],
  from: number,
  end: number,
  column: string,
  own: ReadonlySet<string>,
): Omit<Assignment, 'qualifier'> {
  let isRelative = false;
  // MySQL's `id = LAST_INSERT_ID(id)` only tells the client which row it was.
  const isTold = isWord(tokens[from], 'last_insert_id') && isIdentifier(tokens[from + 2]) && isSymbol(tokens[from + 3], ')');
  let depth = 0;
  let query: number | undefined;
  for (let i = from; i < end && !isTold; i += 1) {
    const token = tokens[i] as Token;
    if (isSymbol(token, '(')) {
      if (query === undefined && isWord(tokens[i + 1], 'select')) query = depth;
      depth += 1;
    } else if (isSymbol(token, ')')) {
      depth -= 1;
      if (query === depth) query = undefined;
    }
    if (!isIdentifier(token) || token.text !== column) continue;
    // EXCLUDED.n, VALUES(n), another table's n and, in a subquery, one that is not said to be its own are the new value, not the old one.
    const isQualified = isSymbol(tokens[i - 1], '.');
    if (isQualified ? !own.has(tokens[i - 2]?.text ?? '') : query !== undefined) continue;
    if (isSymbol(tokens[i - 1], '(') && (isWord(tokens[i - 2], 'values') || isWord(tokens[i - 2], 'value'))) continue;
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
export function isRelative(assignments: readonly Assignment[]): boolean {
  return (
    assignments.some((assignment) => assignment.isRelative && !assignment.isBookkeeping) &&
    assignments.every((assignment) => assignment.isRelative || assignment.isBookkeeping)
  );
}

/** Words that begin the next clause. */
export const clauseEnds: ReadonlySet<string> = new Set([
  'group',
  'order',
  'having',
  'limit',
  'offset',
  'fetch',
  'union',
  'intersect',
  'except',
  'minus',
  'into',
  'returning',
  'for',
  'window',
  'lock',
  'on',
  'when',
  'option',
]);
