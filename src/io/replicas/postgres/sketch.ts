/** Sketches (`domain/sketch.ts`) of a PostgreSQL table, each from one scan in plain SQL; one packed row travels. */
import type { KeyRange } from '../../../domain/key-range.ts';
import type { Key, Shape } from '../../../domain/row.ts';
import {
  SPREAD_BUCKETS,
  COUNT_BUCKETS,
  parseTable,
  type SketchTable,
  SUB_TABLES,
  SUMMARY_BUCKETS,
  type Summary,
} from '../../../domain/sketch.ts';
import { canonicalPlace, hasIntKey, intKeys } from '../key-word.ts';
import { laneSum } from '../lane-sum.ts';
import type { SketchHash } from '../replica.ts';
import { canonicalExpression, keyDigestExpression, lanes, rowDigestExpression, tableColumn, textsFrom } from './canonical-sql.ts';
import type { Table } from './describe.ts';
import { nativeHashes, nativeIntPlace } from './native-hash.ts';
import { rangeWhere } from './scan.ts';
import { literal, type Session } from './session.ts';

export function placeOfKeyWord(shape: Shape, hash: SketchHash): (key: bigint) => bigint {
  return hash === 'native' && hasIntKey(shape) ? nativeIntPlace : canonicalPlace(shape);
}

/** FROM clause with k, p, hi, lo of each row in the range whose bucket is wanted. `bitmap`: a parameter, or '' for all. */
function hashedRows(table: Table, shape: Shape, hash: SketchHash, where: string, bitmap: string): string {
  // A table uses the low lane alone; what is not selected is not computed.
  const isChosen = (place: string): string => (bitmap === '' ? '' : `get_bit(${bitmap}, (${place} & ${SUMMARY_BUCKETS - 1})::int) = 1`);
  const [keyName = ''] = shape.key;
  if (hash === 'native') {
    const { place, high, low } = nativeHashes(table, shape);
    const key = hasIntKey(shape) ? `t.${tableColumn(table, keyName).sql}::int8` : place;
    const chosen = [where.replace(/^WHERE /, ''), isChosen(place)].filter((one) => one !== '');
    return `(SELECT ${key} AS k, ${place} AS p, ${bitmap === '' ? `${high} AS hi, ` : ''}${low} AS lo FROM ${table.sql} t ${chosen.length === 0 ? '' : `WHERE ${chosen.join(' AND ')}`}) r`;
  }
  const [place] = lanes(table, 'kd');
  const [high, low] = lanes(table, 'd');
  const inner = `(SELECT s.*, ${keyDigestExpression(table, shape)} AS kd FROM ${textsFrom(table, shape, where)} OFFSET 0) s`;
  const chosen = isChosen(place);
  const digests = `(SELECT c0, kd, ${rowDigestExpression(table, shape)} AS d FROM ${inner} ${chosen === '' ? '' : `WHERE ${chosen}`} OFFSET 0) s`;
  return `(SELECT ${hasIntKey(shape) ? 'c0::int8' : place} AS k, ${place} AS p, ${bitmap === '' ? `${high} AS hi, ` : ''}${low} AS lo FROM ${digests} OFFSET 0) r`;
}

export async function summarize(session: Session, table: Table, shape: Shape, range: KeyRange, hash: SketchHash): Promise<Summary> {
  const where = rangeWhere(table, shape, range, 'literals');
  const bytes = await session.packed(
    `SELECT int8send(sum(n)::bigint) || ${wrapped('sum(hi)')} || ${wrapped('sum(lo)')}
            || string_agg(substring(int8send(mod(lo, 65536)::bigint) FROM 7), ''::bytea ORDER BY b)
            || string_agg(substring(int8send(mod(floor((lo + lo2) / 1152921504606846976), 256)::bigint) FROM 8), ''::bytea ORDER BY b) FILTER (WHERE b < ${SPREAD_BUCKETS})
            || string_agg(substring(int8send(n + n2 + n3 + n4) FROM 8), ''::bytea ORDER BY b) FILTER (WHERE b < ${COUNT_BUCKETS})
       FROM (SELECT b, n, hi, lo, lead(lo, 128, 0::numeric) OVER w AS lo2, lead(n, 64, 0::bigint) OVER w AS n2,
                    lead(n, 128, 0::bigint) OVER w AS n3, lead(n, 192, 0::bigint) OVER w AS n4
               FROM (SELECT b, coalesce(n, 0) AS n, coalesce(hi, 0) AS hi, coalesce(lo, 0) AS lo
                       FROM generate_series(0, ${SUMMARY_BUCKETS - 1}) AS g(b)
                       LEFT JOIN (SELECT (p & ${SUMMARY_BUCKETS - 1})::int AS b, count(*) AS n, sum(hi) AS hi, sum(lo) AS lo
                                    FROM ${hashedRows(table, shape, hash, where.sql, '')} GROUP BY 1) one USING (b)) dense
             WINDOW w AS (ORDER BY b)) wide`,
  );
  const prints = bytes.subarray(24, 24 + SUMMARY_BUCKETS * 2);
  const after = 24 + SUMMARY_BUCKETS * 2;
  return {
    count: Number(bytes.readBigInt64BE(0)),
    sum: laneSum((bytes.readBigUInt64BE(8) ^ (1n << 63n)).toString(), (bytes.readBigUInt64BE(16) ^ (1n << 63n)).toString()),
    fingerprints: Uint16Array.from({ length: SUMMARY_BUCKETS }, (_unused, at) => prints.readUInt16BE(at * 2)),
    spreads: Uint8Array.from(bytes.subarray(after, after + SPREAD_BUCKETS)),
    counts: Uint8Array.from(bytes.subarray(after + SPREAD_BUCKETS)),
  };
}

/** SUM of bigint is numeric: modulo 2^64, less 2^63, so that it can be a bigint again. */
function wrapped(sum: string): string {
  const modulus = '18446744073709551616';
  return `int8send((mod(mod(coalesce(${sum}, 0), ${modulus}) + ${modulus}, ${modulus}) - 9223372036854775808)::bigint)`;
}

export async function sketchTable(
  session: Session,
  table: Table,
  shape: Shape,
  range: KeyRange,
  hash: SketchHash,
  buckets: readonly number[],
  cells: number,
): Promise<SketchTable> {
  const where = rangeWhere(table, shape, range, 'literals');
  // As in cellsOf: the halves of p, and a mix of both.
  const bytes = await session.packed(
    `SELECT string_agg(substring(int8send(coalesce(v, 0)::bigint) FROM 3) || ${wrapped('l')} || ${wrapped('h')}, ''::bytea ORDER BY g.at) AS cells
       FROM generate_series(0, ${cells * SUB_TABLES - 1}) AS g(at)
       LEFT JOIN (SELECT CASE GROUPING(c0, c1, c2) WHEN 3 THEN c0 WHEN 5 THEN c1 + ${cells} ELSE c2 + ${2 * cells} END AS at, sum(v) AS v, sum(v * kl) AS l, sum(v * kh) AS h
                    FROM (SELECT ((p >> 32) & 4294967295) % ${cells} AS c0, ((p & 4294967295) >> 8) % ${cells} AS c1,
                                 (((((p & 4294967295) * 1103515245) + ((p >> 32) & 4294967295)) >> 13) & 1073741823) % ${cells} AS c2,
                                 (lo & 4294967295) - 2147483648 AS v, k & 4294967295 AS kl, (k >> 32) & 4294967295 AS kh
                            FROM ${hashedRows(table, shape, hash, where.sql, `${literal(`\\x${bitmapOf(buckets).toString('hex')}`)}::bytea`)} OFFSET 0) i
                   GROUP BY GROUPING SETS ((c0), (c1), (c2))) one USING (at)`,
  );
  return parseTable(bytes, cells);
}

/** get_bit counts from the lowest bit of each byte. */
function bitmapOf(buckets: readonly number[]): Buffer {
  const bitmap = Buffer.alloc(SUMMARY_BUCKETS / 8);
  for (const bucket of buckets) bitmap[bucket >> 3] = (bitmap[bucket >> 3] ?? 0) | (1 << (bucket & 7));
  return bitmap;
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
    `SELECT * FROM (SELECT ${texts.join(', ')}, ${keyDigestExpression(table, shape)} AS kd FROM ${textsFrom(table, shape, where.sql)} OFFSET 0) q
      WHERE ${place} = ANY ($1::bigint[])`,
    [numbers, ...where.values],
  );
  return rows.map((row) => Object.fromEntries(shape.key.map((key, at) => [key, String(row[`k${at}`])])));
}
