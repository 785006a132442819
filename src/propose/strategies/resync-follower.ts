import { z } from 'zod';
import { digestOrAbsent } from '../effects.ts';
import { exampleSituation } from '../example-situation.ts';
import { findReplica, onlyLeader } from '../replica-roles.ts';
import { defineStrategy } from '../strategy.ts';
import { contradictedBy } from '../trace-order.ts';

/** Followers take no writes of their own, so only a role that is declared wrong makes this wrong. */
const margin = 0.97;
const contradictedMargin = 0.4;

export const resyncFollower = defineStrategy({
  id: 'resync-follower',
  title: 'Resync follower',
  sentence: 'Copies the only leader’s row to followers that differ from it; right wherever followers take no writes of their own.',
  options: z.strictObject({}),
  needs: ({ collection, divergences }) => {
    const leader = onlyLeader(collection);
    if (leader === null) return 'the collection has no leader, or several';
    if (collection.authority !== undefined && collection.authority !== leader)
      return `another replica, ${collection.authority}, is declared the authority`;
    return divergences.every((divergence) => leader in divergence.replicas) ? null : `the leader ${leader} was not compared`;
  },
  decide: (divergence, situation) => {
    const { collection, shape } = situation;
    const row = divergence.replicas[onlyLeader(collection) ?? ''] ?? null;
    const right = digestOrAbsent(shape, row);
    const differing = Object.keys(divergence.replicas).filter((id) => digestOrAbsent(shape, divergence.replicas[id] ?? null) !== right);
    const peer = differing.find((id) => findReplica(collection, id)?.role === 'peer');
    if (peer !== undefined) return { is: 'not-mine', because: `${peer} is a peer: it takes writes of its own` };
    const contradiction = contradictedBy(divergence, situation, row);
    return contradiction === null
      ? { is: 'wanted', row, margin }
      : { is: 'wanted', row, margin: contradictedMargin, evidence: [contradiction] };
  },
  because: (rows, { collection }) =>
    `followers take no writes of their own; ${rows === 1 ? 'the row is' : `${rows} rows are`} copied from the leader, ${onlyLeader(collection) ?? ''}.`,
  evidence: ({ collection }) => [
    {
      id: 'leader',
      kind: 'declaration',
      says: `The configuration declares ${onlyLeader(collection) ?? ''} the leader and the replicas that differ followers.`,
    },
  ],
  example: {
    situation: exampleSituation({ roles: { eu: 'leader', us: 'follower' }, rows: { eu: { id: '1', name: 'Ada' }, us: null } }),
    wanted: { id: '1', name: 'Ada' },
  },
});
