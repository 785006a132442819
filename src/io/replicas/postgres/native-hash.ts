/**
 * The fast hash between PostgreSQL servers: the engine's own 64-bit hash of each column with the hash so far as seed, twice with two
 * seeds for 128 bits; no text is made of a value whose type hashes by value. Which function serves a column follows from the agreed
 * type and the column's own; replicas whose lists differ are compared by the canonical hash instead. The functions give the same
 * values on every major from 14 to 18 (`test/io/replicas/native-vectors.json`); should one ever change, rows only seem to differ and
 * the canonical look at them says that they do not.
 *
 * The engine's functions serve hash joins, where a collision costs a comparison; here it would hide a difference. So:
 *   - hash_numeric leaves out the sign, gives NaN and both infinities the seed, and adds the weight by XOR after hashing;
 *   - hashint8, and with it times and timestamps, folds its 64 bits to 32 first: 1 and 2^32 are the same to it;
 *   - hashfloat8 gives zero the seed, so that (0, x) and (x, 0) are the same.
 * So sign and infinities change the seed, what may be the seed itself is hashed once more, a bigint is mixed into its seed, and
 * timestamps are hashed with the multiple of 2^32 microseconds below them. Signs and the multiples enter only the low lane, which is
 * the one that finds keys: a pair that only they tell apart is told apart by 64 bits, all others by 128.
 *
 * NULL must not look like a value: a column is hashed with a stand-in where it is NULL, and the seed says which are NULL. It says
 * as well which booleans are true.
 */
import { createHash } from 'node:crypto';
import type { Column, Shape } from '../../../domain/row.ts';
import { canonicalExpression, tableColumn } from './canonical-sql.ts';
import type { Table, TableColumn } from './describe.ts';

type Lane = 'high' | 'low';

interface ColumnHash {
  /** Goes into the family: replicas must agree on it. */
  readonly name: string;
  /** undefined: the seed says all. */
  readonly chain?: (seed: string, lane: Lane) => string;
  /** Conditions that the seed tells: they hold or not, NULL is not. */
  readonly flags: readonly Flag[];
}

interface Flag {
  readonly says: 'null' | 'true';
  readonly sql: string;
}

const PLACE_SEED = 7n;

/** A constant for a purpose: any will do, as long as they differ and stay. */
function constant(purpose: string): bigint {
  return BigInt.asIntN(64, BigInt(`0x${createHash('md5').update(purpose).digest('hex').slice(0, 16)}`)) >> 1n;
}

/** 2^32 microseconds: what a timestamp's hash folds away. */
const FOLDED = `interval '4294.967296 s'`;

function hashOf(table: Table, column: TableColumn, agreed: Column): ColumnHash {
  const c = `t.${column.sql}`;
  const or = (value: string, other: string): string => (column.nullable ? `coalesce(${value}, ${other})` : value);
  const flags: readonly Flag[] = column.nullable ? [{ says: 'null', sql: `${c} IS NULL` }] : [];
  const by = (name: string, call: string, value: string): ColumnHash => ({ name, flags, chain: (seed) => `${call}(${value}, ${seed})` });
  switch (agreed.type) {
    case 'int': {
      if (column.base === 'int2') return by('int4', 'hashint2extended', or(c, '0::int2'));
      if (column.base === 'int4') return by('int4', 'hashint4extended', or(c, '0'));
      const value = or(`${c}::int8`, '0');
      return { name: 'int8', flags, chain: (seed) => `hashint8extended(${value}, ${seed} # ${value})` };
    }
    case 'numeric': {
      if (column.type !== 'int' && column.base !== 'numeric') break;
      const value = or(column.base === 'numeric' ? c : `${c}::numeric`, '0');
      const mayBeInfinite = column.engineType === 'numeric' && table.serverVersion >= 140_000;
      const sign = `CASE WHEN ${c} < 0 THEN ${constant('negative')} ${mayBeInfinite ? `WHEN ${c} = 'Infinity' THEN ${constant('infinite')} ` : ''}ELSE 0 END`;
      return {
        name: 'numeric',
        flags,
        chain: (seed, lane) => again(`hash_numeric_extended(${value}, ${seed}${lane === 'low' ? ` # ${sign}` : ''})`),
      };
    }
    case 'float': {
      const value = or(column.base === 'float8' ? c : `${c}::float8`, '0');
      return { name: 'float8', flags, chain: (seed) => again(`hashfloat8extended(${value}, ${seed})`) };
    }
    case 'bool':
      if (column.base === 'bool') return { name: 'bool', flags: [...flags, { says: 'true', sql: c }] };
      break;
    case 'text':
      return by('text', 'hashtextextended', `${or(`${c}::text`, "''")} COLLATE "C"`);
    case 'uuid':
      if (column.base === 'uuid') return by('uuid', 'uuid_hash_extended', or(c, "'00000000-0000-0000-0000-000000000000'"));
      break;
    case 'timestamp':
      if (table.serverVersion >= 140_000) return timestampHash('timestamp', or(c, "'epoch'"), flags);
      break;
    case 'timestamptz': {
      if (table.serverVersion < 140_000 || column.base !== 'timestamptz') break;
      // The zone as an interval is an addition; by its name it is looked up for each row.
      return table.serverVersion >= 180_000
        ? timestampHash('timestamptz', or(c, "'epoch'"), flags)
        : timestampHash('timestamp', or(`(${c} AT TIME ZONE INTERVAL '0')`, "'epoch'"), flags);
    }
    case 'date':
      return by(
        'date',
        'hashint4extended',
        or(`CASE WHEN isfinite(${c}) THEN ${c} - date '2000-01-01' WHEN ${c} > 'epoch' THEN 2147483647 ELSE -2147483648 END`, '0'),
      );
    case 'time': {
      const value = or(c, "'00:00'");
      return {
        name: 'time',
        flags,
        chain: (seed, lane) =>
          lane === 'high' ? `time_hash_extended(${value}, ${seed})` : again(`hashfloat8extended(date_part('epoch', ${value}), ${seed})`),
      };
    }
    case 'bytes':
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
  return by('canonical', 'hashtextextended', `${or(canonicalExpression(column, agreed.type, 't.'), "''")} COLLATE "C"`);
}

/** For functions that may give back their seed. */
function again(hash: string): string {
  return `hashint4extended(0, ${hash})`;
}

function timestampHash(type: 'timestamp' | 'timestamptz', value: string, flags: readonly Flag[]): ColumnHash {
  const call = `${type}_hash_extended`;
  const origin = type === 'timestamp' ? `timestamp '2000-01-01'` : `timestamptz '2000-01-01Z'`;
  return {
    name: 'timestamp',
    flags,
    chain: (seed, lane) => `${call}(${value}, ${lane === 'high' ? seed : `${call}(date_bin(${FOLDED}, ${value}, ${origin}), ${seed})`})`,
  };
}

interface HashedColumn {
  readonly column: Column;
  readonly hash: ColumnHash;
}

function hashedColumns(table: Table, columns: readonly Column[]): readonly HashedColumn[] {
  return columns.map((column) => ({ column, hash: hashOf(table, tableColumn(table, column.name), column) }));
}

/** What replicas must have in common to be compared by this hash. */
export function nativeFamily(table: Table, shape: Shape): string {
  return `${table.encoding}:${hashedColumns(table, shape.columns)
    .map(({ hash }) => hash.name)
    .join(',')}`;
}

export interface RowHashes {
  /** SQL of the 64-bit place of the key. */
  readonly place: string;
  readonly high: string;
  readonly low: string;
}

export function nativeHashes(table: Table, shape: Shape): RowHashes {
  const hashed = hashedColumns(table, shape.columns);
  const inKey = shape.key.flatMap((name) => hashed.filter((one) => one.column.name === name));
  const [first] = inKey;
  const place =
    inKey.length === 1 && first !== undefined && first.column.type === 'int'
      ? intPlace(`t.${tableColumn(table, first.column.name).sql}::int8`)
      : chain(inKey, String(PLACE_SEED), 'low');
  const row = (lane: Lane): string => chain(hashed, seed(lane, hashed), lane);
  return { place, high: row('high'), low: row('low') };
}

function intPlace(value: string): string {
  return `hashint8extended(${value}, ${PLACE_SEED} # ${value})`;
}

function chain(columns: readonly HashedColumn[], start: string, lane: Lane): string {
  const end = columns.reduce((so_far, { hash }) => hash.chain?.(so_far, lane) ?? so_far, start);
  // Of booleans alone the seed is all there is, and a sum of seeds would cancel.
  return columns.some(({ hash }) => hash.chain !== undefined) ? end : again(end);
}

/** How many conditions one CASE tells apart: its leaves double with each, an XOR is a call. */
const FLAGS_A_CASE = 3;

/**
 * The constants of the conditions that hold, by XOR: one that cannot hold on a replica changes nothing there. CASE costs next to
 * nothing; casts, shifts and sums of booleans are calls.
 */
function seed(lane: Lane, columns: readonly HashedColumn[]): string {
  const flags = columns.flatMap(({ hash }, at) => hash.flags.map(({ says, sql }) => ({ sql, value: constant(`${says} ${at} ${lane}`) })));
  const leaf = (group: typeof flags, sum: bigint): string => {
    const [flag, ...rest] = group;
    if (flag === undefined) return String(sum);
    return `CASE WHEN ${flag.sql} THEN ${leaf(rest, sum ^ flag.value)} ELSE ${leaf(rest, sum)} END`;
  };
  const groups = [String(constant(`seed ${lane}`))];
  for (let from = 0; from < flags.length; from += FLAGS_A_CASE) groups.push(`(${leaf(flags.slice(from, from + FLAGS_A_CASE), 0n)})`);
  return groups.join(' # ');
}

/**
 * PostgreSQL's hashint8extended(key, 7 # key), for peeling: hash_uint32_extended of the folded halves, which is the last round of Bob
 * Jenkins' lookup3 (public domain) over 32 bits; the seed undoes the folding.
 */
export function nativeIntPlace(key: bigint): bigint {
  const signed = BigInt.asIntN(64, key);
  const low = Number(BigInt.asUintN(32, signed));
  const high = Number(BigInt.asUintN(32, signed >> 32n));
  const folded = (low ^ (signed >= 0n ? high : ~high)) >>> 0;
  const start = (0x9e3779b9 + 4 + 3923095) | 0;
  const seedLow = (low ^ Number(PLACE_SEED)) | 0;
  // A seed of nothing is not mixed in.
  let [a, b, c] = seedLow === 0 && high === 0 ? [start, start, start] : mix((start + high) | 0, (start + seedLow) | 0, start);
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
