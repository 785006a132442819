import { z } from 'zod';
import { exampleSituation } from '../example-situation.ts';
import { joinedColumnThatDiffers } from '../present-rows.ts';
import { sourcesOf } from '../replica-roles.ts';
import { defineStrategy } from '../strategy.ts';
import { evidenceOf, isAfter, newestCommitted, writesOf } from '../trace-order.ts';

/** The trace shows both halves: the write that committed and the change event that did not leave. */
const bothHalves = 0.96;
const publishOnly = 0.88;

export const outboxReplay = defineStrategy({
  id: 'outbox-replay',
  title: 'Replay the lost change',
  sentence:
    'Does what a lost change event would have done: copies the row from the replica whose write was never published; right where the trace shows the publish fail.',
  options: z.strictObject({}),
  needs: ({ writes }) =>
    writes.some(({ kind }) => kind === 'publish-failed') ? null : 'no trace shows a change event that failed to leave',
  decide: (divergence, situation) => {
    const writes = writesOf(situation, divergence.key);
    const lost = writes.filter(({ kind, replica }) => kind === 'publish-failed' && replica !== null);
    const [first, ...others] = lost;
    if (first === undefined) return { is: 'not-mine', because: 'no trace shows the key’s change event failing, or not from which replica' };
    const source = first.replica ?? '';
    if (others.some(({ replica }) => replica !== source)) return { is: 'not-mine', because: 'change events were lost on several replicas' };
    if (!sourcesOf(divergence, situation.collection).includes(source)) return { is: 'not-mine', because: `${source} was not compared` };
    const joined = joinedColumnThatDiffers(divergence, situation);
    if (joined !== null)
      return { is: 'not-mine', because: `${joined} is to be joined: one replica’s row does not contain what others added` };
    const newest = newestCommitted(writes);
    const later = writes.find(
      (write) =>
        write.kind !== 'publish-failed' &&
        write.outcome !== 'aborted' &&
        write.replica !== source &&
        (newest === null || write === newest || isAfter(write, newest)),
    );
    if (later !== undefined) return { is: 'not-mine', because: 'another replica took a write that may be newer' };
    const row = divergence.replicas[source] ?? null;
    const isDelete = newest?.kind === 'delete';
    if (newest !== null && isDelete !== (row === null))
      return { is: 'not-mine', because: `${source} does not hold what its newest write left` };
    return {
      is: 'wanted',
      row,
      margin: newest === null ? publishOnly : bothHalves,
      evidence: [evidenceOf(first), ...(newest === null ? [] : [evidenceOf(newest)])],
    };
  },
  because: (rows) =>
    `${rows === 1 ? 'the change event' : `the change events of ${rows} rows`} never left; what ${rows === 1 ? 'it' : 'they'} would have brought is copied.`,
  example: {
    situation: exampleSituation({
      rows: { eu: { id: '1', name: 'Ada' }, us: null },
      writes: [
        {
          key: { id: '1' },
          kind: 'write',
          replica: 'eu',
          outcome: 'committed',
          atUs: 1,
          service: 'profiles',
          span: { traceId: 'a'.repeat(32), spanId: '1'.repeat(16) },
        },
        {
          key: { id: '1' },
          kind: 'publish-failed',
          replica: 'eu',
          outcome: 'aborted',
          atUs: 2,
          service: 'profiles',
          span: { traceId: 'a'.repeat(32), spanId: '2'.repeat(16) },
        },
      ],
    }),
    wanted: { id: '1', name: 'Ada' },
  },
});
