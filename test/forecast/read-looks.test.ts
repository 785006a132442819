import { expect, test } from 'vitest';
import type { Operation, Version } from '../../src/domain/operation.ts';
import { createReadLooks, type TracedLook } from '../../src/forecast/read-looks.ts';
import { operationAt } from './operations.ts';

/** An operation on one order that carries a version, of one trace and service unless said otherwise. */
function versioned(kind: 'read' | 'write', atMs: number, version: Version, some: Parameters<typeof operationAt>[1] = {}): Operation {
  const one = operationAt(atMs, { key: '7', replica: kind === 'read' ? 'north' : 'main', tookMs: 2, kind, ...some });
  const base = typeof version === 'bigint' ? version - 1n : undefined;
  return { ...one, facts: one.facts === undefined ? undefined : { ...one.facts, version, versionBase: base } };
}

function seen(operations: readonly Operation[]): readonly TracedLook[] {
  const looks = createReadLooks(({ target }) => (target === 'orders' ? 'orders' : ''));
  looks.fold(operations);
  return looks.drain();
}

test('a read after a write of its own trace says when it was asked and whether it saw the change', () => {
  expect(
    seen([
      versioned('write', 100, 5n),
      versioned('read', 102, 4n),
      versioned('read', 110.5, 5n),
      versioned('read', 120, 6n, { host: 'b:5432', replica: '' }),
    ]),
  ).toEqual([
    { collection: 'orders', replica: 'north', host: 'db-eu:5432', atMs: 102, afterMs: 0, isFresh: false },
    { collection: 'orders', replica: 'north', host: 'db-eu:5432', atMs: 110.5, afterMs: 8.5, isFresh: true },
    { collection: 'orders', replica: '', host: 'b:5432', atMs: 120, afterMs: 18, isFresh: true },
  ]);
});

test.each<[string, readonly Operation[]]>([
  ['of another service, whose clock may differ', [versioned('write', 100, 5n, { service: 'billing' }), versioned('read', 110, 4n)]],
  ['of another trace', [versioned('write', 100, 5n, { traceId: '1'.repeat(32) }), versioned('read', 110, 4n)]],
  ['of another object', [versioned('write', 100, 5n, { key: '8' }), versioned('read', 110, 4n)]],
  ['that began before the commit returned', [versioned('write', 100, 5n), versioned('read', 101, 4n)]],
  ['that failed', [versioned('write', 100, 5n), versioned('read', 110, 4n, { failed: true })]],
  ['after a write that failed', [versioned('write', 100, 5n, { failed: true }), versioned('read', 110, 4n)]],
  ['told by an event, which is made when it was answered', [versioned('write', 100, 5n), versioned('read', 110, 4n, { index: 1 })]],
  ['of no collection of ours', [versioned('write', 100, 5n, { target: 'other' }), versioned('read', 110, 4n, { target: 'other' })]],
  ['without a version', [versioned('write', 100, 5n), versioned('read', 110, '')]],
])('a read %s says nothing', (_, operations) => {
  expect(seen(operations)).toEqual([]);
});

test('versions without an order say fresh where they are the written one and stale where they are the one before', () => {
  const write = versioned('write', 100, 'c');
  const based = { ...write, facts: write.facts === undefined ? undefined : { ...write.facts, versionBase: 'b' } };
  const looks = seen([based, versioned('read', 110, 'b'), versioned('read', 111, 'c'), versioned('read', 112, 'x')]);
  expect(looks.map(({ isFresh }) => isFresh)).toEqual([false, true]);
});

test('what is kept is bounded: the oldest writes are forgotten, and what was drained is gone', () => {
  const looks = createReadLooks(() => 'orders');
  const traceOf = (n: number): string => String(n).padStart(32, '0');
  for (let n = 0; n < 10_001; n += 1) looks.fold([versioned('write', 100, 5n, { traceId: traceOf(n) })]);
  looks.fold([0, 1, 10_000].map((n) => versioned('read', 110, 5n, { traceId: traceOf(n) })));
  expect(looks.drain()).toHaveLength(2);
  expect(looks.drain()).toEqual([]);
  for (let n = 0; n < 6_000; n += 1) looks.fold([versioned('read', 110, 5n, { traceId: traceOf(10_000) })]);
  expect(looks.drain()).toHaveLength(5_000);
});
