import { Failure } from '../../base/failure.ts';
import type { Collection, Engine, Replica } from '../../domain/collection.ts';
import type { ReplicaConnection } from './replica.ts';

/** What a connector says about itself. A new engine is one entry here and one folder beside it. */
export interface Connector {
  readonly engine: Engine;
  readonly title: string;
  readonly sentence: string;
  /** URL schemes that it takes. */
  readonly schemes: readonly string[];
  /** Loads the engine's client only now: a comparison of two PostgreSQL servers needs no others in memory. */
  open(collection: Collection, replica: Replica): Promise<ReplicaConnection>;
}

export const connectors: readonly Connector[] = [
  {
    engine: 'postgres',
    title: 'PostgreSQL',
    sentence: 'Tables of PostgreSQL 13 and newer, leaders and hot standbys; digests are computed inside the server.',
    schemes: ['postgres', 'postgresql'],
    open: async (collection, replica) => (await import('./postgres/postgres.ts')).openPostgresReplica(collection, replica),
  },
  {
    engine: 'mysql',
    title: 'MySQL and MariaDB',
    sentence: 'Tables of MySQL 8 and MariaDB 10.6 and newer; digests are computed inside the server unless a compared column is JSON.',
    schemes: ['mysql', 'mariadb'],
    open: async (collection, replica) => (await import('./mysql/mysql.ts')).openMysqlReplica(collection, replica),
  },
  {
    engine: 'redis',
    title: 'Redis',
    sentence: 'JSON documents, hashes, strings and sets under a key template, compared with the types of the database that they copy.',
    schemes: ['redis', 'rediss'],
    open: async (collection, replica) => (await import('./redis/redis.ts')).openRedisReplica(collection, replica),
  },
  {
    engine: 'http',
    title: 'A service over HTTP',
    sentence:
      'A service that answers the replica API (`docs/http-replica.md`): its rows as lines of JSON, changed by compare-and-set on an etag.',
    schemes: ['http', 'https'],
    open: async (collection, replica) => (await import('./http/http.ts')).openHttpReplica(collection, replica),
  },
];

/** Opens lazily: the first call connects. */
export async function openReplica(collection: Collection, replica: Replica): Promise<ReplicaConnection> {
  const connector = connectors.find((one) => one.engine === replica.engine);
  if (connector === undefined) {
    throw new Failure(
      'no-connector',
      `Replica ${replica.id} of ${collection.name} is of a kind that has no connector (${replica.engine}).`,
      'never',
    );
  }
  return connector.open(collection, replica);
}
