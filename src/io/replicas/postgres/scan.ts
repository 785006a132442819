/** Digests, bucket digests and entries of a PostgreSQL table: one scan each, only sums or keys travel. */
import { type RangeDigest, parseRowDigest } from '../../../domain/digest.ts';
import type { KeyRange } from '../../../domain/key-range.ts';
import type { Key, Shape } from '../../../domain/row.ts';
import { laneSum } from '../lane-sum.ts';
import type { BucketChoice, Entry } from '../replica.ts';
import {
  canonicalExpression,
  digestBits,
  keyDigestExpression,
  lanes,
  nativeExpression,
  rowDigestExpression,
  tableColumn,
  textsFrom,
} from './canonical-sql.ts';
import type { Table } from './describe.ts';
import { literal, type Session } from './session.ts';

/** WHERE of a key range in key order: text by bytes, all else in the order of its type. Bounds are parameters from `first` on. */
export function rangeWhere(
  table: Table,
  shape: Shape,
  range: KeyRange,
  first: number | 'literals' = 1,
): { readonly sql: string; readonly values: readonly string[] } {
  const columns = shape.key.map((name) => tableColumn(table, name));
  const types = shape.key.map((name) => shape.columns.find((column) => column.name === name)?.type ?? 'text');
  const isPlain = (at: number): boolean => columns[at]?.type === types[at] && columns[at]?.type !== 'text';
  const left = columns.map((column, at) =>
    isPlain(at) ? `t.${column.sql}` : `${canonicalExpression(column, types[at] ?? 'text', 't.')} COLLATE "C"`,
  );
  const values: string[] = [];
  const conditions: string[] = [];
  for (const [bound, operator] of [
    [range.after, '>'],
    [range.upTo, '<='],
  ] as const) {
    if (bound === null) continue;
    const right = columns.map((column, at) => {
      values.push(bound[column.name] ?? '');
      const parameter = first === 'literals' ? `${literal(bound[column.name] ?? '')}::text` : `$${first - 1 + values.length}::text`;
      return isPlain(at) ? nativeExpression(column, types[at] ?? 'text', parameter) : `${parameter} COLLATE "C"`;
    });
    conditions.push(`(${left.join(', ')}) ${operator} (${right.join(', ')})`);
  }
  return { sql: conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`, values };
}

export async function digestRange(session: Session, table: Table, shape: Shape, range: KeyRange): Promise<RangeDigest> {
  const [digest] = await digestBuckets(session, table, shape, range, 1);
  return digest ?? { count: 0, sum: '0'.repeat(32) };
}

/** `buckets` is a power of two. */
export async function digestBuckets(
  session: Session,
  table: Table,
  shape: Shape,
  range: KeyRange,
  buckets: number,
): Promise<readonly RangeDigest[]> {
  const where = rangeWhere(table, shape, range);
  const [high, low] = lanes(table, 'd');
  const inner = `SELECT ${digestBits(table, rowDigestExpression(table, shape))} AS d${buckets > 1 ? `, ${bucketOf(table, shape, buckets)} AS b` : ''} FROM ${textsFrom(table, shape, where.sql)} OFFSET 0`;
  const rows = await session.query(
    `SELECT ${buckets > 1 ? 'b' : '0'} AS bucket, count(*) AS count, coalesce(sum(${high}), 0)::text AS high, coalesce(sum(${low}), 0)::text AS low
       FROM (${inner}) r ${buckets > 1 ? 'GROUP BY b' : ''}`,
    where.values,
  );
  const digests: RangeDigest[] = Array.from({ length: buckets }, () => ({ count: 0, sum: '0'.repeat(32) }));
  for (const row of rows) {
    digests[Number(row['bucket'])] = { count: Number(row['count']), sum: laneSum(String(row['high']), String(row['low'])) };
  }
  return digests;
}

function bucketOf(table: Table, shape: Shape, buckets: number): string {
  return `(${lanes(table, digestBits(table, keyDigestExpression(table, shape)))[0]} & ${buckets - 1})`;
}

const BATCH_ROWS = 10_000; // About a megabyte of keys and digests at a time.

/** Needs a session inside a transaction, because it reads through a cursor. */
export async function* readEntries(
  session: Session,
  table: Table,
  shape: Shape,
  range: KeyRange,
  choice: BucketChoice | 'in-order',
): AsyncGenerator<readonly Entry[]> {
  const where = rangeWhere(table, shape, range, 2);
  const keys = shape.key.map((name, at) => `c${shape.columns.findIndex((column) => column.name === name)} AS k${at}`);
  const only = choice === 'in-order' ? undefined : choice.only;
  const chosen =
    choice === 'in-order' || only === undefined ? '$1::bigint[] IS NULL' : `${bucketOf(table, shape, choice.buckets)} = ANY ($1::bigint[])`;
  const order = choice === 'in-order' ? keyOrder(table, shape) : { inside: '', outside: '' };
  await session.query(
    `DECLARE entries NO SCROLL CURSOR FOR
     SELECT ${keys.join(', ')}, ${rowDigestExpression(table, shape)} AS digest FROM ${textsFrom(table, shape, `${where.sql} ${order.inside}`)} WHERE ${chosen} ${order.outside}`,
    [only ?? null, ...where.values],
  );
  for (;;) {
    const rows = await session.query(`FETCH ${BATCH_ROWS} FROM entries`);
    if (rows.length === 0) break;
    yield rows.map((row) => ({ key: keyOf(shape, row), digest: parseRowDigest(String(row['digest'])) }));
    if (rows.length < BATCH_ROWS) break;
  }
  await session.query('CLOSE entries');
}

/**
 * ORDER BY for the order that {@link rangeWhere} has. By the columns where an index may serve it; by the text, of which the server has
 * no index, after the rest of the row is a digest: what is sorted is short.
 */
function keyOrder(table: Table, shape: Shape): { readonly inside: string; readonly outside: string } {
  const parts = shape.key.map((name, at) => {
    const column = tableColumn(table, name);
    const isPlain = column.type === shape.columns[at]?.type && column.type !== 'text';
    return { isPlain, inside: `t.${column.sql}` };
  });
  if (parts.every((part) => part.isPlain)) return { inside: `ORDER BY ${parts.map((part) => part.inside).join(', ')}`, outside: '' };
  const casts: Readonly<Record<string, string>> = { int: '::numeric', numeric: '::numeric', float: '::float8' };
  const terms = parts.map((_part, at) => {
    const type = shape.columns[at]?.type ?? 'text';
    if (type === 'date' || type === 'timestamp' || type === 'timestamptz') return `c${at}::${type}`;
    return casts[type] === undefined ? `c${at} COLLATE "C"` : `c${at}${casts[type]}`;
  });
  return { inside: '', outside: `ORDER BY ${terms.join(', ')}` };
}

/** The key that is `rows` keys further, by the index; undefined where fewer are left or the order is not that of an index. */
export async function readBoundary(session: Session, table: Table, shape: Shape, range: KeyRange, rows: number): Promise<Key | undefined> {
  const { inside } = keyOrder(table, shape);
  if (inside === '') return undefined;
  const where = rangeWhere(table, shape, range);
  const keys = shape.key.map(
    (name, at) => `${canonicalExpression(tableColumn(table, name), shape.columns[at]?.type ?? 'text', 't.')} AS k${at}`,
  );
  const [row] = await session.query(
    `SELECT ${keys.join(', ')} FROM ${table.sql} t ${where.sql} ${inside} OFFSET ${rows - 1} LIMIT 1`,
    where.values,
  );
  return row === undefined ? undefined : keyOf(shape, row);
}

export function keyOf(shape: Shape, row: Record<string, unknown>): Key {
  return Object.fromEntries(shape.key.map((name, at) => [name, String(row[`k${at}`])]));
}
