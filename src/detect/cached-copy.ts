import type { Operation } from '../domain/operation.ts';

/** Stores that are as a rule a copy of another; only caches, so that every write to them is one of a copy. */
const onlyCaches = new Set(['memcached', 'hazelcast', 'caffeine', 'ehcache']);
const cacheSystems = new Set(['redis', 'valkey', ...onlyCaches]);

/** A store whose content is usually a copy that can be read again. */
export function isCacheSystem(system: string): boolean {
  return cacheSystems.has(system);
}

/** That a cache has not got an entry, or lost it: news of the cache alone, not of the object. */
export function isCacheNews(operation: Operation): boolean {
  if (operation.facts?.replicaRole !== 'cache' && !onlyCaches.has(operation.system)) return false;
  return operation.kind === 'delete' || (operation.kind === 'read' && operation.facts?.version === '');
}

/**
 * A write that makes, drops or ages a copy: what a crash before it leaves wrong, time or the next read puts right. An entry without a time
 * to live is none: nobody will ever correct it. Where arguments are hidden their number tells: `SET k v EX 60` has four.
 */
export function isCachedCopy(write: Operation): boolean {
  if (write.facts?.replicaRole === 'cache' || onlyCaches.has(write.system)) return true;
  if (!cacheSystems.has(write.system)) return false;
  if (write.kind === 'delete') return true;
  const fingerprint = write.statement?.fingerprint ?? '';
  if (/^set(?: \S+){4}/i.test(fingerprint)) return true;
  return /\b(setex|psetex|expire|pexpire|expireat|getex|del|unlink|publish|eval|evalsha)\b|\b(ex|px|exat|pxat)\b/.test(
    `${fingerprint} ${write.spanName}`.toLowerCase(),
  );
}
