import { z } from 'zod';
import type { Row } from '../../domain/row.ts';
import { exampleSituation } from '../example-situation.ts';
import { mergeColumn, mergedClasses } from '../merge-column.ts';
import { presentRows } from '../present-rows.ts';
import { defineStrategy } from '../strategy.ts';

/** A join loses nothing by construction; what is left is a class that was declared for a column that is not one. */
const margin = 0.97;

export const crdtMerge = defineStrategy({
  id: 'crdt-merge',
  title: 'CRDT merge',
  sentence:
    'Joins rows column by column by their declared classes (largest, smallest, counter, set); right where the columns are what they are declared to be.',
  options: z.strictObject({}),
  needs: ({ collection, shape }) =>
    shape.columns.some(
      ({ name }) => mergedClasses.includes(collection.columnClasses[name] ?? 'plain') && collection.columnClasses[name] !== 'clock',
    )
      ? null
      : 'no column is of class register-max, register-min, counter, set or tombstone',
  decide: (divergence, situation) => {
    const present = presentRows(divergence, situation);
    if (present.is === 'undecided') return { is: 'not-mine', because: present.because };
    const merged: Record<string, string | null> = {};
    for (const { name, type } of situation.shape.columns) {
      const columnClass = situation.collection.columnClasses[name] ?? 'plain';
      const joined = mergeColumn(
        columnClass,
        type,
        present.rows.map(({ row }) => row[name] ?? null),
      );
      // NULL beside a plain value is a difference like any other: only joins know an empty state.
      const isPlainGap = !mergedClasses.includes(columnClass) && new Set(present.rows.map(({ row }) => row[name] ?? null)).size > 1;
      if (joined === null || isPlainGap)
        return {
          is: 'not-mine',
          because: `${name} differs and is ${mergedClasses.includes(columnClass) ? `not a ${columnClass} that can be joined` : 'of no class that can be joined'}`,
        };
      merged[name] = joined.value;
    }
    return { is: 'wanted', row: merged satisfies Row, margin };
  },
  because: (rows) => `the columns of ${rows === 1 ? 'the row' : `${rows} rows`} are joined by their classes, which loses no update.`,
  example: {
    situation: exampleSituation({
      classes: { likes: 'counter', tags: 'set', seen: 'register-max' },
      types: { likes: 'json', tags: 'array', seen: 'int' },
      rows: {
        eu: { id: '1', likes: '{"n": {}, "p": {"eu": 3}}', tags: '{a}', seen: '7' },
        us: { id: '1', likes: '{"n": {}, "p": {"eu": 2, "us": 4}}', tags: '{b}', seen: '10' },
      },
    }),
    wanted: { id: '1', likes: '{"n": {}, "p": {"eu": 3, "us": 4}}', tags: '{a,b}', seen: '10' },
  },
});
