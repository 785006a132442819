/** Sketches (`domain/sketch.ts`) of a MySQL or MariaDB table by the canonical hash, each from one scan; one packed value travels. */
import type { KeyRange } from '../../../domain/key-range.ts';
import type { Key, Shape } from '../../../domain/row.ts';
import {
  COUNT_BUCKETS,
  emptyTable,
  parseCell,
  type SketchTable,
  SPREAD_BUCKETS,
  SUB_TABLES,
  SUMMARY_BUCKETS,
  type Summary,
} from '../../../domain/sketch.ts';
import { laneSum } from '../lane-sum.ts';
import { hasIntKey, intKeys } from '../key-word.ts';
import { keyDigestExpression, lane, rowDigestExpression, scanSetting, textsFrom } from './canonical-sql.ts';
import type { Table } from './describe.ts';
import { rangeWhere } from './scan.ts';
import type { Session } from './session.ts';

const TWO_48 = '281474976710656';
const TWO_60 = '1152921504606846976';
const TWO_64 = '18446744073709551616';

/** Packed values are some hundred kilobytes at most; the default would cut them off at one. */
const packedSize = 'SET SESSION group_concat_max_len = 67108864';

/** Derived table with k, p (unsigned) and the lanes hi, lo (signed) of the rows whose bucket is chosen. */
function hashedRows(table: Table, shape: Shape, where: string, chosen: string): string {
  const keyAt = shape.columns.findIndex((column) => column.name === shape.key[0]);
  const key = hasIntKey(shape) ? `IF(c${keyAt} LIKE '-%', CAST(CAST(c${keyAt} AS SIGNED) AS UNSIGNED), CAST(c${keyAt} AS UNSIGNED))` : 'p';
  const placed = `(SELECT s.*, ${lane(keyDigestExpression(shape), 0)} AS p FROM ${textsFrom(table, shape, where)}) q`;
  const hashed = `(SELECT ${key} AS k, p, ${rowDigestExpression(shape)} AS d FROM ${placed} ${chosen}) h`;
  return `(SELECT k, p, CAST(${lane('d', 0)} AS SIGNED) AS hi, CAST(${lane('d', 1)} AS SIGNED) AS lo FROM ${hashed}) r`;
}

export async function summarize(session: Session, table: Table, shape: Shape, range: KeyRange): Promise<Summary> {
  const where = rangeWhere(table, shape, range);
  await session.execute(packedSize);
  await session.execute(scanSetting(table));
  const [row] = await session.query(
    `SELECT CAST(coalesce(sum(n), 0) AS CHAR) AS n, CAST(coalesce(sum(hi), 0) AS CHAR) AS high, CAST(coalesce(sum(lo), 0) AS CHAR) AS low,
            UNHEX(coalesce(GROUP_CONCAT(CONCAT(LPAD(HEX(b), 2, '0'), LPAD(HEX(CAST(MOD(MOD(lo, 65536) + 65536, 65536) AS UNSIGNED)), 4, '0'),
              LPAD(HEX(CAST(MOD(MOD(FLOOR(lo / ${TWO_60}), 256) + 256, 256) AS UNSIGNED)), 2, '0'), LPAD(HEX(n % 256), 2, '0')) SEPARATOR ''), '')) AS packed
       FROM (SELECT p & ${SUMMARY_BUCKETS - 1} AS b, count(*) AS n, sum(hi) AS hi, sum(lo) AS lo FROM ${hashedRows(table, shape, where.sql, '')} GROUP BY b) g`,
    where.values,
  );
  const fingerprints = new Uint16Array(SUMMARY_BUCKETS);
  const spreads = new Uint8Array(SPREAD_BUCKETS);
  const counts = new Uint8Array(COUNT_BUCKETS);
  const packed = bytesOf(row?.['packed']);
  for (let at = 0; at + 5 <= packed.length; at += 5) {
    const bucket = packed.readUInt8(at);
    fingerprints[bucket] = packed.readUInt16BE(at + 1);
    spreads[bucket % SPREAD_BUCKETS] = (spreads[bucket % SPREAD_BUCKETS] ?? 0) + packed.readUInt8(at + 3);
    counts[bucket % COUNT_BUCKETS] = (counts[bucket % COUNT_BUCKETS] ?? 0) + packed.readUInt8(at + 4);
  }
  return { count: Number(row?.['n']), sum: laneSum(String(row?.['high']), String(row?.['low'])), fingerprints, spreads, counts };
}

export async function sketchTable(
  session: Session,
  table: Table,
  shape: Shape,
  range: KeyRange,
  buckets: readonly number[],
  cells: number,
): Promise<SketchTable> {
  const where = rangeWhere(table, shape, range);
  await session.execute(packedSize);
  await session.execute(scanSetting(table));
  const cell = `CASE sub WHEN 0 THEN (p >> 32) % ${cells} WHEN 1 THEN ${cells} + ((p & 4294967295) >> 8) % ${cells}
    ELSE ${2 * cells} + (((((p & 4294967295) * 1103515245) + (p >> 32)) >> 13) & 1073741823) % ${cells} END`;
  const value = 'CAST(lo & 4294967295 AS SIGNED) - 2147483648';
  const hex = (sum: string, modulus: string, digits: number, flip: string): string =>
    `LPAD(HEX(CAST(MOD(MOD(${sum}, ${modulus}) + ${modulus}, ${modulus}) AS UNSIGNED)${flip}), ${digits}, '0')`;
  const [row] = await session.query(
    `SELECT UNHEX(coalesce(GROUP_CONCAT(CONCAT(LPAD(HEX(at), 6, '0'), ${hex('v', TWO_48, 12, '')}, ${hex('l', TWO_64, 16, ' ^ 9223372036854775808')},
              ${hex('h', TWO_64, 16, ' ^ 9223372036854775808')}) SEPARATOR ''), '')) AS packed
       FROM (SELECT ${cell} AS at, sum(${value}) AS v, sum((${value}) * CAST(k & 4294967295 AS SIGNED)) AS l, sum((${value}) * CAST(k >> 32 AS SIGNED)) AS h
               FROM ${hashedRows(table, shape, where.sql, `WHERE p & ${SUMMARY_BUCKETS - 1} IN (${buckets.join(', ')})`)}
               STRAIGHT_JOIN (SELECT 0 AS sub UNION ALL SELECT 1 UNION ALL SELECT 2) subs GROUP BY at) g`,
    where.values,
  );
  const packed = bytesOf(row?.['packed']);
  const result = emptyTable(cells);
  const size = 25;
  for (let at = 0; at + size <= packed.length; at += size) {
    const index = packed.readUIntBE(at, 3);
    if (index >= cells * SUB_TABLES) throw new RangeError('a cell lies outside of the table');
    parseCell(packed, at + 3, result, index);
  }
  return result;
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
