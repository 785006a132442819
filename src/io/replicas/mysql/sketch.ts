/**
 * Sketches (`domain/sketch.ts`) of a MySQL or MariaDB table by the canonical hash; one packed value travels each time. Counts and sums
 * of the slices stay on the server in a variable of the session.
 */
import type { KeyRange } from '../../../domain/key-range.ts';
import type { Key, Shape } from '../../../domain/row.ts';
import {
  CELL_BYTES,
  COUNT_BUCKETS,
  emptyTable,
  parseCell,
  type SketchTable,
  SPREAD_BUCKETS,
  SUB_TABLES,
  SUMMARY_BUCKETS,
  type Summary,
} from '../../../domain/sketch.ts';
import { keyIntervals, KEY_SLICES, PLACE_SLICES, type SliceRun, slicesIn, slicesPerBucket, type Slicing } from '../../../domain/slicing.ts';
import { hasIntKey, intKeys } from '../key-word.ts';
import { laneSum } from '../lane-sum.ts';
import { keyDigestExpression, lane, rowDigestExpression, scanSetting, tableColumn, textsFrom } from './canonical-sql.ts';
import type { Table } from './describe.ts';
import { rangeWhere } from './scan.ts';
import type { Session } from './session.ts';

const TWO_40 = '1099511627776';
const TWO_60 = '1152921504606846976';
const TWO_64 = '18446744073709551616';

/** Packed values are some hundred kilobytes at most; the default would cut them off at one. */
const packedSize = 'SET SESSION group_concat_max_len = 67108864';

/** What is scanned: all of a range, or of it the rows in these slices. */
export interface Scanned {
  readonly table: Table;
  readonly shape: Shape;
  readonly slicing: Slicing;
  readonly range: KeyRange;
  readonly runs?: readonly SliceRun[];
}

/** Past this many slices a list of index ranges is no shorter way than a scan that passes over the other rows. */
const MAX_INDEXED_SLICES = 2_000;

/** Derived table with the slice s and both lanes (`slices`), or key word, place and lanes (`items`), of each row; and its parameters. */
function hashedRows(scanned: Scanned, wants: 'slices' | 'items'): { readonly sql: string; readonly values: readonly unknown[] } {
  const { table, shape, slicing, runs } = scanned;
  const where = rangeWhere(table, shape, scanned.range);
  const needsPlace = slicing.by === 'place' || wants === 'items';
  const lists = runs === undefined ? undefined : inRuns(runs, slicing.by === 'key' ? keySlice(scanned) : `(p & ${PLACE_SLICES - 1})`);
  const conditions = [
    where.sql.replace(/^WHERE /, ''),
    ...(lists !== undefined && slicing.by === 'key' ? [indexed(scanned), lists] : []),
  ].filter((one) => one !== '');
  const texts = textsFrom(table, shape, conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`);
  const keyAt = shape.columns.findIndex((column) => column.name === shape.key[0]);
  const word = `IF(c${keyAt} LIKE '-%', CAST(CAST(c${keyAt} AS SIGNED) AS UNSIGNED), CAST(c${keyAt} AS UNSIGNED))`;
  const slice = slicing.by === 'key' ? `((${word} >> ${slicing.shift}) & ${KEY_SLICES - 1})` : `(p & ${PLACE_SLICES - 1})`;
  const key = hasIntKey(shape) ? word : 'p';
  const placed = needsPlace ? `(SELECT s.*, ${lane(keyDigestExpression(shape), 0)} AS p FROM ${texts}) q` : texts;
  const names = wants === 'items' ? `${key} AS k, p` : `${slice} AS s`;
  const outer = wants === 'items' ? 'k, p' : 's';
  const chosen = lists !== undefined && slicing.by === 'place' ? `WHERE ${lists}` : '';
  const hashed = `(SELECT ${names}, ${rowDigestExpression(shape)} AS d FROM ${placed} ${chosen}) h`;
  return {
    sql: `(SELECT ${outer}, CAST(${lane('d', 0)} AS SIGNED) AS hi, CAST(${lane('d', 1)} AS SIGNED) AS lo FROM ${hashed}) r`,
    values: where.values,
  };
}

/** On the column itself, before any text is made of it. A shift takes its argument for unsigned: the bits are the same. */
function keySlice({ table, shape, slicing }: Scanned): string {
  const shift = slicing.by === 'key' ? slicing.shift : 0;
  return `((t.${tableColumn(table, shape.key[0] ?? '').sql} >> ${shift}) & ${KEY_SLICES - 1})`;
}

/** Nothing where too much is chosen. */
function indexed({ table, shape, slicing, runs = [] }: Scanned): string {
  if (slicing.by !== 'key' || slicesIn(runs) > MAX_INDEXED_SLICES) return '';
  const key = `t.${tableColumn(table, shape.key[0] ?? '').sql}`;
  return `(${keyIntervals(slicing, runs)
    .map(({ low, high }) => `${key} BETWEEN ${low} AND ${high}`)
    .join(' OR ')})`;
}

function inRuns(runs: readonly SliceRun[], slice: string): string {
  const slices = runs.flatMap((run) => Array.from({ length: run.to - run.from }, (_unused, at) => run.from + at));
  return slices.length === 0 ? 'FALSE' : `${slice} IN (${slices.join(', ')})`;
}

const KEPT = '@homeostat_slices';
const keptSlices = `JSON_TABLE(${KEPT}, '$[*]' COLUMNS (s INT PATH '$[0]', n BIGINT PATH '$[1]', hi DECIMAL(40, 0) PATH '$[2]', lo DECIMAL(40, 0) PATH '$[3]')) kept`;

const modulo = (value: string, modulus: string): string => `CAST(MOD(MOD(${value}, ${modulus}) + ${modulus}, ${modulus}) AS UNSIGNED)`;
const hex = (value: string, digits: number): string => `LPAD(HEX(${value}), ${digits}, '0')`;

export async function summarize(session: Session, scanned: Scanned): Promise<Summary> {
  await session.execute(packedSize);
  await session.execute(scanSetting(scanned.table));
  const rows = hashedRows(scanned, 'slices');
  // SELECT INTO reads the snapshot; SET with a subquery would lock every row that it reads against writers.
  await session.execute(
    `SELECT CONCAT('[', coalesce(GROUP_CONCAT(CONCAT('[', s, ',', n, ',"', hi, '","', lo, '"]') SEPARATOR ','), ''), ']') INTO ${KEPT}
       FROM (SELECT s, count(*) AS n, sum(hi) AS hi, sum(lo) AS lo FROM ${rows.sql} GROUP BY s) g`,
    rows.values,
  );
  const perBucket = slicesPerBucket(scanned.slicing);
  const [row] = await session.query(
    `SELECT CAST(coalesce(sum(n), 0) AS CHAR) AS n, CAST(coalesce(sum(hi), 0) AS CHAR) AS high, CAST(coalesce(sum(lo), 0) AS CHAR) AS low,
            UNHEX(coalesce(GROUP_CONCAT(CONCAT(${hex('b', 2)}, ${hex(modulo('lo', '65536'), 4)}, ${hex(modulo(`FLOOR(lo / ${TWO_60})`, '256'), 2)},
              ${hex('n % 65536', 4)}) SEPARATOR ''), '')) AS packed
       FROM (SELECT s DIV ${perBucket} AS b, sum(n) AS n, sum(hi) AS hi, sum(lo) AS lo FROM ${keptSlices} GROUP BY 1) g`,
  );
  const fingerprints = new Uint16Array(SUMMARY_BUCKETS);
  const spreads = new Uint8Array(SPREAD_BUCKETS);
  const counts = new Uint16Array(COUNT_BUCKETS);
  const packed = bytesOf(row?.['packed']);
  for (let at = 0; at + 6 <= packed.length; at += 6) {
    const bucket = packed.readUInt8(at);
    fingerprints[bucket] = packed.readUInt16BE(at + 1);
    spreads[bucket % SPREAD_BUCKETS] = (spreads[bucket % SPREAD_BUCKETS] ?? 0) + packed.readUInt8(at + 3);
    counts[bucket % COUNT_BUCKETS] = (counts[bucket % COUNT_BUCKETS] ?? 0) + packed.readUInt16BE(at + 4);
  }
  return { count: Number(row?.['n']), sum: laneSum(String(row?.['high']), String(row?.['low'])), fingerprints, spreads, counts };
}

/** Fingerprints of the parts of these buckets, from what {@link summarize} has left in this session. */
export async function refine(session: Session, slicing: Slicing, buckets: readonly number[], parts: number): Promise<Uint16Array> {
  const perBucket = slicesPerBucket(slicing);
  const [row] = await session.query(
    `SELECT UNHEX(coalesce(GROUP_CONCAT(CONCAT(${hex('part', 4)}, ${hex(modulo('lo', '65536'), 4)}) SEPARATOR ''), '')) AS packed
       FROM (SELECT s DIV ${perBucket / parts} AS part, sum(lo) AS lo FROM ${keptSlices} WHERE s DIV ${perBucket} IN (${buckets.join(', ')}) GROUP BY 1) g`,
  );
  const prints = new Uint16Array(buckets.length * parts);
  const places = new Map(buckets.map((bucket, at) => [bucket, at]));
  const packed = bytesOf(row?.['packed']);
  for (let at = 0; at + 4 <= packed.length; at += 4) {
    const part = packed.readUInt16BE(at);
    const place = places.get(Math.floor(part / parts));
    if (place !== undefined) prints[place * parts + (part % parts)] = packed.readUInt16BE(at + 2);
  }
  return prints;
}

export async function sketchTable(session: Session, scanned: Scanned, cells: number): Promise<SketchTable> {
  await session.execute(packedSize);
  await session.execute(scanSetting(scanned.table));
  const cell = `CASE sub WHEN 0 THEN (p >> 32) % ${cells} WHEN 1 THEN ${cells} + ((p & 4294967295) >> 8) % ${cells}
    ELSE ${2 * cells} + (((((p & 4294967295) * 1103515245) + (p >> 32)) >> 13) & 1073741823) % ${cells} END`;
  const value = 'CAST(lo & 4294967295 AS SIGNED) - 2147483648';
  const rows = hashedRows(scanned, 'items');
  const [row] = await session.query(
    `SELECT UNHEX(coalesce(GROUP_CONCAT(CONCAT(${hex('at', 6)}, ${hex(modulo('v', TWO_40), 10)}, ${hex(`${modulo('l', TWO_64)} ^ 9223372036854775808`, 16)},
              ${hex(`${modulo('h', TWO_64)} ^ 9223372036854775808`, 16)}) SEPARATOR ''), '')) AS packed
       FROM (SELECT ${cell} AS at, sum(${value}) AS v, sum((${value}) * CAST(k & 4294967295 AS SIGNED)) AS l, sum((${value}) * CAST(k >> 32 AS SIGNED)) AS h
               FROM ${rows.sql}
               STRAIGHT_JOIN (SELECT 0 AS sub UNION ALL SELECT 1 UNION ALL SELECT 2) subs GROUP BY at) g`,
    rows.values,
  );
  const packed = bytesOf(row?.['packed']);
  const result = emptyTable(cells);
  const size = 3 + CELL_BYTES;
  for (let at = 0; at + size <= packed.length; at += size) {
    const index = packed.readUIntBE(at, 3);
    if (index >= cells * SUB_TABLES) throw new RangeError('a cell lies outside of the table');
    parseCell(packed, at + 3, result, index);
  }
  return result;
}

export function slicesByKey(table: Table, shape: Shape): boolean {
  return hasIntKey(shape) && tableColumn(table, shape.key[0] ?? '').type === 'int';
}

/** By the index of the key. */
export async function keySpan(
  session: Session,
  table: Table,
  shape: Shape,
  range: KeyRange,
): Promise<{ readonly low: bigint; readonly high: bigint } | undefined> {
  const [name = ''] = shape.key;
  if (!slicesByKey(table, shape)) return undefined;
  const where = rangeWhere(table, shape, range);
  const key = `t.${tableColumn(table, name).sql}`;
  const [row] = await session.query(
    `SELECT CAST(min(${key}) AS CHAR) AS low, CAST(max(${key}) AS CHAR) AS high FROM ${table.sql} t ${where.sql}`,
    where.values,
  );
  const { low, high } = { low: null, high: null, ...row } as { readonly low: string | null; readonly high: string | null };
  // Keys past 2^63 are negative words: their slices would not be in the order of the index.
  if (low === null || high === null || BigInt(high) >= 2n ** 63n) return undefined;
  return { low: BigInt(low), high: BigInt(high) };
}

/** Integer keys need no look-up; others cost a scan that hashes keys. */
export async function locateKeys(
  session: Session,
  table: Table,
  shape: Shape,
  range: KeyRange,
  words: readonly bigint[],
): Promise<readonly Key[]> {
  if (hasIntKey(shape)) return intKeys(shape, words);
  if (words.length === 0) return [];
  const where = rangeWhere(table, shape, range);
  const keys = shape.key.map((name, at) => `c${shape.columns.findIndex((column) => column.name === name)} AS k${at}`);
  const rows = await session.query(
    `SELECT * FROM (SELECT ${keys.join(', ')}, ${lane(keyDigestExpression(shape), 0)} AS p FROM ${textsFrom(table, shape, where.sql)}) q WHERE p IN (${words.join(', ')})`,
    where.values,
  );
  return rows.map((row) => Object.fromEntries(shape.key.map((name, at) => [name, String(row[`k${at}`])])));
}

function bytesOf(value: unknown): Buffer {
  return value instanceof Uint8Array ? Buffer.from(value) : Buffer.alloc(0);
}
