/** Digests, bucket digests, entries and rows of a MySQL or MariaDB table. */
import { parseRowDigest, type RangeDigest } from '../../../domain/digest.ts';
import type { KeyRange } from '../../../domain/key-range.ts';
import { keyDigest, rowDigest } from '../../../domain/row-encoding.ts';
import { type Key, keyText, type Row, type Shape } from '../../../domain/row.ts';
import { bucketOfDigest, DigestSum, laneSum } from '../lane-sum.ts';
import type { BucketChoice, Entry, ReadRow } from '../replica.ts';
import {
  canonicalExpression,
  finishText,
  keyDigestExpression,
  lane,
  nativeValue,
  needsClient,
  rowDigestExpression,
  scanSetting,
  tableColumn,
  textsFrom,
} from './canonical-sql.ts';
import type { Table } from './describe.ts';
import type { Session } from './session.ts';

interface Where {
  readonly sql: string;
  readonly values: readonly unknown[];
}

const naturallyOrdered = new Set(['int', 'numeric', 'float', 'date', 'time', 'timestamp', 'timestamptz']);

/** Key order: numbers and times in their own order, all else by the bytes of the canonical text. */
export function rangeWhere(table: Table, shape: Shape, range: KeyRange): Where {
  const conditions: string[] = [];
  const values: unknown[] = [];
  for (const [bound, operator] of [
    [range.after, '>'],
    [range.upTo, '<='],
  ] as const) {
    if (bound === null) continue;
    const left: string[] = [];
    const right: string[] = [];
    for (const name of shape.key) {
      const column = tableColumn(table, name);
      const type = typeOf(shape, name);
      const native = column.type === type && naturallyOrdered.has(type) ? nativeValue(column, type, bound[name] ?? '') : undefined;
      left.push(native === undefined ? `CAST(${canonicalExpression(column, type)} AS BINARY)` : `t.${column.sql}`);
      right.push(native?.sql ?? 'CAST(? AS BINARY)');
      values.push(...(native?.values ?? [bound[name] ?? '']));
    }
    conditions.push(`(${left.join(', ')}) ${operator} (${right.join(', ')})`);
  }
  return { sql: conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`, values };
}

function typeOf(shape: Shape, name: string): Shape['columns'][number]['type'] {
  return shape.columns.find((column) => column.name === name)?.type ?? 'text';
}

/** `buckets` is a power of two, at most 2^32. */
export async function digestBuckets(
  session: Session,
  table: Table,
  shape: Shape,
  range: KeyRange,
  buckets: number,
): Promise<readonly RangeDigest[]> {
  const where = rangeWhere(table, shape, range);
  if (needsClient(shape)) {
    const sums = Array.from({ length: buckets }, () => new DigestSum());
    for await (const row of readTexts(session, table, shape, where)) {
      sums[bucketOfDigest(keyDigest(shape, row as Key), buckets)]?.add(rowDigest(shape, row));
    }
    return sums.map((sum) => sum.result());
  }
  await session.execute(scanSetting(table));
  const bucket = `CAST(CONV(SUBSTR(${keyDigestExpression(shape)}, 9, 8), 16, 10) AS UNSIGNED) & ${buckets - 1}`;
  const rows = await session.query(
    `SELECT b AS bucket, CAST(count(*) AS CHAR) AS n, CAST(sum(${lane('d', 0)}) AS CHAR) AS high, CAST(sum(${lane('d', 1)}) AS CHAR) AS low
       FROM (SELECT ${rowDigestExpression(shape)} AS d, ${buckets > 1 ? bucket : '0'} AS b FROM ${textsFrom(table, shape, where.sql)}) r GROUP BY b`,
    where.values,
  );
  const digests: RangeDigest[] = Array.from({ length: buckets }, () => ({ count: 0, sum: '0'.repeat(32) }));
  for (const row of rows)
    digests[Number(row['bucket'])] = { count: Number(row['n']), sum: laneSum(String(row['high']), String(row['low'])) };
  return digests;
}

const BATCH_ROWS = 5_000;

export async function* readEntries(
  session: Session,
  table: Table,
  shape: Shape,
  range: KeyRange,
  choice: BucketChoice | 'in-order',
): AsyncGenerator<readonly Entry[]> {
  const { buckets, only: list } = choice === 'in-order' ? { buckets: 1, only: undefined } : choice;
  const ranged = rangeWhere(table, shape, range);
  const where = choice === 'in-order' ? { sql: `${ranged.sql} ${keyOrder(table, shape)}`, values: ranged.values } : ranged;
  const only = list === undefined ? undefined : new Set(list);
  let batch: Entry[] = [];
  for await (const entry of needsClient(shape)
    ? entriesHere(session, table, shape, where, buckets)
    : entriesThere(session, table, shape, where, list === undefined ? { buckets } : { buckets, only: list })) {
    if (entry.bucket !== undefined && only?.has(entry.bucket) === false) continue;
    batch.push({ key: entry.key, digest: entry.digest });
    if (batch.length === BATCH_ROWS) {
      yield batch;
      batch = [];
    }
  }
  if (batch.length > 0) yield batch;
}

/** ORDER BY for the order that {@link rangeWhere} has. LIMIT keeps the server from dropping the order of a derived table. */
function keyOrder(table: Table, shape: Shape): string {
  const terms = shape.key.map((name) => {
    const column = tableColumn(table, name);
    const type = typeOf(shape, name);
    return column.type === type && naturallyOrdered.has(type) ? `t.${column.sql}` : `CAST(${canonicalExpression(column, type)} AS BINARY)`;
  });
  return `ORDER BY ${terms.join(', ')} LIMIT 18446744073709551615`;
}

/** The key that is `rows` keys further, by the index; undefined where fewer are left or the order is not that of an index. */
export async function readBoundary(session: Session, table: Table, shape: Shape, range: KeyRange, rows: number): Promise<Key | undefined> {
  const isIndexed = shape.key.every(
    (name) => tableColumn(table, name).type === typeOf(shape, name) && naturallyOrdered.has(typeOf(shape, name)),
  );
  if (!isIndexed) return undefined;
  const where = rangeWhere(table, shape, range);
  const keys = shape.key.map((name, at) => `${canonicalExpression(tableColumn(table, name), typeOf(shape, name))} AS k${at}`);
  const order = shape.key.map((name) => `t.${tableColumn(table, name).sql}`).join(', ');
  const [row] = await session.query(
    `SELECT ${keys.join(', ')} FROM ${table.sql} t ${where.sql} ORDER BY ${order} LIMIT 1 OFFSET ${rows - 1}`,
    where.values,
  );
  return row === undefined ? undefined : Object.fromEntries(shape.key.map((name, at) => [name, String(row[`k${at}`])]));
}

interface PlacedEntry extends Entry {
  /** undefined: the server has chosen already. */
  readonly bucket: number | undefined;
}

async function* entriesThere(
  session: Session,
  table: Table,
  shape: Shape,
  where: Where,
  choice: BucketChoice,
): AsyncGenerator<PlacedEntry> {
  const keys = shape.key.map((name, at) => `c${shape.columns.findIndex((column) => column.name === name)} AS k${at}`);
  const bucket = `(CAST(CONV(SUBSTR(${keyDigestExpression(shape)}, 9, 8), 16, 10) AS UNSIGNED) & ${choice.buckets - 1})`;
  // The optimizer knows nothing of hashes: a long list is a bitmap test, one comparison a row.
  const chosen =
    choice.only === undefined ? '' : choice.only.length === 0 ? 'WHERE FALSE' : `WHERE ${bucket} IN (${choice.only.join(', ')})`;
  for await (const row of session.stream(
    `SELECT ${keys.join(', ')}, ${rowDigestExpression(shape)} AS digest FROM ${textsFrom(table, shape, where.sql)} ${chosen}`,
    where.values,
  )) {
    const key = Object.fromEntries(shape.key.map((name, at) => [name, String(row[`k${at}`])]));
    yield { key, digest: parseRowDigest(String(row['digest'])), bucket: undefined };
  }
}

async function* entriesHere(session: Session, table: Table, shape: Shape, where: Where, buckets: number): AsyncGenerator<PlacedEntry> {
  for await (const row of readTexts(session, table, shape, where)) {
    const key = keyOf(shape, row);
    yield { key, digest: rowDigest(shape, row), bucket: bucketOfDigest(keyDigest(shape, key), buckets) };
  }
}

async function* readTexts(session: Session, table: Table, shape: Shape, where: Where): AsyncGenerator<Row> {
  const columns = shape.columns.map((_column, at) => `c${at}`);
  for await (const row of session.stream(`SELECT ${columns.join(', ')} FROM ${textsFrom(table, shape, where.sql)}`, where.values)) {
    yield rowOf(shape, row);
  }
}

function rowOf(shape: Shape, row: Readonly<Record<string, unknown>>): Row {
  return Object.fromEntries(shape.columns.map((column, at) => [column.name, finishText(column.type, row[`c${at}`] as string | null)]));
}

function keyOf(shape: Shape, row: Row): Key {
  return Object.fromEntries(shape.key.map((name) => [name, row[name] ?? '']));
}

const BATCH_KEYS = 500;

/** The condition that finds these keys by the key's index, or undefined where none of them can exist here. */
export function keysWhere(table: Table, shape: Shape, keys: readonly Key[]): Where | undefined {
  const tuples: string[] = [];
  const values: unknown[] = [];
  for (const key of keys) {
    const parts = shape.key.map((name) => nativeValue(tableColumn(table, name), typeOf(shape, name), key[name] ?? ''));
    if (parts.some((part) => part === undefined)) continue;
    tuples.push(`(${parts.map((part) => part?.sql).join(', ')})`);
    values.push(...parts.flatMap((part) => part?.values ?? []));
  }
  if (tuples.length === 0) return undefined;
  const columns = shape.key.map((name) => `t.${tableColumn(table, name).sql}`);
  return { sql: `WHERE (${columns.join(', ')}) IN (${tuples.join(', ')})`, values };
}

/** The table's own equality may be coarser than ours (case, trailing spaces): what is found is checked against the key's text. */
export async function readRows(session: Session, table: Table, shape: Shape, keys: readonly Key[], lock = ''): Promise<readonly ReadRow[]> {
  const read: ReadRow[] = [];
  for (let at = 0; at < keys.length; at += BATCH_KEYS) {
    const batch = keys.slice(at, at + BATCH_KEYS);
    const wanted = new Set(batch.map((key) => keyText(shape.key, key)));
    const where = keysWhere(table, shape, batch);
    if (where === undefined) continue;
    const texts = shape.columns.map((column, index) => `${canonicalExpression(tableColumn(table, column.name), column.type)} AS c${index}`);
    for (const found of await session.query(`SELECT ${texts.join(', ')} FROM ${table.sql} t ${where.sql} ${lock}`, where.values)) {
      const row = rowOf(shape, found);
      const key = keyOf(shape, row);
      if (wanted.has(keyText(shape.key, key))) read.push({ key, row, digest: rowDigest(shape, row) });
    }
  }
  return read;
}

/** Digests of these rows, made in the server; of a table with JSON columns, by reading it. The store has no marks of its own. */
export async function readMarks(session: Session, table: Table, shape: Shape, keys: readonly Key[]): Promise<readonly Entry[]> {
  const read: Entry[] = [];
  for (let at = 0; at < keys.length; at += BATCH_KEYS) {
    const batch = keys.slice(at, at + BATCH_KEYS);
    const wanted = new Set(batch.map((key) => keyText(shape.key, key)));
    const where = keysWhere(table, shape, batch);
    if (where === undefined) continue;
    const entries = needsClient(shape)
      ? entriesHere(session, table, shape, where, 1)
      : entriesThere(session, table, shape, where, { buckets: 1 });
    for await (const { key, digest } of entries) if (wanted.has(keyText(shape.key, key))) read.push({ key, digest });
  }
  return read;
}
