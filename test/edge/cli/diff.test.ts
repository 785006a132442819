import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config.ts';
import { registerDiff } from '../../../src/edge/cli/diff.ts';
import { type CliContext, createProgram, runProgram } from '../../../src/edge/cli/program.ts';
import { mariadbAvailable, startMariadb } from '../../servers/mariadb.ts';
import { startPostgres } from '../../servers/postgres.ts';
import { redisAvailable, startRedis } from '../../servers/redis.ts';

const folder = mkdtempSync(join(tmpdir(), 'diff-'));
let server: Awaited<ReturnType<typeof startPostgres>>;
const urls: Record<string, string> = {};
const clients: Record<string, pg.Client> = {};
const closing: (() => Promise<unknown>)[] = [];

/** Collection -> its configuration beneath `domain`, with URLs put in for $eu and $us. */
const declared = new Map<string, string>();

beforeAll(async () => {
  server = await startPostgres();
  for (const name of ['eu', 'us']) {
    urls[name] = await server.createDatabase(name);
    const client = new pg.Client(urls[name]);
    await client.connect();
    clients[name] = client;
  }
}, 60_000);
afterAll(async () => {
  for (const close of closing) await close();
  for (const client of Object.values(clients)) await client.end();
  await server.close();
  rmSync(folder, { recursive: true });
});

async function sql(where: 'eu' | 'us' | 'both', ...statements: readonly string[]): Promise<void> {
  for (const name of where === 'both' ? ['eu', 'us'] : [where]) for (const statement of statements) await clients[name]?.query(statement);
}

function declare(collection: string, rest: string): void {
  declared.set(collection, rest.replaceAll('$eu', urls['eu'] ?? '').replaceAll('$us', urls['us'] ?? ''));
}

const table = (key: string, name: string, more = ''): string =>
  `    key: [${key}]\n    replicas:\n      eu: { url: $eu, table: '${name}' }\n      us: { url: $us, table: '${name}' }\n${more}`;

async function diff(...args: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const text = [...declared].map(([name, rest]) => `  ${name}:\n    domain: d\n${rest}`).join('\n');
  writeFileSync(join(folder, 'homeostat.yaml'), `domains:\n  d: { consistency: eventual, stalenessMs: 100 }\ncollections:\n${text}\n`);
  const written = { code: 0, out: '', err: '' };
  const context: CliContext = {
    out: (line) => {
      written.out += `${line}\n`;
    },
    err: (line) => {
      written.err += `${line}\n`;
    },
    isTty: false,
    cwd: folder,
    env: {},
    signal: AbortSignal.timeout(60_000),
    exit: (code) => {
      written.code = code;
    },
    loadConfig: (path) => loadConfig(path ?? join(folder, 'homeostat.yaml'), {}),
  };
  await runProgram(createProgram(context, [registerDiff], '0'), context, ['diff', ...args]);
  return written;
}

const json = (out: string): readonly Record<string, unknown>[] =>
  out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('homeostat diff', () => {
  test('says the verdict first and exits 0 where replicas are equal, 1 where they differ', async () => {
    await sql(
      'both',
      'CREATE TABLE plain (id int PRIMARY KEY, v text)',
      `INSERT INTO plain SELECT i, 'v' || i FROM generate_series(1, 50) i`,
    );
    declare('plain', table('id', 'plain'));
    const equal = await diff('plain');
    expect(equal).toMatchObject({ code: 0, err: '' });
    expect(equal.out).toMatch(/^plain: eu and us are equal\. 100 rows scanned, /);
    await sql(
      'us',
      `UPDATE plain SET v = '' WHERE id = 7`,
      'DELETE FROM plain WHERE id = 9',
      `INSERT INTO plain VALUES (99, E'a\\u001b[2J')`,
    );
    const differs = await diff('plain');
    expect(differs.code).toBe(1);
    const [sentence, ...rows] = differs.out.trim().split('\n');
    expect(sentence).toMatch(/^plain: 3 keys differ among eu and us \(1 different; .*1 missing, not on us/);
    expect(rows.join('\n')).toContain('id "7": different in v\n  eu  v="v7"\n  us  v=""');
    expect(differs.out).not.toContain('\u001b');
    const lines = json((await diff('plain', '--json')).out);
    expect(lines.slice(0, -1).toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))).toMatchObject([
      { key: { id: '7' }, is: 'different', replicas: { eu: { id: '7', v: 'v7' }, us: { id: '7', v: '' } }, columns: ['v'] },
      { key: { id: '9' }, is: 'missing', replicas: { us: null }, columns: [] },
      { key: { id: '99' }, is: 'extra', replicas: { eu: null } },
    ]);
    expect(lines.at(-1)).toMatchObject({
      summary: { differing: 3, rowsScanned: 100, rowsFetched: expect.any(Number), rounds: expect.any(Number) },
    });
  });

  test.each<readonly [what: string, setUp: () => Promise<void>, args: readonly string[], says: RegExp]>([
    ['an unknown collection', () => Promise.resolve(), ['nothing'], /There is no collection nothing: the configuration has .*plain/],
    ['an unknown replica', () => Promise.resolve(), ['plain', '--replicas', 'eu,mars'], /plain has no replica mars: it has eu, us/],
    ['one replica', () => Promise.resolve(), ['plain', '--replicas', 'eu'], /Comparing takes two replicas/],
    ['nothing to resume', () => Promise.resolve(), ['plain', '--resume'], /run it without --resume/],
    [
      'a table that one replica lacks',
      async () => {
        await sql('eu', 'CREATE TABLE half (id int PRIMARY KEY)');
        declare('half', table('id', 'half'));
      },
      ['half'],
      /There is no table half on replica us of half: create it, or correct table/,
    ],
    [
      'a replica that is down',
      () => {
        declare('down', table('id', 'plain').replace('$us', 'postgres://127.0.0.1:1/x'));
        return Promise.resolve();
      },
      ['down'],
      /Replica us of down cannot be reached \(connection refused\)/,
    ],
    [
      'a column that one replica lacks',
      async () => {
        await sql('eu', 'CREATE TABLE wider (id int PRIMARY KEY, v text, extra text)');
        await sql('us', 'CREATE TABLE wider (id int PRIMARY KEY, v text)');
        declare('wider', table('id', 'wider'));
      },
      ['wider'],
      /Column extra of wider is on eu but not on us: .*columns\.extra\.compare: false/,
    ],
    [
      'types without one exact meaning',
      async () => {
        await sql('eu', 'CREATE TABLE typed (id int PRIMARY KEY, v float8)');
        await sql('us', 'CREATE TABLE typed (id int PRIMARY KEY, v numeric)');
        declare('typed', table('id', 'typed'));
      },
      ['typed'],
      /Column v of typed cannot be compared exactly \(.*double precision on eu, numeric on us.*columns\.v\.compare: false/,
    ],
    [
      'no primary key',
      async () => {
        await sql('both', 'CREATE TABLE heap (id int, v text)');
        declare('heap', table('id', 'heap'));
      },
      ['heap'],
      /Table heap on replica .. of heap has no primary key or unique constraint on \(id\)/,
    ],
    [
      'a unique key that may be NULL',
      async () => {
        await sql('both', 'CREATE TABLE loose (id int UNIQUE, v text)');
        declare('loose', table('id', 'loose'));
      },
      ['loose'],
      /lets the key \(id\) be NULL/,
    ],
    [
      'a view',
      async () => {
        await sql('both', 'CREATE VIEW plain_view AS SELECT * FROM plain');
        declare('viewed', table('id', 'plain_view'));
      },
      ['viewed'],
      /plain_view on replica .. of viewed has no primary key/,
    ],
    [
      'a server that ends every statement',
      async () => {
        await sql('us', `CREATE ROLE hurried LOGIN SUPERUSER PASSWORD 'h'`, 'ALTER ROLE hurried SET statement_timeout = 40');
        await sql(
          'both',
          'CREATE TABLE slow (id int PRIMARY KEY, v text)',
          `INSERT INTO slow SELECT i, repeat('x', 900) FROM generate_series(1, 300000) i`,
        );
        const hurried = new URL(urls['us'] ?? '');
        hurried.username = 'hurried';
        hurried.password = 'h';
        declare('slow', table('id', 'slow').replace('$us', hurried.href));
      },
      ['slow'],
      /Replica us of slow ends statements that take longer than it allows: raise statement_timeout/,
    ],
    [
      'a type that cannot be compared',
      async () => {
        await sql('both', 'CREATE TYPE pair AS (a int, b int)', 'CREATE TABLE composed (id int PRIMARY KEY, p pair)');
        declare('composed', table('id', 'composed'));
      },
      ['composed'],
      /Column p of replica .. of composed has type pair, which cannot be compared exactly: set columns\.p\.compare: false/,
    ],
  ])('exits 2 with one sentence for %s', async (_what, setUp, args, says) => {
    await setUp();
    const result = await diff(...args);
    expect(result.err).toMatch(says);
    expect(result.err.trim().split('\n')).toHaveLength(1);
    expect(result).toMatchObject({ code: 2, out: '' });
    declared.delete(args[0] ?? '');
    if (!declared.has('plain')) declare('plain', table('id', 'plain'));
  });

  test('takes names that must be quoted, schemas, mapped and excluded columns, generated ones and partitions', async () => {
    await sql(
      'both',
      'CREATE SCHEMA "Odd Schema"',
      'CREATE TABLE "Odd Schema"."select" ("Order" int, "a b" text, w text, g int GENERATED ALWAYS AS ("Order" * 2) STORED, PRIMARY KEY ("Order")) PARTITION BY RANGE ("Order")',
      'CREATE TABLE "Odd Schema".p1 PARTITION OF "Odd Schema"."select" FOR VALUES FROM (0) TO (10)',
      'CREATE TABLE "Odd Schema".p2 PARTITION OF "Odd Schema"."select" FOR VALUES FROM (10) TO (1000)',
      `INSERT INTO "Odd Schema"."select" SELECT i, 'x', 'w' FROM generate_series(1, 40) i`,
    );
    await sql(
      'us',
      `UPDATE "Odd Schema"."select" SET "a b" = 'y', w = 'left out' WHERE "Order" IN (3, 30)`,
      `UPDATE "Odd Schema"."select" SET w = 'left out'`,
    );
    const mapped = `columns: { order: Order, note: a b }`;
    declare(
      'odd',
      `    key: [order]\n    columns: { w: { compare: false } }\n    replicas:\n      eu: { url: $eu, table: Odd Schema.select, ${mapped} }\n      us: { url: $us, table: Odd Schema.select, ${mapped} }\n`,
    );
    const result = await diff('odd', '--json');
    expect(result.err).toBe('');
    const lines = json(result.out);
    expect(lines.map((line) => [line['key'], line['columns']]).slice(0, -1)).toEqual([
      [{ order: '3' }, ['note']],
      [{ order: '30' }, ['note']],
    ]);
    expect(lines.at(-1)).toMatchObject({ summary: { columns: ['order', 'g', 'note'] } });
  });

  test('compares texts by their characters, whatever the collations say', async () => {
    await sql('eu', `CREATE COLLATION IF NOT EXISTS blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`);
    await sql(
      'eu',
      'CREATE TABLE collated (id text COLLATE blind PRIMARY KEY, v text COLLATE blind)',
      `INSERT INTO collated VALUES ('A', 'x'), ('b', 'y')`,
    );
    await sql('us', 'CREATE TABLE collated (id text PRIMARY KEY, v text)', `INSERT INTO collated VALUES ('a', 'x'), ('b', 'Y')`);
    declare('collated', table('id', 'collated'));
    const lines = json((await diff('collated', '--json')).out);
    expect(lines.slice(0, -1).map((line) => [line['key'], line['is']])).toEqual([
      [{ id: 'A' }, 'missing'],
      [{ id: 'a' }, 'extra'],
      [{ id: 'b' }, 'different'],
    ]);
  });

  test('finds rows by keys that are long, composite or binary', async () => {
    await sql(
      'both',
      'CREATE TABLE keys (a text, b bytea, c uuid, d timestamptz, PRIMARY KEY (a, b, c, d))',
      `INSERT INTO keys SELECT repeat('ключ', 100) || i, decode(md5(i::text), 'hex'), md5(i::text)::uuid, '2026-01-01Z'::timestamptz + i * interval '1 us' FROM generate_series(1, 60) i`,
    );
    await sql('us', `DELETE FROM keys WHERE b = decode(md5('17'), 'hex')`);
    declare('keys', table('a, b, c, d', 'keys'));
    const lines = json((await diff('keys', '--json')).out);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatchObject({ is: 'missing', key: { d: '2026-01-01 00:00:00.000017+00', b: '70efdf2ec9b086079795c442636b55fb' } });
  });

  test('goes by chunks, keeps how far it has come, and goes on from there', async () => {
    await sql(
      'both',
      'CREATE TABLE long (id int PRIMARY KEY, v text)',
      `INSERT INTO long SELECT i, 'v' FROM generate_series(1, 60000) i`,
      'ANALYZE long',
    );
    await sql('us', `UPDATE long SET v = 'w' WHERE id IN (5, 25000, 45000)`);
    declare('long', table('id', 'long'));
    const whole = json((await diff('long', '--json', '--chunk-rows', '20000')).out);
    const ids = (lines: readonly Record<string, unknown>[]): readonly unknown[] =>
      lines.slice(0, -1).map((line) => (line['key'] as { id: string }).id);
    expect(ids(whole)).toEqual(['5', '25000', '45000']);
    const file = join(folder, '.homeostat', 'diff-long.json');
    expect(existsSync(file), 'a comparison that is done leaves nothing to resume').toBe(false);
    // As a run leaves it that was killed in its second chunk.
    const checkpoint = { key: ['id'], replicas: ['eu', 'us'], after: { id: '20000' }, rowsDone: 20_000, differing: 1 };
    writeFileSync(file, JSON.stringify(checkpoint));
    const rest = json((await diff('long', '--json', '--resume', '--chunk-rows', '20000')).out);
    expect(ids(rest)).toEqual(['25000', '45000']);
    expect(rest.at(-1)).toMatchObject({ summary: { differing: 3, rowsScanned: 80_000 } });
    writeFileSync(file, JSON.stringify({ ...checkpoint, replicas: ['eu', 'ap'] }));
    expect((await diff('long', '--resume')).err).toMatch(/of other replicas/);
    rmSync(file);
  });

  test.skipIf(!mariadbAvailable || !redisAvailable)('compares PostgreSQL, MariaDB and a Redis cache in one collection', async () => {
    const [mariadb, redis] = [await startMariadb(), await startRedis()];
    closing.push(
      () => mariadb.close(),
      () => redis.close(),
    );
    const client = await mysql.createConnection({ uri: mariadb.url });
    await client.query(
      'CREATE TABLE mixed (id bigint unsigned PRIMARY KEY, name varchar(40) CHARACTER SET utf8mb4, price decimal(12,4), ok boolean, at datetime(6))',
    );
    await client.query(
      `INSERT INTO mixed VALUES (1, 'é', 1.5000, 1, '2026-01-02 03:04:05.6'), (2, 'b', -2, 0, NULL), (3, 'c ', 0, 1, NULL)`,
    );
    await client.end();
    await sql('eu', 'CREATE TABLE mixed (id bigint PRIMARY KEY, name text, price numeric(12,2), ok boolean, at timestamptz)');
    await sql(
      'eu',
      `INSERT INTO mixed VALUES (1, 'é', 1.5, true, '2026-01-02 03:04:05.6Z'), (2, 'b', 2, false, NULL), (3, 'c', 0, true, NULL)`,
    );
    const cache = new Redis(redis.url);
    await cache.set('mixed:1', JSON.stringify({ id: 1, name: 'é', price: '1.50', ok: true, at: '2026-01-02T03:04:05.600Z' }));
    await cache.set('mixed:3', JSON.stringify({ id: 3, name: 'stale', price: 0, ok: true, at: null }));
    cache.disconnect();
    declare(
      'mixed',
      `    key: [id]\n    authority: eu\n    replicas:\n      eu: { url: $eu, role: leader }\n      my: { url: ${mariadb.url} }\n      cache: { url: ${redis.url}, key: "mixed:{id}", value: json, role: cache }\n`,
    );
    const result = await diff('mixed', '--json');
    expect(result.err).toBe('');
    const lines = json(result.out).slice(0, -1);
    expect(lines.map((line) => [line['key'], line['is'], line['columns']])).toEqual([
      [{ id: '2' }, 'different', ['price']],
      [{ id: '3' }, 'different', ['name']],
    ]);
  });
});
