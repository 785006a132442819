import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readStatement } from '../../src/ingest/sql-fingerprint.ts';
import type { SqlDialect } from '../../src/ingest/sql-tokens.ts';
import { byParser } from './sql-oracle.ts';

/** Statements of seventeen libraries and of hand: what each is expected to say stands above it in the file. */
interface Entry {
  readonly library: string;
  readonly dialect: SqlDialect;
  readonly expected: string;
  readonly sql: string;
}

const lines = readFileSync(new URL('./sql-corpus.txt', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'));
const entries: readonly Entry[] = lines.flatMap((line, i) => {
  const head = /^(\w+) (ansi|mysql|mssql): (.*)$/.exec(line);
  if (i % 2 === 1) return [];
  if (head === null) throw new Error(`not a head: ${line}`);
  const [, library = '', dialect = '', expected = ''] = head;
  return [{ library, dialect: dialect as SqlDialect, expected: normal(expected), sql: (lines[i + 1] ?? '').replaceAll('\\n', '\n') }];
});

function normal(expected: string): string {
  const match = /^(\w+)(?: ([^ (]+))?(?: \(([^)]*)\))?(.*)$/.exec(expected);
  const sorted = (list: string): string => [...new Set(list.split(','))].toSorted().join(',');
  return `${match?.[1] ?? ''} ${(match?.[2] ?? '').toLowerCase()} (${sorted((match?.[3] ?? '').toLowerCase())}) ${(match?.[4] ?? '').trim().split(' ').toSorted().join(' ')}`.trim();
}

function read({ sql, dialect }: Entry): string {
  const { statement } = readStatement(sql, dialect);
  const flags = [
    statement.hasVersionPredicate ? 'ver' : '',
    statement.isLocking ? 'lock' : '',
    statement.hasOnConflict ? 'conflict' : '',
    statement.hasReturning ? 'returning' : '',
    statement.isRelativeUpdate ? 'rel' : '',
  ].filter((flag) => flag !== '');
  return normal(
    `${statement.verb} ${statement.tables.join(',')} (${statement.keyColumns.join(',')}) ${flags.join(' ')}`.replace('  ', ' '),
  );
}

test('the corpus is large', () => {
  expect(entries.length).toBeGreaterThanOrEqual(150);
});

describe('what libraries write is read for what it says', () => {
  test.each(entries.map((entry) => ({ name: `${entry.library}: ${entry.sql.slice(0, 120)}`, entry })))('$name', ({ entry }) => {
    expect(read(entry)).toBe(entry.expected);
  });
});

/** Placeholders as PostgreSQL writes them. */
function postgresText(sql: string): string {
  let position = 0;
  return sql.replaceAll(/'(?:[^']|'')*'|"[^"]*"|\?|%s|%\(\w+\)s|@p?\w+/g, (piece) => {
    if (piece.startsWith("'") || piece.startsWith('"')) return piece;
    position += 1;
    return `$${position}`;
  });
}

test('the parser of PostgreSQL agrees on verb, tables and key columns of all that it can parse', () => {
  let parsed = 0;
  for (const entry of entries) {
    if (entry.dialect !== 'ansi') continue;
    let expected: ReturnType<typeof byParser>;
    try {
      expected = byParser(postgresText(entry.sql));
    } catch {
      continue;
    }
    if (!['select', 'insert', 'update', 'delete'].includes(expected.verb)) continue;
    parsed += 1;
    const { statement } = readStatement(entry.sql, 'ansi');
    expect({ verb: statement.verb, tables: statement.tables.toSorted(), keyColumns: statement.keyColumns.toSorted() }, entry.sql).toEqual(
      expected,
    );
  }
  // It cannot read all dialects; it must have read enough to be an oracle.
  expect(parsed).toBeGreaterThan(60);
});
