import { Failure } from '../base/failure.ts';
import type { Collection, Replica } from '../domain/collection.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';

/**
 * Open connections to the replicas of each collection, opened at the first need and kept. Verification reads through connections
 * of its own: what a repair's own session believes is not proof.
 */
export interface ReplicaPool {
  connections(collection: string): Promise<readonly ReplicaConnection[]>;
  verifiers(collection: string): Promise<readonly ReplicaConnection[]>;
  close(): Promise<void>;
}

export function createReplicaPool(
  collections: Readonly<Record<string, Collection>>,
  open: (collection: Collection, replica: Replica, purpose: 'repair' | 'verify') => Promise<ReplicaConnection>,
): ReplicaPool {
  const opened = new Map<string, Promise<readonly ReplicaConnection[]>>();
  const get = (purpose: 'repair' | 'verify', name: string): Promise<readonly ReplicaConnection[]> => {
    const collection = collections[name];
    if (collection === undefined) throw new Failure('no-collection', `the configuration has no collection ${name}`, 'never');
    const key = `${purpose} ${name}`;
    let connections = opened.get(key);
    if (connections === undefined) {
      connections = Promise.all(collection.replicas.map((replica) => open(collection, replica, purpose)));
      opened.set(key, connections);
      // A replica that could not be opened is tried again at the next need.
      connections.catch(() => opened.delete(key));
    }
    return connections;
  };
  return {
    connections: (name) => get('repair', name),
    verifiers: (name) => get('verify', name),
    close: async () => {
      const all = await Promise.allSettled(opened.values());
      await Promise.allSettled(all.flatMap((one) => (one.status === 'fulfilled' ? one.value.map((connection) => connection.close()) : [])));
    },
  };
}
