import { z } from 'zod';
import { digestOrAbsent } from '../effects.ts';
import { exampleSituation } from '../example-situation.ts';
import { isCache, sourcesOf } from '../replica-roles.ts';
import { defineStrategy } from '../strategy.ts';

/** Emptying a cache that differs from agreeing sources can cost a miss, never a value. */
const margin = 0.99;

export const cacheInvalidate = defineStrategy({
  id: 'cache-invalidate',
  title: 'Cache invalidate',
  sentence: 'Empties cache entries that differ from what all sources agree on; always right, since a cache loads what it is asked for.',
  options: z.strictObject({}),
  needs: ({ collection }) => (collection.replicas.some(({ role }) => role === 'cache') ? null : 'the collection has no cache'),
  decide: (divergence, { collection, shape }) => {
    const sources = sourcesOf(divergence, collection);
    const caches = Object.keys(divergence.replicas).filter((id) => isCache(collection, id));
    if (sources.length === 0) return { is: 'not-mine', because: 'no source was compared' };
    const digests = new Set(sources.map((id) => digestOrAbsent(shape, divergence.replicas[id] ?? null)));
    if (digests.size > 1) return { is: 'not-mine', because: 'the sources themselves differ' };
    const row = divergence.replicas[sources[0] ?? ''] ?? null;
    const stale = caches.filter(
      (id) => (divergence.replicas[id] ?? null) !== null && digestOrAbsent(shape, divergence.replicas[id] ?? null) !== [...digests][0],
    );
    return stale.length === 0
      ? { is: 'not-mine', because: 'no cache holds another row than its sources' }
      : { is: 'wanted', row, on: stale, margin };
  },
  because: (rows) => `the sources agree, so ${rows === 1 ? 'the stale cache entry is' : `${rows} stale cache entries are`} emptied.`,
  example: {
    situation: exampleSituation({
      roles: { db: 'leader', cache: 'cache' },
      rows: { cache: { id: '1', name: 'Eda' }, db: { id: '1', name: 'Ada' } },
    }),
    wanted: { id: '1', name: 'Ada' },
  },
});
