/**
 * Row encoding v1: the bytes that stand for a row, equal for equal values in every engine and different for different ones. Each
 * connector computes them in its engine's own SQL; this file is the specification and the reference. `test/io/replicas/row-vectors.json`
 * holds the vectors that all of them must reproduce.
 *
 *   row    = "r1" tag field*             tag: 8 hexadecimal digits, from md5 of the shape's column names and types in order
 *   field  = "~"                         NULL
 *          | text ";"                    types whose canonical text holds no ";" (int numeric float bool bytes date time timestamp
 *                                        timestamptz bits): an engine need not compute the text twice to know its length
 *          | length ":" text             all others; length: decimal count of the UTF-8 bytes of text
 *   digest = md5(row), 32 hexadecimal digits: the one 128-bit hash that PostgreSQL, MySQL, MariaDB and Node all have built in.
 *            It guards against accidents, not against a writer who makes collisions on purpose.
 *   key    = the same over the key columns alone, with "k1" for "r1". Its first 64 bits place a key in a sketch.
 *
 * Injective: the tag fixes each field's type, a field's own text says where it ends, no separator can be forged, and "~" begins neither
 * a length nor a closed text, so NULL is not ''.
 *
 * Canonical text by type:
 *   int            decimal, no leading zeros, no plus sign, no -0
 *   numeric        plain decimal, no exponent, no trailing zeros after the point (scale is presentation: 1.50 is 1.5), no -0;
 *                  NaN, Infinity, -Infinity
 *   float          IEEE 754 double (a single is widened exactly): shortest digits that read back as the same double, as plain decimal;
 *                  0 for -0; NaN, Infinity, -Infinity
 *   bool           true, false
 *   text           the characters as they are: no case folding, no Unicode normalisation, trailing spaces count. char(n) is padded by
 *                  its engine, so its trailing spaces are cut. Enumerations are their label
 *   bytes          lower-case hexadecimal
 *   uuid           8-4-4-4-12 lower-case hexadecimal
 *   date           YYYY-MM-DD (more digits past 9999, " BC" before year 1); infinity, -infinity
 *   time           HH:MM:SS, then "." and up to six digits without trailing zeros; to 24:00:00, on MySQL from -838:59:59 to 838:59:59
 *   timestamp      date " " time (" BC" last)
 *   timestamptz    the same in UTC, with "+00" after the time
 *   interval       ISO 8601 of (months, days, microseconds) as PostgreSQL writes it: one day is not 24 hours
 *   json           PostgreSQL's jsonb text: keys once (the last wins), shorter keys first, then by bytes; ", " and ": "; numbers as
 *                  numeric above; strings with the escapes of RFC 8259 that are needed and no others
 *   array          PostgreSQL's array text with canonical elements: {1,NULL,"a b"}
 *   bits           0 and 1
 *   inet           address, with /length unless it is a single host; IPv6 compressed, lower case
 */
import { createHash } from 'node:crypto';
import { canonicalJsonb } from './canonical-jsonb.ts';
import { canonicalInet } from './canonical-inet.ts';
import { plainDecimal } from './plain-decimal.ts';
import { parseRowDigest, type RowDigest } from './digest.ts';
import type { CanonicalType, Column, Key, Row, Shape } from './row.ts';

/** Types whose canonical text never holds ";", so that ";" can end it. */
export const closedTypes: ReadonlySet<CanonicalType> = new Set<CanonicalType>([
  'int',
  'numeric',
  'float',
  'bool',
  'bytes',
  'date',
  'time',
  'timestamp',
  'timestamptz',
  'bits',
]);

/** What stands before the fields of every row of this shape: a constant that connectors put into their SQL. */
export function rowPrefix(shape: Shape): string {
  return `r1${shapeTag(shape.columns)}`;
}

/** The same for keys. */
export function keyPrefix(shape: Shape): string {
  return `k1${shapeTag(keyColumns(shape))}`;
}

/** The key's columns in key order. Throws if the shape does not hold one of them. */
export function keyColumns(shape: Shape): readonly Column[] {
  return shape.key.map((name) => {
    const column = shape.columns.find((candidate) => candidate.name === name);
    if (column === undefined) throw new RangeError(`key column ${name} is not in the shape`);
    return column;
  });
}

/** Asked for with every row: made once for each list of columns. */
const tags = new WeakMap<readonly Column[], string>();

function shapeTag(columns: readonly Column[]): string {
  const known = tags.get(columns);
  if (known !== undefined) return known;
  const text = JSON.stringify(columns.map((column) => [column.name, column.type]));
  const tag = createHash('md5').update(text, 'utf8').digest('hex').slice(0, 8);
  tags.set(columns, tag);
  return tag;
}

/** The bytes of a row. A column that the row does not mention is NULL. Throws RangeError on a lone surrogate, which UTF-8 cannot carry. */
export function encodeRow(shape: Shape, row: Row): Uint8Array {
  return Buffer.from(encodedText(rowPrefix(shape), shape.columns, row), 'utf8');
}

export function encodeKey(shape: Shape, key: Key): Uint8Array {
  return Buffer.from(encodedText(keyPrefix(shape), keyColumns(shape), key), 'utf8');
}

export function rowDigest(shape: Shape, row: Row): RowDigest {
  return parseRowDigest(
    createHash('md5')
      .update(encodedText(rowPrefix(shape), shape.columns, row), 'utf8')
      .digest('hex'),
  );
}

/** 32 hexadecimal digits; the first 16 are the key's place in sketches. */
export function keyDigest(shape: Shape, key: Key): string {
  return createHash('md5')
    .update(encodedText(keyPrefix(shape), keyColumns(shape), key), 'utf8')
    .digest('hex');
}

function encodedText(prefix: string, columns: readonly Column[], row: Row): string {
  let text = prefix;
  for (const column of columns) {
    const value = row[column.name];
    if (value === null || value === undefined) {
      text += '~';
      continue;
    }
    if (!value.isWellFormed()) throw new RangeError(`column ${column.name} holds a lone surrogate`);
    if (!closedTypes.has(column.type)) text += `${Buffer.byteLength(value, 'utf8')}:${value}`;
    else if (value.includes(';') || value.startsWith('~')) throw new RangeError(`column ${column.name} does not hold canonical text`);
    else text += `${value};`;
  }
  return text;
}

/** The canonical text of a value written in any of the usual ways of its type; throws RangeError where it is not one. */
export function canonicalText(type: CanonicalType, value: string): string {
  switch (type) {
    case 'int': {
      const match = /^\s*([+-]?\d+)\s*$/.exec(value);
      if (match === null) throw notA(type, value);
      return BigInt((match[1] ?? '').replace('+', '')).toString();
    }
    case 'numeric':
      return canonicalNumeric(value);
    case 'float':
      return canonicalFloat(value);
    case 'bool': {
      const lower = value.trim().toLowerCase();
      if (['true', 't', '1', 'yes', 'y', 'on'].includes(lower)) return 'true';
      if (['false', 'f', '0', 'no', 'n', 'off'].includes(lower)) return 'false';
      throw notA(type, value);
    }
    case 'text':
    case 'array':
      return value;
    case 'bytes': {
      const hex = value.replace(/^(\\x|0x)/i, '').toLowerCase();
      if (!/^([0-9a-f]{2})*$/.test(hex)) throw notA(type, value);
      return hex;
    }
    case 'uuid': {
      const hex = value.trim().toLowerCase().replace(/[{}-]/g, '');
      if (!/^[0-9a-f]{32}$/.test(hex)) throw notA(type, value);
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
    }
    case 'date': {
      const text = value.trim();
      if (/^-?infinity$/i.test(text)) return text.toLowerCase();
      // A date that JSON carried as a whole instant at midnight is still that date.
      const match = /^(\d{4,7}-\d\d-\d\d)(?:[T ]00:00(?::00(?:\.0+)?)?(?:Z|\+00(?::?00)?)?)?( BC)?$/i.exec(text);
      if (match === null) throw notA(type, value);
      return `${match[1]}${(match[2] ?? '').toUpperCase()}`;
    }
    case 'time': {
      const match = /^(-?\d{2,3}):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?$/.exec(value.trim());
      if (match === null) throw notA(type, value);
      return `${match[1]}:${match[2]}:${match[3] ?? '00'}${fraction(match[4])}`;
    }
    case 'timestamp':
    case 'timestamptz':
      return canonicalTimestamp(type, value);
    case 'interval':
      if (!value.startsWith('P') && !/^-?infinity$/.test(value)) throw notA(type, value);
      return value;
    case 'json':
      return canonicalJsonb(value);
    case 'bits':
      if (!/^[01]*$/.test(value)) throw notA(type, value);
      return value;
    case 'inet':
      return canonicalInet(value);
    default: {
      const never: never = type;
      throw new RangeError(`no such type: ${String(never)}`);
    }
  }
}

/** Whether a text is canonical for its type already. */
export function isCanonical(type: CanonicalType, value: string): boolean {
  try {
    return canonicalText(type, value) === value;
  } catch (error) {
    if (error instanceof RangeError || error instanceof SyntaxError) return false;
    throw error;
  }
}

function canonicalNumeric(value: string): string {
  const text = value.trim();
  if (/^nan$/i.test(text)) return 'NaN';
  const infinite = /^([+-]?)inf(inity)?$/i.exec(text);
  if (infinite !== null) return infinite[1] === '-' ? '-Infinity' : 'Infinity';
  return decimalOf(text, 'numeric');
}

function decimalOf(text: string, type: CanonicalType): string {
  const plain = plainDecimal(text);
  if (plain === undefined) throw notA(type, text);
  return plain;
}

function canonicalFloat(value: string): string {
  const text = value.trim();
  if (/^nan$/i.test(text)) return 'NaN';
  const infinite = /^([+-]?)inf(inity)?$/i.exec(text);
  if (infinite !== null) return infinite[1] === '-' ? '-Infinity' : 'Infinity';
  const parsed = text === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(parsed) || /[xob]/i.test(text)) throw notA('float', value);
  return decimalOf(String(parsed), 'float');
}

function canonicalTimestamp(type: 'timestamp' | 'timestamptz', value: string): string {
  const text = value.trim();
  if (/^-?infinity$/i.test(text)) return text.toLowerCase();
  const match = /^(\d{4,7})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?\s*(Z|[+-]\d\d(?::?\d\d)?)?( BC)?$/i.exec(text);
  if (match === null) throw notA(type, value);
  const [, year = '', month = '', day = '', hour = '00', minute = '00', second = '00', micros, zone = 'Z', era = ''] = match;
  const suffix = `${type === 'timestamptz' ? '+00' : ''}${era.toUpperCase()}`;
  const offset = /^z$/i.test(zone) ? 0 : offsetMinutes(zone);
  if (offset === 0 || type === 'timestamp') return `${year}-${month}-${day} ${hour}:${minute}:${second}${fraction(micros)}${suffix}`;
  if (era !== '' || Number(year) > 200_000) throw notA(type, value);
  const shifted = new Date(0);
  shifted.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  shifted.setUTCHours(Number(hour), Number(minute) - offset, Number(second));
  const pad = (part: number, width = 2): string => String(part).padStart(width, '0');
  const date = `${pad(shifted.getUTCFullYear(), 4)}-${pad(shifted.getUTCMonth() + 1)}-${pad(shifted.getUTCDate())}`;
  return `${date} ${pad(shifted.getUTCHours())}:${pad(shifted.getUTCMinutes())}:${pad(shifted.getUTCSeconds())}${fraction(micros)}${suffix}`;
}

function offsetMinutes(zone: string): number {
  const match = /^([+-])(\d\d):?(\d\d)?$/.exec(zone);
  const minutes = Number(match?.[2] ?? 0) * 60 + Number(match?.[3] ?? 0);
  return match?.[1] === '-' ? -minutes : minutes;
}

/** Microseconds after the point; digits beyond are cut only if they are zero, because a cut digit would hide a difference. */
function fraction(digits: string | undefined): string {
  const kept = (digits ?? '').replace(/0+$/, '');
  return kept === '' ? '' : `.${kept}`;
}

/** Names the type, not the value: values do not belong into messages. */
function notA(type: CanonicalType, value: string): RangeError {
  return new RangeError(
    `a value of ${value.length} characters is not ${type === 'int' || type === 'interval' || type === 'inet' || type === 'array' ? 'an' : 'a'} ${type}`,
  );
}
