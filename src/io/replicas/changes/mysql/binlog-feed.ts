/** MySQL 8 and MariaDB 10.6 and newer: the binary log, read as a replica reads it. */
import { Failure } from '../../../../base/failure.ts';
import { sha256Hex } from '../../../../base/hash.ts';
import { openSessionPool, type Session, type SessionPool } from '../../mysql/session.ts';
import type { ChangeFeed, FeedOptions, WatchedReplica } from '../changes.ts';
import { BinlogDecoder, FORMAT_DESCRIPTION, type LoggedTable } from './binlog-decoder.ts';
import { dumpBinlog } from './binlog-dump.ts';
import { type LogPosition, parseGtids, parseLogPosition } from './log-position.ts';
import { membersOf, readableKeyTypes } from './row-values.ts';

/** ER_MASTER_FATAL_ERROR_READING_BINLOG: what we ask for is not in the log any more. */
const cannotRead = 1236;

export const mysqlFeed: ChangeFeed = {
  engine: 'mysql',
  id: 'binlog',
  title: 'MySQL and MariaDB binary log',
  sentence:
    'Read as a replica does, by GTID on MariaDB and by file and offset on MySQL; every committed write is told for as long as the server keeps its log.',
  needs:
    '`log_bin`, `binlog_format = ROW`, and a user with REPLICATION SLAVE and, for the position to begin at, REPLICATION CLIENT or BINLOG MONITOR',
  survivesRestart: true,
  run: runFeed,
  whyNot: async (watched, signal) => {
    const pool = poolOf(watched);
    try {
      return await pool.use(signal, async (session) => {
        const whole = await whyNoLog(watched, session);
        if (whole !== undefined) return whole;
        const table = await describeLogged(watched, session);
        return typeof table === 'string' ? table : undefined;
      });
    } finally {
      await pool.close();
    }
  },
  // Nothing is made in the server.
  remove: () => Promise.resolve(),
};

const poolOf = ({ collection, replica }: WatchedReplica): SessionPool =>
  openSessionPool(collection.name, replica, { rowsScanned: 0, bytesMoved: 0, rowsFetched: 0 });

async function whyNoLog({ collection, replica }: WatchedReplica, session: Session): Promise<string | undefined> {
  const who = `Replica ${replica.id} of ${collection.name}`;
  const variables = new Map(
    (
      await session.query(
        `SHOW GLOBAL VARIABLES WHERE variable_name IN ('log_bin', 'binlog_format', 'binlog_transaction_compression', 'binlog_encryption', 'version')`,
      )
    ).map((row) => [String(row['Variable_name']), String(row['Value'])]),
  );
  if (variables.get('log_bin') !== 'ON')
    return `${who} writes no binary log: start it with log_bin, or its changes are found by scans alone.`;
  if (variables.get('binlog_format') !== 'ROW')
    return `${who} has binlog_format = ${variables.get('binlog_format') ?? '?'}: set it to ROW, because statements do not say which rows they write.`;
  if (variables.get('binlog_transaction_compression') === 'ON')
    return `${who} compresses whole transactions in its log: set binlog_transaction_compression = OFF to have its changes told.`;
  const grants = (await session.query('SHOW GRANTS')).map((row) => String(Object.values(row)[0]));
  if (!grants.some((grant) => /\bON \*\.\* /.test(grant) && /\b(ALL PRIVILEGES|REPLICATION SLAVE|REPLICATION REPLICA)\b/.test(grant)))
    return `${who} does not let this user read its log: run GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO it.`;
  return undefined;
}

/** The table as the catalogue has it, or why its changes cannot be told. */
async function describeLogged(watched: WatchedReplica, session: Session): Promise<LoggedTable | string> {
  const { collection, replica } = watched;
  const who = `Table of replica ${replica.id} of ${collection.name}`;
  const written = replica.table ?? collection.name;
  const dot = written.indexOf('.');
  const [schema, table] = dot < 0 ? [null, written] : [written.slice(0, dot), written.slice(dot + 1)];
  const rows = await session.query(
    `SELECT c.table_schema AS s, c.table_name AS t, c.column_name AS name, lower(c.data_type) AS base, lower(c.column_type) AS type, c.column_type AS written,
            lower(coalesce(c.character_set_name, '')) AS charset, coalesce(c.character_octet_length, 0) AS bytes, t.table_type AS kind
       FROM information_schema.columns c JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
      WHERE c.table_schema = coalesce(?, database()) AND c.table_name = ? ORDER BY c.ordinal_position`,
    [schema, table],
  );
  const [first] = rows;
  if (first === undefined) return `${who} is gone: scans say so.`;
  if (first['kind'] !== 'BASE TABLE') return `${who} is a view, which tells no changes: scans find them.`;
  const cascades = await session.query(
    `SELECT constraint_name FROM information_schema.referential_constraints
      WHERE constraint_schema = ? AND table_name = ? AND (delete_rule IN ('CASCADE', 'SET NULL') OR update_rule IN ('CASCADE', 'SET NULL'))`,
    [first['s'], first['t']],
  );
  if (cascades.length > 0)
    return `${who} has a foreign key that changes its rows by itself, which the binary log does not hold: scans find them.`;
  const key: LoggedTable['key'][number][] = [];
  for (const name of collection.key) {
    const column = replica.columnNames[name] ?? name;
    const row = rows.find((one) => one['name'] === column);
    const base = String(row?.['base']);
    const charset = charsetOf(base, String(row?.['charset']));
    if (row === undefined || !readableKeyTypes.has(base) || charset === 'unknown')
      return `${who} has key column ${column} of type ${String(row?.['type'])}, which is not read from the binary log: scans find its changes.`;
    key.push({
      name,
      column,
      isUnsigned: String(row['type']).includes('unsigned'),
      charset,
      fixedBytes: base === 'binary' ? Number(row['bytes']) : (storedBytes[base] ?? 0),
      ...(base === 'uuid' ? { is: 'uuid' } : base === 'inet4' || base === 'inet6' ? { is: 'inet' } : {}),
      ...(base === 'enum' ? { members: membersOf(String(row['written'])) } : {}),
    });
  }
  return {
    watched,
    schema: String(first['s']),
    table: String(first['t']),
    columns: rows.map((row) => String(row['name'])),
    key,
  };
}

/** Of types whose values are logged as strings of so many bytes. */
const storedBytes: Readonly<Record<string, number>> = { uuid: 16, inet4: 4, inet6: 16 };

function charsetOf(base: string, charset: string): 'utf8' | 'latin1' | undefined | 'unknown' {
  if (base !== 'char' && base !== 'varchar') return undefined;
  if (charset === 'binary') return undefined;
  if (charset.startsWith('utf8') || charset === 'ascii') return 'utf8';
  return charset === 'latin1' ? 'latin1' : 'unknown';
}

async function describeAll(options: FeedOptions, pool: SessionPool): Promise<readonly LoggedTable[]> {
  const tables: LoggedTable[] = [];
  for (const watched of options.watched) {
    const table = await pool.use(
      options.signal,
      async (session) => (await whyNoLog(watched, session)) ?? (await describeLogged(watched, session)),
    );
    if (typeof table === 'string') options.sink.refused(watched, table);
    else tables.push(table);
  }
  return tables;
}

async function runFeed(options: FeedOptions): Promise<void> {
  const [first] = options.watched;
  if (first === undefined) return;
  const pool = poolOf(first);
  try {
    const tables = await describeAll(options, pool);
    if (tables.length === 0) return;
    const from = options.from === null ? undefined : parseLogPosition(options.from);
    let missed = options.from === null ? 'the feed is new' : 'where it was is not known any more';
    if (from !== undefined) {
      try {
        if (await isSameLog(options, first, from)) return await dump(options, first, tables, pool, from, undefined);
        if (options.signal.aborted) return;
        missed = 'the log is another one: it was reset, or the server came back with other data';
      } catch (error) {
        // It was purged or reset.
        if (!(error instanceof Error && 'errno' in error && error.errno === cannotRead)) throw error;
        missed = 'the server no longer has the log from there on';
      }
    }
    await dump(options, first, tables, pool, await pool.use(options.signal, readEnd), missed);
  } catch (error) {
    if (options.signal.aborted) return;
    throw lost(first, error);
  } finally {
    await pool.close();
  }
}

/** Whether the server's log has that place in a file that was begun when that of the position was. Throws `cannotRead` where it has no such place. */
async function isSameLog(options: FeedOptions, { replica }: WatchedReplica, { file, offset, begunS }: LogPosition): Promise<boolean> {
  const found = new AbortController();
  let isSame = false;
  await dumpBinlog({
    url: replica.url,
    from: { gtids: undefined, file, offset, begunS },
    serverId: serverIdOf(options, replica.url),
    onLogin: () => undefined,
    onEvent: (event) => {
      if (event.readUInt8(4) !== FORMAT_DESCRIPTION || found.signal.aborted) return undefined;
      isSame = event.readUInt32LE(0) === begunS;
      found.abort();
      return undefined;
    },
    signal: AbortSignal.any([options.signal, found.signal]),
  });
  return isSame;
}

/** High, because people give their replicas low ones; another for each store, of which one server can hold several. */
const serverIdOf = ({ installation }: FeedOptions, url: string): number =>
  0x4000_0000 + (Number.parseInt(sha256Hex(`${installation} ${url}`).slice(0, 8), 16) % 0x3fff_ffff);

/** Where the log ends now. */
async function readEnd(session: Session): Promise<LogPosition> {
  const [version] = await session.query('SELECT version() AS v');
  if (String(version?.['v']).includes('MariaDB')) {
    const [row] = await session.query(`SELECT coalesce(@@GLOBAL.gtid_binlog_pos, '') AS at`);
    return { gtids: parseGtids(String(row?.['at'])), file: '', offset: 0, begunS: 0 };
  }
  // MySQL 8.4 knows the new name only, 8.0 the old one.
  const [row] = await session.query('SHOW BINARY LOG STATUS').catch(() => session.query('SHOW MASTER STATUS'));
  return { gtids: undefined, file: String(row?.['File']), offset: Number(row?.['Position'] ?? 4), begunS: 0 };
}

async function dump(
  options: FeedOptions,
  first: WatchedReplica,
  tables: readonly LoggedTable[],
  pool: SessionPool,
  from: LogPosition,
  missed: string | undefined,
): Promise<void> {
  const { sink, signal } = options;
  let decoder: BinlogDecoder | undefined;
  let hasStarted = false;
  await dumpBinlog({
    url: first.replica.url,
    from,
    serverId: serverIdOf(options, first.replica.url),
    onLogin: (hasChecksums) => {
      decoder = new BinlogDecoder(tables, sink, from, hasChecksums);
    },
    onEvent: (event) => {
      if (!hasStarted) sink.started(missed);
      hasStarted = true;
      if (decoder?.decode(event) !== true) return undefined;
      return describeAll(options, pool).then((fresh) => decoder?.retable(fresh));
    },
    signal,
  });
}

function lost({ collection, replica }: WatchedReplica, error: unknown): unknown {
  if (error instanceof Failure) return error;
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  const who = `Replica ${replica.id} of ${collection.name}`;
  if (code === 'ER_SPECIFIC_ACCESS_DENIED_ERROR' || code === 'ER_ACCESS_DENIED_ERROR')
    return new Failure('changes-permission', `${who} does not let this user read its log: grant it REPLICATION SLAVE.`, 'later', error);
  return new Failure(
    'changes-lost',
    `The binary log of ${who} broke off${code === '' ? '' : ` (${code})`}: it is read again.`,
    'later',
    error,
  );
}
