import { z } from 'zod';
import { exampleSituation } from '../example-situation.ts';
import { defineStrategy } from '../strategy.ts';
import { contradictedBy } from '../trace-order.ts';

/** A declaration is as good as whoever wrote it; deleting rows on its word alone is a little less sure than copying them. */
const copyMargin = 0.98;
const deleteMargin = 0.95;
/** A committed write that only another replica holds says that the declared authority missed it. */
const contradictedMargin = 0.5;

export const authority = defineStrategy({
  id: 'authority',
  title: 'Authoritative source',
  sentence: 'Copies the row of the replica that the configuration declares right; right wherever all writes go through that replica.',
  options: z.strictObject({}),
  needs: ({ collection, divergences }) => {
    const source = collection.authority;
    if (source === undefined) return 'no authority is declared for the collection';
    return divergences.every((divergence) => source in divergence.replicas) ? null : `the authority ${source} was not compared`;
  },
  decide: (divergence, situation) => {
    const source = situation.collection.authority ?? '';
    const row = divergence.replicas[source] ?? null;
    const newer = contradictedBy(divergence, situation, row);
    if (newer !== null) return { is: 'wanted', row, margin: contradictedMargin, evidence: [newer] };
    return { is: 'wanted', row, margin: row === null ? deleteMargin : copyMargin };
  },
  because: (_, { collection }) => `that is what ${collection.authority ?? ''}, the declared authority, holds.`,
  evidence: ({ collection }) => [
    {
      id: 'authority',
      kind: 'declaration',
      says: `The configuration declares ${collection.authority ?? ''} the authority of ${collection.name}.`,
      ...(collection.authority === undefined ? {} : { replica: collection.authority }),
    },
  ],
  example: {
    situation: exampleSituation({
      authority: 'eu',
      roles: { eu: 'leader' },
      rows: { eu: { id: '1', name: 'Ada' }, us: { id: '1', name: 'Eda' } },
    }),
    wanted: { id: '1', name: 'Ada' },
  },
});
