import type { Collection } from '../domain/collection.ts';
import type { Operation } from '../domain/operation.ts';

/** Which configured collection an operation touched, which region's replica served it and which region it came from, by what its span says. */
export interface ForecastSources {
  readonly collectionOf: (operation: Operation) => string;
  readonly regionOf: (operation: Operation) => string;
  readonly originOf: (operation: Operation) => string;
  readonly regions: readonly string[];
}

/**
 * A collection is known by its name or by the table of one of its replicas, with or without schema; a region by the replica id that
 * the span names, else by the server's address, port and database where these belong to one region only. Where an operation comes from
 * is `cloud.region` of the resource that made the span, where that is a region of the config.
 */
export function forecastSources(collections: readonly Collection[]): ForecastSources {
  const byName = new Map<string, string>();
  const byReplica = new Map<string, string>();
  const byPlace = new Map<string, string | null>();
  const regions = new Set<string>();
  const place = (key: string, region: string): void => {
    const known = byPlace.get(key);
    byPlace.set(key, known === undefined || known === region ? region : null);
  };
  for (const collection of collections) {
    byName.set(collection.name.toLowerCase(), collection.name);
    for (const replica of collection.replicas) {
      regions.add(replica.region);
      byReplica.set(`${collection.name}\u0000${replica.id}`, replica.region);
      if (replica.table !== undefined) {
        byName.set(replica.table.toLowerCase(), collection.name);
        byName.set((replica.table.split('.').at(-1) ?? '').toLowerCase(), collection.name);
      }
      const url = URL.parse(replica.url);
      if (url === null) continue;
      const address = `${url.hostname}:${url.port === '' ? defaultPort(url.protocol) : url.port}`;
      const database = url.pathname.slice(1);
      if (database !== '') place(`${address}/${database}`, replica.region);
      place(address, replica.region);
      place(url.hostname, replica.region);
      if (database !== '') place(`/${database}`, replica.region);
    }
  }
  const collectionOf = (operation: Operation): string => {
    const declared = operation.facts?.objectType ?? '';
    const known = declared === '' ? undefined : byName.get(declared.toLowerCase());
    if (known !== undefined) return known;
    const target = operation.target.toLowerCase();
    return byName.get(target) ?? byName.get(target.split('.').at(-1) ?? '') ?? '';
  };
  return {
    regions: [...regions],
    collectionOf,
    originOf: ({ region = '' }) => (regions.has(region) ? region : ''),
    regionOf: (operation) => {
      const replica = operation.facts?.replicaId ?? '';
      if (replica !== '') {
        const region = byReplica.get(`${collectionOf(operation)}\u0000${replica}`);
        if (region !== undefined) return region;
        if (regions.has(replica)) return replica;
      }
      return (
        byPlace.get(`${operation.host}/${operation.namespace}`) ??
        byPlace.get(operation.host) ??
        byPlace.get(`/${operation.namespace}`) ??
        ''
      );
    },
  };
}

function defaultPort(protocol: string): string {
  if (protocol.startsWith('postgres')) return '5432';
  if (protocol.startsWith('mysql') || protocol.startsWith('mariadb')) return '3306';
  return protocol.startsWith('redis') ? '6379' : '';
}
