import { z } from 'zod';
import { digestOrAbsent } from '../effects.ts';
import { exampleSituation } from '../example-situation.ts';
import { joinedColumnThatDiffers, presentRows } from '../present-rows.ts';
import { clockColumns, isAhead, newestRow } from '../row-clock.ts';
import { defineStrategy } from '../strategy.ts';
import { contradictedBy } from '../trace-order.ts';

/** Within the clocks' possible skew either row may be the newer one. */
const clearMargin = 0.96;
const withinSkewMargin = 0.6;
const contradictedMargin = 0.3;

export const lastWriterWins = defineStrategy({
  id: 'last-writer-wins',
  title: 'Last writer wins',
  sentence: 'Copies the row with the newest declared clock; right where a newer row contains or replaces what older rows say.',
  options: z.strictObject({
    /** The clock column; default: the collection's only column of class `clock`. */
    clock: z.string().optional(),
    /** How far wall clocks of writers may be apart, milliseconds. NTP keeps hosts within tens; 500 allows for a bad day. */
    skewMs: z.number().min(0).max(3_600_000).default(500),
  }),
  needs: (situation, options) => {
    const clocks = clockColumns(situation);
    if (options.clock !== undefined)
      return situation.shape.columns.some(({ name }) => name === options.clock) ? null : `there is no column ${options.clock}`;
    if (clocks.length === 0) return 'no column of class clock is declared';
    return clocks.length > 1 ? `several columns are of class clock (${clocks.join(', ')}): name one in its options` : null;
  },
  decide: (divergence, situation, options) => {
    const clock = options.clock ?? clockColumns(situation)[0] ?? '';
    const present = presentRows(divergence, situation);
    if (present.is === 'undecided') return { is: 'not-mine', because: present.because };
    const joined = joinedColumnThatDiffers(divergence, situation);
    if (joined !== null)
      return { is: 'not-mine', because: `${joined} is to be joined: copying the newest row would lose what others added` };
    const newest = newestRow(situation, clock, present.rows);
    if (newest === null) return { is: 'not-mine', because: `${clock} is NULL or cannot be ordered on some replica` };
    if (isAhead(situation, clock, newest.row[clock] ?? null))
      return { is: 'not-mine', because: `${clock} on ${newest.replica} is in the future: it is not the time of a write` };
    const winner = digestOrAbsent(situation.shape, newest.row);
    if (newest.tied.some((replica) => digestOrAbsent(situation.shape, divergence.replicas[replica] ?? null) !== winner)) {
      return { is: 'not-mine', because: `two different rows have the same ${clock}` };
    }
    if (contradictedBy(divergence, situation, newest.row) !== null) return { is: 'wanted', row: newest.row, margin: contradictedMargin };
    const isClear = newest.gapMs === null || newest.gapMs > options.skewMs;
    return { is: 'wanted', row: newest.row, margin: isClear ? clearMargin : withinSkewMargin };
  },
  because: (rows, situation, options) =>
    `${rows === 1 ? 'the row' : `each of ${rows} rows`} with the newest ${options.clock ?? clockColumns(situation)[0] ?? 'clock'} is copied.`,
  evidence: (situation, options) => [
    {
      id: 'clock',
      kind: 'declaration',
      says: `${options.clock ?? clockColumns(situation)[0] ?? ''} is declared the clock of ${situation.collection.name}.`,
    },
  ],
  example: {
    situation: exampleSituation({
      classes: { updated_at: 'clock' },
      types: { updated_at: 'int' },
      rows: { eu: { id: '1', name: 'Ada', updated_at: '7' }, us: { id: '1', name: 'Eda', updated_at: '6' } },
    }),
    wanted: { id: '1', name: 'Ada', updated_at: '7' },
  },
});
