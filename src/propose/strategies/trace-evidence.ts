import { z } from 'zod';
import { digestOrAbsent } from '../effects.ts';
import { exampleSituation } from '../example-situation.ts';
import { joinedColumnThatDiffers } from '../present-rows.ts';
import { sourcesOf } from '../replica-roles.ts';
import { defineStrategy } from '../strategy.ts';
import { evidenceOf, holdersOf, isAfter, newestCommitted, versionColumnOf, writesOf } from '../trace-order.ts';

/** By digest the trace names the very row; by version column nearly so; by replica alone a later write without a span may have changed it. */
const byDigest = 0.97;
const byVersion = 0.95;
const byReplica = 0.85;
const deleted = 0.93;

export const traceEvidence = defineStrategy({
  id: 'trace-evidence',
  title: 'Trace evidence',
  sentence: 'Copies what the newest committed write seen in traces left behind; right where the services that write are traced.',
  options: z.strictObject({
    /** The column that holds the version which services report as `consistency.version`; default: one called `version`. */
    versionColumn: z.string().optional(),
  }),
  needs: ({ writes, shape }, { versionColumn }) => {
    if (versionColumn !== undefined && !shape.columns.some(({ name }) => name === versionColumn))
      return `there is no column ${versionColumn}`;
    return writes.length === 0 ? 'no trace shows a write of these keys' : null;
  },
  decide: (divergence, situation, { versionColumn }) => {
    const writes = writesOf(situation, divergence.key);
    const newest = newestCommitted(writes);
    if (newest === null)
      return { is: 'not-mine', because: writes.length === 0 ? 'no trace shows a write of the key' : 'no committed write is the newest' };
    if (writes.some((write) => write.outcome === 'unknown' && write.kind !== 'publish-failed' && isAfter(write, newest))) {
      return { is: 'not-mine', because: 'a later write may or may not have committed' };
    }
    const joined = joinedColumnThatDiffers(divergence, situation);
    if (joined !== null)
      return { is: 'not-mine', because: `${joined} is to be joined: the newest write does not contain what others added` };
    const evidence = [evidenceOf(newest)];
    const sources = sourcesOf(divergence, situation.collection);
    const rows = sources.map((replica) => ({ replica, row: divergence.replicas[replica] ?? null }));
    if (newest.kind === 'delete') {
      return rows.some(({ row }) => row === null)
        ? { is: 'wanted', row: null, margin: deleted, evidence }
        : { is: 'not-mine', because: 'the newest write deleted the row, yet every replica has it' };
    }
    const holders = holdersOf(newest, divergence, situation, versionColumn ?? versionColumnOf(situation)).filter((replica) =>
      sources.includes(replica),
    );
    const [holder] = holders;
    if (holder !== undefined) {
      const digests = new Set(holders.map((replica) => digestOrAbsent(situation.shape, divergence.replicas[replica] ?? null)));
      if (digests.size > 1) return { is: 'not-mine', because: `two different rows have version ${newest.version ?? ''}` };
      const row = divergence.replicas[holder] ?? null;
      const isByDigest = digestOrAbsent(situation.shape, row) === newest.valueDigest;
      return { is: 'wanted', row, margin: isByDigest ? byDigest : byVersion, evidence };
    }
    // A version that was given and that no row has says that something wrote after it.
    if (newest.version !== undefined && (versionColumn ?? versionColumnOf(situation)) !== null) {
      return { is: 'not-mine', because: `no replica holds version ${newest.version}` };
    }
    // Neither has what looks like a row digest of ours. One of another form is the service's own, and says nothing.
    if (newest.valueDigest !== undefined && /^[0-9a-f]{32}$/.test(newest.valueDigest)) {
      return { is: 'not-mine', because: 'no replica holds the row that the newest write left' };
    }
    const taken = rows.find(({ replica }) => replica === newest.replica);
    if (taken === undefined || taken.row === null)
      return { is: 'not-mine', because: 'the traces do not say which replica took the newest write, or it has no row' };
    return { is: 'wanted', row: taken.row, margin: byReplica, evidence };
  },
  because: (rows) => `${rows === 1 ? 'the row is' : `${rows} rows are`} what the newest committed write in the traces left.`,
  example: {
    situation: exampleSituation({
      rows: { eu: { id: '1', name: 'Ada' }, us: { id: '1', name: 'Eda' } },
      writes: [
        {
          key: { id: '1' },
          kind: 'write',
          replica: 'us',
          version: '4',
          outcome: 'committed',
          atUs: 2,
          service: 'accounts',
          span: { traceId: 'b'.repeat(32), spanId: '2'.repeat(16) },
        },
        {
          key: { id: '1' },
          kind: 'write',
          replica: 'eu',
          version: '5',
          versionBase: '4',
          outcome: 'committed',
          atUs: 1,
          service: 'accounts',
          span: { traceId: 'a'.repeat(32), spanId: '1'.repeat(16) },
        },
      ],
    }),
    wanted: { id: '1', name: 'Ada' },
  },
});
