import { context, trace, type Tracer } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ConsistencySpanProcessor, pgHooks, redisHooks, withConsistency, wrapPg, wrapRedis } from '../../src/instrument/instrument.mjs';
import { startPostgres, type TestPostgres } from '../servers/postgres.ts';
import { redisAvailable, startRedis, type TestRedis } from '../servers/redis.ts';

/** The wrappers on real drivers and servers: what spans say afterwards. */
const exporter = new InMemorySpanExporter();
const provider = new TracerProvider({
  spanProcessors: [
    new ConsistencySpanProcessor({ replicas: { 'db-eu:5432': { id: 'eu', role: 'leader' }, cache: { id: 'cache' } } }),
    new SimpleSpanProcessor({ exporter }),
  ],
});
let tracer: Tracer;
beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  tracer = provider.getTracer('test');
});
beforeEach(() => exporter.reset());
afterAll(async () => {
  context.disable();
  trace.disable();
  await provider.shutdown();
});

type Said = Record<string, unknown>;
const short = (attributes: Readonly<Record<string, unknown>>): Said =>
  Object.fromEntries(
    Object.entries(attributes)
      .filter(([name]) => name.startsWith('consistency.'))
      .map(([name, value]) => [name.replace('consistency.', ''), value]),
  );

/** Events that a piece of work left on its span. Ids of transactions become t1, t2 ... in the order in which they come. */
async function eventsOf(work: () => Promise<unknown>): Promise<readonly Said[]> {
  await tracer.startActiveSpan('unit', async (span) => {
    await work();
    span.end();
  });
  const ids = new Map<unknown, string>();
  return (exporter.getFinishedSpans().at(-1)?.events ?? []).map((event) => {
    expect(event.name).toBe('consistency.operation');
    const said = short(event.attributes ?? {});
    const id = said['transaction.id'];
    if (!ids.has(id)) ids.set(id, `t${ids.size + 1}`);
    return { ...said, 'transaction.id': ids.get(id) };
  });
}

const account = (operation: string, key: string, more: Said): Said => ({ 'object.type': 'account', 'object.key': key, operation, ...more });

describe('wrapPg', () => {
  let server: TestPostgres;
  let pool: pg.Pool;
  const tables = { accounts: { type: 'account', key: 'id', version: 'version' } };
  beforeAll(async () => {
    server = await startPostgres();
    pool = wrapPg(new pg.Pool({ connectionString: await server.createDatabase('wrapped'), max: 3 }), tables);
    await pool.query('create table accounts (id text primary key, balance int not null, version int not null default 1)');
  });
  afterAll(async () => {
    await pool.end();
    await server.close();
  });
  beforeEach(async () => {
    await pool.query("delete from accounts where true; insert into accounts values ('a', 100, 1), ('b', 50, 4)");
    exporter.reset();
  });

  test('statements by themselves: promises, callbacks, parameters in an object', async () => {
    const events = await eventsOf(async () => {
      await pool.query('select balance, version from accounts where id = $1', ['a']);
      await pool.query({
        text: 'update accounts set balance = $1, version = version + 1 where id = $2 and version = $3',
        values: [90, 'a', 1],
      });
      await new Promise<void>((resolve, reject) =>
        pool.query("delete from accounts where id = 'b' and version = $1", [4], (error) => (error ? reject(error) : resolve())),
      );
      await pool.query('select balance, version from accounts where id = $1', ['gone']);
      await pool.query('update accounts set balance = 0 where id = $1 and version = $2', ['a', 1]);
    });
    expect(events).toEqual([
      account('read', 'a', { version: 1, 'transaction.id': 't1' }),
      account('write', 'a', { 'version.base': 1, version: 2, 'transaction.id': 't2' }),
      account('delete', 'b', { 'version.base': 4, 'transaction.id': 't3' }),
      account('read', 'gone', { version: '', 'transaction.id': 't4' }),
      // The last write matched nothing: it says nothing.
    ]);
  });

  test.each<[string, (client: pg.PoolClient) => Promise<unknown>, string]>([
    ['COMMIT', (client) => client.query('COMMIT'), 'committed'],
    ['ROLLBACK', (client) => client.query('ROLLBACK'), 'aborted'],
    [
      'COMMIT of a failed transaction, which PostgreSQL answers with ROLLBACK',
      async (client) => {
        await expect(client.query('select * from nowhere')).rejects.toThrow();
        await client.query('COMMIT');
      },
      'aborted',
    ],
  ])('writes of a transaction are said when it ends: %s', async (_, end, outcome) => {
    const events = await eventsOf(async () => {
      const client = await pool.connect();
      await client.query('BEGIN');
      await client.query('select version from accounts where id = $1 for update', ['a']);
      await client.query('update accounts set balance = balance - 1, version = version + 1 where id = $1 returning version', ['a']);
      await client.query("insert into accounts (id, balance) values ('c', 1) returning version");
      await end(client);
      client.release();
    });
    const transaction = { 'transaction.id': 't1', 'transaction.outcome': outcome };
    expect(events).toEqual([
      account('read', 'a', { version: 1, 'transaction.id': 't1' }),
      account('write', 'a', { version: 2, ...transaction }),
      account('write', 'c', { 'version.base': '', version: 1, ...transaction }),
    ]);
  });

  test('a transaction that goes back to a savepoint claims nothing', async () => {
    const events = await eventsOf(async () => {
      const client = await pool.connect();
      await client.query('BEGIN');
      await client.query('SAVEPOINT s');
      await client.query("update accounts set balance = 1 where id = 'a' returning version");
      await client.query('ROLLBACK TO SAVEPOINT s');
      await client.query('COMMIT');
      client.release();
    });
    expect(events).toEqual([]);
  });
});

describe('pgHooks in a transaction', () => {
  const hooks = pgHooks({ accounts: { type: 'account', key: 'id', version: 'version', baseFromRead: true } });
  interface Statement {
    readonly text: string;
    readonly values?: unknown[];
    readonly command?: string;
    readonly rows?: unknown[];
  }
  const run = (...statements: Statement[]): readonly { readonly said: Said; readonly events: readonly Said[] }[] => {
    tracer.startActiveSpan('unit', (unit) => {
      for (const { text, values, command, rows } of statements) {
        const span = tracer.startSpan('pg.query');
        hooks.requestHook(span, { query: { text, ...(values === undefined ? {} : { values }) } });
        if (command !== undefined) hooks.responseHook(span, { data: { command, rows: rows ?? [], rowCount: rows?.length ?? 1 } });
        span.end();
      }
      unit.end();
    });
    const spans = exporter.getFinishedSpans().slice(0, -1);
    const ids = spans.map((span) => span.spanContext().spanId);
    const named = (said: Said): Said =>
      'transaction.id' in said ? { ...said, 'transaction.id': `span ${ids.indexOf(said['transaction.id'] as string)}` } : said;
    return spans.map((span) => ({
      said: named(short(span.attributes)),
      events: span.events.map((event) => named(short(event.attributes ?? {}))),
    }));
  };
  const read: Statement = { text: 'SELECT * FROM accounts WHERE id = $1', values: ['a'], command: 'SELECT', rows: [{ version: 7 }] };
  const write: Statement = { text: 'UPDATE accounts SET balance = $1, version = $2 WHERE id = $3', values: [5, 8, 'a'], command: 'UPDATE' };
  const begin: Statement = { text: 'BEGIN', command: 'BEGIN' };

  test('the write is said by COMMIT, with the version that was read as its base', () => {
    const [, reading, writing, committing] = run(begin, read, write, { text: 'COMMIT', command: 'COMMIT' });
    expect(reading?.said).toEqual(account('read', 'a', { version: 7, 'transaction.id': 'span 0' }));
    expect(writing?.said).toEqual({});
    expect(committing?.events).toEqual([
      account('write', 'a', { 'version.base': 7, version: 8, 'transaction.id': 'span 0', 'transaction.outcome': 'committed' }),
    ]);
  });

  test('a COMMIT that was answered with ROLLBACK aborts', () => {
    const committing = run(begin, write, { text: 'commit', command: 'ROLLBACK' }).at(-1);
    expect(committing?.events).toEqual([
      account('write', 'a', { version: 8, 'transaction.id': 'span 0', 'transaction.outcome': 'aborted' }),
    ]);
  });

  test('two transactions at once under one span claim nothing', () => {
    const spans = run(begin, begin, write, { text: 'COMMIT', command: 'COMMIT' });
    expect(spans.flatMap(({ events }) => events)).toEqual([]);
  });

  test('without a transaction the write says its base; one that computes from the row itself has none', () => {
    expect(run(read, write)[1]?.said).toEqual(account('write', 'a', { 'version.base': 7, version: 8 }));
    exporter.reset();
    const relative = { text: 'UPDATE accounts SET balance = balance + $1 WHERE id = $2', values: [5, 'a'], command: 'UPDATE' };
    expect(run(read, relative)[1]?.said).toEqual(account('write', 'a', {}));
    exporter.reset();
    // The database counts from what is there by then, which is not what was read.
    const counting = { text: 'UPDATE accounts SET balance = $1, version = version + 1 WHERE id = $2', values: [5, 'a'], command: 'UPDATE' };
    expect(run(read, counting)[1]?.said).toEqual(account('write', 'a', { 'version.base': 7 }));
    exporter.reset();
    // Another unit of work has read nothing.
    expect(run(write)[0]?.said).toEqual(account('write', 'a', { version: 8 }));
  });
});

const keys = {
  'cart:{key}': { type: 'cart', version: 'version', role: 'cache' as const },
  'profile:{id}:data': { type: 'profile', version: 'v' },
};
const cart = (operation: string, more: Said): Said => ({
  'object.type': 'cart',
  'object.key': '7',
  operation,
  'replica.role': 'cache',
  ...more,
});

describe('redisHooks', () => {
  const hooks = redisHooks(keys);
  test.each<[string, string[], unknown, Said]>([
    ['get', ['cart:7'], '{"version":3,"lines":[]}', cart('read', { version: 3 })],
    ['get', ['cart:7'], null, cart('read', { version: '' })],
    ['get', ['cart:7'], 'not JSON', cart('read', {})],
    ['set', ['cart:7', '{"version":4}', 'EX', '60'], 'OK', cart('write', { version: 4 })],
    ['set', ['cart:7', '{"version":4}', 'NX'], null, cart('write', { version: 4, 'transaction.outcome': 'aborted' })],
    [
      'hgetall',
      ['profile:9:data'],
      ['name', 'x', 'v', 'abc'],
      { 'object.type': 'profile', 'object.key': '9', operation: 'read', version: 'abc' },
    ],
    [
      'hset',
      ['profile:9:data', 'v', '12', 'name', 'x'],
      1,
      { 'object.type': 'profile', 'object.key': '9', operation: 'write', version: 12 },
    ],
    ['del', ['cart:7'], 1, cart('delete', {})],
    ['del', ['cart:7', 'cart:8'], 2, {}],
    ['get', ['other:7'], 'x', {}],
    ['ping', [], 'PONG', {}],
  ])('%s %j', (command, args, reply, expected) => {
    const span = tracer.startSpan(command);
    hooks.requestHook(span, { cmdName: command, cmdArgs: args });
    hooks.responseHook(span, command, args, reply);
    span.end();
    expect(short(exporter.getFinishedSpans().at(-1)?.attributes ?? {})).toEqual(expected);
  });
});

describe.skipIf(!redisAvailable)('wrapRedis (redis)', () => {
  let server: TestRedis;
  let redis: Redis;
  beforeAll(async () => {
    server = await startRedis();
    redis = wrapRedis(new Redis(server.url), keys);
  });
  afterAll(async () => {
    redis.disconnect();
    await server.close();
  });

  test('commands become events of the active span', async () => {
    const events = await eventsOf(async () => {
      expect(await redis.get('cart:7')).toBeNull();
      await redis.set('cart:7', '{"version":1}');
      expect(await redis.get('cart:7')).toBe('{"version":1}');
      await redis.hset('profile:9:data', { v: '5' });
      expect(await redis.hgetall('profile:9:data')).toEqual({ v: '5' });
      await redis.incr('unknown');
      await redis.del('cart:7');
    });
    const withoutIds = events.map((said) => Object.fromEntries(Object.entries(said).filter(([name]) => name !== 'transaction.id')));
    expect(withoutIds).toEqual([
      cart('read', { version: '' }),
      cart('write', { version: 1 }),
      cart('read', { version: 1 }),
      { 'object.type': 'profile', 'object.key': '9', operation: 'write', version: 5 },
      { 'object.type': 'profile', 'object.key': '9', operation: 'read', version: 5 },
      cart('delete', {}),
    ]);
  });
});

test('facts of a piece of work are on every span within it, and the replica by its host', async () => {
  await withConsistency({ sessionId: 's-1', domain: 'shop' }, () =>
    withConsistency({ sagaId: 'g-1', sagaStep: 'charge' }, async () => {
      await Promise.resolve();
      tracer.startSpan('within', { attributes: { 'server.address': 'DB-EU', 'server.port': 5432 } }).end();
    }),
  );
  tracer.startSpan('outside', { attributes: { 'net.peer.name': 'cache', 'net.peer.port': 6379 } }).end();
  const [within, outside] = exporter.getFinishedSpans().map((span) => short(span.attributes));
  expect(within).toEqual({
    'session.id': 's-1',
    domain: 'shop',
    'saga.id': 'g-1',
    'saga.step': 'charge',
    'replica.id': 'eu',
    'replica.role': 'leader',
  });
  expect(outside).toEqual({ 'replica.id': 'cache' });
});
