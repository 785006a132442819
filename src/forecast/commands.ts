import type { Collection } from '../domain/collection.ts';
import { slots } from './key-slot.ts';

/** Commands to copy, for stores that are not driven from here: exact where the store allows it, with what a person must fill in in capitals. */
export function splitCommands(collection: Collection, cutSlot: number): readonly string[] {
  const { table, key, middle } = wordsOf(collection);
  const commands = [
    `Redis Cluster: redis-cli --cluster reshard HOST:PORT --cluster-from SOURCE_NODE_ID --cluster-to TARGET_NODE_ID --cluster-slots ${slots - cutSlot} --cluster-yes`,
  ];
  if (collection.replicas.some((replica) => replica.engine === 'postgres')) {
    commands.push(
      `Citus: SELECT citus_split_shard_by_split_points(shardid, ARRAY[((shardminvalue::bigint + shardmaxvalue::bigint) / 2)::text], ARRAY[SOURCE_NODE, TARGET_NODE]) FROM pg_dist_shard WHERE logicalrelid = '${table}'::regclass`,
      `CockroachDB: ALTER TABLE ${table} SPLIT AT VALUES (${middle})`,
    );
  }
  commands.push(
    `MongoDB: sh.splitFind("DATABASE.${collection.name}", { ${key}: ${middle} })`,
    'Cassandra: nodetool getendpoints shows the owners of a key; ranges split by adding a node or raising num_tokens, not by command',
  );
  return commands;
}

/** Leadership toward a region. */
export function moveCommands(collection: Collection, region: string): readonly string[] {
  const { table } = wordsOf(collection);
  const commands: string[] = [];
  if (collection.replicas.some((replica) => replica.engine === 'postgres')) {
    commands.push(
      `PostgreSQL: SELECT pg_promote(); on the standby in ${region}, after the old leader was stopped (or with your failover manager: patronictl switchover --candidate MEMBER_IN_${region.toUpperCase()})`,
      `Citus: SELECT citus_move_shard_placement(shardid, 'SOURCE_HOST', 5432, 'HOST_IN_${region.toUpperCase()}', 5432) FROM pg_dist_shard WHERE logicalrelid = '${table}'::regclass`,
      `CockroachDB: ALTER TABLE ${table} CONFIGURE ZONE USING lease_preferences = '[[+region=${region}]]'`,
    );
  }
  commands.push(
    `MongoDB: cfg = rs.conf(); cfg.members.forEach((m) => { m.priority = m.tags.region === "${region}" ? 2 : 1 }); rs.reconfig(cfg)`,
    `Cassandra: no range has a leader; let clients use LOCAL_QUORUM in ${region}: ALTER KEYSPACE KEYSPACE_NAME WITH replication = {'class': 'NetworkTopologyStrategy', '${region}': 3}`,
  );
  return commands;
}

/** Write quorum and what reads may cost, in the words of each store. */
export function quorumCommands(standbys: number, names: readonly string[], replicas: number): readonly string[] {
  const value = standbys === 0 ? '' : `ANY ${standbys} (${names.join(', ')})`;
  const w = standbys + 1;
  return [
    `PostgreSQL: ALTER SYSTEM SET synchronous_standby_names = '${value}'; SELECT pg_reload_conf();`,
    `MongoDB: db.adminCommand({ setDefaultRWConcern: 1, defaultWriteConcern: { w: ${w} } })`,
    `Cassandra: CONSISTENCY ${w === 1 ? 'ONE' : w === 2 ? 'TWO' : w === replicas ? 'ALL' : 'QUORUM'} for writes, in the driver's execution profile`,
    `CockroachDB: ALTER TABLE TABLE_NAME CONFIGURE ZONE USING num_replicas = ${2 * w - 1} (its quorum is always the majority)`,
    `Redis: WAIT ${standbys} TIMEOUT_MS after a write that needs it`,
  ];
}

/** How many of a key's `replicas` a read and a write wait for, where clients or a coordinator ask all of them. */
export function waitCommands(reads: number, writes: number, replicas: number): readonly string[] {
  return (['cassandra', 'riak', 'own'] as const).flatMap((system) => waitCommand(system, reads, writes, replicas) ?? []);
}

/** The same in the words of one system; undefined where it has none for so many. */
export function waitCommand(system: 'cassandra' | 'riak' | 'own', reads: number, writes: number, replicas: number): string | undefined {
  switch (system) {
    case 'cassandra': {
      const [r, w] = [cassandraLevel(reads, replicas), cassandraLevel(writes, replicas)];
      return r === undefined || w === undefined
        ? undefined
        : `Cassandra: CONSISTENCY ${r} for reads and CONSISTENCY ${w} for writes, in the driver's execution profiles`;
    }
    case 'riak':
      return `Riak: riak admin bucket-type update BUCKET_TYPE '{"props":{"r":${reads},"w":${writes}}}'`;
    case 'own':
      return `Clients that ask replicas themselves: go on after ${writes} of ${replicas} acknowledgements and ${reads} of ${replicas} answers, the newest version counts; send to all of them as before`;
  }
}

/** The level that waits for so many at a replication factor; there is none for every number. */
function cassandraLevel(count: number, replicas: number): string | undefined {
  if (count === 1) return 'ONE';
  if (count === replicas) return 'ALL';
  if (count === Math.floor(replicas / 2) + 1) return 'QUORUM';
  return ['TWO', 'THREE'][count - 2];
}

function wordsOf(collection: Collection): { readonly table: string; readonly key: string; readonly middle: string } {
  const table = collection.replicas.find((replica) => replica.table !== undefined)?.table ?? collection.name;
  const key = collection.key[0] ?? 'id';
  return { table, key, middle: `MIDDLE_${key.toUpperCase()}` };
}
