import pg from 'pg';
import { invariant } from '../../base/assert.ts';
import { Failure } from '../../base/failure.ts';

/** Something that runs a query: the pool, or one transaction on it. Table-group functions take the smaller of the two that they need. */
export interface Queryable {
  query<R extends pg.QueryResultRow>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: R[]; readonly rowCount: number | null }>;
}

/** Our own PostgreSQL: one pool a process. */
export interface Database extends Queryable {
  readonly url: string;
  /** Everything in `work`, or nothing. `work` may run again from its start after a serialization failure: it must only use `tx`. */
  transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T>;
  /** Calls `heard` for each notification on `channel` until the returned function is called; reconnects by itself. */
  listen(channel: string, heard: (payload: string) => void): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

const poolSize = 12;
/** A query of ours that runs this long is stuck behind a lock or a dead server; loops retry. */
const statementTimeoutMs = 60_000;
/** SQLSTATEs after which the same transaction can go through: serialization failure, deadlock. */
const retryableStates = new Set(['40001', '40P01']);
const transactionAttempts = 5;

/** bigint columns hold times, counts and sequence numbers: all far below 2^53, and checked. */
function parseInt8(text: string): number {
  const value = Number(text);
  invariant(Number.isSafeInteger(value), 'a bigint of the store is a safe integer', { text });
  return value;
}

const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === pg.types.builtins.INT8 ? parseInt8 : pg.types.getTypeParser(oid, format ?? 'text')) as typeof pg.types.getTypeParser,
};

/** Opens the pool. Does not connect: the first query does. `schema` keeps several services apart in one database. */
export function openDatabase(url: string, options: { readonly schema?: string; readonly poolSize?: number } = {}): Database {
  const schema = options.schema ?? 'homeostat';
  const settings: pg.PoolConfig = {
    connectionString: url,
    types,
    max: options.poolSize ?? poolSize,
    connectionTimeoutMillis: 10_000,
    statement_timeout: statementTimeoutMs,
    application_name: 'homeostat',
    options: `-c search_path=${schema}`,
  };
  const pool = new pg.Pool(settings);
  // An idle connection that breaks is replaced by the pool; the query that needs it reports the failure.
  pool.on('error', () => undefined);
  // A server that ends a session with the answer to its login says so before the session is handed over, when nobody listens yet.
  pool.on('connect', (client) => client.on('error', () => undefined));
  const query: Queryable['query'] = async (text, values) => {
    try {
      return await pool.query(text, values as unknown[] | undefined);
    } catch (cause) {
      throw asFailure(cause);
    }
  };
  return {
    url,
    query,
    transaction: async (work) => {
      for (let attempt = 1; ; attempt += 1) {
        let client: pg.PoolClient;
        try {
          client = await pool.connect();
        } catch (cause) {
          throw asFailure(cause);
        }
        let broken: Error | undefined;
        // A server that goes away between two queries of a transaction says so here, and with nobody listening the process would end.
        const lost = (error: Error): void => void (broken = error);
        client.on('error', lost);
        try {
          await client.query('begin');
          const result = await work({ query: async (text, values) => client.query(text, values as unknown[] | undefined) });
          await client.query('commit');
          return result;
        } catch (error) {
          try {
            await client.query('rollback');
          } catch (rollbackError) {
            broken = rollbackError instanceof Error ? rollbackError : new Error(String(rollbackError));
          }
          if (attempt < transactionAttempts && retryableStates.has(sqlState(error))) continue;
          throw asFailure(error);
        } finally {
          client.off('error', lost);
          client.release(broken);
        }
      }
    },
    listen: (channel, heard) => listen(settings, channel, heard),
    close: () => pool.end(),
  };
}

async function listen(settings: pg.PoolConfig, channel: string, heard: (payload: string) => void): Promise<() => Promise<void>> {
  let closed = false;
  let client: pg.Client | undefined;
  let retry: NodeJS.Timeout | undefined;
  const connect = async (): Promise<void> => {
    // Lives as long as the process: a statement timeout or keepalive-less socket would lose notifications silently.
    const next = new pg.Client({ ...settings, statement_timeout: 0, keepAlive: true });
    next.on('notification', (message) => heard(message.payload ?? ''));
    next.on('error', () => again(next));
    next.on('end', () => again(next));
    await next.connect();
    await next.query(`listen ${pg.escapeIdentifier(channel)}`);
    client = next;
  };
  const again = (lost: pg.Client): void => {
    if (closed || lost !== client) return;
    client = undefined;
    retry = setTimeout(() => {
      connect().catch(() => {
        client = lost;
        again(lost);
      });
    }, 1_000);
  };
  await connect();
  return async () => {
    closed = true;
    clearTimeout(retry);
    await client?.end();
  };
}

/** The five-character SQLSTATE of a PostgreSQL error, or ''. */
export function sqlState(error: unknown): string {
  return error instanceof pg.DatabaseError ? (error.code ?? '') : '';
}

/** Turns what the driver throws into one sentence that says what to do; passes on what is not the database's. */
function asFailure(cause: unknown): unknown {
  if (cause instanceof pg.DatabaseError) {
    const state = cause.code ?? '';
    if (state === '28P01' || state === '28000')
      return new Failure(
        'store-login',
        `our database refused the login (${cause.message}): check the user and password in \`database\``,
        'never',
        cause,
      );
    if (state === '3D000')
      return new Failure(
        'store-missing',
        `our database does not exist (${cause.message}): create it, or correct \`database\``,
        'never',
        cause,
      );
    if (state === '53100' || cause.message.includes('No space left'))
      return new Failure(
        'store-disk-full',
        `our database has no disk space left (${cause.message}): free some; nothing acknowledged is lost`,
        'later',
        cause,
      );
    if (state.startsWith('08') || state.startsWith('57') || state.startsWith('53') || retryableStates.has(state))
      return new Failure('store-busy', `our database cannot answer now: ${cause.message}`, 'later', cause);
    return cause;
  }
  if (
    cause instanceof Error &&
    /ECONNREFUSED|ECONNRESET|ENOENT|EPIPE|timeout|terminated|ended|not queryable/i.test(
      `${'code' in cause ? String(cause.code) : ''} ${cause.message}`,
    ) &&
    !(cause instanceof Failure)
  ) {
    return new Failure(
      'store-down',
      `our database does not answer (${cause.message || 'connection refused'}): is it running, and is \`database\` right?`,
      'later',
      cause,
    );
  }
  return cause;
}
