import { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { agreeShape } from '../../../src/domain/agree-shape.ts';
import { rowDigest } from '../../../src/domain/row-encoding.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import { collection, rowOf, startRedisStore } from '../../conformance/replica-stores.ts';
import { redisAvailable } from '../../servers/redis.ts';

describe.skipIf(!redisAvailable)('a cache entry that its application loads again at once (needs Redis)', () => {
  it('was emptied all the same: what is there afterwards is for verification to judge', { timeout: 60_000 }, async () => {
    const store = await startRedisStore('json');
    const signal = AbortSignal.timeout(50_000);
    const connection = await openReplica(collection, store.replica);
    const application = new Redis(store.replica.url);
    const described = await connection.describe(signal);
    const typed = {
      ...described,
      open: undefined,
      columns: Object.keys(rowOf(1)).map((name) => ({ name, type: 'text' as const, nullable: name !== 'id' })),
    };
    const agreement = agreeShape('things', [{ replica: 'peer', shape: { key: ['id'], columns: typed.columns } }]);
    if (agreement.is !== 'agreed') throw new Error(agreement.says);
    const { shape } = agreement;
    let isOver = false;
    const loading = Array.from({ length: 8 }, async () => {
      while (!isOver) await application.setnx('thing:1', JSON.stringify({ name: 'loaded again' }));
    });
    try {
      for (let round = 0; round < 50; round += 1) {
        const [held] = await connection.readRows(shape, [{ id: '1' }], signal);
        if (held === undefined) continue;
        const effect = {
          replica: store.replica.id,
          collection: collection.name,
          key: { id: '1' },
          kind: 'delete' as const,
          expects: rowDigest(shape, held.row),
          before: held.row,
          after: null,
          leaves: null,
        };
        expect((await connection.apply(shape, [effect], signal)).is).toBe('applied');
      }
    } finally {
      isOver = true;
      await Promise.all(loading);
      application.disconnect();
      await connection.close();
      await store.close();
    }
  });
});
