/**
 * Redis values to rows of the agreed shape and back. Redis knows no types: a field means what the column of its typed peers means,
 * so `"7"`, `7` and `7.0` are one numeric. What cannot be read as the column's type stays visible and differs from everything.
 */
import { canonicalJsonb, jsonMembers } from '../../../domain/canonical-jsonb.ts';
import { canonicalText } from '../../../domain/row-encoding.ts';
import type { Column, Key, Row, Shape } from '../../../domain/row.ts';

/** The column that holds a whole value where only stores without types are compared. */
export const WHOLE_VALUE = 'value';

/** No canonical text begins with "!", so such a value equals none; ";" and "~" are kept out of closed types. */
export function unreadable(text: string): string {
  return `!${text.replaceAll('!', '!!').replaceAll(';', '!s')}`;
}

/** What {@link unreadable} marked, or any other text as it is. */
export function readableAgain(text: string): string {
  return text.startsWith('!') ? text.slice(1).replace(/!([!s])/g, (_whole, sign) => (sign === 's' ? ';' : '!')) : text;
}

function readText(column: Column, text: string): string {
  try {
    const value = column.single === true && Number.isFinite(Number(text)) && text.trim() !== '' ? String(Math.fround(Number(text))) : text;
    return canonicalText(column.type, value);
  } catch {
    return unreadable(text);
  }
}

/** A JSON value in canonical form as the column's type. */
export function jsonText(column: Column, json: string): string | null {
  if (json === 'null') return null;
  if (column.type === 'json') return json;
  if (json.startsWith('"')) return readText(column, JSON.parse(json) as string);
  if (column.type === 'array' && json.startsWith('[')) return arrayText(JSON.parse(json) as unknown[]);
  if (column.type === 'bytes' && json.startsWith('{')) return nodeBuffer(json) ?? unreadable(json);
  if (json.startsWith('{') || json.startsWith('[')) return column.type === 'text' ? json : unreadable(json);
  return readText(column, json);
}

/** What `JSON.stringify` makes of a Node Buffer. */
function nodeBuffer(json: string): string | undefined {
  const value = JSON.parse(json) as { readonly type?: unknown; readonly data?: unknown };
  if (value.type !== 'Buffer' || !Array.isArray(value.data)) return undefined;
  return Buffer.from(value.data as number[]).toString('hex');
}

/** PostgreSQL's array text. */
export function arrayText(items: readonly unknown[]): string {
  const item = (value: unknown): string => {
    if (value === null) return 'NULL';
    if (Array.isArray(value)) return arrayText(value as unknown[]);
    if (typeof value === 'boolean') return value ? 't' : 'f';
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    const isPlain = text !== '' && !/[\s{}",\\]/.test(text) && text.toLowerCase() !== 'null';
    return isPlain ? text : `"${text.replace(/["\\]/g, '\\$&')}"`;
  };
  return `{${items.map(item).join(',')}}`;
}

function fieldOf(names: Readonly<Record<string, string>>, column: string): string {
  return names[column] ?? column;
}

export function rowFromJson(shape: Shape, names: Readonly<Record<string, string>>, key: Key, text: string): Row {
  if (shape.open === true) return { ...key, [WHOLE_VALUE]: wholeJson(text) };
  let members: ReadonlyMap<string, string> | undefined;
  try {
    members = jsonMembers(text);
  } catch {
    members = undefined;
  }
  return Object.fromEntries(
    shape.columns.map((column) => {
      const member = members?.get(fieldOf(names, column.name));
      if (shape.key.includes(column.name))
        return [column.name, keyValue(key, column, member === undefined ? undefined : jsonText(column, member))];
      if (members === undefined) return [column.name, unreadable(text)];
      return [column.name, member === undefined ? null : jsonText(column, member)];
    }),
  );
}

/** The document may repeat the key; where it contradicts the Redis key, that shows as a difference. */
function keyValue(key: Key, column: Column, inside: string | null | undefined): string | null {
  const outside = key[column.name] ?? '';
  return inside === undefined || inside === outside ? outside : (inside ?? unreadable('null'));
}

function wholeJson(text: string): string {
  try {
    return canonicalJsonb(text);
  } catch {
    return unreadable(text);
  }
}

/** A hash has no NULL: a field that is not there is NULL. */
export function rowFromHash(shape: Shape, names: Readonly<Record<string, string>>, key: Key, fields: ReadonlyMap<string, string>): Row {
  if (shape.open === true) return { ...key, [WHOLE_VALUE]: canonicalJsonb(JSON.stringify(Object.fromEntries(fields))) };
  return Object.fromEntries(
    shape.columns.map((column) => {
      const field = fields.get(fieldOf(names, column.name));
      const value = field === undefined ? null : readText(column, field);
      if (shape.key.includes(column.name)) return [column.name, keyValue(key, column, field === undefined ? undefined : value)];
      return [column.name, value];
    }),
  );
}

/** The one column beside the key; undefined where there are more or none. */
export function onlyColumn(shape: Shape): Column | undefined {
  const rest = shape.columns.filter((column) => !shape.key.includes(column.name));
  return rest.length === 1 ? rest[0] : undefined;
}

export function rowFromString(shape: Shape, key: Key, text: string): Row {
  const column = onlyColumn(shape);
  return column === undefined ? { ...key } : { ...key, [column.name]: readText(column, text) };
}

/** Members in byte order: a set has none of its own. */
export function rowFromSet(shape: Shape, key: Key, members: readonly string[]): Row {
  const column = onlyColumn(shape);
  if (column === undefined) return { ...key };
  const ordered = members.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return { ...key, [column.name]: column.type === 'json' ? canonicalJsonb(JSON.stringify(ordered)) : arrayText(ordered) };
}

/**
 * The document with the shape's columns set and everything else left as it is. A field that is a string now stays one; a new one is a
 * number where its type is.
 */
export function jsonFromRow(shape: Shape, names: Readonly<Record<string, string>>, row: Row, current: string | null): string {
  if (shape.open === true) return row[WHOLE_VALUE] ?? 'null';
  const members = new Map(current === null ? [] : (jsonMembers(current) ?? []));
  for (const column of shape.columns) {
    const name = fieldOf(names, column.name);
    const value = row[column.name] ?? null;
    const known = members.get(name);
    if (shape.key.includes(column.name) && current !== null && known === undefined) continue;
    if (known !== undefined && jsonText(column, known) === value) continue;
    members.set(name, writeJson(column, value, known?.startsWith('"') === true));
  }
  return `{${[...members].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`;
}

function writeJson(column: Column, value: string | null, asString: boolean): string {
  if (value === null) return 'null';
  if (column.type === 'json') return value;
  const isNumber = ['int', 'numeric', 'float'].includes(column.type) && /^-?\d+(\.\d+)?$/.test(value);
  if ((isNumber || column.type === 'bool') && !asString) return value;
  return JSON.stringify(value);
}
