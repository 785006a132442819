import type { Collection, Replica } from '../domain/collection.ts';
import type { Divergence } from '../domain/divergence.ts';

/** Replica by id; undefined where the collection has none of that name. */
export function findReplica(collection: Collection, id: string): Replica | undefined {
  return collection.replicas.find((replica) => replica.id === id);
}

export function isCache(collection: Collection, id: string): boolean {
  return findReplica(collection, id)?.role === 'cache';
}

/** The one leader of the collection; null where there is none, or several. */
export function onlyLeader(collection: Collection): string | null {
  const leaders = collection.replicas.filter((replica) => replica.role === 'leader');
  return leaders.length === 1 ? (leaders[0]?.id ?? null) : null;
}

/** The replica whose totals are right: the declared authority, else the only leader, if it was compared. */
export function referenceReplica(collection: Collection, divergences: readonly Divergence[]): string | null {
  const reference = collection.authority ?? onlyLeader(collection);
  if (reference === null) return null;
  return divergences.every((divergence) => reference in divergence.replicas) ? reference : null;
}

/** The compared replicas that hold state of their own: all but caches. */
export function sourcesOf(divergence: Divergence, collection: Collection): readonly string[] {
  return Object.keys(divergence.replicas)
    .filter((id) => !isCache(collection, id))
    .toSorted();
}
