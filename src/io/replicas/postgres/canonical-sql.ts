/**
 * Row encoding v1 (`domain/row-encoding.ts`) as PostgreSQL expressions, built-ins of PostgreSQL 13 and newer only, no functions of our
 * own: a hot standby lets nobody create any. Sessions have the settings of `session.ts`.
 */
import { closedTypes, keyColumns, keyPrefix, rowPrefix } from '../../../domain/row-encoding.ts';
import type { CanonicalType, Column, Shape } from '../../../domain/row.ts';
import { InvariantError } from '../../../base/assert.ts';
import type { Table, TableColumn } from './describe.ts';

export function tableColumn(table: Table, name: string): TableColumn {
  const column = table.columns.get(name);
  if (column === undefined) throw new InvariantError('an agreed shape has only columns of the table', { name });
  return column;
}

/** Canonical text of a column as the agreed type. `from` qualifies the column (`t.`). */
export function canonicalExpression(column: TableColumn, type: CanonicalType, from = ''): string {
  const e = `${from}${column.sql}`;
  switch (type) {
    case 'int':
    case 'date':
    case 'time':
    case 'timestamp':
    case 'interval':
    case 'text':
      return column.base === 'char' ? `${e}::text` : `${e}::text`;
    case 'numeric':
      if (column.base === 'money') return `trim_scale(${e}::numeric)::text`;
      return column.base === 'numeric' ? `trim_scale(${e})::text` : `${e}::text`;
    case 'float':
      return canonicalFloat(column.base === 'float4' ? `${e}::float8` : e);
    case 'bool':
      if (column.base === 'bool') return `${e}::text`;
      if (column.type === 'bits') return `(CASE ${e}::text WHEN '1' THEN 'true' WHEN '0' THEN 'false' ELSE ${e}::text END)`;
      return `(CASE ${e} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE ${e}::text END)`;
    case 'bytes':
      return `encode(${e}, 'hex')`;
    case 'uuid':
      if (column.base === 'uuid') return `${e}::text`;
      if (column.type === 'bytes')
        return `(CASE WHEN octet_length(${e}) = 16 THEN encode(${e}, 'hex')::uuid::text ELSE encode(${e}, 'hex') END)`;
      return `(CASE WHEN ${e}::text ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' THEN lower(${e}::text) ELSE ${e}::text END)`;
    case 'timestamptz':
      return column.base === 'timestamptz' ? `${e}::text` : `(${e} AT TIME ZONE 'UTC')::text`;
    case 'json':
      return canonicalJson(column, e);
    case 'array':
      return canonicalArray(column, e);
    case 'bits':
      return `${e}::text`;
    case 'inet':
      return column.type === 'inet' ? `abbrev(${e}::inet)` : `${e}::text`;
    default: {
      const never: never = type;
      throw new InvariantError('every canonical type has an expression', { never });
    }
  }
}

/**
 * PostgreSQL prints the shortest digits strictly between a double's neighbours' midpoints; all others (and we) let a midpoint count
 * where reading it rounds to the double: 9.999999999999999e22 against 1e23. That can only happen from 2^53 on, so there the two
 * decimals with fewer digits around it are tried. numeric holds no infinity before PostgreSQL 14; the cast through text keeps all
 * digits, the direct one keeps 15.
 */
function canonicalFloat(d: string): string {
  const plain = `trim_scale((${d})::text::numeric)::text`;
  const shorter = `(SELECT trim_scale(CASE WHEN lo::text::float8 = ${d} THEN lo WHEN hi::text::float8 = ${d} THEN hi ELSE n END)::text
    FROM (SELECT n, trunc(n, -z - 1) AS lo, trunc(n, -z - 1) + sign(n) * power(10::numeric, z + 1) AS hi
      FROM (SELECT n, length(n::text) - length(rtrim(n::text, '0')) AS z FROM (SELECT (${d})::text::numeric AS n) f0) f1) f2)`;
  return `(CASE WHEN ${d} IN ('Infinity', '-Infinity') THEN (${d})::text WHEN abs(${d}) >= 9007199254740992 AND abs(${d}) < 1e300 THEN ${shorter} ELSE ${plain} END)`;
}

/**
 * Numbers in jsonb keep their scale (1.50), which is presentation. The pattern takes strings whole and puts them back, so that only
 * numbers outside strings lose their zeros; documents without such a number skip it. The json type keeps what jsonb cannot hold
 * (\u0000, lone surrogates): such a document is compared as its text.
 */
function canonicalJson(column: TableColumn, e: string): string {
  const trimmed = (text: string): string =>
    `(CASE WHEN ${text} ~ '[.][0-9]*0([^0-9]|$)' THEN regexp_replace(${text}, '("(?:[^"\\\\]|\\\\.)*")|([.][0-9]*[1-9])0+(?![0-9])|[.]0+(?![0-9])', '\\1\\2', 'g') ELSE ${text} END)`;
  if (column.base === 'jsonb') return trimmed(`${e}::text`);
  // Escaped backslashes and proper surrogate pairs go first, so that only what jsonb refuses is left to find. (A regular expression of
  // PostgreSQL sees \\u as a backslash and a u; replace() and strpos() take their text as it is.)
  const pairs = '\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}';
  const bare = `regexp_replace(replace(${e}::text, '\\\\', ''), '${pairs}', '', 'g')`;
  return `(CASE WHEN strpos(${e}::text, '\\u') > 0 AND ${bare} ~* '\\\\u(0000|d[89a-f])' THEN ${e}::text ELSE ${trimmed(`${e}::jsonb::text`)} END)`;
}

function canonicalArray(column: TableColumn, e: string): string {
  switch (column.base) {
    case '_numeric':
      return `regexp_replace(regexp_replace(${e}::text, '([.][0-9]*[1-9])0+(?![0-9])', '\\1', 'g'), '[.]0+(?![0-9])', '', 'g')`;
    case '_float4':
      return `regexp_replace(${e}::float8[]::text, '-0(?=[,}])', '0', 'g')`;
    case '_float8':
      return `regexp_replace(${e}::text, '-0(?=[,}])', '0', 'g')`;
    case '_bpchar':
      return `${e}::text[]::text`;
    default:
      return `${e}::text`;
  }
}

/**
 * The encoding of the given columns, over {@link textsFrom}, as one text expression. Each || costs up to 20 ns a row, each text that is
 * made of a value 40: so constants that meet are one, and both texts of a boolean are constants, which hold the one before them too.
 */
function encoding(prefix: string, columns: readonly Column[], shape: Shape, table: Table): string {
  const parts: string[] = [];
  let constant = prefix;
  const add = (sql: string): void => {
    if (constant !== '') parts.push(`'${constant}'`);
    parts.push(sql);
    constant = '';
  };
  for (const column of columns) {
    const at = shape.columns.findIndex((candidate) => candidate.name === column.name);
    const text = `c${at}`;
    const { nullable } = tableColumn(table, column.name);
    if (isBoolean(table, shape, column)) {
      parts.push(`CASE b${at} WHEN true THEN '${constant}true;' WHEN false THEN '${constant}false;' ELSE '${constant}~' END`);
      constant = '';
    } else if (closedTypes.has(column.type)) {
      add(nullable ? `coalesce(${text} || ';', '~')` : text);
      constant = nullable ? '' : ';';
    } else if (isUuid(table, column)) {
      if (!nullable) constant += '36:';
      add(nullable ? `coalesce('36:' || ${text}, '~')` : text);
    } else {
      const length = `octet_length(${table.isUtf8 ? text : `convert_to(${text}, 'UTF8')`})::text`;
      const field = `${length} || ':' || ${text}`;
      add(nullable ? `coalesce(${field}, '~')` : field);
    }
  }
  if (constant !== '') parts.push(`'${constant}'`);
  return parts.join(' || ');
}

/** A query gives at most 1664 columns, so the booleans of a very wide table are not there twice. */
const MAX_COLUMNS_WITH_BOOLEANS = 800;

function isBoolean(table: Table, shape: Shape, column: Column): boolean {
  const isNarrow = shape.columns.length <= MAX_COLUMNS_WITH_BOOLEANS;
  return isNarrow && column.type === 'bool' && tableColumn(table, column.name).base === 'bool';
}

/** All texts of them have one length. */
function isUuid(table: Table, column: Column): boolean {
  return column.type === 'uuid' && tableColumn(table, column.name).base === 'uuid';
}

function md5(table: Table, text: string): string {
  return table.isUtf8 ? `md5(${text})` : `md5(convert_to(${text}, 'UTF8'))`;
}

/** Each row's canonical texts as c0, c1 ... (shape order), and the booleans among the columns as they are too: b0 ... */
export function canonicalTexts(table: Table, shape: Shape): string {
  return shape.columns
    .flatMap((column, at) => {
      const own = tableColumn(table, column.name);
      const text = `${canonicalExpression(own, column.type, 't.')} AS c${at}`;
      return isBoolean(table, shape, column) ? [text, `t.${own.sql} AS b${at}`] : [text];
    })
    .join(', ');
}

/**
 * A derived table with each row's {@link canonicalTexts}. OFFSET 0 keeps the planner from computing a text twice where it is used twice
 * (its length and itself); where such texts cost nothing to make, the extra node would cost more.
 */
export function textsFrom(
  table: Table,
  shape: Shape,
  where: string,
  { more = '', from = `${table.sql} t` }: { readonly more?: string; readonly from?: string } = {},
): string {
  const isCheap = shape.columns.every(
    (column) =>
      closedTypes.has(column.type) ||
      isUuid(table, column) ||
      (column.type === 'text' && cheapTexts.has(tableColumn(table, column.name).base)),
  );
  return `(SELECT ${canonicalTexts(table, shape)}${more} FROM ${from} ${where} ${isCheap ? '' : 'OFFSET 0'}) s`;
}

/** Types whose text is the value itself. */
const cheapTexts = new Set(['text', 'varchar']);

export function rowDigestExpression(table: Table, shape: Shape): string {
  return md5(table, encoding(rowPrefix(shape), shape.columns, shape, table));
}

export function keyDigestExpression(table: Table, shape: Shape): string {
  return md5(table, encoding(keyPrefix(shape), keyColumns(shape), shape, table));
}

/** A hexadecimal digest as that which {@link lanes} are cut from. To be made once a row: it costs more than both cuts. */
export function digestBits(table: Table, digest: string): string {
  return hasBytesAsNumbers(table) ? `decode(${digest}, 'hex')` : `('x' || ${digest})::bit(128)`;
}

/** The two halves of the bits of a digest as numbers, the high one first. */
export function lanes(table: Table, bits: string): readonly [string, string] {
  const width = hasBytesAsNumbers(table) ? 8 : 64;
  return [`substring(${bits} FROM 1 FOR ${width})::bigint`, `substring(${bits} FROM ${width + 1} FOR ${width})::bigint`];
}

/** Casts from bytea to integers came with 18. */
function hasBytesAsNumbers(table: Table): boolean {
  return table.serverVersion >= 180_000;
}

/**
 * A parameter in canonical text as a value of the column's own type, or undefined where none of its values has that text. `asKey`:
 * for lookup, so text that the type cannot hold gives NULL rather than an error.
 */
export function nativeExpression(column: TableColumn, type: CanonicalType, parameter: string, asKey = false): string {
  const p = parameter;
  if (asKey) {
    const bounds: Readonly<Record<string, string>> = {
      int2: 'BETWEEN -32768 AND 32767',
      int4: 'BETWEEN -2147483648 AND 2147483647',
      int8: 'BETWEEN -9223372036854775808 AND 9223372036854775807',
    };
    const bound = bounds[column.base];
    if (bound !== undefined && type !== 'bool') {
      return `(CASE WHEN ${p} ~ '^-?[0-9]{1,19}$' AND ${p}::numeric ${bound} THEN ${p}::${column.base} END)`;
    }
    if (column.base === 'enum') return `(CASE WHEN ${p} = ANY (enum_range(NULL::${column.cast})::text[]) THEN ${p}::${column.cast} END)`;
  }
  if (type === 'bool' && column.base !== 'bool') {
    return column.type === 'bits'
      ? `(CASE ${p} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END)::bit(1)`
      : `(CASE ${p} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END)::${column.cast}`;
  }
  if (column.type === 'bytes') return type === 'uuid' ? `decode(replace(${p}, '-', ''), 'hex')` : `decode(${p}, 'hex')`;
  if (type === 'timestamptz' && column.type === 'timestamp') return `(${p}::timestamptz AT TIME ZONE 'UTC')::${column.cast}`;
  if (column.base === 'money') return `${p}::numeric::money`;
  return `${p}::${asKey && column.base === 'bpchar' ? 'bpchar' : column.cast}`;
}
