/** Sessions on a MySQL or MariaDB replica: settings under which values print canonically, abort, failures in one sentence, bytes counted. */
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import mysql from 'mysql2/promise';
import { Failure } from '../../../base/failure.ts';
import type { Replica } from '../../../domain/collection.ts';
import { connected, cutOff, type Line } from '../cut-off.ts';
import type { ReplicaCounters } from '../replica.ts';
import { unreachable } from '../unreachable.ts';

/** Explicit zero ids stay zero; strict, so that a value that does not fit is an error and not another value. */
const settings = `SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO', SESSION group_concat_max_len = 1048576`;

const MAX_CONNECTIONS = 3;
const CONNECT_TIMEOUT_MS = 10_000;

export type Rows = readonly Readonly<Record<string, unknown>>[];

export interface Session {
  query(text: string, values?: readonly unknown[]): Promise<Rows>;
  /** Rows of an INSERT, UPDATE or DELETE that it touched. */
  execute(text: string, values?: readonly unknown[]): Promise<number>;
  /** Rows as they come. */
  stream(text: string, values?: readonly unknown[]): AsyncIterable<Readonly<Record<string, unknown>>>;
}

export interface SessionPool {
  use<T>(signal: AbortSignal, work: (session: Session) => Promise<T>): Promise<T>;
  transaction<T>(signal: AbortSignal, begin: readonly string[], work: (session: Session) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

interface ByteCounting {
  readonly stream?: { readonly bytesRead?: number };
}

/** The connection beneath the promise one: the only one that streams, and missing from its type. */
interface Streaming {
  query(text: string, values: readonly unknown[]): { stream(options: { readonly highWaterMark: number }): Readable };
}

export function openSessionPool(collection: string, replica: Replica, counters: ReplicaCounters): SessionPool {
  let pool: mysql.Pool | undefined;
  const open = (): mysql.Pool => {
    try {
      pool ??= mysql.createPool({
        uri: replica.url,
        connectionLimit: MAX_CONNECTIONS,
        connectTimeout: CONNECT_TIMEOUT_MS,
        charset: 'utf8mb4_bin',
        dateStrings: true,
        supportBigNumbers: true,
        bigNumberStrings: true,
      });
      return pool;
    } catch (error) {
      throw new Failure('bad-url', `The url of replica ${replica.id} of ${collection} is not a MySQL URL: correct it.`, 'never', error);
    }
  };
  const ready = new WeakSet<object>();
  const who = `Replica ${replica.id} of ${collection}`;
  const seenBytes = new WeakMap<object, number>();

  async function use<T>(signal: AbortSignal, work: (session: Session) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    let connection: mysql.PoolConnection;
    try {
      connection = await connected(open().getConnection(), signal, (late) => late.release());
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw failureOf(collection, replica, error);
    }
    let isCut = false;
    const line: Line = {
      // The server notices a closed connection at the next row that it sends; KILL would take a second connection and a privilege. What
      // `mysql2` calls destroying ends our half only, and whoever waits goes on waiting.
      cut: () => {
        isCut = true;
        socketOf(connection).destroy(new Error('the connection was cut'));
      },
      knock: (limit) => knock(replica.url, limit),
    };
    try {
      return await cutOff(who, line, signal, async () => {
        if (!ready.has(connection.connection)) {
          await connection.query(settings);
          ready.add(connection.connection);
        }
        return work({
          query: async (text, values) => {
            signal.throwIfAborted();
            const [rows] = await connection.query(text, values === undefined ? undefined : [...values]);
            return rows as unknown as Rows;
          },
          execute: async (text, values) => {
            signal.throwIfAborted();
            const [result] = await connection.query<mysql.ResultSetHeader>(text, values === undefined ? undefined : [...values]);
            return result.affectedRows;
          },
          stream: (text, values) => streamRows(connection, text, values ?? []),
        });
      });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw failureOf(collection, replica, error);
    } finally {
      const core = connection.connection as unknown as ByteCounting & object;
      const bytes = core.stream?.bytesRead ?? 0;
      counters.bytesMoved += bytes - (seenBytes.get(core) ?? 0);
      seenBytes.set(core, bytes);
      if (isCut) connection.destroy();
      else connection.release();
    }
  }

  return {
    use,
    transaction: (signal, begin, work) =>
      use(signal, async (session) => {
        for (const statement of begin) await session.execute(statement);
        try {
          const result = await work(session);
          await session.execute('COMMIT');
          return result;
        } catch (error) {
          if (!signal.aborted) await session.execute('ROLLBACK').catch(() => undefined);
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
 * Rows as they come. `mysql2` tells a query that streams nothing of a connection that is lost, so that whoever reads would wait for ever:
 * the end of the connection is the end of the rows.
 */
function streamRows(
  connection: mysql.PoolConnection,
  text: string,
  values: readonly unknown[],
): AsyncIterable<Readonly<Record<string, unknown>>> {
  const rows = (connection.connection as unknown as Streaming).query(text, values).stream({ highWaterMark: 1_000 });
  const socket = socketOf(connection);
  const lose = (): void => {
    rows.destroy(Object.assign(new Error('the connection was lost before all rows had come'), { code: 'PROTOCOL_CONNECTION_LOST' }));
  };
  // Whoever reads gets it with the next row; nobody may have begun to.
  rows.on('error', () => undefined);
  if (socket.destroyed) lose();
  socket.once('close', lose);
  rows.once('close', () => socket.off('close', lose));
  return rows;
}

/** Logs in over a connection of its own, which goes when the signal aborts. */
async function knock(uri: string, signal: AbortSignal): Promise<void> {
  // Who asks has a limit of its own, and takes an error for an answer.
  const client = mysql.createConnection({ uri, connectTimeout: 10 * CONNECT_TIMEOUT_MS });
  const left = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  // A login that comes too late is cut when it comes.
  const closed = client.then(async (connection) => {
    if (signal.aborted) socketOf(connection).destroy();
    else await connection.end();
  });
  await Promise.race([closed, left]);
}

function socketOf(connection: mysql.Connection): Socket {
  return (connection as unknown as { readonly connection: { readonly stream: Socket } }).connection.stream;
}

/** Thrown where an INSERT met a row that came in between. */
export function isDuplicate(error: unknown): boolean {
  return error instanceof Error && 'errno' in error && error.errno === 1062;
}

function failureOf(collection: string, replica: Replica, error: unknown): Error {
  const who = `Replica ${replica.id} of ${collection}`;
  if (!(error instanceof Error)) return new Failure('replica-failed', `${who} failed.`, 'later', error);
  if (error instanceof Failure) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  const errno = 'errno' in error && typeof error.errno === 'number' ? error.errno : 0;
  const down = unreachable(who, code, error);
  if (down !== undefined) return down;
  if (code === '') return error;
  switch (errno) {
    case 1045:
    case 1698:
      return new Failure('wrong-password', `${who} refused the user name or password: correct its url.`, 'never', error);
    case 1049:
      return new Failure('no-database', `${who} has no such database: correct its url.`, 'never', error);
    case 1146:
      return new Failure('no-table', `${who} has lost its table: check the table's name.`, 'never', error);
    case 1044:
    case 1142:
    case 1143:
    case 1227:
      return new Failure(
        'permission-denied',
        `${who} does not let this user do that: grant SELECT (and INSERT, UPDATE, DELETE for repair) on its table.`,
        'never',
        error,
      );
    case 1290:
    case 1792:
      return new Failure('read-only', `${who} is read-only: repair its leader instead.`, 'never', error);
    case 1040:
      return new Failure('replica-down', `${who} has no free connection: raise max_connections or close some.`, 'later', error);
    case 1969:
    case 3024:
      return new Failure(
        'statement-timeout',
        `${who} ends statements that take longer than it allows: raise max_statement_time (MySQL: max_execution_time) for this user.`,
        'later',
        error,
      );
    case 1020:
    case 1205:
    case 1213:
    case 1317:
      return new Failure('replica-busy', `${who} gave way to other work (error ${errno}): try again.`, 'later', error);
    case 1048:
    case 1062:
    case 1264:
    case 1366:
    case 1406:
    case 1451:
    case 1452:
    case 3819:
    case 4025:
      return new Failure(
        'constraint',
        `${who} refuses the change: a constraint of its table would not hold (error ${errno}).`,
        'never',
        error,
      );
    default:
      return new Failure(
        'replica-failed',
        `${who} answered error ${errno === 0 ? code : errno}: see the cause in the log.`,
        'never',
        error,
      );
  }
}
