/** MySQL 8 and MariaDB 10.6 and newer: the binary log, read as a replica reads it. */
import { Failure } from '../../../../base/failure.ts';
import { sha256Hex } from '../../../../base/hash.ts';
import { openSessionPool, type Session, type SessionPool } from '../../mysql/session.ts';
import type { ChangeFeed, FeedOptions, WatchedReplica } from '../changes.ts';
import { BinlogDecoder, formatLogPosition, type LoggedTable, type LogPosition, parseLogPosition } from './binlog-decoder.ts';
import { dumpBinlog } from './binlog-dump.ts';
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
    if (from !== undefined) {
      try {
        return await dump(options, first, tables, pool, from, undefined);
      } catch (error) {
        // It was purged, or another server answers here now.
        if (!(error instanceof Error && 'errno' in error && error.errno === cannotRead)) throw error;
      }
    }
    const now = await pool.use(options.signal, readEnd);
    await dump(
      options,
      first,
      tables,
      pool,
      now,
      from === undefined ? 'the feed is new' : 'the server no longer has the log from there on',
    );
  } catch (error) {
    if (options.signal.aborted) return;
    throw lost(first, error);
  } finally {
    await pool.close();
  }
}

/** Where the log ends now. */
async function readEnd(session: Session): Promise<LogPosition> {
  const [version] = await session.query('SELECT version() AS v');
  if (String(version?.['v']).includes('MariaDB')) {
    const [row] = await session.query(`SELECT coalesce(@@GLOBAL.gtid_binlog_pos, '') AS at`);
    return { is: 'gtid', gtids: parseGtids(String(row?.['at'])) };
  }
  // MySQL 8.4 knows the new name only, 8.0 the old one.
  const [row] = await session.query('SHOW BINARY LOG STATUS').catch(() => session.query('SHOW MASTER STATUS'));
  return { is: 'file', file: String(row?.['File']), offset: Number(row?.['Position'] ?? 4) };
}

const parseGtids = (text: string): readonly string[] => text.split(',').filter((gtid) => gtid !== '');

async function dump(
  options: FeedOptions,
  first: WatchedReplica,
  tables: readonly LoggedTable[],
  pool: SessionPool,
  from: LogPosition,
  missed: string | undefined,
): Promise<void> {
  const { sink, signal, installation } = options;
  let decoder: BinlogDecoder | undefined;
  let hasStarted = false;
  await dumpBinlog({
    url: first.replica.url,
    from,
    // High, because people give their replicas low ones; another for each store, of which one server can hold several.
    serverId: 0x4000_0000 + (Number.parseInt(sha256Hex(`${installation} ${first.replica.url}`).slice(0, 8), 16) % 0x3fff_ffff),
    onLogin: (hasChecksums) => {
      decoder = new BinlogDecoder(tables, sink, from, hasChecksums);
    },
    onEvent: (event) => {
      if (!hasStarted) {
        hasStarted = true;
        sink.started(missed);
        sink.reached(formatLogPosition(from));
      }
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
