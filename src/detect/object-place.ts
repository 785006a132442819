import type { Collection } from '../domain/collection.ts';
import type { ConsistencyDomain } from '../domain/consistency-domain.ts';

/** Where an object type, table or topic belongs, as far as the config or the span says. */
export interface ObjectPlace {
  readonly collection: string | undefined;
  readonly domain: ConsistencyDomain | undefined;
  /** The domain's name: configured, else as the span says, else ''. */
  readonly domainName: string;
}

/** Links names in spans (object types, tables, with or without schema) to configured collections and domains. */
export function createPlaces(
  domains: readonly ConsistencyDomain[],
  collections: readonly Collection[],
): (objectType: string, domain: string) => ObjectPlace {
  const domainByName = new Map(domains.map((domain) => [domain.name, domain]));
  const collectionByName = new Map<string, Collection>();
  for (const collection of collections) {
    collectionByName.set(collection.name.toLowerCase(), collection);
    for (const replica of collection.replicas) if (replica.table !== undefined) collectionByName.set(bareName(replica.table), collection);
  }
  const known = new Map<string, ObjectPlace>();
  return (objectType, domain) => {
    const cacheKey = `${objectType}\0${domain}`;
    const cached = known.get(cacheKey);
    if (cached !== undefined) return cached;
    const collection = collectionByName.get(objectType.toLowerCase()) ?? collectionByName.get(bareName(objectType));
    const domainName = collection?.domain ?? domain;
    const place: ObjectPlace = { collection: collection?.name, domain: domainByName.get(domainName), domainName };
    // Types are few; a hostile sender of endless types must not fill memory, so beyond the bound nothing is remembered.
    if (known.size < 10_000) known.set(cacheKey, place);
    return place;
  };
}

/** Names are few and asked for with every statement; a sender of endless names gets no more of them remembered. */
const bareNames = new Map<string, string>();

/** `Public.Orders` -> `orders`. */
export function bareName(name: string): string {
  const known = bareNames.get(name);
  if (known !== undefined) return known;
  const dot = name.lastIndexOf('.');
  const bare = (dot < 0 ? name : name.slice(dot + 1)).toLowerCase().replaceAll(/["`[\]]/g, '');
  if (bareNames.size < 10_000) bareNames.set(name, bare);
  return bare;
}
