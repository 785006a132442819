/**
 * Sessions on a PostgreSQL replica: settings under which every value prints canonically, cancellation by AbortSignal, failures in one
 * sentence that holds no value and no part of the URL, bytes counted on the socket.
 */
import { Socket } from 'node:net';
import pg from 'pg';
import { Failure } from '../../../base/failure.ts';
import type { Replica } from '../../../domain/collection.ts';
import { connected, cutOff, type Line } from '../cut-off.ts';
import type { ReplicaCounters } from '../replica.ts';
import { unreachable } from '../unreachable.ts';

/**
 * Canonical text depends on the first of these. The search path is cut so that an operator of the estate cannot stand in for a
 * built-in one. The planner takes a bucket, an expression of the key, for as many groups as there are keys, and would sort the table
 * for 256 groups: hence enable_sort. A comparison takes one core of a server, not all: hence no parallel workers. Compiling a query
 * takes longer than most of ours run: hence jit. A scan waits in its snapshot for the other replicas', and a table that somebody
 * alters is tried again later rather than queued for: hence the last two.
 */
const settings = `
  SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = 1;
  SET bytea_output = 'hex'; SET search_path = pg_catalog, public; SET client_encoding = 'UTF8'; SET xmloption = 'content';
  SET standard_conforming_strings = on; SET jit = off; SET enable_sort = off;
  SET max_parallel_workers_per_gather = 0; SET idle_in_transaction_session_timeout = '10min'; SET lock_timeout = '30s'`;

const MAX_CONNECTIONS = 3; // One that scans, one that reads, one that writes.
const CONNECT_TIMEOUT_MS = 10_000;

export interface Session {
  query(text: string, values?: readonly unknown[]): Promise<readonly Record<string, unknown>[]>;
  /**
   * The one bytea that `select` gives, as it is: through COPY, because ordinary results come as text, in which bytes are twice as many.
   * COPY takes no parameters: values are literals ({@link literal}).
   */
  packed(select: string): Promise<Buffer>;
}

export interface SessionPool {
  /** Runs `work` on one connection. An abort cancels the running statement on the server, and cuts the connection if that does not help. */
  use<T>(signal: AbortSignal, work: (session: Session) => Promise<T>): Promise<T>;
  /** The same inside one transaction, rolled back if `work` throws. */
  transaction<T>(signal: AbortSignal, mode: string, work: (session: Session) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export function openSessionPool(collection: string, replica: Replica, counters: ReplicaCounters): SessionPool {
  const toFailure = (error: unknown): Error => failureOf(collection, replica, error);
  let pool: pg.Pool | undefined;
  const open = (): pg.Pool => {
    if (pool !== undefined) return pool;
    try {
      pool = new pg.Pool({
        connectionString: replica.url,
        max: MAX_CONNECTIONS,
        connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
        idleTimeoutMillis: 30_000,
        allowExitOnIdle: true,
        application_name: 'homeostat',
        stream: () => countedSocket(counters),
      });
    } catch (error) {
      throw new Failure(
        'bad-url',
        `The url of replica ${replica.id} of ${collection} is not a PostgreSQL URL: correct it.`,
        'never',
        error,
      );
    }
    // An idle connection that breaks is replaced at the next use; without a listener Node would end the process.
    pool.on('error', () => undefined);
    // So it would by a session that the server ends with the answer to its login: that is told before the session is handed over.
    pool.on('connect', (client) => client.on('error', () => undefined));
    return pool;
  };
  const ready = new WeakSet<pg.PoolClient>();
  const who = `Replica ${replica.id} of ${collection}`;

  async function use<T>(signal: AbortSignal, work: (session: Session) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    let client: pg.PoolClient;
    try {
      client = await connected(open().connect(), signal, (late) => late.release());
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw toFailure(error);
    }
    let isBroken = false;
    const raw = client as unknown as { readonly processID: number; readonly connection: { readonly stream: Socket } };
    const line: Line = {
      cancel: () => {
        isBroken = true;
        void askBeside(replica.url, `SELECT pg_cancel_backend(${raw.processID})`, AbortSignal.timeout(CONNECT_TIMEOUT_MS));
      },
      cut: () => {
        isBroken = true;
        raw.connection.stream.destroy();
      },
      knock: (limit) => askBeside(replica.url, 'SELECT 1', limit),
    };
    const onError = (): void => {
      isBroken = true;
    };
    client.on('error', onError);
    try {
      return await cutOff(who, line, signal, async () => {
        if (!ready.has(client)) {
          await client.query(settings);
          ready.add(client);
        }
        return work({
          query: async (text, values) => {
            signal.throwIfAborted();
            return (await client.query(text, values === undefined ? undefined : [...values])).rows as Record<string, unknown>[];
          },
          packed: (select) => {
            signal.throwIfAborted();
            return readPacked(client, select);
          },
        });
      });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof pg.DatabaseError) isBroken ||= error.code?.startsWith('08') === true || error.code === '57P01';
      throw toFailure(error);
    } finally {
      client.off('error', onError);
      client.release(isBroken);
    }
  }

  return {
    use,
    transaction: (signal, mode, work) =>
      use(signal, async (session) => {
        await session.query(`BEGIN ${mode}`);
        try {
          const result = await work(session);
          await session.query('COMMIT');
          return result;
        } catch (error) {
          if (!signal.aborted) await session.query('ROLLBACK').catch(() => undefined);
          throw error;
        }
      }),
    close: async () => {
      const last = pool;
      pool = undefined;
      await last?.end();
    },
  };
}

/**
 * One statement over a connection of its own, which goes when the signal aborts. Never rejects: a refusal is an answer too, and one of
 * the network's shows on the connection that waits.
 */
async function askBeside(url: string, statement: string, signal: AbortSignal): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: 'homeostat' });
  client.on('error', () => undefined);
  const cut = (): void => void (client as unknown as { readonly connection: { readonly stream: Socket } }).connection.stream.destroy();
  signal.addEventListener('abort', cut, { once: true });
  try {
    await client.connect();
    await client.query(statement);
    await client.end();
  } catch {
    cut();
  } finally {
    signal.removeEventListener('abort', cut);
  }
}

/** A text as an SQL literal, for statements without parameters. */
export function literal(value: string): string {
  return pg.escapeLiteral(value);
}

/** COPY's binary format: 19 bytes of header; then a row: 2 bytes number of fields, 4 bytes length, the field. */
const COPY_BEFORE_FIELD = 19 + 2 + 4;

function readPacked(client: pg.PoolClient, select: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const query = new pg.Query(`COPY (${select}) TO STDOUT (FORMAT binary)`, [], (error: Error | null | undefined) => {
      if (error !== null && error !== undefined) return reject(error);
      const bytes = Buffer.concat(chunks);
      const length = bytes.length < COPY_BEFORE_FIELD ? -1 : bytes.readInt32BE(COPY_BEFORE_FIELD - 4);
      return length < 0
        ? reject(new RangeError('a packed row has one field that is not NULL'))
        : resolve(bytes.subarray(COPY_BEFORE_FIELD, COPY_BEFORE_FIELD + length));
    });
    const receiver = query as unknown as { handleCopyData: (message: { readonly chunk: Buffer }) => void };
    // The parser reuses its buffer: what is kept is copied.
    receiver.handleCopyData = (message) => chunks.push(Buffer.from(message.chunk));
    client.query(query);
  });
}

function countedSocket(counters: ReplicaCounters): Socket {
  const socket = new Socket();
  // Seen before TLS is taken off: what really crossed the wire.
  const emit = socket.emit.bind(socket);
  let seen = 0;
  socket.emit = (event: string | symbol, ...args: unknown[]): boolean => {
    if (socket.bytesRead > seen) {
      counters.bytesMoved += socket.bytesRead - seen;
      seen = socket.bytesRead;
    }
    return emit(event, ...args);
  };
  return socket;
}

function failureOf(collection: string, replica: Replica, error: unknown): Error {
  if (error instanceof Failure) return error;
  if (!(error instanceof Error)) return new Failure('replica-failed', `Replica ${replica.id} of ${collection} failed.`, 'later', error);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  const who = `Replica ${replica.id} of ${collection}`;
  if (!(error instanceof pg.DatabaseError)) {
    if (error.name === 'AbortError') return error;
    if (/password/i.test(error.message))
      return new Failure('wrong-password', `${who} asks for a password that its url does not hold: add it.`, 'never', error);
    const lost = /terminated|closed|ended|not queryable/i.test(error.message) ? 'connection lost' : '';
    const down = unreachable(who, code !== '' ? code : /timeout/i.test(error.message) ? 'no answer in time' : lost, error);
    if (down !== undefined) return down;
    // Not of the world: our own error passes as it is.
    if (code === '') return error;
    return new Failure('replica-failed', `${who} failed (${code}): see the cause in the log.`, 'later', error);
  }
  if (code === '28P01' || code === '28000')
    return new Failure('wrong-password', `${who} refused the user name or password: correct its url.`, 'never', error);
  if (code === '3D000') return new Failure('no-database', `${who} has no such database: correct its url.`, 'never', error);
  if (code === '42501')
    return new Failure(
      'permission-denied',
      `${who} does not let this user do that: grant SELECT (and INSERT, UPDATE, DELETE for repair) on its table.`,
      'never',
      error,
    );
  if (code === '42P01') return new Failure('no-table', `${who} has lost its table: check the table's name.`, 'never', error);
  if (code === '25006') return new Failure('read-only', `${who} is read-only: repair its leader instead.`, 'never', error);
  if (code === '53300')
    return new Failure('replica-down', `${who} has no free connection: raise max_connections or close some.`, 'later', error);
  if (code.startsWith('57P') || code.startsWith('08'))
    return new Failure('replica-down', `${who} is not taking connections now: check that it runs.`, 'later', error);
  // Other cancellations are our own. A standby gives way to replay as a time limit does.
  if (code === '57014' || (code === '40001' && /recovery/.test(error.message)))
    return new Failure(
      'statement-timeout',
      `${who} ends statements that take longer than it allows: raise statement_timeout (on a standby max_standby_streaming_delay) for this user.`,
      'later',
      error,
    );
  if (code.startsWith('40') || code === '55P03')
    return new Failure('replica-busy', `${who} gave way to other work (SQLSTATE ${code}): try again.`, 'later', error);
  if (code.startsWith('23'))
    return new Failure(
      'constraint',
      `${who} refuses the change: constraint ${error.constraint ?? error.column ?? ''} would not hold (SQLSTATE ${code}).`,
      'never',
      error,
    );
  return new Failure('replica-failed', `${who} answered SQLSTATE ${code}: see the cause in the log.`, 'never', error);
}
