import type { Collection } from '../domain/collection.ts';
import { slots } from './key-slot.ts';

/** Commands to copy, for stores that are not driven from here: exact where the store allows it, with what a person must fill in in capitals. */
export function splitCommands(collection: Collection, cutSlot: number): readonly string[] {
  const table = collection.replicas.find((replica) => replica.table !== undefined)?.table ?? collection.name;
  const key = collection.key[0] ?? 'id';
  const commands = [
    `Redis Cluster: redis-cli --cluster reshard HOST:PORT --cluster-from SOURCE_NODE_ID --cluster-to TARGET_NODE_ID --cluster-slots ${slots - cutSlot} --cluster-yes`,
  ];
  if (collection.replicas.some((replica) => replica.engine === 'postgres')) {
    commands.push(
      `Citus: SELECT citus_split_shard_by_split_points(shardid, ARRAY[((shardminvalue::bigint + shardmaxvalue::bigint) / 2)::text], ARRAY[SOURCE_NODE, TARGET_NODE]) FROM pg_dist_shard WHERE logicalrelid = '${table}'::regclass`,
      `CockroachDB: ALTER TABLE ${table} SPLIT AT VALUES (MIDDLE_${key.toUpperCase()})`,
    );
  }
  commands.push(
    `MongoDB: sh.splitFind("DATABASE.${collection.name}", { ${key}: MIDDLE_${key.toUpperCase()} })`,
    'Cassandra: nodetool getendpoints shows the owners of a key; ranges split by adding a node or raising num_tokens, not by command',
  );
  return commands;
}
