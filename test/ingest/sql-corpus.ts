import { readFileSync } from 'node:fs';
import { readStatement } from '../../src/ingest/sql-fingerprint.ts';
import type { SqlDialect } from '../../src/ingest/sql-tokens.ts';

/** A statement and what it is expected to say: a line of each in the corpus files. */
export interface Entry {
  readonly origin: string;
  readonly dialect: SqlDialect;
  readonly expected: string;
  readonly sql: string;
}

export function readCorpus(name: string): readonly Entry[] {
  const lines = readFileSync(new URL(`./${name}`, import.meta.url), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  return lines.flatMap((line, i) => {
    if (i % 2 === 1) return [];
    const head = /^(\w+) (ansi|mysql|mssql): (.*)$/.exec(line);
    if (head === null) throw new Error(`not a head: ${line}`);
    const [, origin = '', dialect = '', expected = ''] = head;
    // \n is a line's end; \\n, \" and the like are as they stand.
    const sql = (lines[i + 1] ?? '').replaceAll(/(?<!\\)\\n/g, '\n');
    return [{ origin, dialect: dialect as SqlDialect, expected: normal(expected), sql }];
  });
}

/** `verb tables (columns) flags`, lists in the order of names, the table that is written first. */
function normal(expected: string): string {
  const match = /^(\w+)(?: ([^(]+?))??(?: \(([^)]*)\))?((?: (?:ver|lock|conflict|returning|rel))*)$/.exec(expected);
  if (match === null) throw new Error(`not an expectation: ${expected}`);
  const [, verb = '', tables = '', columns = '', flags = ''] = match;
  const names = [...new Set(tables.toLowerCase().split(','))];
  const first = verb === 'select' ? [] : names.slice(0, 1);
  const sorted = (list: readonly string[]): string => list.toSorted().join(',');
  return [
    verb,
    [...first, ...names.slice(first.length).toSorted()].join(','),
    `(${sorted([...new Set(columns.toLowerCase().split(','))])})`,
    sorted(flags.trim().split(' ')),
  ].join(' ');
}

export function readEntry({ sql, dialect }: Entry): string {
  const { statement } = readStatement(sql, dialect);
  const flags = [
    statement.hasVersionPredicate ? ' ver' : '',
    statement.isLocking ? ' lock' : '',
    statement.hasOnConflict ? ' conflict' : '',
    statement.hasReturning ? ' returning' : '',
    statement.isRelativeUpdate ? ' rel' : '',
  ];
  const tables = statement.tables.length === 0 ? '' : ` ${statement.tables.join(',')}`;
  return normal(`${statement.verb}${tables} (${statement.keyColumns.join(',')})${flags.join('')}`);
}
