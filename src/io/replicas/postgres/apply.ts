/**
 * Effects on a PostgreSQL table: one transaction, set-based, each row compared with the digest that its effect expects while it is
 * locked, and compared again afterwards with the digest that it leaves. Whatever does not match rolls everything back.
 */
import { invariant } from '../../../base/assert.ts';
import { Failure } from '../../../base/failure.ts';
import type { RowDigest } from '../../../domain/digest.ts';
import type { Effect } from '../../../domain/effect.ts';
import { type Key, keyText, type Row, type Shape } from '../../../domain/row.ts';
import { ChangedSinceRead, refusedInsert } from '../changed-since-read.ts';
import type { ApplyResult } from '../replica.ts';
import { nativeExpression, tableColumn } from './canonical-sql.ts';
import type { Table } from './describe.ts';
import { keyMatch, keyParameters, readRows, wanted } from './read-rows.ts';
import type { Session } from './session.ts';

/** Needs a session inside a transaction that is rolled back when this throws. */
export async function applyEffects(
  session: Session,
  table: Table,
  shape: Shape,
  effects: readonly Effect[],
  who: string,
): Promise<ApplyResult> {
  const byKey = new Map<string, Effect>();
  for (const effect of effects) {
    const text = keyText(shape.key, effect.key);
    invariant(!byKey.has(text), 'a batch has one effect a key', { collection: effect.collection });
    byKey.set(text, effect);
  }
  const found = await digestsOf(session, table, shape, effects, 'FOR UPDATE OF t');
  const is = (effect: Effect, expected: RowDigest | null): boolean => (found.get(keyText(shape.key, effect.key)) ?? null) === expected;
  const changed = effects.filter((effect) => !is(effect, effect.expects));
  if (changed.length > 0) {
    if (effects.every((effect) => is(effect, effect.leaves))) return { is: 'already-applied', rows: effects.length };
    throw new ChangedSinceRead(changed.map((effect) => effect.key));
  }
  await markOrigin(session);
  const kind = (wantedKind: Effect['kind']): readonly Effect[] => effects.filter((effect) => effect.kind === wantedKind);
  await deleteRows(session, table, shape, kind('delete'));
  await updateRows(session, table, shape, kind('update'));
  await insertRows(session, table, shape, kind('insert'), who);
  const after = await digestsOf(session, table, shape, effects, '');
  const wrong = effects.filter((effect) => (after.get(keyText(shape.key, effect.key)) ?? null) !== effect.leaves);
  if (wrong.length > 0) {
    throw new Failure(
      'after-image-differs',
      `${who} keeps ${wrong.length} rows otherwise than the repair leaves them (a trigger, a default or a generated column changed them): nothing was applied.`,
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
  const rows = await readRows(
    session,
    table,
    shape,
    effects.map((effect) => effect.key),
    lock,
  );
  return new Map(rows.map((row) => [keyText(shape.key, row.key), row.digest]));
}

/**
 * Logical decoding can then tell a repair from the estate's own writes (origin filters, `origin = none`). Needs a privilege that many
 * users lack; without it the repair is an ordinary write.
 */
async function markOrigin(session: Session): Promise<void> {
  await session.query('SAVEPOINT origin');
  try {
    await session.query(
      `SELECT CASE WHEN NOT EXISTS (SELECT FROM pg_replication_origin WHERE roname = 'homeostat') THEN pg_replication_origin_create('homeostat') END`,
    );
    await session.query(
      `SELECT CASE WHEN NOT pg_replication_origin_session_is_setup() THEN pg_replication_origin_session_setup('homeostat') END`,
    );
    await session.query('RELEASE SAVEPOINT origin');
  } catch {
    await session.query('ROLLBACK TO SAVEPOINT origin');
  }
}

async function deleteRows(session: Session, table: Table, shape: Shape, effects: readonly Effect[]): Promise<void> {
  if (effects.length === 0) return;
  await session.query(
    `DELETE FROM ${table.sql} t USING ${wanted(shape.key.length)} WHERE ${keyMatch(table, shape)}`,
    keyParameters(shape, effects.map(keyIn)),
  );
}

async function updateRows(session: Session, table: Table, shape: Shape, effects: readonly Effect[]): Promise<void> {
  if (effects.length === 0) return;
  const changing = shape.columns.filter(
    (column) =>
      !shape.key.includes(column.name) &&
      !tableColumn(table, column.name).generated &&
      effects.some((effect) => effect.before === null || (effect.before[column.name] ?? null) !== (effect.after?.[column.name] ?? null)),
  );
  if (changing.length === 0) return;
  const width = shape.key.length;
  const relation = relationOf(width + changing.length);
  const sets = changing.map(
    (column, at) =>
      `${tableColumn(table, column.name).sql} = ${nativeExpression(tableColumn(table, column.name), column.type, `w.w${width + at}`)}`,
  );
  await session.query(`UPDATE ${table.sql} t SET ${sets.join(', ')} FROM ${relation} WHERE ${keyMatch(table, shape)}`, [
    ...keyParameters(shape, effects.map(keyIn)),
    ...changing.map((column) => effects.map((effect) => valueOf(effect.after, column.name))),
  ]);
}

async function insertRows(session: Session, table: Table, shape: Shape, effects: readonly Effect[], who: string): Promise<void> {
  if (effects.length === 0) return;
  const columns = shape.columns.filter((column) => !tableColumn(table, column.name).generated);
  const names = columns.map((column) => tableColumn(table, column.name).sql);
  const values = columns.map((column, at) => nativeExpression(tableColumn(table, column.name), column.type, `w.w${at}`));
  const inserted = await session.query(
    `INSERT INTO ${table.sql} (${names.join(', ')}) ${table.hasAlwaysIdentity ? 'OVERRIDING SYSTEM VALUE' : ''}
     SELECT ${values.join(', ')} FROM ${relationOf(columns.length)} ON CONFLICT DO NOTHING RETURNING 1`,
    columns.map((column) => effects.map((effect) => valueOf(effect.after, column.name))),
  );
  if (inserted.length === effects.length) return;
  const now = await digestsOf(session, table, shape, effects, '');
  const refused = effects.filter((effect) => !now.has(keyText(shape.key, effect.key))).length;
  if (refused > 0) throw refusedInsert(who, refused);
  // A row of that key came in between: an absent row cannot be locked.
  throw new ChangedSinceRead(effects.map(keyIn));
}

function relationOf(width: number): string {
  return wanted(width);
}

function keyIn(effect: Effect): Key {
  return effect.key;
}

function valueOf(row: Row | null, column: string): string | null {
  return row?.[column] ?? null;
}
