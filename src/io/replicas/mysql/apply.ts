/**
 * Effects on a MySQL or MariaDB table: one transaction, rows locked and compared by digest before, compared again after. Deletes and
 * inserts are set-based; updates go row by row, because an UPDATE of many rows with a value each is a join with a made-up table here,
 * and its cost does not show beside the round trips of a repair's few thousand rows.
 */
import { invariant } from '../../../base/assert.ts';
import { Failure } from '../../../base/failure.ts';
import { ChangedSinceRead, refusedInsert } from '../changed-since-read.ts';
import type { RowDigest } from '../../../domain/digest.ts';
import type { Effect } from '../../../domain/effect.ts';
import { keyText, type Row, type Shape } from '../../../domain/row.ts';
import type { ApplyResult } from '../replica.ts';
import { nativeValue, tableColumn } from './canonical-sql.ts';
import type { Table } from './describe.ts';
import { keysWhere, readRows } from './scan.ts';
import { isDuplicate, type Session } from './session.ts';

export async function applyEffects(
  session: Session,
  table: Table,
  shape: Shape,
  effects: readonly Effect[],
  who: string,
): Promise<ApplyResult> {
  if (!table.isTransactional) {
    throw new Failure(
      'not-transactional',
      `${who} keeps its table in an engine without transactions, where a failed repair could not be taken back: use InnoDB.`,
      'never',
    );
  }
  invariant(new Set(effects.map((effect) => keyText(shape.key, effect.key))).size === effects.length, 'a batch has one effect a key', {});
  const found = await digestsOf(session, table, shape, effects, 'FOR UPDATE');
  const is = (effect: Effect, expected: RowDigest | null): boolean => (found.get(keyText(shape.key, effect.key)) ?? null) === expected;
  const changed = effects.filter((effect) => !is(effect, effect.expects));
  if (changed.length > 0) {
    if (effects.every((effect) => is(effect, effect.leaves))) return { is: 'already-applied', rows: effects.length };
    throw new ChangedSinceRead(changed.map((effect) => effect.key));
  }
  const deletes = keysWhere(
    table,
    shape,
    effects.filter((effect) => effect.kind === 'delete').map((effect) => effect.key),
  );
  if (deletes !== undefined) await session.execute(`DELETE t FROM ${table.sql} t ${deletes.sql}`, deletes.values);
  for (const effect of effects) if (effect.kind === 'update') await updateRow(session, table, shape, effect, who);
  await insertRows(
    session,
    table,
    shape,
    effects.filter((effect) => effect.kind === 'insert'),
    who,
  );
  const after = await digestsOf(session, table, shape, effects, '');
  const wrong = effects.filter((effect) => (after.get(keyText(shape.key, effect.key)) ?? null) !== effect.leaves);
  if (wrong.length > 0) {
    throw new Failure(
      'after-image-differs',
      `${who} keeps ${wrong.length} rows otherwise than the repair leaves them (a trigger, a default or a narrower type changed them): nothing was applied.`,
      'never',
    );
  }
  return { is: 'applied', rows: effects.length };
}

async function digestsOf(
  session: Session,
  table: Table,
  shape: Shape,
  effects: readonly Effect[],
  lock: string,
): Promise<ReadonlyMap<string, RowDigest>> {
  const keys = effects.map((effect) => effect.key);
  const rows = await readRows(session, table, shape, keys, lock);
  return new Map(rows.map((row) => [keyText(shape.key, row.key), row.digest]));
}

async function updateRow(session: Session, table: Table, shape: Shape, effect: Effect, who: string): Promise<void> {
  const changing = shape.columns.filter(
    (column) =>
      !shape.key.includes(column.name) &&
      !tableColumn(table, column.name).generated &&
      (effect.before === null || (effect.before[column.name] ?? null) !== (effect.after?.[column.name] ?? null)),
  );
  const where = keysWhere(table, shape, [effect.key]);
  if (changing.length === 0 || where === undefined) return;
  const sets = changing.map((column) => ({
    name: tableColumn(table, column.name).sql,
    ...written(table, shape, effect.after, column.name, who),
  }));
  await session.execute(`UPDATE ${table.sql} t SET ${sets.map((set) => `t.${set.name} = ${set.sql}`).join(', ')} ${where.sql}`, [
    ...sets.flatMap((set) => set.values),
    ...where.values,
  ]);
}

const ROWS_PER_INSERT = 500;

async function insertRows(session: Session, table: Table, shape: Shape, effects: readonly Effect[], who: string): Promise<void> {
  const columns = shape.columns.filter((column) => !tableColumn(table, column.name).generated);
  for (let at = 0; at < effects.length; at += ROWS_PER_INSERT) {
    const batch = effects.slice(at, at + ROWS_PER_INSERT);
    const rows = batch.map((effect) => columns.map((column) => written(table, shape, effect.after, column.name, who)));
    try {
      await session.execute(
        `INSERT INTO ${table.sql} (${columns.map((column) => tableColumn(table, column.name).sql).join(', ')})
         VALUES ${rows.map((row) => `(${row.map((value) => value.sql).join(', ')})`).join(', ')}`,
        rows.flatMap((row) => row.flatMap((value) => value.values)),
      );
    } catch (error) {
      if (!isDuplicate(error)) throw error;
      const now = await digestsOf(session, table, shape, batch, '');
      if (!batch.some((effect) => now.has(keyText(shape.key, effect.key)))) throw refusedInsert(who, batch.length);
      // A row of that key came in between: an absent row cannot be locked under every isolation level.
      throw new ChangedSinceRead(batch.map((effect) => effect.key));
    }
  }
}

function written(
  table: Table,
  shape: Shape,
  row: Row | null,
  name: string,
  who: string,
): { readonly sql: string; readonly values: readonly unknown[] } {
  const text = row?.[name] ?? null;
  if (text === null) return { sql: 'NULL', values: [] };
  const type = shape.columns.find((column) => column.name === name)?.type ?? 'text';
  const value = nativeValue(tableColumn(table, name), type, text);
  if (value === undefined)
    throw new Failure('constraint', `${who} cannot hold the wanted value in column ${name}: its type is narrower.`, 'never');
  return value;
}
