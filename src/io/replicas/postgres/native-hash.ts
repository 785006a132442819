/**
 * The fast hash between PostgreSQL servers: the engine's own 64-bit hash of each column with the hash so far as seed, twice with two
 * seeds for 128 bits; no text is made of a value whose type hashes by value. Which function serves a column follows from the agreed
 * type and the column's own; replicas whose lists differ are compared by the canonical hash instead. The functions have given the same
 * values on every major from 13 to 18; should one ever change, rows only seem to differ and the canonical look at them says that they
 * do not.
 *
 * NULL must not look like a value: a column is hashed with a stand-in where it is NULL, and a bitmap of the NULLs is hashed last.
 */
import type { Column, Shape } from '../../../domain/row.ts';
import { canonicalExpression, tableColumn } from './canonical-sql.ts';
import type { Table, TableColumn } from './describe.ts';

interface HashFunction {
  /** Goes into the family: replicas must agree on it. */
  readonly name: string;
  /** The value that is hashed, never NULL. */
  readonly value: string;
  call(value: string, seed: string): string;
}

const PLACE_SEED = '7';
const HIGH_SEED = '11';
const LOW_SEED = '13';

function byName(name: string, value: string): HashFunction {
  return { name, value, call: (one, seed) => `${name}(${one}, ${seed})` };
}

function hashOf(column: TableColumn, agreed: Column): HashFunction {
  const c = `t.${column.sql}`;
  const or = (value: string, other: string): string => (column.nullable ? `coalesce(${value}, ${other})` : value);
  const isNumber = column.type === 'int' || column.base === 'numeric';
  switch (agreed.type) {
    case 'int':
      return byName('hashint8extended', or(`${c}::int8`, '0'));
    case 'numeric':
      if (isNumber) return byName('hash_numeric_extended', or(`${c}::numeric`, '0'));
      break;
    case 'float':
      return byName('hashfloat8extended', or(`${c}::float8`, '0'));
    case 'bool':
      if (column.base === 'bool') return byName('hashint8extended', or(`${c}::int::int8`, '0'));
      break;
    case 'text':
      return byName('hashtextextended', `${or(`${c}::text`, "''")} COLLATE "C"`);
    case 'timestamp':
      return byName('timestamp_hash_extended', or(c, "'epoch'"));
    case 'timestamptz':
      if (column.base === 'timestamptz') return byName('timestamp_hash_extended', or(`(${c} AT TIME ZONE 'UTC')`, "'epoch'"));
      break;
    case 'date':
      return byName('timestamp_hash_extended', or(`${c}::timestamp`, "'epoch'"));
    case 'time':
      return byName('time_hash_extended', or(c, "'00:00'"));
    case 'bytes':
    case 'uuid':
    case 'interval':
    case 'json':
    case 'array':
    case 'bits':
    case 'inet':
      break;
    default: {
      const never: never = agreed.type;
      throw new RangeError(String(never));
    }
  }
  const text = canonicalExpression(column, agreed.type, 't.');
  return { name: 'canonical', value: `${or(text, "''")} COLLATE "C"`, call: (one, seed) => `hashtextextended(${one}, ${seed})` };
}

function chain(columns: readonly { readonly hash: HashFunction }[], seed: string): string {
  return columns.reduce((so_far, { hash }) => hash.call(hash.value, so_far), seed);
}

/** What replicas must have in common to be compared by this hash. */
export function nativeFamily(table: Table, shape: Shape): string {
  const names = shape.columns.map((column) => hashOf(tableColumn(table, column.name), column).name);
  return `${table.isUtf8 ? 'utf8' : 'other'}:${names.join(',')}`;
}

export interface RowHashes {
  /** SQL of the 64-bit place of the key. */
  readonly place: string;
  readonly high: string;
  readonly low: string;
}

export function nativeHashes(table: Table, shape: Shape): RowHashes {
  const hashes = shape.columns.map((column) => ({ column, hash: hashOf(tableColumn(table, column.name), column) }));
  const inKey = shape.key.flatMap((name) => hashes.filter((one) => one.column.name === name));
  const nullable = shape.columns.filter((column) => tableColumn(table, column.name).nullable);
  const bitmaps: string[] = [];
  for (let at = 0; at < nullable.length; at += 60) {
    const bits = nullable
      .slice(at, at + 60)
      .map((column, bit) => `(t.${tableColumn(table, column.name).sql} IS NULL)::int::int8 << ${bit}`);
    bitmaps.push(`(${bits.map((bit) => `(${bit})`).join(' | ')})`);
  }
  const row = (seed: string): string => bitmaps.reduce((so_far, bitmap) => `hashint8extended(${bitmap}, ${so_far})`, chain(hashes, seed));
  return { place: chain(inKey, PLACE_SEED), high: row(HIGH_SEED), low: row(LOW_SEED) };
}

/**
 * PostgreSQL's hashint8extended(key, 7), for peeling: hash_uint32_extended of the folded halves, which is the last round of Bob
 * Jenkins' lookup3 (public domain) over 32 bits.
 */
export function nativeIntPlace(key: bigint): bigint {
  const signed = BigInt.asIntN(64, key);
  const low = Number(BigInt.asUintN(32, signed));
  const high = Number(BigInt.asUintN(32, signed >> 32n));
  const folded = (low ^ (signed >= 0n ? high : ~high)) >>> 0;
  const start = (0x9e3779b9 + 4 + 3923095) | 0;
  let [a, b, c] = mix(start, (start + Number(PLACE_SEED)) | 0, start);
  a = (a + folded) | 0;
  c ^= b;
  c = (c - rotate(b, 14)) | 0;
  a ^= c;
  a = (a - rotate(c, 11)) | 0;
  b ^= a;
  b = (b - rotate(a, 25)) | 0;
  c ^= b;
  c = (c - rotate(b, 16)) | 0;
  a ^= c;
  a = (a - rotate(c, 4)) | 0;
  b ^= a;
  b = (b - rotate(a, 14)) | 0;
  c ^= b;
  c = (c - rotate(b, 24)) | 0;
  return (BigInt(b >>> 0) << 32n) | BigInt(c >>> 0);
}

function mix(one: number, two: number, three: number): [number, number, number] {
  let [a, b, c] = [one, two, three];
  a = (a - c) | 0;
  a ^= rotate(c, 4);
  c = (c + b) | 0;
  b = (b - a) | 0;
  b ^= rotate(a, 6);
  a = (a + c) | 0;
  c = (c - b) | 0;
  c ^= rotate(b, 8);
  b = (b + a) | 0;
  a = (a - c) | 0;
  a ^= rotate(c, 16);
  c = (c + b) | 0;
  b = (b - a) | 0;
  b ^= rotate(a, 19);
  a = (a + c) | 0;
  c = (c - b) | 0;
  c ^= rotate(b, 4);
  b = (b + a) | 0;
  return [a, b, c];
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
