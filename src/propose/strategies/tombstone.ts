import { z } from 'zod';
import { digestOrAbsent } from '../effects.ts';
import { exampleSituation } from '../example-situation.ts';
import { sourcesOf } from '../replica-roles.ts';
import { clockColumns, isAhead, isTombstone, newestRow, tombstoneColumn } from '../row-clock.ts';
import { defineStrategy } from '../strategy.ts';
import { evidenceOf, newestCommitted, writesOf } from '../trace-order.ts';

/** A delete that a trace shows as the last word is as sure as the trace; a recorded tombstone is part of the data. */
const tracedDelete = 0.94;
const tracedInsert = 0.9;
const recorded = 0.95;

export const tombstone = defineStrategy({
  id: 'tombstone',
  title: 'Tombstone or late insert',
  sentence:
    'Tells a row that was deleted from one that has not arrived, by a tombstone column or by the delete in the traces, and finishes whichever it was.',
  options: z.strictObject({}),
  needs: (situation) =>
    tombstoneColumn(situation) === null && !situation.writes.some(({ kind }) => kind === 'delete')
      ? 'no column of class tombstone is declared and no trace shows a delete'
      : null,
  decide: (divergence, situation) => {
    const sources = sourcesOf(divergence, situation.collection);
    const present = sources.flatMap((replica) => {
      const row = divergence.replicas[replica] ?? null;
      return row === null ? [] : [{ replica, row }];
    });
    const isMissing = present.length < sources.length;
    const distinct = new Set(present.map(({ row }) => digestOrAbsent(situation.shape, row)));
    const writes = writesOf(situation, divergence.key);
    const newest = newestCommitted(writes);
    const column = tombstoneColumn(situation);
    const [first] = present;
    if (first === undefined) return { is: 'not-mine', because: 'no replica has the row' };

    if (column !== null) {
      const type = situation.shape.columns.find(({ name }) => name === column)?.type;
      const dead = present.filter(({ row }) => isTombstone(type, row[column] ?? null));
      if (dead.length === 0 && distinct.size === 1 && isMissing) {
        return newest?.kind === 'delete'
          ? { is: 'not-mine', because: 'a trace shows a delete that left no tombstone' }
          : { is: 'wanted', row: first.row, margin: tracedInsert };
      }
      const [deadRow] = dead;
      if (deadRow === undefined) return { is: 'not-mine', because: 'no replica holds a tombstone' };
      if (distinct.size === 1) return { is: 'wanted', row: deadRow.row, margin: recorded };
      // Deleted here, changed there: the clock says which came last; without one a delete and a change cannot be ordered.
      for (const clock of clockColumns(situation)) {
        const latest = newestRow(situation, clock, present);
        if (latest === null || isAhead(situation, clock, latest.row[clock] ?? null)) continue;
        const winners = new Set(latest.tied.map((replica) => digestOrAbsent(situation.shape, divergence.replicas[replica] ?? null)));
        if (winners.size === 1) return { is: 'wanted', row: latest.row, margin: recorded };
      }
      return { is: 'not-mine', because: 'a delete and a change cannot be ordered without a clock' };
    }
    if (!isMissing) return { is: 'not-mine', because: 'every replica has the row' };
    if (newest === null || !writes.some(({ kind, outcome }) => kind === 'delete' && outcome === 'committed')) {
      return { is: 'not-mine', because: 'no trace shows the key deleted as the last word' };
    }
    if (newest.kind === 'delete') return { is: 'wanted', row: null, margin: tracedDelete, evidence: [evidenceOf(newest)] };
    if (distinct.size > 1)
      return { is: 'not-mine', because: 'the row was written again after its delete, and the replicas that have it differ' };
    return { is: 'wanted', row: first.row, margin: tracedInsert, evidence: [evidenceOf(newest)] };
  },
  because: (rows, situation) =>
    tombstoneColumn(situation) === null
      ? `the traces show whether ${rows === 1 ? 'the row was' : `these ${rows} rows were`} deleted or written last.`
      : `deletes leave a tombstone here, so ${rows === 1 ? 'a row' : `each of ${rows} rows`} without one has not arrived.`,
  example: {
    situation: exampleSituation({
      rows: { eu: null, us: { id: '1', name: 'Ada' } },
      writes: [
        {
          key: { id: '1' },
          kind: 'write',
          replica: 'us',
          outcome: 'committed',
          atUs: 1,
          service: 'profiles',
          span: { traceId: 'a'.repeat(32), spanId: '1'.repeat(16) },
        },
        {
          key: { id: '1' },
          kind: 'delete',
          replica: 'eu',
          outcome: 'committed',
          atUs: 2,
          service: 'profiles',
          span: { traceId: 'b'.repeat(32), spanId: '2'.repeat(16) },
        },
      ],
    }),
    wanted: null,
  },
});
