import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readStatement } from '../../src/ingest/sql-fingerprint.ts';
import { mariadbAvailable } from '../servers/mariadb.ts';
import { type MariadbOracle, openMariadbOracle } from './mariadb-oracle.ts';
import { type Entry, readCorpus, readEntry } from './sql-corpus.ts';

const entries = readCorpus('sql-corpus-mysql.txt');
const named = (all: readonly Entry[]): readonly { readonly name: string; readonly entry: Entry }[] =>
  all.map((entry) => ({ name: `${entry.origin}: ${entry.sql.slice(0, 120)}`, entry }));

describe('statements of MySQL and MariaDB are read for what they say', () => {
  test.each(named(entries))('$name', ({ entry }) => {
    expect(readEntry(entry)).toBe(entry.expected);
  });
});

/** Placeholders as the row's key, which is there; text outside of quotes only. */
const bound = (sql: string): string =>
  sql.replaceAll(/'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*"|\?|%s|%\(\w+\)s|%%|@(?:p\d|__\w+)/g, (piece) =>
    piece === '%%' ? '%' : /^['"]/.test(piece) ? piece.replaceAll('%%', '%') : '1',
  );

/** The server's name for a command, as a verb. */
function verbOf(command: string): string {
  if (/^(?:insert|replace|load)/.test(command)) return 'insert';
  if (/^(?:delete|truncate)/.test(command)) return 'delete';
  if (command.startsWith('update')) return 'update';
  if (command === 'select') return 'select';
  if (command === 'begin' || command === 'xa_start') return 'begin';
  if (command === 'commit' || command === 'xa_commit') return 'commit';
  if (command === 'rollback' || command === 'xa_rollback') return 'rollback';
  return /^(?:create|alter|drop|rename)_/.test(command) ? 'ddl' : 'other';
}

const bare = (name: string): string => name.slice(name.lastIndexOf('.') + 1);
const UNREADABLE = 1064;
const DUPLICATE = 1062;

describe.skipIf(!mariadbAvailable)('a server of MariaDB says the same (mariadb)', () => {
  let oracle: MariadbOracle;
  beforeAll(async () => {
    oracle = await openMariadbOracle();
  });
  afterAll(() => oracle.close());

  test.each(named(entries.filter(({ origin }) => origin !== 'mysql8' && origin !== 'driver')))('$name', async ({ entry }) => {
    const { statement } = readStatement(entry.sql, 'mysql');
    const ran = await oracle.run(bound(entry.sql));
    expect(ran.error).not.toBe(UNREADABLE);
    const verbs = ran.commands.map(verbOf);
    // SET autocommit is counted as an option, EXPLAIN as what it explains.
    if (!/^(?:SET|EXPLAIN)\b/.test(entry.sql)) expect(verbs).toContain(statement.verb);
    if (statement.verb !== 'other' && statement.verb !== 'ddl') expect(statement.tables.map(bare).toSorted()).toEqual(ran.tables);
    if (['insert', 'update', 'delete'].includes(statement.verb)) {
      expect(ran.written).toContain(bare(statement.tables[0] ?? ''));
      // Several statements in one text may return rows of another one.
      if (verbs.length === 1) expect(statement.hasReturning).toBe(ran.returnsRows);
      if (statement.hasOnConflict) expect(ran.error).not.toBe(DUPLICATE);
    }
    if (statement.verb === 'select') expect(statement.isLocking).toBe(ran.locksRows);
  });

  test.each(named(entries.filter(({ origin, sql }) => origin === 'transaction' && !sql.startsWith('XA'))))('$name', async ({ entry }) => {
    const { verb } = readStatement(entry.sql, 'mysql').statement;
    if (verb !== 'other') expect(await oracle.begins(entry.sql)).toBe(verb === 'begin' || /AND CHAIN/.test(entry.sql));
    // A BEGIN commits what was open; as an end it is not seen.
    if (verb !== 'begin')
      expect(await oracle.ends(entry.sql)).toBe({ commit: 'committed', rollback: 'rolled back' }[verb as 'commit'] ?? 'open');
  });
  const filled = (
    frames: string,
    column: fc.Arbitrary<string>,
    value: fc.Arbitrary<string>,
  ): fc.Arbitrary<{ sql: string; column: string }> =>
    fc
      .tuple(fc.constantFrom(...frames.split(' ; ')), column, value)
      .map(([frame, name, text]) => ({ sql: frame.replaceAll('$C', () => name).replaceAll('$V', () => text), column: name }));
  const number = fc.constantFrom('a', 'b', '`a`', 'grid.b', '`grid`.`a`');
  const digits = fc.constantFrom('1', '2', '-1', "'1'", '0x31', '1.0');
  const word = fc.constantFrom(
    ...String.raw`'x' ; "y" ; 'it''s' ; "it\'s" ; 'it\'s' ; N'x' ; _utf8mb4'y' ; 'no # mark' ; '-- none'`.split(' ; '),
  );
  /** Conditions that bind the column, and some that bind none. */
  const plain = fc.oneof(
    { arbitrary: filled('$C = $V ; $V=$C ; ($C <=> $V) ; $C = /* or b = 7 */ ($V)', number, digits), weight: 3 },
    {
      arbitrary: filled('c = $V ; BINARY c=$V ; c COLLATE utf8mb4_bin = $V ; (\n-- it is\n(($V = c)))', fc.constant('c'), word),
      weight: 2,
    },
    fc
      .constantFrom('a < 3', 'b IS NOT NULL', 'a BETWEEN 1 AND 3', "c LIKE '%'", 'a IN (1, 2)', 'NOT a > 5')
      .map((sql) => ({ sql, column: '' })),
  );
  const nameOf = (column: string): string => column.replaceAll('`', '').replace('grid.', '');
  const conjunction = fc.tuple(fc.array(plain, { minLength: 1, maxLength: 5 }), fc.constantFrom(' AND ', ' && ', '\nand ', ' /*! AND */ '));

  test('columns that a condition binds are found, however it is written', async () => {
    await fc.assert(
      fc.asyncProperty(conjunction, async ([terms, and]) => {
        const condition = terms.map(({ sql }) => sql).join(and);
        const { statement } = readStatement(`SELECT a, b, c FROM grid WHERE ${condition}`, 'mysql');
        const expected = new Set(terms.map(({ column }) => nameOf(column)).filter((column) => column !== ''));
        expect(statement.keyColumns.toSorted()).toEqual([...expected].toSorted());
        // The server can read it, so the text is what it is meant to be.
        await oracle.contradicted(condition, 'a', '1');
      }),
      { numRuns: 100 },
    );
  });

  /** Conditions that look as if they bound a column and bind none, or another one. */
  const deceptive = filled(
    '$C + 1 = $V ; $C * 2 = $V ; $C % 2 = $V ; $C DIV 2 = $V ; $C MOD 2 = $V ; $C | 1 = $V ; - $C = $V ; !$C = $V ; ' +
      '$C = $V + 1 ; $C = $V--1 ; $C = $V DIV 2 ; $C = $V + b ; $C = $V IS FALSE ; $C = $V IS NOT TRUE ; $C = $V IN (0) ; ' +
      '$C = $V BETWEEN 0 AND 0 ; $C = $V = 0 ; $C = $V <> 1 ; $C = $V IS NULL ; $V + 1 = $C ; 2 BETWEEN 1 AND $C = $V ; ' +
      '($C, b) = ($V, 1) ; NOT ($C, b) = ($V, 1) ; (SELECT 1 WHERE $C = $V) IS NULL ; $C = b ; ' +
      'NOT EXISTS (SELECT 1 FROM grid g WHERE g.a = $V AND $C = 1)',
    number,
    digits,
  );
  const joint = fc.constantFrom('AND', '&&', 'and /* or */', 'AND # or\n', 'OR', 'XOR', '||');
  const frame = fc.constantFrom(
    ...(
      'NOT # ; NOT (#) ; NOT(#) ; !(#) ; (#) = 0 ; (#) = 1 ; (#) IS FALSE ; (#) IS NOT TRUE ; (#) <> 1 ; (#) IN (0) ; (#) + 1 = 1 ; 0 = (#) ; ' +
      'IF(#, 0, 1) ; IFNULL((#), 1) ; COALESCE(b > 5, #, 1) ; CASE WHEN # THEN 0 ELSE 1 END ; CASE (#) WHEN 0 THEN 1 END'
    ).split(' ; '),
  );
  const { condition } = fc.letrec<{ condition: string }>((tie) => ({
    condition: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      { arbitrary: fc.oneof({ arbitrary: plain, weight: 3 }, deceptive).map(({ sql }) => sql), weight: 3 },
      { arbitrary: fc.tuple(tie('condition'), joint, tie('condition')).map((parts) => parts.join(' ')), weight: 5 },
      { arbitrary: tie('condition').map((inner) => `(${inner})`), weight: 1 },
      { arbitrary: fc.tuple(frame, tie('condition')).map(([outer, inner]) => outer.replace('#', () => inner)), weight: 1 },
    ),
  }));

  test('what is claimed of a row holds for every row that the server finds', async () => {
    let claims = 0;
    await fc.assert(
      fc.asyncProperty(condition, async (sql) => {
        const { statement, key } = readStatement(`SELECT a, b, c FROM grid WHERE ${sql}`, 'mysql');
        const columns = statement.keyColumns.toSorted();
        const values = key.split('|');
        for (const [i, column] of columns.entries()) {
          // Two values of one column, or one that the text does not show: no single claim.
          const value = values.length === columns.length ? (values[i] as string) : '';
          if (value === '') continue;
          const { found, others } = await oracle.contradicted(sql, column, value.startsWith('0x') ? '1' : value);
          expect(others, `${column} = ${value} of ${sql}`).toBe(0);
          if (found > 0) claims += 1;
        }
        if (columns.length === 0) await oracle.contradicted(sql, 'a', '1');
      }),
      { numRuns: 1500 },
    );
    expect(claims).toBeGreaterThan(50);
  });
});
