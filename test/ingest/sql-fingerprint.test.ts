import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Statement } from '../../src/domain/operation.ts';
import { readStatement, StatementCache } from '../../src/ingest/sql-fingerprint.ts';
import { byParser } from './sql-oracle.ts';

type Says = Partial<Statement> & { readonly key?: string; readonly keyParameters?: readonly number[] };

/** What texts say. Only what is named is compared. */
const examples: readonly (readonly [string, Says, ('ansi' | 'mysql' | 'mssql')?])[] = [
  [
    'SELECT * FROM accounts WHERE id = $1 FOR UPDATE',
    { verb: 'select', tables: ['accounts'], keyColumns: ['id'], isLocking: true, keyParameters: [0] },
  ],
  ['SELECT a FROM t WHERE id = 7 FOR NO KEY UPDATE SKIP LOCKED', { isLocking: true, key: '7' }],
  ['SELECT a FROM t WHERE id = 7 LOCK IN SHARE MODE', { isLocking: true }, 'mysql'],
  [
    'SELECT [Id] FROM [dbo].[Users] WITH (UPDLOCK) WHERE [Id] = @p0',
    { tables: ['dbo.users'], keyColumns: ['id'], isLocking: true },
    'mssql',
  ],
  [
    'UPDATE accounts SET balance = balance - $1, updated_at = now() WHERE id = $2',
    { verb: 'update', isRelativeUpdate: true, hasVersionPredicate: false, keyParameters: [1] },
  ],
  ['UPDATE accounts SET balance = $1, version = version + 1 WHERE id = $2', { isRelativeUpdate: false, hasVersionPredicate: false }],
  [
    'UPDATE accounts SET balance = $1, version = version + 1 WHERE id = $2 AND version = $3',
    { isRelativeUpdate: false, hasVersionPredicate: true, keyColumns: ['id', 'version'], keyParameters: [1] },
  ],
  ['UPDATE stock SET n = ? WHERE id = ? AND n >= ?', { hasVersionPredicate: true, keyColumns: ['id'] }],
  ["UPDATE `orders` SET `status`=? WHERE `id`=17 AND status='NEW'", { tables: ['orders'], key: '17', hasVersionPredicate: true }, 'mysql'],
  ['UPDATE t SET tags = array_append(tags, $1) WHERE id = $2', { isRelativeUpdate: true }],
  [
    'INSERT INTO c (id, n) VALUES (?, 1) ON DUPLICATE KEY UPDATE n = n + 1',
    { verb: 'insert', hasOnConflict: true, isRelativeUpdate: true },
    'mysql',
  ],
  ['INSERT INTO c (id, n) VALUES (?, 1) ON DUPLICATE KEY UPDATE n = VALUES(n)', { hasOnConflict: true, isRelativeUpdate: false }, 'mysql'],
  [
    "INSERT INTO public.orders (total, id) VALUES (3, 'a-1') ON CONFLICT (id) DO UPDATE SET total = excluded.total RETURNING id",
    { tables: ['public.orders'], key: 'a-1', hasOnConflict: true, hasReturning: true, isRelativeUpdate: false },
  ],
  ['INSERT INTO t (id) VALUES (1), (2)', { key: '', keyParameters: [] }],
  // The database makes the key: the first value is another thing's.
  ['INSERT INTO orders (customer_id, status) VALUES ($1, $2) RETURNING id', { key: '', keyParameters: [] }],
  ['INSERT INTO shop.orders (total, order_id) VALUES ($1, $2)', { keyParameters: [1] }],
  ['INSERT INTO categories (name, category_id) VALUES ($1, $2)', { keyParameters: [1] }],
  ['INSERT INTO stock (n, sku) VALUES ($1, $2) ON CONFLICT (sku) DO NOTHING', { keyParameters: [1] }],
  ['INSERT INTO t VALUES ($1, $2)', { keyParameters: [0] }],
  ['SELECT * FROM t WHERE id = 1 OR id = 2', { keyColumns: [], key: '' }],
  ["SELECT * FROM t WHERE id = 1 AND (a = 'x' OR a = 'y')", { keyColumns: ['id'], key: '1' }],
  ['UPDATE t SET version=%(v)s WHERE id=%(id)s AND version=%(old)s', { keyColumns: ['id', 'version'], hasVersionPredicate: true }],
  ['MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET n = s.n', { isRelativeUpdate: false }],
  ['REPLACE INTO t (id) VALUES (1)', { verb: 'insert', hasOnConflict: true, key: '1' }, 'mysql'],
  ['INSERT INTO t (a) SELECT a FROM s WHERE z = 1', { tables: ['t', 's'] }],
  ["DELETE FROM a USING b WHERE a.id = b.id AND a.k = 'x;y--'", { verb: 'delete', tables: ['a', 'b'], keyColumns: ['k'], key: 'x;y--' }],
  [
    'MERGE INTO stock AS s USING new n ON s.id = n.id WHEN MATCHED THEN UPDATE SET q = s.q + n.q WHEN NOT MATCHED THEN INSERT VALUES (n.id, n.q)',
    { verb: 'merge', tables: ['stock', 'new'], isRelativeUpdate: true },
  ],
  [
    "WITH x AS (SELECT id FROM q WHERE a = 1 FOR UPDATE SKIP LOCKED LIMIT 1) UPDATE jobs j SET state = 'run' FROM x WHERE j.id = x.id RETURNING j.*",
    { verb: 'update', tables: ['jobs', 'q'], isLocking: true, hasReturning: true },
  ],
  ['WITH gone AS (DELETE FROM q WHERE id = $1 RETURNING *) SELECT * FROM gone', { verb: 'delete', tables: ['q'], keyColumns: ['id'] }],
  [
    'SELECT o.id FROM orders o LEFT JOIN lines l ON l.order_id = o.id, generate_series(1, 3) g, (SELECT 1 FROM sub) s WHERE o.id IN (?, ?, ?) AND extract(year FROM o.at) = 2020',
    { tables: ['orders', 'lines', 'sub'], keyColumns: [] },
  ],
  ['SELECT 1 FROM t WHERE a IS NOT DISTINCT FROM $1', { tables: ['t'], keyColumns: ['a'] }],
  ['update t set a = 1 where (tenant, id) = ($1, $2)', { keyColumns: ['tenant', 'id'], keyParameters: [1] }],
  ['SELECT "Order"."id" FROM "Order" WHERE "Order"."customer_id" = 5', { tables: ['order'], keyColumns: ['customer_id'], key: '5' }],
  ["SELECT * FROM t WHERE a = 'it''s' -- AND b = 1\n AND c = E'\\'x'", { keyColumns: ['a', 'c'] }],
  ['/* traceparent=1 */ SELECT 1 /* nested /* comment */ from nowhere */', { verb: 'select', tables: [], fingerprint: 'select ?' }],
  ['SELECT $tag$ FROM a $tag$ FROM b', { tables: ['b'] }],
  ['SELECT * FROM t WHERE doc @> ? AND tags ?| array[1]', { tables: ['t'] }],
  ['SELECT * FROM t WHERE id = "x" # comment = 1', { keyColumns: ['id'], key: 'x' }, 'mysql'],
  ['BEGIN', { verb: 'begin' }],
  ['START TRANSACTION ISOLATION LEVEL SERIALIZABLE', { verb: 'begin' }],
  ['COMMIT', { verb: 'commit' }],
  ['ROLLBACK', { verb: 'rollback' }],
  ['ROLLBACK TO SAVEPOINT s1', { verb: 'other' }],
  ['SAVEPOINT s1', { verb: 'other' }],
  ["PREPARE TRANSACTION 'x'", { verb: 'other', fingerprint: 'prepare transaction ?' }],
  ['BEGIN; UPDATE t SET a = 1 WHERE id = 5; COMMIT', { verb: 'update', tables: ['t'], key: '5' }],
  ['TRUNCATE TABLE a, b', { verb: 'delete', tables: ['a', 'b'] }],
  ['CREATE TABLE IF NOT EXISTS x.y (id int REFERENCES z(id))', { verb: 'ddl', tables: ['x.y'] }],
  ["INSERT INTO orders SET status = 'new', id = 17", { verb: 'insert', key: '17' }, 'mysql'],
  ['INSERT INTO c SET id = ?, n = 5 ON DUPLICATE KEY UPDATE n = 6', { keyParameters: [0], isRelativeUpdate: false }, 'mysql'],
  ['SELECT * FROM t WHERE id = 5 + 1', { keyColumns: [], key: '' }],
  ['SELECT * FROM t WHERE -3 = id', { keyColumns: ['id'], key: '-3' }],
  ["SELECT * FROM t WHERE doc->>'a' = status", { keyColumns: [] }],
  ["SELECT * FROM t WHERE a = 'it\\'s\\n'", { key: "it's\n" }, 'mysql'],
  ['SELECT * FROM a JOIN b ON a.id = b.id, c LEFT JOIN (d CROSS JOIN e) ON true, f', { tables: ['a', 'b', 'c', 'd', 'e', 'f'] }],
  ['UPDATE o SET o.status = 1 FROM orders o JOIN lines l ON l.order_id = o.id', { tables: ['orders', 'lines'] }, 'mssql'],
  ['INSERT INTO t (a, b) VALUES (1, 2), (?, ?), (5, 6)', { fingerprint: 'insert into t (a, b) values (?)' }],
  ['CREATE PROCEDURE p() BEGIN DELETE FROM t; UPDATE u SET a = 1; END', { verb: 'ddl', tables: [] }, 'mysql'],
  ['SET @@GLOBAL.autocommit = 0', { verb: 'other' }, 'mysql'],
  ['SET autocommit = ?', { verb: 'other' }, 'mysql'],
  ['SELECT * FROM orders WHERE id IN (1, 2, 3)', { fingerprint: 'select * from orders where id in (?)' }],
  ['', { verb: 'other', tables: [] }],
  ["SELECT * FROM t WHERE a = 'cut o", { verb: 'select', tables: ['t'] }],
];

describe('readStatement', () => {
  test.each(examples.map(([sql, says, dialect]) => ({ sql, says, dialect })))('$sql', ({ sql, says, dialect }) => {
    const read = readStatement(sql, dialect ?? 'ansi');
    expect({ ...read.statement, key: read.key, keyParameters: read.keyParameters }).toMatchObject(says);
  });

  test('agrees with pgsql-ast-parser on verb, tables and key columns of what both can read', () => {
    const name = fc.constantFrom('orders', 'public.accounts', '"Line Items"', 'stock', 's1.t_2');
    const column = fc.constantFrom('id', 'customer_id', '"Total"', 'version', 'status');
    const value = fc.constantFrom('$1', '5', "'x'", "'it''s'", '-3', '1.5');
    const predicate = fc.array(
      fc.oneof(
        fc.tuple(column, value).map(([left, right]) => `${left} = ${right}`),
        fc.tuple(column, value).map(([left, right]) => `(${right} = ${left})`),
        fc.tuple(column, value).map(([left, right]) => `${left} > ${right}`),
        fc.tuple(column, name).map(([left, table]) => `${left} in (select id from ${table} where ghost = 1)`),
        fc.tuple(column, value).map(([left, right]) => `lower(${left}) = ${right}`),
      ),
      { minLength: 1, maxLength: 4 },
    );
    const where = fc.tuple(predicate, fc.constantFrom(' AND ', ' and ')).map(([parts, and]) => parts.join(and));
    const statement = fc.oneof(
      fc.tuple(name, where).map(([table, condition]) => `SELECT * FROM ${table} WHERE ${condition} ORDER BY 1 LIMIT 5`),
      fc
        .tuple(name, name, where)
        .map(([a, b, condition]) => `SELECT a.id FROM ${a} a LEFT JOIN ${b} AS b ON a.id = b.id WHERE ${condition}`),
      fc.tuple(name, name, where).map(([a, b, condition]) => `WITH c AS (SELECT id FROM ${a}) SELECT * FROM c, ${b} WHERE ${condition}`),
      fc
        .tuple(name, column, value, where)
        .map(([table, set, to, condition]) => `UPDATE ${table} SET ${set} = ${to} WHERE ${condition} RETURNING id`),
      fc.tuple(name, where).map(([table, condition]) => `DELETE FROM ${table} WHERE ${condition}`),
      fc.tuple(name, column, value).map(([table, into, item]) => `INSERT INTO ${table} (${into}) VALUES (${item})`),
    );
    fc.assert(
      fc.property(statement, (sql) => {
        const expected = byParser(sql);
        const { statement: read } = readStatement(sql, 'ansi');
        expect({ verb: read.verb, tables: read.tables.toSorted(), keyColumns: read.keyColumns.toSorted() }).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  test('I7: any text at all is read in bounded time without a crash', () => {
    const piece = fc.constantFrom(
      'select',
      ' from ',
      'where ',
      '(',
      ')',
      "'",
      '"',
      '`',
      '$1',
      '$$',
      '--',
      '/*',
      '*/',
      ',',
      ';',
      ' = ',
      'with ',
      ' as ',
      'update ',
      'set ',
      '?',
      '@',
      '[',
      ']',
      '.',
      ' t ',
      ' 5 ',
      '\n',
      'on conflict',
      'values',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(piece, { maxLength: 60 }).map((parts) => parts.join('')),
          fc.string({ unit: 'binary', maxLength: 200 }),
        ),
        fc.constantFrom('ansi' as const, 'mysql' as const, 'mssql' as const),
        (sql, dialect) => {
          expect(readStatement(sql, dialect).statement.fingerprint.length).toBeLessThanOrEqual(2048);
        },
      ),
      { numRuns: 2000 },
    );
    const deep = `SELECT * FROM t WHERE ${'('.repeat(20_000)}a = 1`;
    const wide = `INSERT INTO t (a) VALUES ${Array.from({ length: 100_000 }, () => '(1)').join(',')}`;
    const from = performance.now();
    for (const sql of [deep, wide, `WITH ${'a AS ('.repeat(5000)}`, '/*'.repeat(20_000), "'".repeat(30_000)]) readStatement(sql, 'ansi');
    expect(performance.now() - from).toBeLessThan(5_000);
  });
});

test('the cache gives the same object for the same text, and is bounded', () => {
  const cache = new StatementCache(10);
  const first = cache.read('SELECT 1 FROM t', 'postgresql');
  expect(cache.read('SELECT 1 FROM t', 'postgresql')).toBe(first);
  for (let i = 0; i < 100; i += 1) cache.read(`SELECT ${i} FROM t`, 'postgresql');
  expect(cache.read('SELECT 1 FROM t', 'postgresql')).not.toBe(first);
});
