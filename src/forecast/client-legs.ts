import type { Operation } from '../domain/operation.ts';
import { type CoordinatedOperation, createReplicaLegs, type LeftOut, type ReplicaLegs } from './replica-legs.ts';

/** A collection whose clients ask every replica themselves, with the names that spans have for the replicas. */
export interface ClientReplicas {
  readonly collection: string;
  /** As `consistency.replica.id` says, else as `server.address` does, with or without the port. */
  readonly replicas: readonly string[];
}

/** What the operations on one collection were since the last time. */
export interface ClientLegs {
  readonly collection: string;
  /** The oldest first. */
  readonly operations: readonly CoordinatedOperation[];
  readonly leftOut: LeftOut;
  /** Operations that made way for later ones. */
  readonly madeWay: number;
}

export interface ClientLegsFold {
  fold(operations: readonly Operation[], nowMs: number): void;
  drain(nowMs: number): readonly ClientLegs[];
}

/** Of all collections together: 10 MB of spans whose operation may go on, and 20 MB of operations, at the very most. */
const spansKept = 50_000;
const operationsKept = 30_000;
const operationsKeptOfOne = 10_000;

/** {@link createReplicaLegs} of the declared collections, each within bounds of its own: a busy one does not drive out a quiet one. */
export function createClientLegs(
  declared: readonly ClientReplicas[],
  collectionOf: (operation: Operation) => string,
  openMs: number,
): ClientLegsFold {
  const folds = new Map<string, ReplicaLegs>();
  for (const { collection, replicas } of declared) {
    folds.set(
      collection,
      createReplicaLegs({
        collectionOf: () => collection,
        replicaOf: namedReplica(replicas),
        maxSpans: Math.ceil(spansKept / declared.length),
        maxOperations: Math.min(operationsKeptOfOne, Math.ceil(operationsKept / declared.length)),
        openMs,
      }),
    );
  }
  return {
    fold: (operations, nowMs) => {
      for (const operation of operations) folds.get(collectionOf(operation))?.fold([operation], nowMs);
    },
    drain: (nowMs) =>
      [...folds].map(([collection, fold]) => {
        const { operations, leftOut, madeWay } = fold.drain(nowMs);
        return { collection, operations, leftOut: leftOut.get(collection) ?? { alone: 0, failed: 0, repeated: 0 }, madeWay };
      }),
  };
}

/** The one of `names` that an operation asked, or ''. */
export function namedReplica(names: readonly string[]): (operation: Operation) => string {
  const known = new Set(names);
  return ({ facts, host }) => {
    const said = [facts?.replicaId ?? '', host, host.replace(/:\d+$/, '')];
    return said.find((name) => name !== '' && known.has(name)) ?? '';
  };
}
