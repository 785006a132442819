import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Failure } from '../../../src/base/failure.ts';
import type { Collection, Replica } from '../../../src/domain/collection.ts';
import { everyKey } from '../../../src/domain/key-range.ts';
import { rowDigest } from '../../../src/domain/row-encoding.ts';
import type { Shape } from '../../../src/domain/row.ts';
import { openReplica } from '../../../src/io/replicas/registry.ts';
import type { ReplicaConnection } from '../../../src/io/replicas/replica.ts';
import { collection, rowOf } from '../../conformance/replica-stores.ts';
import { type RowService, startRowService } from '../../servers/rows-over-http.ts';

const signal = AbortSignal.timeout(60_000);

describe('a service as a replica', () => {
  let service: RowService;
  let replica: ReplicaConnection;
  let shape: Shape;
  const things: Collection = collection;
  const declared = (): Replica => ({ id: 'svc', engine: 'http', url: service.url, region: 'eu', role: 'peer', columnNames: {} });
  beforeAll(async () => {
    service = await startRowService({ user: 'homeostat', password: 'p@ss/word' });
    replica = await openReplica(things, declared());
    shape = await replica.describe(signal);
  });
  afterAll(async () => {
    await replica.close();
    await service.close();
  });
  beforeEach(() => {
    service.clear();
    for (let id = 1; id <= 3; id += 1) service.put(rowOf(id));
  });

  it.each(['cut-off', 'wrong-count', 'error-line'] as const)(
    'whose answer ends wrongly (%s) has no missing rows: it failed',
    async (how) => {
      service.breakNext(how);
      const failure: unknown = await replica.digest(shape, [everyKey], signal).catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'malformed-answer', retry: 'later' });
      expect((failure as Failure).message).toContain('docs/http-replica.md');
      service.breakNext(how);
      await expect(replica.readRows(shape, [{ id: '1' }], signal)).rejects.toBeInstanceOf(Failure);
    },
  );

  it('keeps what it has beyond the compared columns, and its own types, through a repair', async () => {
    const after = rowOf(2, { name: 'new', amount: '9.75' });
    const result = await replica.apply(
      shape,
      [
        {
          replica: 'svc',
          collection: 'things',
          key: { id: '2' },
          kind: 'update',
          expects: rowDigest(shape, rowOf(2)),
          before: rowOf(2),
          after,
          leaves: rowDigest(shape, after),
        },
      ],
      signal,
    );
    expect(result).toEqual({ is: 'applied', rows: 1 });
    expect(service.document('2')).toMatchObject({ id: 2, extra: 1, amount: 9.75, name: 'new' });
  });
});
