import { describe, expect, test } from 'vitest';
import { readStatement } from '../../src/ingest/sql-fingerprint.ts';
import { readCorpus, readEntry } from './sql-corpus.ts';
import { byParser } from './sql-oracle.ts';

/** Statements of seventeen libraries and of hand: what each is expected to say stands above it in the file. */
const entries = readCorpus('sql-corpus.txt');

test('the corpus is large', () => {
  expect(entries.length).toBeGreaterThanOrEqual(150);
});

describe('what libraries write is read for what it says', () => {
  test.each(entries.map((entry) => ({ name: `${entry.origin}: ${entry.sql.slice(0, 120)}`, entry })))('$name', ({ entry }) => {
    expect(readEntry(entry)).toBe(entry.expected);
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
