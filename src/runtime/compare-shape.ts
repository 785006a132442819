import { Failure } from '../base/failure.ts';
import { agreeShape } from '../domain/agree-shape.ts';
import type { Collection } from '../domain/collection.ts';
import type { Shape } from '../domain/row.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';

/** Throws `Failure('shapes-differ')` with the sentence that says which column, or the failure of a replica. */
export async function agreedShape(collection: Collection, connections: readonly ReplicaConnection[], signal: AbortSignal): Promise<Shape> {
  const described = await Promise.all(
    connections.map(async (connection) => ({ replica: connection.replica.id, shape: await connection.describe(signal) })),
  );
  const agreement = agreeShape(collection.name, described);
  if (agreement.is === 'disagreed') throw new Failure('shapes-differ', agreement.says, 'never');
  return agreement.shape;
}
