import { invariant, unreachable } from '../base/assert.ts';
import type { Row } from '../domain/row.ts';
import { addDecimals, compareDecimals, type Decimal, parseDecimal, zero } from './decimal.ts';

/**
 * What a collection's owner promises about its rows, in a small grammar of sentences:
 *
 *   sum(COLUMN) is unchanged        the total over the repaired keys is, on every replica, the reference's total before
 *   count is unchanged              the number of rows over the repaired keys is, on every replica, the reference's before
 *   COLUMN is never null            no row that is left holds NULL there
 *   COLUMN is never negative        the same as COLUMN >= 0
 *   COLUMN never decreases          no replica's value gets smaller, and no row that had one is deleted
 *   COLUMN never changes            no replica that has the row gets another value
 *   COLUMN (= != < <= > >=) NUMBER  for every row that is left; NULL passes, as in SQL's CHECK
 *   COLUMN (= != < <= > >=) COLUMN  the same, between two columns of one row
 *
 * The reference is the authority where one is declared, else the only leader, else the value that most replicas agree on. A
 * repair cannot make money: without a reference that agrees, `is unchanged` does not hold. Anything else is an error in the
 * configuration, never a sentence that silently means nothing.
 */
export type DeclaredInvariant = { readonly text: string } & (
  | { readonly is: 'sum-unchanged'; readonly column: string }
  | { readonly is: 'count-unchanged' }
  | { readonly is: 'never-null'; readonly column: string }
  | { readonly is: 'never-decreases'; readonly column: string }
  | { readonly is: 'never-changes'; readonly column: string }
  | { readonly is: 'compares-number'; readonly column: string; readonly operator: Operator; readonly number: Decimal }
  | { readonly is: 'compares-column'; readonly column: string; readonly operator: Operator; readonly other: string }
);

type Operator = '=' | '!=' | '<' | '<=' | '>' | '>=';

const name = '[A-Za-z_][A-Za-z0-9_]*';
const comparison = new RegExp(`^(${name})\\s*(!=|<=|>=|=|<|>)\\s*(${name}|[+-]?\\d+(?:\\.\\d+)?)$`);
const grammar =
  'sum(COLUMN) is unchanged; count is unchanged; COLUMN is never null; COLUMN is never negative; COLUMN never decreases; COLUMN never changes; COLUMN >= NUMBER; COLUMN <= COLUMN';

/** Parses one sentence; `unknown` says which sentences there are. */
export function parseDeclaredInvariant(sentence: string): DeclaredInvariant | { readonly is: 'unknown'; readonly says: string } {
  const text = sentence.trim().replaceAll(/\s+/g, ' ');
  const sum = new RegExp(`^sum\\(\\s*(${name})\\s*\\) is unchanged$`).exec(text)?.[1];
  if (sum !== undefined) return { is: 'sum-unchanged', column: sum, text };
  if (text === 'count is unchanged') return { is: 'count-unchanged', text };
  const phrase = new RegExp(`^(${name}) (is never null|is never negative|never decreases|never changes)$`).exec(text);
  if (phrase !== null) {
    const [, column = '', words] = phrase;
    if (words === 'is never null') return { is: 'never-null', column, text };
    if (words === 'never decreases') return { is: 'never-decreases', column, text };
    if (words === 'never changes') return { is: 'never-changes', column, text };
    return { is: 'compares-number', column, operator: '>=', number: zero, text };
  }
  const parts = comparison.exec(text);
  if (parts !== null) {
    const [, column = '', operator = '', right = ''] = parts;
    const number = parseDecimal(right);
    if (number !== null) return { is: 'compares-number', column, operator: operator as Operator, number, text };
    return { is: 'compares-column', column, operator: operator as Operator, other: right, text };
  }
  return { is: 'unknown', says: `"${sentence}" is not an invariant that can be checked; write one of: ${grammar}` };
}

/** The columns that the sentence speaks of, so that config can name one that the collection does not have. */
export function columnsOf(declared: DeclaredInvariant): readonly string[] {
  if (declared.is === 'count-unchanged') return [];
  return declared.is === 'compares-column' ? [declared.column, declared.other] : [declared.column];
}

/** Rows of the repaired keys by replica: index i is the same key everywhere; null: absent. */
export type RowsByReplica = ReadonlyMap<string, readonly (Row | null)[]>;

/** Whether a repair that turns `before` into `after` keeps the promise. `reference` names the replica whose totals are right, if one does. */
export function holdsAfter(declared: DeclaredInvariant, before: RowsByReplica, after: RowsByReplica, reference: string | null): boolean {
  switch (declared.is) {
    case 'sum-unchanged': {
      const right = referenceTotal(before, reference, (rows) => totalOf(rows, declared.column));
      return right !== null && every(after, (rows) => isSameTotal(totalOf(rows, declared.column), right));
    }
    case 'count-unchanged': {
      const count = (rows: readonly (Row | null)[]): Decimal => ({ unscaled: BigInt(rows.filter((row) => row !== null).length), scale: 0 });
      const right = referenceTotal(before, reference, count);
      return right !== null && every(after, (rows) => isSameTotal(count(rows), right));
    }
    case 'never-null':
      return everyRow(after, (row) => (row[declared.column] ?? null) !== null);
    case 'never-decreases':
      return everyPair(before, after, (was, is) => {
        const old = was[declared.column] ?? null;
        const young = is?.[declared.column] ?? null;
        if (old === null) return true;
        return young !== null && isOrdered(young, '>=', old);
      });
    case 'never-changes':
      return everyPair(before, after, (was, is) => is === null || (was[declared.column] ?? null) === (is[declared.column] ?? null));
    case 'compares-number':
      return everyRow(after, (row) => {
        const value = row[declared.column] ?? null;
        const number = value === null ? null : parseDecimal(value);
        return value === null || (number !== null && isTrue(compareDecimals(number, declared.number), declared.operator));
      });
    case 'compares-column':
      return everyRow(after, (row) => {
        const left = row[declared.column] ?? null;
        const right = row[declared.other] ?? null;
        return left === null || right === null || isOrdered(left, declared.operator, right);
      });
    default:
      return unreachable(declared);
  }
}

function totalOf(rows: readonly (Row | null)[], column: string): Decimal | null {
  let total: Decimal = zero;
  for (const row of rows) {
    const text = row?.[column] ?? null;
    if (text === null) continue;
    const value = parseDecimal(text);
    if (value === null) return null;
    total = addDecimals(total, value);
  }
  return total;
}

function isSameTotal(a: Decimal | null, b: Decimal): boolean {
  return a !== null && compareDecimals(a, b) === 0;
}

/** The reference's total, or without a reference the total of a strict majority of replicas; null where nothing agrees. */
function referenceTotal(
  before: RowsByReplica,
  reference: string | null,
  total: (rows: readonly (Row | null)[]) => Decimal | null,
): Decimal | null {
  if (reference !== null) {
    const rows = before.get(reference);
    invariant(rows !== undefined, 'the reference replica was read', { reference });
    return total(rows);
  }
  const totals = [...before.values()].map(total);
  for (const candidate of totals) {
    if (candidate !== null && totals.filter((other) => isSameTotal(other, candidate)).length * 2 > totals.length) return candidate;
  }
  return null;
}

/** Numbers by value, other canonical texts (timestamps, dates) by code units, which is their order. */
function isOrdered(left: string, operator: Operator, right: string): boolean {
  const a = parseDecimal(left);
  const b = parseDecimal(right);
  if (a !== null && b !== null) return isTrue(compareDecimals(a, b), operator);
  return isTrue(left < right ? -1 : left > right ? 1 : 0, operator);
}

function isTrue(order: number, operator: Operator): boolean {
  switch (operator) {
    case '=':
      return order === 0;
    case '!=':
      return order !== 0;
    case '<':
      return order < 0;
    case '<=':
      return order <= 0;
    case '>':
      return order > 0;
    case '>=':
      return order >= 0;
    default:
      return unreachable(operator);
  }
}

function every(rows: RowsByReplica, holds: (rows: readonly (Row | null)[]) => boolean): boolean {
  return [...rows.values()].every(holds);
}

function everyRow(rows: RowsByReplica, holds: (row: Row) => boolean): boolean {
  return every(rows, (list) => list.every((row) => row === null || holds(row)));
}

function everyPair(before: RowsByReplica, after: RowsByReplica, holds: (was: Row, is: Row | null) => boolean): boolean {
  return [...before].every(([replica, rows]) =>
    rows.every((was, index) => {
      const is = after.get(replica)?.[index];
      return was === null || is === undefined || holds(was, is);
    }),
  );
}
