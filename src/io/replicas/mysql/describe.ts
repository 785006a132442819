/** A MySQL or MariaDB table's compared columns from information_schema, or a refusal that names what is in the way. */
import { Failure } from '../../../base/failure.ts';
import type { Collection, Replica } from '../../../domain/collection.ts';
import type { CanonicalType, Column, Shape } from '../../../domain/row.ts';
import type { Session } from './session.ts';

export interface TableColumn {
  readonly name: string;
  /** Quoted name in the table. */
  readonly sql: string;
  /** `data_type` of information_schema; `json` also for MariaDB's JSON, which is a checked longtext. */
  readonly base: string;
  readonly type: CanonicalType;
  readonly engineType: string;
  /** Digits after the point of a decimal; bits of a bit column. */
  readonly size: number;
  readonly isZerofill: boolean;
  readonly nullable: boolean;
  readonly generated: boolean;
}

export interface Table {
  readonly sql: string;
  readonly columns: ReadonlyMap<string, TableColumn>;
  readonly shape: Shape;
  /** Whether a failed batch can be rolled back. */
  readonly isTransactional: boolean;
  /** By the engine's statistics. */
  readonly estimatedRows: number;
}

const canonicalTypes: Readonly<Record<string, CanonicalType>> = {
  tinyint: 'int',
  smallint: 'int',
  mediumint: 'int',
  int: 'int',
  bigint: 'int',
  year: 'int',
  decimal: 'numeric',
  float: 'float',
  double: 'float',
  char: 'text',
  varchar: 'text',
  tinytext: 'text',
  text: 'text',
  mediumtext: 'text',
  longtext: 'text',
  enum: 'text',
  set: 'text',
  binary: 'bytes',
  varbinary: 'bytes',
  tinyblob: 'bytes',
  blob: 'bytes',
  mediumblob: 'bytes',
  longblob: 'bytes',
  uuid: 'uuid',
  date: 'date',
  time: 'time',
  datetime: 'timestamp',
  timestamp: 'timestamptz',
  json: 'json',
  bit: 'bits',
  inet4: 'inet',
  inet6: 'inet',
};

export async function describeTable(collection: Collection, replica: Replica, session: Session): Promise<Table> {
  const who = `replica ${replica.id} of ${collection.name}`;
  const written = replica.table ?? collection.name;
  const dot = written.indexOf('.');
  const [schema, name] = dot < 0 ? [null, written] : [written.slice(0, dot), written.slice(dot + 1)];
  const [found] = await session.query(
    `SELECT t.table_schema AS s, t.table_name AS n, coalesce(t.table_rows, 0) AS estimate, e.transactions AS transactional
       FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine
      WHERE t.table_name = ? AND t.table_schema = coalesce(?, database())`,
    [name, schema],
  );
  if (found === undefined) {
    throw new Failure('no-table', `There is no table ${written} on ${who}: create it, or correct table in its configuration.`, 'never');
  }
  const at = [found['s'], found['n']];
  const rows = await session.query(
    `SELECT c.column_name AS name, lower(c.data_type) AS base, lower(c.column_type) AS engineType, c.is_nullable = 'YES' AS nullable,
            coalesce(c.generation_expression, '') <> '' AS generated, coalesce(c.numeric_scale, 0) AS scale,
            coalesce(c.numeric_precision, 0) AS wide, c.character_set_name AS charset
       FROM information_schema.columns c WHERE c.table_schema = ? AND c.table_name = ? ORDER BY c.ordinal_position`,
    at,
  );
  const jsonColumns = await checkedJson(session, at);
  const ours = new Map(Object.entries(replica.columnNames).map(([mine, theirs]) => [theirs, mine]));
  const columns = new Map<string, TableColumn>();
  for (const row of rows) {
    const theirs = String(row['name']);
    const column = ours.get(theirs) ?? theirs;
    if (collection.excludedColumns.includes(column)) continue;
    const engineType = String(row['engineType']);
    const base = jsonColumns.has(theirs) ? 'json' : String(row['base']);
    const type = row['charset'] === 'binary' && canonicalTypes[base] === 'text' ? 'bytes' : canonicalTypes[base];
    if (type === undefined || (collection.key.includes(column) && type === 'json')) {
      throw new Failure(
        'unsupported-column',
        type === undefined
          ? `Column ${column} of ${who} has type ${engineType}, which cannot be compared exactly: set columns.${column}.compare: false.`
          : `Column ${column} of ${who} has type ${base}, which cannot be a key: name other columns under key.`,
        'never',
      );
    }
    columns.set(column, {
      name: column,
      sql: quoteName(theirs),
      base,
      type,
      engineType: base === 'json' ? 'json' : engineType,
      size: base === 'bit' ? Number(row['wide']) : Number(row['scale']),
      isZerofill: engineType.includes('zerofill'),
      nullable: Number(row['nullable']) === 1,
      generated: Number(row['generated']) === 1,
    });
  }
  const lacking = collection.key.find((column) => !columns.has(column));
  if (lacking !== undefined) {
    throw new Failure(
      'no-column',
      `Key column ${lacking} is not in table ${written} on ${who}: correct key, or map its name under the replica's columns.`,
      'never',
    );
  }
  await requireUniqueKey(session, at, collection, replica, written, who);
  return {
    sql: `${quoteName(String(found['s']))}.${quoteName(String(found['n']))}`,
    columns,
    shape: { key: collection.key, columns: shapeColumns(collection.key, [...columns.values()]) },
    isTransactional: found['transactional'] === 'YES',
    estimatedRows: Number(found['estimate']),
  };
}

export function quoteName(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``;
}

/** MariaDB keeps JSON as longtext with the check `json_valid(column)`; MySQL has no such view before 8.0.16, and needs none. */
async function checkedJson(session: Session, at: readonly unknown[]): Promise<ReadonlySet<string>> {
  const [version] = await session.query('SELECT version() AS v');
  if (!String(version?.['v']).includes('MariaDB')) return new Set();
  const rows = await session.query(
    'SELECT check_clause AS c FROM information_schema.check_constraints WHERE constraint_schema = ? AND table_name = ?',
    at,
  );
  return new Set(
    rows.flatMap((row) => {
      const match = /^json_valid\(`((?:[^`]|``)+)`\)$/i.exec(String(row['c']));
      return match?.[1] === undefined ? [] : [match[1].replaceAll('``', '`')];
    }),
  );
}

async function requireUniqueKey(
  session: Session,
  at: readonly unknown[],
  collection: Collection,
  replica: Replica,
  written: string,
  who: string,
): Promise<void> {
  const rows = await session.query(
    `SELECT index_name AS i, column_name AS c, coalesce(sub_part, 0) AS part, nullable AS n
       FROM information_schema.statistics WHERE table_schema = ? AND table_name = ? AND non_unique = 0`,
    at,
  );
  const inTable = new Set(collection.key.map((column) => (replica.columnNames[column] ?? column).toLowerCase()));
  const indexes = new Map<string, Readonly<Record<string, unknown>>[]>();
  for (const row of rows) indexes.set(String(row['i']), [...(indexes.get(String(row['i'])) ?? []), row]);
  const covering = [...indexes.values()].filter((parts) =>
    parts.every((part) => Number(part['part']) === 0 && inTable.has(String(part['c']).toLowerCase())),
  );
  const key = collection.key.join(', ');
  if (covering.length === 0) {
    throw new Failure(
      'no-key',
      `Table ${written} on ${who} has no primary key or unique constraint on (${key}): add one, or name the columns of one under key.`,
      'never',
    );
  }
  if (!covering.some((parts) => parts.every((part) => part['n'] !== 'YES'))) {
    throw new Failure(
      'no-key',
      `Table ${written} on ${who} lets the key (${key}) be NULL: set its columns NOT NULL, or name a primary key under key.`,
      'never',
    );
  }
}

function shapeColumns(key: readonly string[], columns: readonly TableColumn[]): readonly Column[] {
  const inKey = key.flatMap((name) => columns.filter((column) => column.name === name));
  const rest = columns.filter((column) => !key.includes(column.name)).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return [...inKey, ...rest].map((column) => ({
    name: column.name,
    type: column.type,
    nullable: column.nullable,
    engineType: column.engineType,
    ...(column.generated ? { generated: true as const } : {}),
    ...(column.base === 'float' ? { single: true as const } : {}),
  }));
}
