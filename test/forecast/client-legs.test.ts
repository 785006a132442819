import { describe, expect, it } from 'vitest';
import type { Operation } from '../../src/domain/operation.ts';
import { createClientLegs, namedReplica } from '../../src/forecast/client-legs.ts';
import { operationAt } from './operations.ts';

let spans = 0;
function ask(replica: string, target: string, parent: number): Operation {
  spans += 1;
  return operationAt(parent, {
    replica,
    key: '7',
    target,
    parentSpanId: String(parent).padStart(16, '0'),
    spanId: String(spans).padStart(16, '0'),
  });
}

describe('legs of the declared collections', () => {
  it('are of these, and of their replicas alone', () => {
    const legs = createClientLegs([{ collection: 'orders', replicas: ['a', 'b'] }], ({ target }) => target, 0);
    legs.fold([ask('a', 'orders', 1), ask('b', 'orders', 1), ask('c', 'orders', 1), ask('a', 'carts', 2), ask('b', 'carts', 2)], 0);
    const [orders, ...others] = legs.drain(0);
    expect(others).toEqual([]);
    expect(orders).toMatchObject({ collection: 'orders', leftOut: { alone: 0, failed: 0, repeated: 0 }, madeWay: 0 });
    expect(orders?.operations.map(({ trips }) => trips.map(({ replica }) => replica))).toEqual([['a', 'b']]);
  });

  it('of a busy collection do not drive out those of a quiet one, and what makes way is counted', () => {
    const names = ['quiet', 'busy'];
    const legs = createClientLegs(
      names.map((collection) => ({ collection, replicas: ['a', 'b'] })),
      ({ target }) => target,
      0,
    );
    const both = (target: string, parent: number): Operation[] => ['a', 'b'].map((replica) => ask(replica, target, parent));
    legs.fold(both('quiet', 1), 0);
    for (let i = 0; i < 12_000; i += 1) legs.fold(both('busy', i), 0);
    const [quiet, busy] = legs.drain(0);
    expect([quiet?.operations.length, quiet?.madeWay]).toEqual([1, 0]);
    expect([busy?.operations.length, busy?.madeWay]).toEqual([10_000, 2_000]);
    expect(busy?.operations.at(-1)?.startUs).toBe(11_999_000);
  });
});

it.each([
  ['by the replica that its span names', 'a', 'db-eu:5432', 'a'],
  ['by host and port', '', 'db-eu:5432', 'db-eu:5432'],
  ['by host alone', '', 'db-us:5432', 'db-us'],
  ['by host, where the id is another name', 'x', 'db-us:5432', 'db-us'],
  ['not at all', 'x', 'db-ap:5432', ''],
])('a replica is known %s', (_, replica, host, name) => {
  const named = namedReplica(['a', 'db-eu:5432', 'db-us']);
  expect(named(operationAt(0, { key: '7', replica, host }))).toBe(name);
});
