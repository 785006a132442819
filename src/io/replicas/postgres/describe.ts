/** A PostgreSQL table's compared columns from the catalogue, or a refusal that names what is in the way. */
import { Failure } from '../../../base/failure.ts';
import type { Collection, Replica } from '../../../domain/collection.ts';
import type { CanonicalType, Column, Shape } from '../../../domain/row.ts';
import type { Session } from './session.ts';

/** A column as this table has it, beside its canonical type. */
export interface TableColumn {
  /** Name in the collection. */
  readonly name: string;
  /** Quoted name in the table. */
  readonly sql: string;
  /** Base type's name in pg_type, domains resolved: `int4`, `bpchar`, `_text`. `enum` for enumerations. */
  readonly base: string;
  /** The declared type, quoted, without length: what a parameter is cast to when written. */
  readonly cast: string;
  readonly type: CanonicalType;
  readonly nullable: boolean;
  readonly generated: boolean;
  /** The column's equality is coarser than its text (citext, a non-deterministic collation). */
  readonly isFolded: boolean;
  readonly engineType: string;
}

export interface Table {
  /** Quoted `schema.table`. */
  readonly sql: string;
  readonly columns: ReadonlyMap<string, TableColumn>;
  readonly key: readonly string[];
  readonly shape: Shape;
  readonly serverVersion: number;
  /** `server_encoding`. */
  readonly encoding: string;
  readonly isUtf8: boolean;
  readonly hasAlwaysIdentity: boolean;
  /** Rows have system columns: no view, no foreign table. */
  readonly isStored: boolean;
  /** Rows by the planner's statistics; 0 where it does not know. */
  readonly estimatedRows: number;
}

const canonicalTypes: Readonly<Record<string, CanonicalType>> = {
  int2: 'int',
  int4: 'int',
  int8: 'int',
  oid: 'int',
  numeric: 'numeric',
  money: 'numeric',
  float4: 'float',
  float8: 'float',
  bool: 'bool',
  text: 'text',
  varchar: 'text',
  bpchar: 'text',
  name: 'text',
  char: 'text',
  citext: 'text',
  enum: 'text',
  xml: 'text',
  bytea: 'bytes',
  uuid: 'uuid',
  date: 'date',
  time: 'time',
  timetz: 'text',
  timestamp: 'timestamp',
  timestamptz: 'timestamptz',
  interval: 'interval',
  json: 'json',
  jsonb: 'json',
  bit: 'bits',
  varbit: 'bits',
  inet: 'inet',
  cidr: 'inet',
  // Types whose output is one text a value: compared as that text.
  macaddr: 'text',
  macaddr8: 'text',
  pg_lsn: 'text',
  tsvector: 'text',
  tsquery: 'text',
  ltree: 'text',
  hstore: 'text',
  int4range: 'text',
  int8range: 'text',
  daterange: 'text',
  tsrange: 'text',
  tstzrange: 'text',
  int4multirange: 'text',
  int8multirange: 'text',
  datemultirange: 'text',
  tsmultirange: 'text',
  tstzmultirange: 'text',
  point: 'text',
  line: 'text',
  lseg: 'text',
  box: 'text',
  path: 'text',
  polygon: 'text',
  circle: 'text',
};

/** Elements whose text inside an array is canonical as PostgreSQL prints it, or is made so (`canonical-sql.ts`). */
const arrayElements = new Set(
  `int2 int4 int8 oid numeric float4 float8 bool text varchar bpchar name citext enum uuid
   date time timestamp timestamptz interval bytea inet cidr bit varbit macaddr`.split(/\s+/),
);

const findTable = `
  SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS sql, c.relkind, greatest(c.reltuples, 0)::float8 AS rows,
         current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.oid = coalesce(
     (SELECT c2.oid FROM pg_class c2 JOIN pg_namespace n2 ON n2.oid = c2.relnamespace
       WHERE n2.nspname = $1 AND c2.relname = $2 AND c2.relkind IN ('r', 'p', 'v', 'm', 'f')),
     to_regclass($3)::oid)`;

const findColumns = `
  WITH RECURSIVE base AS (
    SELECT a.attnum, a.atttypid AS typid FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.attnum, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype = 'd')
  SELECT a.attname AS name, quote_ident(a.attname) AS sql, a.attnotnull AS "notNull", a.attgenerated <> '' AS generated,
         a.attidentity = 'a' AS "alwaysIdentity", format_type(a.atttypid, NULL) AS cast, format_type(a.atttypid, a.atttypmod) AS "engineType",
         CASE WHEN t.typtype = 'e' THEN 'enum' WHEN t.typtype = 'c' THEN 'composite' ELSE t.typname END AS base,
         CASE WHEN e.typtype = 'e' THEN 'enum' ELSE coalesce(eb.typname, e.typname) END AS element,
         t.typcategory = 'A' AS "isArray",
         NOT coalesce(co.collisdeterministic, true) AS "isNondeterministic"
    FROM base b
    JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = b.attnum
    JOIN pg_type t ON t.oid = b.typid AND t.typtype <> 'd'
    LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
    LEFT JOIN pg_type eb ON eb.oid = e.typbasetype AND e.typtype = 'd'
    LEFT JOIN pg_collation co ON co.oid = a.attcollation
   ORDER BY a.attnum`;

const findUniqueKeys = `
  SELECT array_agg(a.attname::text ORDER BY a.attnum) AS columns, bool_and(a.attnotnull) AS "notNull"
    FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
   WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
   GROUP BY i.indexrelid`;

export async function describeTable(collection: Collection, replica: Replica, session: Session): Promise<Table> {
  const who = `replica ${replica.id} of ${collection.name}`;
  const written = replica.table ?? collection.name;
  const dot = written.indexOf('.');
  const [schema, name] = dot < 0 ? ['public', written] : [written.slice(0, dot), written.slice(dot + 1)];
  const regclass = /^[\w$."]+$/.test(written) ? written : null;
  const [found] = await session.query(findTable, [schema, name, regclass]);
  if (found === undefined) {
    throw new Failure('no-table', `There is no table ${written} on ${who}: create it, or correct table in its configuration.`, 'never');
  }
  const rows = (await session.query(findColumns, [found['oid']])) as unknown as CatalogueColumn[];
  const columns = new Map<string, TableColumn>();
  const nameOf = new Map(Object.entries(replica.columnNames).map(([ours, theirs]) => [theirs, ours]));
  let hasAlwaysIdentity = false;
  for (const row of rows) {
    hasAlwaysIdentity ||= row.alwaysIdentity;
    const ours = nameOf.get(row.name) ?? row.name;
    if (collection.excludedColumns.includes(ours)) continue;
    const type = canonicalTypeOf(row);
    if (type === undefined || (collection.key.includes(ours) && (type === 'json' || type === 'array'))) {
      throw new Failure(
        'unsupported-column',
        type === undefined
          ? `Column ${ours} of ${who} has type ${row.engineType}, which cannot be compared exactly: set columns.${ours}.compare: false.`
          : `Column ${ours} of ${who} has type ${row.engineType}, which cannot be a key: name other columns under key.`,
        'never',
      );
    }
    columns.set(ours, {
      name: ours,
      sql: row.sql,
      base: row.base,
      cast: unbounded(row.cast),
      type,
      nullable: !row.notNull,
      generated: row.generated,
      isFolded: row.base === 'citext' || row.isNondeterministic,
      engineType: row.engineType,
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
  const keyInTable = new Set(collection.key.map((column) => replica.columnNames[column] ?? column));
  const uniques = (await session.query(findUniqueKeys, [found['oid']])) as unknown as { columns: string[]; notNull: boolean }[];
  const covering = uniques.filter((unique) => unique.columns.every((column) => keyInTable.has(column)));
  if (!covering.some((unique) => unique.notNull)) {
    const key = collection.key.join(', ');
    throw new Failure(
      'no-key',
      covering.length > 0
        ? `Table ${written} on ${who} lets the key (${key}) be NULL: set its columns NOT NULL, or name a primary key under key.`
        : `Table ${written} on ${who} has no primary key or unique constraint on (${key}): add one, or name the columns of one under key.`,
      'never',
    );
  }
  return {
    sql: String(found['sql']),
    columns,
    key: collection.key,
    shape: { key: collection.key, columns: shapeColumns(collection.key, [...columns.values()]) },
    serverVersion: Number(found['version']),
    encoding: String(found['encoding']),
    isUtf8: found['encoding'] === 'UTF8',
    hasAlwaysIdentity,
    isStored: ['r', 'p', 'm'].includes(String(found['relkind'])),
    estimatedRows: Number(found['rows']),
  };
}

interface CatalogueColumn {
  readonly name: string;
  readonly sql: string;
  readonly notNull: boolean;
  readonly generated: boolean;
  readonly alwaysIdentity: boolean;
  readonly cast: string;
  readonly engineType: string;
  readonly base: string;
  readonly element: string | null;
  readonly isArray: boolean;
  readonly isNondeterministic: boolean;
}

function canonicalTypeOf(column: CatalogueColumn): CanonicalType | undefined {
  if (column.isArray) return column.element !== null && arrayElements.has(column.element) ? 'array' : undefined;
  return canonicalTypes[column.base];
}

function shapeColumns(key: readonly string[], columns: readonly TableColumn[]): readonly Column[] {
  const byName = (a: TableColumn, b: TableColumn): number => (a.name < b.name ? -1 : 1);
  const inKey = key.flatMap((name) => columns.filter((column) => column.name === name));
  const rest = columns.filter((column) => !key.includes(column.name)).toSorted(byName);
  return [...inKey, ...rest].map((column) => ({
    name: column.name,
    type: column.type,
    nullable: column.nullable,
    engineType: column.engineType,
    ...(column.generated ? { generated: true as const } : {}),
    ...(column.base === 'float4' ? { single: true as const } : {}),
  }));
}

/** `character` and `bit` without a length have the length 1, and a cast to them cuts off the rest. */
function unbounded(type: string): string {
  return type.replace(/^character(?=$|\[)/, 'bpchar').replace(/^bit(?=$|\[)/, 'varbit');
}
