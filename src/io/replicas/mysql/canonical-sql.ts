/**
 * Row encoding v1 (`domain/row-encoding.ts`) as MySQL and MariaDB expressions. JSON has no canonical form that these engines can
 * print: tables with a compared JSON column are hashed here, row by row (`needsClient`).
 */
import { InvariantError } from '../../../base/assert.ts';
import { canonicalJsonb } from '../../../domain/canonical-jsonb.ts';
import { closedTypes, keyColumns, keyPrefix, rowPrefix } from '../../../domain/row-encoding.ts';
import type { CanonicalType, Column, Shape } from '../../../domain/row.ts';
import type { Table, TableColumn } from './describe.ts';

export function tableColumn(table: Table, name: string): TableColumn {
  const column = table.columns.get(name);
  if (column === undefined) throw new InvariantError('an agreed shape has only columns of the table', { name });
  return column;
}

export function needsClient(shape: Shape): boolean {
  return shape.columns.some((column) => column.type === 'json');
}

/** A fetched text of a JSON column in canonical form; what is not JSON stays as it is and differs from all JSON. */
export function finishText(type: CanonicalType, text: string | null): string | null {
  if (text === null || type !== 'json') return text;
  try {
    return canonicalJsonb(text);
  } catch {
    return text;
  }
}

/** Canonical text of a column as the agreed type; JSON as it is stored. */
export function canonicalExpression(column: TableColumn, type: CanonicalType): string {
  const e = `t.${column.sql}`;
  const text = `CAST(${e} AS CHAR CHARACTER SET utf8mb4)`;
  switch (type) {
    case 'int':
      // A year is printed with four digits, 0 too; zerofill is presentation.
      return column.isZerofill || column.base === 'year' ? `CAST(CAST(${e} AS UNSIGNED) AS CHAR)` : text;
    case 'numeric':
      return column.type === 'numeric' && column.size > 0
        ? `IF(${e} = 0, '0', TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST(${column.isZerofill ? `(${e} + 0)` : e} AS CHAR))))`
        : column.isZerofill
          ? `CAST(CAST(${e} AS UNSIGNED) AS CHAR)`
          : text;
    case 'float':
      return plainDouble(`CAST(${e} AS DOUBLE)`);
    case 'bool':
      return `(CASE ${column.type === 'bits' ? `${e} + 0` : e} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE CAST(${e} + 0 AS CHAR) END)`;
    case 'text':
    case 'json':
      return `CONVERT(${e} USING utf8mb4)`;
    case 'bytes':
      return `LOWER(HEX(${e}))`;
    case 'uuid':
      if (column.type === 'bytes') return `IF(LENGTH(${e}) = 16, ${dashed(`LOWER(HEX(${e}))`)}, LOWER(HEX(${e})))`;
      if (column.type === 'uuid') return `LOWER(${text})`;
      return `IF(${e} REGEXP '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$', LOWER(CONVERT(${e} USING utf8mb4)), CONVERT(${e} USING utf8mb4))`;
    case 'time':
    case 'timestamp':
      return trimFraction(text);
    case 'timestamptz':
      return `CONCAT(${trimFraction(text)}, '+00')`;
    case 'bits':
      return `LPAD(BIN(${e} + 0), ${column.size}, '0')`;
    case 'date':
    case 'inet':
      return text;
    case 'interval':
    case 'array':
      throw new InvariantError('an agreed shape has only types that the engine holds', { type, column: column.name });
    default: {
      const never: never = type;
      throw new InvariantError('every canonical type has an expression', { never });
    }
  }
}

function dashed(hex: string): string {
  return `CONCAT_WS('-', SUBSTR(${hex}, 1, 8), SUBSTR(${hex}, 9, 4), SUBSTR(${hex}, 13, 4), SUBSTR(${hex}, 17, 4), SUBSTR(${hex}, 21))`;
}

function trimFraction(text: string): string {
  return `IF(LOCATE('.', ${text}) = 0, ${text}, TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM ${text})))`;
}

/** The server prints the shortest digits, but from some size on with an exponent: `1.5e-20` becomes plain decimal here. */
function plainDouble(double: string): string {
  const s = `CAST(${double} AS CHAR)`;
  const mantissa = `REPLACE(SUBSTRING_INDEX(${s}, 'e', 1), '-', '')`;
  const digits = `REPLACE(${mantissa}, '.', '')`;
  const power = `CAST(SUBSTRING_INDEX(${s}, 'e', -1) AS SIGNED)`;
  const sign = `IF(${double} < 0, '-', '')`;
  const large = `IF(LENGTH(${digits}) <= ${power} + 1, RPAD(${digits}, ${power} + 1, '0'), CONCAT(LEFT(${digits}, ${power} + 1), '.', SUBSTR(${digits}, ${power} + 2)))`;
  const small = `CONCAT('0.', REPEAT('0', -${power} - 1), ${digits})`;
  return `(CASE WHEN ${double} = 0 THEN '0' WHEN LOCATE('e', ${s}) = 0 THEN ${s} ELSE CONCAT(${sign}, IF(${power} >= 0, ${large}, ${small})) END)`;
}

/** Rows whose texts a server may keep in a temporary table, about 300 bytes each. */
const MAX_MATERIALIZED_ROWS = 500_000;

/**
 * Merged into one query, a text is computed as often as it is named (measured: 3 times the work of a table sketch); kept apart, rows pass
 * through a temporary table, which a large table should not fill a disk with.
 */
export function scanSetting(table: Table): string {
  return `SET SESSION optimizer_switch = 'derived_merge=${table.estimatedRows > MAX_MATERIALIZED_ROWS ? 'on' : 'off'}'`;
}

/** A derived table with each row's texts as c0, c1 ... in shape order. */
export function textsFrom(table: Table, shape: Shape, where: string): string {
  const texts = shape.columns.map((column, at) => `${canonicalExpression(tableColumn(table, column.name), column.type)} AS c${at}`);
  return `(SELECT ${texts.join(', ')} FROM ${table.sql} t ${where}) s`;
}

function encoding(prefix: string, columns: readonly Column[], at: (column: Column) => number): string {
  const fields = columns.map((column) => {
    const c = `c${at(column)}`;
    return `IFNULL(${closedTypes.has(column.type) ? `CONCAT(${c}, ';')` : `CONCAT(LENGTH(${c}), ':', ${c})`}, '~')`;
  });
  return `MD5(CONCAT('${prefix}', ${fields.join(', ')}))`;
}

export function rowDigestExpression(shape: Shape): string {
  return encoding(rowPrefix(shape), shape.columns, (column) => shape.columns.indexOf(column));
}

export function keyDigestExpression(shape: Shape): string {
  return encoding(keyPrefix(shape), keyColumns(shape), (column) => shape.columns.findIndex((candidate) => candidate.name === column.name));
}

/** 64 bits of a hexadecimal digest as an unsigned number. */
export function lane(digest: string, index: 0 | 1): string {
  return `CAST(CONV(SUBSTR(${digest}, ${index * 16 + 1}, 16), 16, 10) AS UNSIGNED)`;
}

/**
 * Canonical text as SQL and a parameter of the column's own type; undefined where no value of the column has that text. Digits are
 * written as such: a string compared with a number would be compared as a double.
 */
export function nativeValue(
  column: TableColumn,
  type: CanonicalType,
  text: string,
): { readonly sql: string; readonly values: readonly unknown[] } | undefined {
  switch (column.type) {
    case 'int':
      if (type === 'bool') return text === 'true' ? literal('1') : text === 'false' ? literal('0') : undefined;
      return /^-?\d{1,20}$/.test(text) ? literal(text) : undefined;
    case 'numeric':
      return /^-?\d{1,65}(\.\d{1,38})?$/.test(text) ? literal(text) : undefined;
    case 'float':
      return /^-?\d+(\.\d+)?$/.test(text) ? literal(`${Number(text).toExponential()}`) : undefined;
    case 'bits':
      if (type === 'bool') return text === 'true' ? literal("b'1'") : text === 'false' ? literal("b'0'") : undefined;
      return /^[01]{1,64}$/.test(text) ? literal(`b'${text}'`) : undefined;
    case 'bytes': {
      const hex = type === 'uuid' ? text.replaceAll('-', '') : text;
      return /^([0-9a-f]{2})*$/.test(hex) ? { sql: '?', values: [Buffer.from(hex, 'hex')] } : undefined;
    }
    case 'timestamp':
    case 'timestamptz':
      return / BC$|infinity|^\d{5}/.test(text) ? undefined : { sql: '?', values: [text.replace(/\+00$/, '')] };
    case 'date':
    case 'time':
      return / BC$|infinity|^\d{5}/.test(text) ? undefined : { sql: '?', values: [text] };
    case 'text':
    case 'json':
    case 'uuid':
    case 'inet':
      return { sql: '?', values: [text] };
    case 'bool':
    case 'array':
    case 'interval':
      return undefined;
    default: {
      const never: never = column.type;
      throw new InvariantError('every canonical type can be written', { never });
    }
  }
}

function literal(sql: string): { readonly sql: string; readonly values: readonly unknown[] } {
  return { sql, values: [] };
}
