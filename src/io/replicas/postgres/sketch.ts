/**
 * Sketches (`domain/sketch.ts`) of a PostgreSQL table in plain SQL; one packed row travels each time. The fingerprints of the slices
 * stay on the server in a setting of the transaction, which even a hot standby lets a session have.
 */
import type { KeyRange } from '../../../domain/key-range.ts';
import type { Key, Shape } from '../../../domain/row.ts';
import {
  CELL_BYTES,
  COUNT_BUCKETS,
  parseTable,
  SPREAD_BUCKETS,
  type SketchTable,
  SUB_TABLES,
  SUMMARY_BUCKETS,
  type Summary,
} from '../../../domain/sketch.ts';
import {
  keyIntervals,
  KEY_SLICES,
  PLACE_SLICES,
  sliceBitmap,
  sliceCount,
  type SliceRun,
  slicesIn,
  slicesPerBucket,
  type Slicing,
} from '../../../domain/slicing.ts';
import { canonicalPlace, hasIntKey, intKeys } from '../key-word.ts';
import { laneSum } from '../lane-sum.ts';
import type { SketchHash } from '../replica.ts';
import {
  canonicalExpression,
  digestBits,
  keyDigestExpression,
  lanes,
  rowDigestExpression,
  tableColumn,
  textsFrom,
} from './canonical-sql.ts';
import type { Table } from './describe.ts';
import { nativeHashes, nativeIntPlace } from './native-hash.ts';
import { rangeWhere } from './scan.ts';
import { literal, type Session } from './session.ts';

export function placeOfKeyWord(shape: Shape, hash: SketchHash): (key: bigint) => bigint {
  return hash === 'native' && hasIntKey(shape) ? nativeIntPlace : canonicalPlace(shape);
}

/** What is scanned: all of a range, or of it the rows in these slices. */
interface Scanned {
  readonly table: Table;
  readonly shape: Shape;
  readonly hash: SketchHash;
  readonly slicing: Slicing;
  readonly range: KeyRange;
  readonly runs?: readonly SliceRun[];
}

/** Past this share of the slices index ranges cost more than a scan that passes over the other rows. */
const MAX_INDEXED_SHARE = 0.3;
const MAX_BIGINT = 2n ** 63n - 1n;

/**
 * FROM clause with, for each row, its slice s and both lanes (`slices`), or its key word, place and low lane (`items`). Expressions
 * that are used more than once stand below an OFFSET 0, which keeps the planner from computing them as often.
 */
function hashedRows(scanned: Scanned, wants: 'slices' | 'items'): string {
  const { table, shape, hash, slicing } = scanned;
  const { from, where } = sourceOf(scanned);
  const bitmap = scanned.runs === undefined ? undefined : bitmapLiteral(slicing, scanned.runs);
  if (hash === 'native') {
    const { place, high, low } = nativeHashes(table, shape);
    const slice = slicing.by === 'key' ? keySlice(scanned, 't.') : placeSlice(place);
    const chosen = bitmap === undefined ? where : and(where, `get_bit(${bitmap}, ${slice}) = 1`);
    if (wants === 'slices') return `(SELECT ${slice} AS s, ${high} AS hi, ${low} AS lo FROM ${from} ${chosen}) r`;
    return `(SELECT ${hasIntKey(shape) ? keyOf(scanned, 't.') : place} AS k, ${place} AS p, ${low} AS lo FROM ${from} ${chosen} OFFSET 0) r`;
  }
  const [place] = lanes(table, 'kd');
  const [high, low] = lanes(table, 'd');
  const needsPlace = slicing.by === 'place' || wants === 'items';
  const isInt = hasIntKey(shape);
  const slice = slicing.by === 'key' ? sliceOfKey('k', slicing.shift) : placeSlice(place);
  const texts = textsFrom(
    table,
    shape,
    bitmap !== undefined && slicing.by === 'key' ? and(where, `get_bit(${bitmap}, ${keySlice(scanned, 't.')}) = 1`) : where,
    { from, more: isInt ? `, ${keyOf(scanned, 't.')} AS k` : '' },
  );
  const keyed = needsPlace ? `(SELECT s.*, ${digestBits(table, keyDigestExpression(table, shape))} AS kd FROM ${texts} OFFSET 0) s` : texts;
  const chosen = bitmap !== undefined && slicing.by === 'place' ? `WHERE get_bit(${bitmap}, ${slice}) = 1` : '';
  const digests = `(SELECT ${isInt ? 'k, ' : ''}${needsPlace ? 'kd, ' : ''}${digestBits(table, rowDigestExpression(table, shape))} AS d FROM ${keyed} ${chosen} OFFSET 0) s`;
  if (wants === 'slices') return `(SELECT ${slice} AS s, ${high} AS hi, ${low} AS lo FROM ${digests}) r`;
  return `(SELECT ${isInt ? 'k' : place} AS k, ${place} AS p, ${low} AS lo FROM ${digests} OFFSET 0) r`;
}

/** Few slices by key are index ranges, one descent each; the bitmap then drops what lies outside of the span by chance in the same slice. */
function sourceOf({ table, shape, slicing, range, runs }: Scanned): { readonly from: string; readonly where: string } {
  const where = rangeWhere(table, shape, range, 'literals').sql;
  const all = { from: `${table.sql} t`, where };
  if (runs === undefined || slicing.by !== 'key' || slicesIn(runs) > KEY_SLICES * MAX_INDEXED_SHARE) return all;
  const intervals = keyIntervals(slicing, runs).filter(({ low }) => low <= MAX_BIGINT);
  const bounds = (side: (interval: (typeof intervals)[number]) => bigint): string =>
    `'{${intervals.map((interval) => (side(interval) > MAX_BIGINT ? MAX_BIGINT : side(interval))).join(',')}}'::int8[]`;
  const key = `t.${tableColumn(table, shape.key[0] ?? '').sql}`;
  return {
    from: `unnest(${bounds(({ low }) => low)}, ${bounds(({ high }) => high)}) AS bound(low, high)
      CROSS JOIN LATERAL (SELECT * FROM ${table.sql} t ${and(where, `${key} >= bound.low AND ${key} <= bound.high`)} OFFSET 0) t`,
    where: '',
  };
}

function and(where: string, condition: string): string {
  return where === '' ? `WHERE ${condition}` : `${where} AND ${condition}`;
}

function keyOf({ table, shape }: Scanned, from: string): string {
  return `${from}${tableColumn(table, shape.key[0] ?? '').sql}::int8`;
}

function keySlice(scanned: Scanned, from: string): string {
  return sliceOfKey(keyOf(scanned, from), scanned.slicing.by === 'key' ? scanned.slicing.shift : 0);
}

function sliceOfKey(key: string, shift: number): string {
  return `((${key} >> ${shift}) & ${KEY_SLICES - 1})::int`;
}

function placeSlice(place: string): string {
  return `(${place} & ${PLACE_SLICES - 1})::int`;
}

/** get_bit counts from the lowest bit of each byte. */
function bitmapLiteral(slicing: Slicing, runs: readonly SliceRun[]): string {
  return `${literal(`\\x${sliceBitmap(slicing, runs).toString('hex')}`)}::bytea`;
}

/** The setting that keeps the slices' fingerprints, 16 bits each, until the transaction ends. */
const KEPT = 'homeostat.slices';

const twoBytes = (value: string): string => `substring(int8send(${value}) FROM 7)`;
const oneByte = (value: string): string => `substring(int8send(${value}) FROM 8)`;

export async function summarize(session: Session, scanned: Omit<Scanned, 'runs'>): Promise<Summary> {
  const slices = sliceCount(scanned.slicing);
  const perBucket = slicesPerBucket(scanned.slicing);
  const folded = (columns: string, buckets: number): string =>
    `(SELECT string_agg(v, ''::bytea ORDER BY b) FROM (SELECT c & ${buckets - 1} AS b, ${columns} AS v FROM buckets GROUP BY 1) f)`;
  // Empty slices are added, not joined: the planner takes the slices for as many as there are rows, and would hash them on disk.
  const bytes = await session.packed(
    `WITH slices AS MATERIALIZED (
       SELECT s, sum(n)::bigint AS n, sum(hi) AS hi, sum(lo) AS lo
         FROM (SELECT s, count(*) AS n, sum(hi) AS hi, sum(lo) AS lo FROM ${hashedRows(scanned, 'slices')} GROUP BY s
               UNION ALL SELECT g, 0, 0, 0 FROM generate_series(0, ${slices - 1}) AS g) filled GROUP BY s),
     buckets AS MATERIALIZED (SELECT s / ${perBucket} AS c, sum(n)::bigint AS n, sum(hi) AS hi, sum(lo) AS lo FROM slices GROUP BY 1)
     SELECT (SELECT int8send(sum(n)::bigint) || ${wrapped('sum(hi)')} || ${wrapped('sum(lo)')} FROM buckets)
            || ${folded(twoBytes('mod(sum(lo), 65536)::bigint'), SUMMARY_BUCKETS)}
            || ${folded(oneByte('mod(floor(sum(lo) / 1152921504606846976), 256)::bigint'), SPREAD_BUCKETS)}
            || ${folded(twoBytes('sum(n)::bigint'), COUNT_BUCKETS)}
            || substr(convert_to(set_config('${KEPT}', encode((SELECT string_agg(${twoBytes('mod(lo, 65536)::bigint')}, ''::bytea ORDER BY s) FROM slices), 'base64'), true), 'UTF8'), 1, 0)`,
  );
  const prints = bytes.subarray(24, 24 + SUMMARY_BUCKETS * 2);
  const after = 24 + SUMMARY_BUCKETS * 2;
  return {
    count: Number(bytes.readBigInt64BE(0)),
    sum: laneSum((bytes.readBigUInt64BE(8) ^ (1n << 63n)).toString(), (bytes.readBigUInt64BE(16) ^ (1n << 63n)).toString()),
    fingerprints: unpackPrints(prints),
    spreads: Uint8Array.from(bytes.subarray(after, after + SPREAD_BUCKETS)),
    counts: unpackPrints(bytes.subarray(after + SPREAD_BUCKETS, after + SPREAD_BUCKETS + COUNT_BUCKETS * 2)),
  };
}

function unpackPrints(bytes: Buffer): Uint16Array {
  return Uint16Array.from({ length: bytes.length / 2 }, (_unused, at) => bytes.readUInt16BE(at * 2));
}

/** Fingerprints of the parts of these buckets, from what {@link summarize} has left in this transaction. */
export async function refine(session: Session, slicing: Slicing, buckets: readonly number[], parts: number): Promise<Uint16Array> {
  const perBucket = slicesPerBucket(slicing);
  const perPart = perBucket / parts;
  const bytes = await session.packed(
    `SELECT string_agg(${twoBytes('v')}, ''::bytea ORDER BY part) FROM (
       SELECT s / ${perPart} AS part, sum(get_byte(x, 2 * s) * 256 + get_byte(x, 2 * s + 1))::bigint AS v
         FROM (SELECT decode(current_setting('${KEPT}'), 'base64') AS x OFFSET 0) kept
         CROSS JOIN unnest('{${buckets.join(',')}}'::int[]) AS b CROSS JOIN LATERAL generate_series(b * ${perBucket}, (b + 1) * ${perBucket} - 1) AS s
        GROUP BY 1) f`,
  );
  return unpackPrints(bytes);
}

/** SUM of bigint is numeric: modulo 2^64, less 2^63, so that it can be a bigint again. */
function wrapped(sum: string): string {
  const modulus = '18446744073709551616';
  return `int8send((mod(mod(coalesce(${sum}, 0), ${modulus}) + ${modulus}, ${modulus}) - 9223372036854775808)::bigint)`;
}

export async function sketchTable(session: Session, scanned: Scanned, cells: number): Promise<SketchTable> {
  // As in cellsOf: the halves of p, and a mix of both.
  const bytes = await session.packed(
    `SELECT string_agg(substring(int8send(coalesce(v, 0)::bigint) FROM 4) || ${wrapped('l')} || ${wrapped('h')}, ''::bytea ORDER BY g.at) AS cells
       FROM generate_series(0, ${cells * SUB_TABLES - 1}) AS g(at)
       LEFT JOIN (SELECT CASE GROUPING(c0, c1, c2) WHEN 3 THEN c0 WHEN 5 THEN c1 + ${cells} ELSE c2 + ${2 * cells} END AS at, sum(v) AS v, sum(v * kl) AS l, sum(v * kh) AS h
                    FROM (SELECT ((p >> 32) & 4294967295) % ${cells} AS c0, ((p & 4294967295) >> 8) % ${cells} AS c1,
                                 (((((p & 4294967295) * 1103515245) + ((p >> 32) & 4294967295)) >> 13) & 1073741823) % ${cells} AS c2,
                                 (lo & 4294967295) - 2147483648 AS v, k & 4294967295 AS kl, (k >> 32) & 4294967295 AS kh
                            FROM ${hashedRows(scanned, 'items')} OFFSET 0) i
                   GROUP BY GROUPING SETS ((c0), (c1), (c2))) one USING (at)`,
  );
  if (bytes.length !== cells * SUB_TABLES * CELL_BYTES) throw new RangeError('a table of another size came back');
  return parseTable(bytes, cells);
}

/** Types in the order of their numbers that a shift can be made of. */
export function slicesByKey(table: Table, shape: Shape): boolean {
  return hasIntKey(shape) && ['int2', 'int4', 'int8'].includes(tableColumn(table, shape.key[0] ?? '').base);
}

/** By the index of the key. */
export async function keySpan(
  session: Session,
  table: Table,
  shape: Shape,
  range: KeyRange,
): Promise<{ readonly low: bigint; readonly high: bigint } | undefined> {
  if (!slicesByKey(table, shape)) return undefined;
  const key = `t.${tableColumn(table, shape.key[0] ?? '').sql}::int8`;
  const bytes = await session.packed(
    `SELECT coalesce(int8send(min(${key})) || int8send(max(${key})), '') FROM ${table.sql} t ${rangeWhere(table, shape, range, 'literals').sql}`,
  );
  return bytes.length === 0 ? undefined : { low: bytes.readBigInt64BE(0), high: bytes.readBigInt64BE(8) };
}

/** The keys behind key words. Integer keys need no look-up; others cost a scan that hashes keys only. */
export async function locateKeys(
  session: Session,
  table: Table,
  shape: Shape,
  range: KeyRange,
  hash: SketchHash,
  words: readonly bigint[],
): Promise<readonly Key[]> {
  if (hasIntKey(shape)) return intKeys(shape, words);
  const where = rangeWhere(table, shape, range, 2);
  const numbers = words.map((word) => BigInt.asIntN(64, word).toString());
  const columns = shape.key.map((key) => ({ key, type: shape.columns.find((column) => column.name === key)?.type ?? ('text' as const) }));
  if (hash === 'native') {
    const { place } = nativeHashes(table, shape);
    const texts = columns.map((column, at) => `${canonicalExpression(tableColumn(table, column.key), column.type, 't.')} AS k${at}`);
    const rows = await session.query(
      `SELECT ${texts.join(', ')} FROM ${table.sql} t ${where.sql === '' ? 'WHERE' : `${where.sql} AND`} ${place} = ANY ($1::bigint[])`,
      [numbers, ...where.values],
    );
    return rows.map((row) => Object.fromEntries(shape.key.map((key, at) => [key, String(row[`k${at}`])])));
  }
  const texts = shape.key.map((key, at) => `c${shape.columns.findIndex((column) => column.name === key)} AS k${at}`);
  const [place] = lanes(table, 'kd');
  const rows = await session.query(
    `SELECT * FROM (SELECT ${texts.join(', ')}, ${digestBits(table, keyDigestExpression(table, shape))} AS kd FROM ${textsFrom(table, shape, where.sql)} OFFSET 0) q
      WHERE ${place} = ANY ($1::bigint[])`,
    [numbers, ...where.values],
  );
  return rows.map((row) => Object.fromEntries(shape.key.map((key, at) => [key, String(row[`k${at}`])])));
}
