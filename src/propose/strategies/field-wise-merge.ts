import { z } from 'zod';
import type { Row } from '../../domain/row.ts';
import { digestOrAbsent } from '../effects.ts';
import { exampleSituation } from '../example-situation.ts';
import { type PresentRow, presentRows } from '../present-rows.ts';
import { clockColumns, compareClocks, isAhead, newestRow } from '../row-clock.ts';
import { defineStrategy, type KeyDecision, type Situation } from '../strategy.ts';

/**
 * Two ways to merge columns that were changed apart:
 * - by clocks of their own: each column takes the value with the newest clock that is declared for it, as Cassandra's cells do;
 * - three ways: where one row is older than all others it is taken for their common ancestor, and each column takes the one value
 *   that differs from it. That it is the ancestor is a guess, so a person looks at it.
 */
const byClock = 0.95;
const withinSkew = 0.6;
const threeWay = 0.75;

export const fieldWiseMerge = defineStrategy({
  id: 'field-wise-merge',
  title: 'Field-wise merge',
  sentence:
    'Merges columns that different replicas changed, by a clock for each column or against their common older row; right where columns are independent.',
  options: z.strictObject({
    /** Column -> the clock column that tells when it was last written. */
    clocks: z.record(z.string(), z.string()).default({}),
    skewMs: z.number().min(0).max(3_600_000).default(500),
  }),
  needs: (situation, { clocks }) => {
    const names = new Set(situation.shape.columns.map(({ name }) => name));
    const unknown = Object.entries(clocks)
      .flat()
      .find((name) => !names.has(name));
    if (unknown !== undefined) return `there is no column ${unknown}`;
    return Object.keys(clocks).length === 0 && clockColumns(situation).length !== 1
      ? 'no clock is declared for its columns, and not one clock for the rows'
      : null;
  },
  decide: (divergence, situation, { clocks, skewMs }) => {
    const present = presentRows(divergence, situation);
    if (present.is === 'undecided') return { is: 'not-mine', because: present.because };
    return Object.keys(clocks).length > 0
      ? mergeByClocks(situation, present.rows, clocks, skewMs)
      : mergeThreeWays(situation, present.rows);
  },
  because: (rows) => `different columns of ${rows === 1 ? 'the row' : `${rows} rows`} were changed apart; each keeps its own change.`,
  example: {
    situation: exampleSituation({
      classes: { updated_at: 'clock' },
      types: { updated_at: 'int' },
      rows: {
        ap: { id: '1', city: 'Rome', name: 'Eda', updated_at: '5' },
        eu: { id: '1', city: 'Rome', name: 'Ada', updated_at: '6' },
        us: { id: '1', city: 'Oslo', name: 'Eda', updated_at: '7' },
      },
    }),
    wanted: { id: '1', city: 'Oslo', name: 'Ada', updated_at: '7' },
  },
});

function mergeByClocks(
  situation: Situation,
  rows: readonly PresentRow[],
  clocks: Readonly<Record<string, string>>,
  skewMs: number,
): KeyDecision {
  const merged: Record<string, string | null> = {};
  let margin = byClock;
  const clockNames = new Set(Object.values(clocks));
  for (const { name } of situation.shape.columns) {
    const values = new Set(rows.map(({ row }) => row[name] ?? null));
    const clock = clocks[name] ?? (clockNames.has(name) ? name : undefined);
    const [only] = values;
    if (values.size === 1 && only !== undefined) {
      merged[name] = only;
      continue;
    }
    if (clock === undefined) return { is: 'not-mine', because: `${name} differs and has no clock of its own` };
    const newest = newestRow(situation, clock, rows);
    if (newest === null) return { is: 'not-mine', because: `${clock} is NULL or cannot be ordered on some replica` };
    if (isAhead(situation, clock, newest.row[clock] ?? null))
      return { is: 'not-mine', because: `${clock} on ${newest.replica} is in the future: it is not the time of a write` };
    const tied = new Set(rows.filter(({ replica }) => newest.tied.includes(replica)).map(({ row }) => row[name] ?? null));
    if (tied.size > 1) return { is: 'not-mine', because: `two different values of ${name} have the same ${clock}` };
    if (newest.gapMs !== null && newest.gapMs <= skewMs) margin = withinSkew;
    merged[name] = newest.row[name] ?? null;
  }
  return { is: 'wanted', row: merged satisfies Row, margin };
}

function mergeThreeWays(situation: Situation, rows: readonly PresentRow[]): KeyDecision {
  const clock = clockColumns(situation)[0] ?? '';
  const clockOf = (row: Row): string => row[clock] ?? '';
  const base = rows.find(({ row }) =>
    rows.every((other) => (compareClocks(situation.shape, clock, clockOf(row), clockOf(other.row))?.order ?? 1) <= 0),
  );
  if (base === undefined) return { is: 'not-mine', because: `${clock} is NULL or cannot be ordered on some replica` };
  const older = rows.filter(({ row }) => clockOf(row) === clockOf(base.row));
  if (new Set(older.map(({ row }) => digestOrAbsent(situation.shape, row))).size > 1)
    return { is: 'not-mine', because: 'there is no one older row' };
  const newer = rows.filter((each) => !older.includes(each));
  if (new Set(newer.map(({ row }) => digestOrAbsent(situation.shape, row))).size < 2)
    return { is: 'not-mine', because: 'fewer than two rows were changed since the older one' };
  const merged: Record<string, string | null> = {};
  for (const { name } of situation.shape.columns) {
    if (name === clock) {
      merged[name] = newestRow(situation, clock, newer)?.row[clock] ?? null;
      continue;
    }
    const before = base.row[name] ?? null;
    const changes = new Set(newer.map(({ row }) => row[name] ?? null).filter((value) => value !== before));
    if (changes.size > 1) return { is: 'not-mine', because: `${name} was changed to two different values` };
    const [change] = changes;
    merged[name] = change === undefined ? before : change;
  }
  return { is: 'wanted', row: merged satisfies Row, margin: threeWay };
}
