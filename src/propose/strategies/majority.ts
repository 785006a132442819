import { z } from 'zod';
import type { Collection } from '../../domain/collection.ts';
import { digestOrAbsent } from '../effects.ts';
import { exampleSituation } from '../example-situation.ts';
import { joinedColumnThatDiffers } from '../present-rows.ts';
import { findReplica, sourcesOf } from '../replica-roles.ts';
import { clockColumns, newestRow } from '../row-clock.ts';
import { defineStrategy } from '../strategy.ts';
import { contradictedBy, newestCommitted, writesOf } from '../trace-order.ts';

/**
 * The odds that one replica is wrong by itself: with independent faults, k equal rows against m others are right with odds
 * ((1-p)/p)^(k-m). One in ten is pessimistic on purpose, because replicas behind one broken feed are wrong together.
 */
const wrongShare = 0.1;

export const majority = defineStrategy({
  id: 'majority',
  title: 'Majority',
  sentence:
    'Copies the row that more than half of the replicas agree on; right for faults of single replicas, not for a write that reached few of them.',
  options: z.strictObject({}),
  needs: ({ collection }) =>
    votersOf(
      collection,
      collection.replicas.map(({ id }) => id),
    ).length < 3
      ? 'a majority needs at least three replicas that take writes: caches and followers repeat what they hear'
      : null,
  decide: (divergence, situation) => {
    const sources = votersOf(situation.collection, sourcesOf(divergence, situation.collection));
    if (sources.length < 3) return { is: 'not-mine', because: 'fewer than three replicas that take writes were compared' };
    const joined = joinedColumnThatDiffers(divergence, situation);
    if (joined !== null)
      return { is: 'not-mine', because: `${joined} is to be joined: copying a majority’s row would lose what others added` };
    const votes = Map.groupBy(sources, (replica) => digestOrAbsent(situation.shape, divergence.replicas[replica] ?? null) ?? 'absent');
    const winners = [...votes.values()].find((replicas) => replicas.length * 2 > sources.length);
    const winner = winners?.[0];
    if (winners === undefined || winner === undefined)
      return { is: 'not-mine', because: 'no row is held by more than half of the replicas' };
    const row = divergence.replicas[winner] ?? null;
    // Absence is no vote: a row that only one replica has may be a new one whose change events were lost on the way to all others.
    if (row === null && newestCommitted(writesOf(situation, divergence.key))?.kind !== 'delete') {
      return { is: 'not-mine', because: 'most replicas lack the row, and no trace shows that it was deleted' };
    }

    // A write that reached only a minority is newer than what the majority holds: copying the majority would lose it.
    for (const column of clockColumns(situation)) {
      const present = sources.flatMap((replica) => {
        const held = divergence.replicas[replica] ?? null;
        return held === null ? [] : [{ replica, row: held }];
      });
      const newest = newestRow(situation, column, present);
      if (newest !== null && !newest.tied.some((replica) => winners.includes(replica)) && row !== null) {
        return { is: 'not-mine', because: `the newest ${column} is held by a minority` };
      }
    }
    if (contradictedBy(divergence, situation, row) !== null)
      return { is: 'not-mine', because: 'a committed write is held by a minority only' };
    const lead = winners.length - (sources.length - winners.length);
    const odds = ((1 - wrongShare) / wrongShare) ** lead;
    return { is: 'wanted', row, margin: odds / (1 + odds) };
  },
  because: (rows) => `more than half of the replicas hold the same ${rows === 1 ? 'row' : 'rows'}.`,
  example: {
    situation: exampleSituation({ rows: { ap: { id: '1', name: 'Ada' }, eu: { id: '1', name: 'Ada' }, us: { id: '1', name: 'Eda' } } }),
    wanted: { id: '1', name: 'Ada' },
  },
});

/** Caches and followers hold what one feed brought them: they are wrong together, so they have no vote. */
function votersOf(collection: Collection, replicas: readonly string[]): readonly string[] {
  return replicas.filter((id) => {
    const role = findReplica(collection, id)?.role;
    return role === 'peer' || role === 'leader';
  });
}
