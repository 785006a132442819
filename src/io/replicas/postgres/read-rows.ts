/** Rows by key from a PostgreSQL table, in canonical text, optionally locked for a change in the same transaction. */
import { parseRowDigest } from '../../../domain/digest.ts';
import type { Key, Row, Shape } from '../../../domain/row.ts';
import type { ReadRow, RowMark } from '../replica.ts';
import { canonicalExpression, nativeExpression, rowDigestExpression, tableColumn, textsFrom } from './canonical-sql.ts';
import type { Table } from './describe.ts';
import { keyOf } from './scan.ts';
import type { Session } from './session.ts';

const BATCH_KEYS = 5_000;

export async function readRows(session: Session, table: Table, shape: Shape, keys: readonly Key[], lock = ''): Promise<readonly ReadRow[]> {
  const columns = shape.columns.map((_column, index) => `c${index}`);
  return (await readBatches(session, table, shape, keys, columns, lock)).map((found) => {
    const values: Record<string, string | null> = {};
    for (const [index, column] of shape.columns.entries()) values[column.name] = found[`c${index}`] as string | null;
    return { ...markOf(table, shape, found), row: values as Row };
  });
}

export async function readMarks(session: Session, table: Table, shape: Shape, keys: readonly Key[]): Promise<readonly RowMark[]> {
  return (await readBatches(session, table, shape, keys, [], '')).map((found) => markOf(table, shape, found));
}

async function readBatches(
  session: Session,
  table: Table,
  shape: Shape,
  keys: readonly Key[],
  columns: readonly string[],
  lock: string,
): Promise<readonly Record<string, unknown>[]> {
  const keyTexts = shape.key.map((name, index) => `c${shape.columns.findIndex((column) => column.name === name)} AS k${index}`);
  // The transaction that wrote this version of the row: another write, another number, even where it wrote the same values.
  const stamp = table.isStored ? ', t.xmin::text AS stamp' : ", '' AS stamp";
  const found: Record<string, unknown>[] = [];
  for (let at = 0; at < keys.length; at += BATCH_KEYS)
    found.push(
      ...(await session.query(
        `SELECT ${[...columns, ...keyTexts].join(', ')}, stamp, ${rowDigestExpression(table, shape)} AS digest FROM ${textsFrom(table, shape, `, ${wanted(shape.key.length)} WHERE ${keyMatch(table, shape)} ${lock}`, { more: stamp })}`,
        keyParameters(shape, keys.slice(at, at + BATCH_KEYS)),
      )),
    );
  return found;
}

function markOf(table: Table, shape: Shape, found: Record<string, unknown>): RowMark {
  return {
    key: keyOf(shape, found),
    digest: parseRowDigest(String(found['digest'])),
    ...(table.isStored ? { stamp: String(found['stamp']) } : {}),
  };
}

/** One array of canonical texts a key column. */
export function keyParameters(shape: Shape, keys: readonly Key[]): readonly (readonly string[])[] {
  return shape.key.map((name) => keys.map((key) => key[name] ?? ''));
}

/** The wanted keys as relation `w(w0, w1 ...)`, from parameters $1, $2 ... */
export function wanted(width: number): string {
  const numbers = Array.from({ length: width }, (_unused, at) => at);
  return `unnest(${numbers.map((at) => `$${at + 1}::text[]`).join(', ')}) AS w(${numbers.map((at) => `w${at}`).join(', ')})`;
}

/** Joins `t` with `w`: by the column's own equality, so that the key's index serves, and by text where that equality is coarser. */
export function keyMatch(table: Table, shape: Shape): string {
  const conditions = shape.key.map((name, at) => {
    const column = tableColumn(table, name);
    const type = shape.columns.find((candidate) => candidate.name === name)?.type ?? column.type;
    const text = `${canonicalExpression(column, type, 't.')} = w.w${at} COLLATE "C"`;
    if (type !== column.type && type === 'uuid' && column.type === 'text') return text;
    const native = `t.${column.sql} = ${nativeExpression(column, type, `w.w${at}`, true)}`;
    return column.isFolded ? `${native} AND ${text}` : native;
  });
  return conditions.join(' AND ');
}
