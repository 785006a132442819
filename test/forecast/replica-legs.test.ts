import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import type { Operation, Version } from '../../src/domain/operation.ts';
import { type CoordinatedOperation, createReplicaLegs, replicasSeen, staleAsCounted, tracedLegs } from '../../src/forecast/replica-legs.ts';
import { freshIntervals, quorumOdds } from '../../src/forecast/wars.ts';
import { operationAt } from './operations.ts';

interface Call {
  readonly replica: string;
  readonly atMs: number;
  readonly tookMs: number;
  readonly parent?: number;
  readonly kind?: Operation['kind'];
  readonly key?: string;
  readonly version?: Version | undefined;
  readonly failed?: boolean;
}

let spans = 0;
function call({ replica, atMs, tookMs, parent = 1, kind = 'write', key = '7', version, failed = false }: Call): Operation {
  spans += 1;
  const one = operationAt(atMs, {
    replica,
    tookMs,
    kind,
    key,
    failed,
    parentSpanId: String(parent).padStart(16, '0'),
    spanId: String(spans).padStart(16, '0'),
  });
  return { ...one, facts: one.facts === undefined ? undefined : { ...one.facts, version } };
}

function drained(
  operations: readonly Operation[],
  bounds: { readonly maxSpans?: number; readonly maxOperations?: number } = {},
): ReturnType<ReturnType<typeof createReplicaLegs>['drain']> {
  const legs = createReplicaLegs({
    collectionOf: ({ target }) => (target === 'orders' ? 'orders' : ''),
    replicaOf: ({ facts, host }) => facts?.replicaId || host,
    ...bounds,
  });
  for (const operation of operations) legs.fold([operation]);
  return legs.drain();
}

describe('calls to replicas', () => {
  it('on their way at one time are one operation, each with when it was sent and how long it took', () => {
    const { operations, leftOut } = drained([
      call({ replica: 'us', atMs: 100.5, tookMs: 8, version: 4n }),
      call({ replica: 'ap', atMs: 101, tookMs: 30, version: 4n }),
      call({ replica: 'eu', atMs: 100, tookMs: 2, version: 4n }),
    ]);
    expect(operations).toEqual([
      {
        collection: 'orders',
        kind: 'write',
        within: `${'0'.repeat(32)}\u0000shop\u00007`,
        startUs: 100_000,
        trips: [
          { replica: 'ap', sentMs: 1, tripMs: 30, version: 4n },
          { replica: 'eu', sentMs: 0, tripMs: 2, version: 4n },
          { replica: 'us', sentMs: 0.5, tripMs: 8, version: 4n },
        ],
      },
    ]);
    expect(leftOut.size).toBe(0);
  });

  it('that a client makes again while the slowest of the last is still on its way are the next operation', () => {
    const both = (atMs: number): Operation[] => [call({ replica: 'eu', atMs, tookMs: 2 }), call({ replica: 'us', atMs, tookMs: 20 })];
    expect(drained([...both(100), ...both(102), ...both(104)]).operations.map(({ startUs }) => startUs)).toEqual([
      100_000, 102_000, 104_000,
    ]);
  });

  it('that a coarse clock rounds to one instant are one operation', () => {
    const { operations } = drained([call({ replica: 'eu', atMs: 100, tookMs: 0 }), call({ replica: 'us', atMs: 100, tookMs: 0 })]);
    expect(operations).toHaveLength(1);
  });

  it('that show different answers to one question are one read, and of different versions are different writes', () => {
    const two = (kind: 'read' | 'write'): Operation[] => [
      call({ kind, replica: 'eu', atMs: 100, tookMs: 3, version: 4n }),
      call({ kind, replica: 'us', atMs: 100, tookMs: 3, version: 3n }),
    ];
    expect(drained(two('read')).operations).toHaveLength(1);
    expect(drained(two('write')).operations).toEqual([]);
  });

  const eu = call({ replica: 'eu', atMs: 100, tookMs: 5 });
  const us = call({ replica: 'us', atMs: 100, tookMs: 5 });
  it.each<[string, readonly Operation[], object]>([
    ['one after another', [eu, call({ replica: 'us', atMs: 105, tookMs: 5 })], { alone: 2, failed: 0, repeated: 0 }],
    ['of different parents', [eu, call({ replica: 'us', atMs: 100, tookMs: 5, parent: 2 })], { alone: 2, failed: 0, repeated: 0 }],
    ['of different services', [eu, { ...us, service: 'billing' }], { alone: 2, failed: 0, repeated: 0 }],
    ['on different objects', [eu, call({ replica: 'us', atMs: 100, tookMs: 5, key: '8' })], { alone: 2, failed: 0, repeated: 0 }],
    ['of which one failed', [eu, call({ replica: 'us', atMs: 100, tookMs: 5, failed: true })], { alone: 0, failed: 1, repeated: 0 }],
    ['of which two went to one replica', [eu, us, call({ replica: 'us', atMs: 101, tookMs: 5 })], { alone: 0, failed: 0, repeated: 1 }],
    ['of which one is what the server says of it', [eu, { ...us, spanKind: 2 }], { alone: 1, failed: 0, repeated: 0 }],
    ['of which one is told by an event', [eu, { ...us, index: 1 }], { alone: 1, failed: 0, repeated: 0 }],
  ])('%s are no operation, and are counted', (_, calls, why) => {
    const { operations, leftOut } = drained(calls);
    expect(operations).toEqual([]);
    expect(leftOut.get('orders')).toEqual(why);
  });

  it('give the same operations in whatever order they come', () => {
    const anyCall = fc.record({
      replica: fc.constantFrom('eu', 'us', 'ap'),
      atMs: fc.nat(6),
      tookMs: fc.nat(4),
      parent: fc.nat(1),
      kind: fc.constantFrom('read' as const, 'write' as const),
      version: fc.constantFrom(undefined, 3n),
      failed: fc.constantFrom(false, false, false, true),
    });
    const orders = fc.array(anyCall, { maxLength: 30 }).chain((made) => {
      const calls = made.map((one) => call(one));
      return fc.tuple(fc.constant(calls), fc.shuffledSubarray(calls, { minLength: calls.length }));
    });
    fc.assert(
      fc.property(orders, ([sorted, shuffled]) => {
        expect(drained(shuffled)).toEqual(drained(sorted));
      }),
      { numRuns: 500 },
    );
  });

  describe('of which spans may still come', () => {
    const keep = (): ReturnType<typeof createReplicaLegs> =>
      createReplicaLegs({ collectionOf: () => 'orders', replicaOf: ({ facts }) => facts?.replicaId ?? '', openMs: 1_000 });

    it('stay open at a drain for as long as one may, and are one operation then', () => {
      const legs = keep();
      legs.fold([call({ replica: 'eu', atMs: 100, tookMs: 5 })], 0);
      expect(legs.drain(999)).toEqual({ operations: [], leftOut: new Map(), madeWay: 0 });
      legs.fold([call({ replica: 'us', atMs: 100, tookMs: 900 })], 999);
      expect(legs.drain(1_998).operations).toEqual([]);
      expect(legs.drain(1_999).operations).toHaveLength(1);
      expect(legs.drain()).toEqual({ operations: [], leftOut: new Map(), madeWay: 0 });
    });

    it('are told once they are over, though their parent lives on and makes others all the time', () => {
      const legs = keep();
      const both = (atMs: number): Operation[] => [call({ replica: 'eu', atMs, tookMs: 2 }), call({ replica: 'us', atMs, tookMs: 20 })];
      const told: number[] = [];
      for (let nowMs = 100; nowMs <= 4_000; nowMs += 100) {
        legs.fold(both(nowMs), nowMs);
        told.push(...legs.drain(nowMs).operations.map(({ startUs }) => startUs / 1_000));
      }
      expect(told).toEqual(Array.from({ length: 29 }, (_, i) => 100 * (i + 1)));
      expect(legs.drain().operations).toHaveLength(11);
    });
  });

  it('are held within bounds: the oldest make way, and of operations the latest stay', () => {
    const pair = (parent: number): readonly [Operation, Operation] => [
      call({ replica: 'eu', atMs: parent, tookMs: 5, parent }),
      call({ replica: 'us', atMs: parent, tookMs: 5, parent }),
    ];
    const pairs = Array.from({ length: 10 }, (_, i) => pair(i + 1));
    const apart = [...pairs.map(([first]) => first), ...pairs.map(([, second]) => second)];
    expect(drained(apart, { maxSpans: 20 }).operations).toHaveLength(10);
    expect(drained(apart, { maxSpans: 9 }).operations).toEqual([]);
    const latest = drained(pairs.flat(), { maxSpans: 2, maxOperations: 3 }).operations;
    expect(latest.map(({ startUs }) => startUs)).toEqual([8_000, 9_000, 10_000]);
    expect(drained(pairs.flat(), { maxSpans: 2, maxOperations: 3 }).madeWay).toBe(7);
  });
});

/** An operation that went to replicas a, b ... with these trips, all sent at once unless said otherwise. */
function operation(kind: 'read' | 'write', k: number, trips: readonly number[], versions: readonly Version[] = []): CoordinatedOperation {
  return {
    collection: 'orders',
    kind,
    within: '',
    startUs: k * 1_000,
    trips: trips.map((tripMs, i) => ({ replica: 'abcd'[i] ?? '', sentMs: 0, tripMs, version: versions[i] })),
  };
}

describe('legs of replicas', () => {
  it('are of the operations that went to all of them, each row of one operation', () => {
    const operations = Array.from({ length: 40 }, (_, k) => {
      const slow = k % 4 === 3 ? 10 : 1;
      return operation(k % 2 === 0 ? 'read' : 'write', k, k % 10 === 0 ? [slow, 2 * slow] : [slow, 2 * slow, 4 * slow]);
    });
    const { middle, writes, reads } = tracedLegs(operations, ['a', 'b', 'c']);
    expect({ writes, reads }).toEqual({ writes: 20, reads: 16 });
    expect(middle.map(({ w, r }) => [w.length, r.length])).toEqual([
      [20, 16],
      [20, 16],
      [20, 16],
    ]);
    expect(new Set(Array.from(middle[0]?.w ?? []))).toEqual(new Set([0.5, 5]));
    for (let k = 0; k < 20; k += 1) expect(middle[2]?.w[k]).toBe(4 * (middle[0]?.w[k] ?? 0));
  });

  it('split what a trip takes longer than the quickest as it may have been lost, and keep what was waited', () => {
    const quick = Array.from({ length: 19 }, (_, k) => operation('write', k, [10]));
    const { middle, late, early } = tracedLegs(
      [...quick, operation('write', 19, [14]), operation('read', 20, [6]), operation('read', 21, [9])],
      ['a'],
    );
    const waysOf = (legs: typeof middle): readonly number[] =>
      [legs[0]?.w[19], legs[0]?.a[19], legs[0]?.r[1], legs[0]?.s[1]].map((ms) => ms ?? -1);
    expect(waysOf(middle)).toEqual([7, 7, 4.5, 4.5]);
    expect(waysOf(late)).toEqual([9, 5, 3, 6]);
    expect(waysOf(early)).toEqual([5, 9, 6, 3]);
    expect([middle, late, early].map((legs) => [legs[0]?.w[0], legs[0]?.a[0]])).toEqual([
      [5, 5],
      [5, 5],
      [5, 5],
    ]);
  });

  it('begin with the operation: who is asked later has the write later, and the question', () => {
    const trips = (sentMs: number) => [{ replica: 'a', sentMs, tripMs: 8, version: undefined }];
    const { middle } = tracedLegs(
      [
        { ...operation('write', 0, []), trips: trips(3) },
        { ...operation('read', 1, []), trips: trips(2) },
      ],
      ['a'],
    );
    expect(middle.map(({ w, a, r, s }) => [w[0], a[0], r[0], s[0]])).toEqual([[7, 4, 6, 4]]);
  });

  it('hold between late and early what a register with ways of its own answers', () => {
    const rng = createRng('ways');
    const draw = (mean: number): number => 1 - mean * Math.log(1 - rng.next());
    // Ways there and back drawn apart: the halves of the trips are wrong by as much as they differ.
    const ways = Array.from({ length: 3_000 }, () => [0, 1, 2].map((i) => ({ w: draw(3 + 3 * i), a: draw(1), r: draw(1), s: draw(2) })));
    const truth = [0, 1, 2].map((i) => ({
      w: ways.map((row) => row[i]?.w ?? 0),
      a: ways.map((row) => row[i]?.a ?? 0),
      r: ways.map((row) => row[i]?.r ?? 0),
      s: ways.map((row) => row[i]?.s ?? 0),
    }));
    const operations = ways.flatMap((row, k) => [
      operation(
        'write',
        2 * k,
        row.map(({ w, a }) => w + a),
      ),
      operation(
        'read',
        2 * k + 1,
        row.map(({ r, s }) => r + s),
      ),
    ]);
    const { late, early } = tracedLegs(operations, ['a', 'b', 'c']);
    const options = { trials: 20_000, isPaired: true, spell: 32, afterMs: [0] };
    const lows = freshIntervals(late, options, createRng('late'));
    const highs = freshIntervals(early, options, createRng('early'));
    quorumOdds(truth, options, createRng('truth')).forEach(({ fresh: [fresh = -1] }, i) => {
      expect(fresh).toBeGreaterThanOrEqual((lows[i]?.low ?? 1) - 1e-9);
      expect(fresh).toBeLessThanOrEqual((highs[i]?.high ?? 0) + 1e-9);
    });
  });
});

it('the replicas are the set that most operations went to, of those that are in no larger one', () => {
  const times = (count: number, names: string): CoordinatedOperation[] =>
    Array.from({ length: count }, () => ({
      ...operation('read', 0, []),
      trips: names.split('').map((replica) => ({ replica, sentMs: 0, tripMs: 1, version: undefined })),
    }));
  expect(replicasSeen([...times(50, 'ab'), ...times(10, 'abc'), ...times(5, 'cde')])).toEqual(['a', 'b', 'c']);
  expect(replicasSeen([])).toEqual([]);
});

it('stale reads are counted by the answers that a client had gone by', () => {
  const operations = [
    operation('read', 0, [3, 1, 2], [7n, 6n, 7n]),
    operation('read', 1, [3, 1, 2], [7n, 6n, 6n]),
    operation('read', 2, [3, 1, 2], [7n, 7n, 6n]),
    operation('read', 3, [3, 1, 2], [7n, 7n]),
    operation('write', 4, [3, 1, 2], [7n, 6n, 7n]),
  ];
  expect(staleAsCounted(operations, ['a', 'b', 'c'])).toEqual({ reads: 3, stale: [2, 1, 0] });
});
