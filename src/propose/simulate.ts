import { invariant } from '../base/assert.ts';
import { type Effect, invertEffects } from '../domain/effect.ts';
import type { Simulation } from '../domain/proposal.ts';
import { keyText, type Row } from '../domain/row.ts';
import { type DeclaredInvariant, holdsAfter, parseDeclaredInvariant } from './declared-invariant.ts';
import { digestOrAbsent } from './effects.ts';
import { findReplica, isCache, referenceReplica } from './replica-roles.ts';
import type { Situation } from './strategy.ts';
import { newestCommitted, writesOf } from './trace-order.ts';

type State = Map<string, (Row | null)[]>;

/**
 * Carries the effects out on the rows that were read, with the same compare-and-set that the executor uses, and looks at the
 * result: are the replicas equal over the touched keys, do the declared invariants hold, does the inverse give back what was
 * read? Cost: a few digests an effect. A cache agrees when it holds the row or nothing.
 */
export function simulate(situation: Situation, effects: readonly Effect[]): Simulation {
  const { collection, shape } = situation;
  const touched = new Set(effects.map((effect) => keyText(shape.key, effect.key)));
  const divergences = situation.divergences.filter((divergence) => touched.has(keyText(shape.key, divergence.key)));
  invariant(divergences.length === touched.size, 'effects touch only keys of their case', { collection: collection.name });

  const before = rowsOf(situation, divergences);
  const indexes = new Map(divergences.map((divergence, index) => [keyText(shape.key, divergence.key), index]));
  const after: State = new Map([...before].map(([replica, rows]) => [replica, [...rows]]));
  carryOut(situation, effects, after, indexes);
  const restored: State = new Map([...after].map(([replica, rows]) => [replica, [...rows]]));
  carryOut(situation, invertEffects(effects), restored, indexes);

  const reference = referenceReplica(collection, divergences);
  // Caches hold no state of their own: a promise about totals is about the sources.
  const ofSources = (state: State): State => new Map([...state].filter(([replica]) => !isCache(collection, replica)));
  const sourcesBefore = ofSources(before);
  const sourcesAfter = ofSources(after);
  return {
    digestsEqual: divergences.every((divergence, index) => isSettled(situation, Object.keys(divergence.replicas), after, index)),
    invariants: collection.invariants.map((text) => {
      const declared: DeclaredInvariant | { readonly is: 'unknown' } = parseDeclaredInvariant(text);
      // Config refuses unknown sentences; one that gets here by another way must not pass as kept.
      return { text, holds: declared.is !== 'unknown' && holdsAfter(declared, sourcesBefore, sourcesAfter, reference) };
    }),
    rowsTouched: effects.length,
    inverseRestores: [...before].every(([replica, rows]) =>
      rows.every((row, index) => digestOrAbsent(shape, row) === digestOrAbsent(shape, restored.get(replica)?.[index] ?? null)),
    ),
    unexplainedDeletes: effects.filter((effect) => isUnexplainedDelete(situation, effect)).length,
  };
}

/** Followers and caches hold nothing of their own; on other replicas a row that no trace shows deleted may be the only copy of a new one. */
function isUnexplainedDelete(situation: Situation, effect: Effect): boolean {
  const role = findReplica(situation.collection, effect.replica)?.role;
  if (effect.kind !== 'delete' || role === 'cache' || role === 'follower') return false;
  return newestCommitted(writesOf(situation, effect.key))?.kind !== 'delete';
}

/** Rows by replica; a replica that was not compared for a key holds what the others cannot know, so it counts as absent there. */
function rowsOf(situation: Situation, divergences: Situation['divergences']): State {
  const replicas = new Set(divergences.flatMap((divergence) => Object.keys(divergence.replicas)));
  invariant(situation.divergences.length >= divergences.length, 'a case has at least the keys that are touched');
  return new Map(
    [...replicas].toSorted().map((replica) => [replica, divergences.map((divergence) => divergence.replicas[replica] ?? null)]),
  );
}

function carryOut(situation: Situation, effects: readonly Effect[], state: State, indexes: ReadonlyMap<string, number>): void {
  const { shape } = situation;
  for (const effect of effects) {
    const rows = state.get(effect.replica);
    const index = indexes.get(keyText(shape.key, effect.key));
    invariant(rows !== undefined && index !== undefined, 'an effect names a replica and key that were read', { replica: effect.replica });
    invariant(digestOrAbsent(shape, rows[index] ?? null) === effect.expects, 'an effect finds the row that it expects', {
      replica: effect.replica,
    });
    invariant(digestOrAbsent(shape, effect.after) === effect.leaves, 'an effect leaves the row that its digest names', {
      replica: effect.replica,
    });
    rows[index] = effect.after;
  }
}

function isSettled(situation: Situation, replicas: readonly string[], state: State, index: number): boolean {
  const rowOf = (replica: string): Row | null => state.get(replica)?.[index] ?? null;
  const sources = replicas.filter((replica) => !isCache(situation.collection, replica));
  const digests = new Set(sources.map((replica) => digestOrAbsent(situation.shape, rowOf(replica))));
  if (digests.size > 1) return false;
  const right = [...digests][0];
  return replicas.every((replica) => {
    if (!isCache(situation.collection, replica)) return true;
    const row = rowOf(replica);
    return row === null || right === undefined || digestOrAbsent(situation.shape, row) === right;
  });
}
