/**
 * Values in row events of the binary log, MySQL's and MariaDB's (MySQL source documentation, "Rows_event"; MariaDB knowledge base, "Rows
 * Event Flags and Table Map"): those of key columns are read, all others only skipped.
 */

/** A column as a table map event describes it. */
export interface LoggedColumn {
  /** `MYSQL_TYPE_*`. */
  readonly type: number;
  readonly meta: number;
}

/** What the log does not say about a key column: it comes from the catalogue. */
export interface KeyType {
  readonly isUnsigned: boolean;
  /** How its text is encoded; undefined: bytes. */
  readonly charset: 'utf8' | 'latin1' | undefined;
  /** Bytes of a BINARY(n): its zeros at the end are not logged. */
  readonly fixedBytes: number;
  /** What its bytes mean, where that is neither text nor bytes. */
  readonly is?: 'uuid' | 'inet';
  /** Of an enumeration, in order. */
  readonly members?: readonly string[];
}

const TINY = 1;
const SHORT = 2;
const LONG = 3;
const FLOAT = 4;
const DOUBLE = 5;
const NULL = 6;
const TIMESTAMP = 7;
const LONGLONG = 8;
const INT24 = 9;
const DATE = 10;
const TIME = 11;
const DATETIME = 12;
const YEAR = 13;
const NEWDATE = 14;
const VARCHAR = 15;
const BIT = 16;
const TIMESTAMP2 = 17;
const DATETIME2 = 18;
const TIME2 = 19;
const BLOB_COMPRESSED = 140;
const VARCHAR_COMPRESSED = 141;
const JSON_TYPE = 245;
const NEWDECIMAL = 246;
const ENUM = 247;
const SET = 248;
const TINY_BLOB = 249;
const MEDIUM_BLOB = 250;
const LONG_BLOB = 251;
const BLOB = 252;
const VAR_STRING = 253;
const STRING = 254;
const GEOMETRY = 255;

/** Bytes of metadata that a table map event holds for a type. */
export function metaBytes(type: number): number {
  switch (type) {
    case FLOAT:
    case DOUBLE:
    case BLOB:
    case TINY_BLOB:
    case MEDIUM_BLOB:
    case LONG_BLOB:
    case BLOB_COMPRESSED:
    case JSON_TYPE:
    case GEOMETRY:
    case TIMESTAMP2:
    case DATETIME2:
    case TIME2:
      return 1;
    case VARCHAR:
    case VARCHAR_COMPRESSED:
    case BIT:
    case NEWDECIMAL:
    case ENUM:
    case SET:
    case VAR_STRING:
    case STRING:
      return 2;
    default:
      return 0;
  }
}

/** The column with what metadata hides in its type: a STRING can be an ENUM, a SET or a CHAR longer than a byte can say. */
export function loggedColumn(type: number, meta: readonly [number, number]): LoggedColumn {
  const [first, second] = meta;
  if (type !== STRING) return { type, meta: metaBytes(type) === 1 ? first : first | (second << 8) };
  if ((first & 0x30) !== 0x30) return { type: STRING, meta: second | (((first & 0x30) ^ 0x30) << 4) };
  return { type: first === ENUM || first === SET ? first : STRING, meta: second };
}

/** Where the value ends. Throws `RangeError` on a type that is not known. */
export function afterValue(bytes: Buffer, at: number, column: LoggedColumn): number {
  const { type, meta } = column;
  switch (type) {
    case NULL:
      return at;
    case TINY:
    case YEAR:
      return at + 1;
    case SHORT:
      return at + 2;
    case INT24:
    case DATE:
    case NEWDATE:
    case TIME:
      return at + 3;
    case LONG:
    case FLOAT:
    case TIMESTAMP:
      return at + 4;
    case LONGLONG:
    case DOUBLE:
    case DATETIME:
      return at + 8;
    case TIMESTAMP2:
      return at + 4 + fractionBytes(meta);
    case DATETIME2:
      return at + 5 + fractionBytes(meta);
    case TIME2:
      return at + 3 + fractionBytes(meta);
    case NEWDECIMAL:
      return at + decimalBytes(meta & 0xff, meta >> 8);
    case BIT:
      return at + (meta >> 8) + ((meta & 0xff) > 0 ? 1 : 0);
    case ENUM:
    case SET:
      return at + meta;
    case VARCHAR:
    case VAR_STRING:
    case VARCHAR_COMPRESSED:
    case STRING: {
      const prefix = meta > 255 ? 2 : 1;
      return at + prefix + bytes.readUIntLE(at, prefix);
    }
    case BLOB:
    case TINY_BLOB:
    case MEDIUM_BLOB:
    case LONG_BLOB:
    case BLOB_COMPRESSED:
    case JSON_TYPE:
    case GEOMETRY:
      return at + meta + bytes.readUIntLE(at, meta);
    default:
      throw new RangeError(`a column of type ${type} in the binary log`);
  }
}

/** Types of `information_schema.columns.data_type` whose values {@link readValue} gives. */
export const readableKeyTypes: ReadonlySet<string> = new Set(
  'tinyint smallint mediumint int bigint year decimal char varchar binary varbinary date datetime timestamp uuid inet4 inet6 enum'.split(
    ' ',
  ),
);

/**
 * The value as text that `canonicalText` takes; for a UUID two texts, of which one is it. Throws `RangeError` on a type that no key can
 * have.
 */
export function readValue(bytes: Buffer, at: number, column: LoggedColumn, key: KeyType): readonly string[] {
  if (key.is === undefined) return [readPlain(bytes, at, column, key)];
  const value = Buffer.alloc(key.fixedBytes);
  bytes.copy(value, 0, at + 1, at + 1 + Math.min(bytes.readUInt8(at), value.length));
  return key.is === 'uuid' ? uuidTexts(value) : [inetText(value)];
}

/** MariaDB logs a UUID with its five groups in reverse, so that those of one time sort together; newer versions leave some as they are. */
function uuidTexts(bytes: Buffer): readonly string[] {
  const reversed = [
    [12, 16],
    [10, 12],
    [8, 10],
    [6, 8],
    [0, 6],
  ].map(([from, to]) => bytes.toString('hex', from, to));
  return [reversed.join(''), bytes.toString('hex')];
}

function inetText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  return (bytes.toString('hex').match(/.{4}/g) ?? []).join(':').replaceAll(/\b0{1,3}/g, '');
}

/** Members of an enumeration as `information_schema` writes its type. */
export function membersOf(columnType: string): readonly string[] {
  return [...columnType.matchAll(/'((?:[^']|'')*)'/g)].map(([, member = '']) => member.replaceAll("''", "'"));
}

function readPlain(bytes: Buffer, at: number, column: LoggedColumn, key: KeyType): string {
  const { type, meta } = column;
  switch (type) {
    case TINY:
      return String(key.isUnsigned ? bytes.readUInt8(at) : bytes.readInt8(at));
    case SHORT:
      return String(key.isUnsigned ? bytes.readUInt16LE(at) : bytes.readInt16LE(at));
    case INT24:
      return String(key.isUnsigned ? bytes.readUIntLE(at, 3) : bytes.readIntLE(at, 3));
    case LONG:
      return String(key.isUnsigned ? bytes.readUInt32LE(at) : bytes.readInt32LE(at));
    case LONGLONG:
      return String(key.isUnsigned ? bytes.readBigUInt64LE(at) : bytes.readBigInt64LE(at));
    case YEAR:
      return String(bytes.readUInt8(at) === 0 ? 0 : 1900 + bytes.readUInt8(at));
    case ENUM: {
      const member = bytes.readUIntLE(at, meta);
      const text = member === 0 ? '' : key.members?.[member - 1];
      if (text === undefined) throw new RangeError(`member ${member} of an enumeration`);
      return text;
    }
    case NEWDECIMAL:
      return readDecimal(bytes, at, meta & 0xff, meta >> 8);
    case DATE:
    case NEWDATE: {
      const packed = bytes.readUIntLE(at, 3);
      return dateText(packed >> 9, (packed >> 5) & 15, packed & 31);
    }
    case DATETIME2:
      return readDatetime(bytes, at, meta);
    case TIMESTAMP2:
      return `${new Date(bytes.readUInt32BE(at) * 1000).toISOString().slice(0, 19).replace('T', ' ')}${fraction(bytes, at + 4, meta)}+00`;
    case VARCHAR:
    case VAR_STRING:
    case STRING: {
      const prefix = meta > 255 ? 2 : 1;
      const length = bytes.readUIntLE(at, prefix);
      const value = bytes.subarray(at + prefix, at + prefix + length);
      if (key.charset !== undefined) return key.charset === 'utf8' ? value.toString('utf8') : latin1.decode(value);
      return value.toString('hex').padEnd(key.fixedBytes * 2, '0');
    }
    default:
      throw new RangeError(`a key column of type ${type} in the binary log`);
  }
}

/** What MySQL calls latin1. */
const latin1 = new TextDecoder('windows-1252');

const fractionBytes = (digits: number): number => (digits + 1) >> 1;
const two = (value: number): string => String(value).padStart(2, '0');
const dateText = (year: number, month: number, day: number): string => `${String(year).padStart(4, '0')}-${two(month)}-${two(day)}`;

function fraction(bytes: Buffer, at: number, digits: number): string {
  const width = fractionBytes(digits);
  return width === 0 ? '' : `.${String(bytes.readUIntBE(at, width)).padStart(width * 2, '0')}`;
}

/** 40 bits: sign, year * 13 + month (17), day (5), hour (5), minute (6), second (6). */
function readDatetime(bytes: Buffer, at: number, digits: number): string {
  const packed = bytes.readUIntBE(at, 5) - 0x80_0000_0000;
  const time = packed % 2 ** 17;
  const days = Math.floor(packed / 2 ** 17);
  const months = days >> 5;
  return `${dateText(Math.floor(months / 13), months % 13, days & 31)} ${two(time >> 12)}:${two((time >> 6) & 63)}:${two(time & 63)}${fraction(bytes, at + 5, digits)}`;
}

/** Nine decimal digits take four bytes; fewer take as many as they need. */
const digitBytes = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

function decimalBytes(precision: number, scale: number): number {
  const whole = precision - scale;
  return Math.floor(whole / 9) * 4 + (digitBytes[whole % 9] ?? 0) + Math.floor(scale / 9) * 4 + (digitBytes[scale % 9] ?? 0);
}

/** Big-endian groups of nine digits; the first bit is turned over, and all of them where the number is negative. */
function readDecimal(bytes: Buffer, at: number, precision: number, scale: number): string {
  const copy = Buffer.from(bytes.subarray(at, at + decimalBytes(precision, scale)));
  const isNegative = ((copy[0] ?? 0) & 0x80) === 0;
  copy[0] = (copy[0] ?? 0) ^ 0x80;
  if (isNegative) for (let n = 0; n < copy.length; n += 1) copy[n] = ~(copy[n] ?? 0) & 0xff;
  let offset = 0;
  const take = (digits: number): string => {
    const width = digitBytes[digits] ?? 0;
    const text = width === 0 ? '' : String(copy.readUIntBE(offset, width)).padStart(digits, '0');
    offset += width;
    return text;
  };
  const whole = precision - scale;
  let left = take(whole % 9);
  for (let n = 0; n < Math.floor(whole / 9); n += 1) left += take(9);
  let right = '';
  for (let n = 0; n < Math.floor(scale / 9); n += 1) right += take(9);
  right += take(scale % 9);
  return `${isNegative ? '-' : ''}${left === '' ? '0' : left}${right === '' ? '' : `.${right}`}`;
}
