import { describe, expect, it } from 'vitest';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';

/** Shapes that ordinary code leaves in traces, and all that may be said of them: what must not be found matters as much as what must. */
function findingsOf(steps: readonly Step[]): readonly string[] {
  const detection = createDetection();
  detection.add(exampleOperations(steps));
  return detection
    .finish()
    .map((anomaly) => `${anomaly.kind}/${anomaly.grade}`)
    .toSorted((a, b) => (a < b ? -1 : 1));
}

function request(more: Partial<Step> = {}): Step {
  return { kind: 'request', span: 'root', at: 0, lasts: 500, service: 'shop', target: 'POST /orders', ...more };
}

const cases: readonly (readonly [string, readonly Step[], readonly string[]])[] = [
  [
    'rolled back on publish failure',
    [
      request(),
      { kind: 'transaction', parent: 'root', at: 1, sql: 'begin' },
      { kind: 'append', parent: 'root', at: 5, target: 'orders' },
      { kind: 'publish', parent: 'root', at: 10, target: 'ev', failed: true, errorType: 'timeout' },
      { kind: 'transaction', parent: 'root', at: 15, sql: 'rollback' },
    ],
    [],
  ],
  [
    'cache-aside del',
    [
      request(),
      { kind: 'write', parent: 'root', at: 5, target: 'orders', host: 'pg' },
      { kind: 'delete', parent: 'root', at: 10, system: 'redis', host: 'r', target: 'order' },
    ],
    [],
  ],
  [
    'cache set without ttl',
    [
      request(),
      { kind: 'write', parent: 'root', at: 5, target: 'orders', host: 'pg' },
      { kind: 'write', parent: 'root', at: 10, system: 'redis', host: 'r', target: 'order' },
    ],
    ['cross-store-write/structural'],
  ],
  [
    'a COMMIT whose event bears a time before it began',
    [
      request(),
      { kind: 'transaction', parent: 'root', at: 1, sql: 'begin' },
      { kind: 'append', parent: 'root', at: 5, target: 'orders' },
      { kind: 'transaction', span: 'end', parent: 'root', at: 15, sql: 'rollback' },
      {
        kind: 'write',
        span: 'end',
        parent: 'root',
        index: 1,
        at: 14,
        lasts: 0,
        facts: { objectType: 'order', objectKey: '7', version: 1n, transactionOutcome: 'aborted' },
      },
      { kind: 'publish', parent: 'root', at: 20, target: 'ev', failed: true, errorType: 'timeout' },
    ],
    [],
  ],
  [
    'second store fails',
    [
      request(),
      { kind: 'write', parent: 'root', at: 5, target: 'orders', host: 'pg' },
      { kind: 'append', parent: 'root', at: 10, system: 'mongodb', host: 'm', target: 'orders', failed: true, errorType: 'timeout' },
    ],
    ['cross-store-write/structural'],
  ],
  [
    'second store has it already',
    [
      request(),
      { kind: 'write', parent: 'root', at: 5, target: 'orders', host: 'pg' },
      { kind: 'append', parent: 'root', at: 10, system: 'mongodb', host: 'm', target: 'orders', failed: true, errorType: 'DuplicateKey' },
    ],
    [],
  ],
  [
    'second store fails and the first is taken back',
    [
      request(),
      { kind: 'append', parent: 'root', at: 5, target: 'orders', host: 'pg' },
      { kind: 'append', parent: 'root', at: 10, system: 'mongodb', host: 'm', target: 'orders', failed: true, errorType: 'timeout' },
      { kind: 'delete', parent: 'root', at: 20, target: 'orders', host: 'pg' },
    ],
    [],
  ],
  [
    'message that deletes a row comes twice',
    [
      { kind: 'consume', span: 'c1', trace: 'a', at: 0, lasts: 9, service: 'mail', target: 'gone', message: { id: 'm' } },
      { kind: 'delete', trace: 'a', parent: 'c1', at: 3, service: 'mail', target: 'letters', key: '7' },
      { kind: 'consume', span: 'c2', trace: 'b', at: 500, lasts: 9, service: 'mail', target: 'gone', message: { id: 'm' } },
      { kind: 'delete', trace: 'b', parent: 'c2', at: 503, service: 'mail', target: 'letters', key: '7' },
    ],
    [],
  ],
  [
    'retry with 503, idempotent callee',
    [
      request(),
      { kind: 'call', span: 'c1', parent: 'root', at: 5, lasts: 10, target: 'POST /pay', host: 'p', failed: true, httpStatus: 503 },
      { kind: 'call', span: 'c2', parent: 'root', at: 50, lasts: 10, target: 'POST /pay', host: 'p', httpStatus: 200 },
      { kind: 'request', span: 'r2', parent: 'c2', at: 51, lasts: 8, service: 'pay', target: 'POST /pay' },
      { kind: 'append', parent: 'r2', at: 52, service: 'pay', target: 'payments', sql: 'insert into payments on conflict do nothing' },
    ],
    [],
  ],
  [
    'retry 503, plain callee',
    [
      request(),
      { kind: 'call', span: 'c1', parent: 'root', at: 5, lasts: 10, target: 'POST /pay', host: 'p', failed: true, httpStatus: 503 },
      { kind: 'call', span: 'c2', parent: 'root', at: 50, lasts: 10, target: 'POST /pay', host: 'p', httpStatus: 200 },
      { kind: 'request', span: 'r2', parent: 'c2', at: 51, lasts: 8, service: 'pay', target: 'POST /pay' },
      { kind: 'append', parent: 'r2', at: 52, service: 'pay', target: 'payments', sql: 'insert into payments' },
    ],
    ['retry-without-idempotency/structural'],
  ],
  [
    'serialization failure then retried',
    [
      request(),
      { kind: 'write', parent: 'root', at: 5, target: 'acc', failed: true, sqlState: '40001' },
      { kind: 'write', parent: 'root', at: 15, target: 'acc' },
    ],
    ['write-contention/proven'],
  ],
  ['unique violation', [request(), { kind: 'append', parent: 'root', at: 5, target: 'acc', failed: true, sqlState: '23505' }], []],
  [
    'redelivery after rollback',
    [
      { kind: 'consume', span: 'a', at: 0, lasts: 50, service: 'bill', target: 'q', failed: true, message: { id: 'm1' }, trace: 't1' },
      { kind: 'transaction', trace: 't1', parent: 'a', at: 1, service: 'bill', sql: 'begin' },
      { kind: 'append', trace: 't1', parent: 'a', at: 5, service: 'bill', target: 'inv' },
      { kind: 'transaction', trace: 't1', parent: 'a', at: 10, service: 'bill', sql: 'rollback' },
      { kind: 'consume', span: 'b', trace: 't2', at: 900, lasts: 50, service: 'bill', target: 'q', message: { id: 'm1' } },
      { kind: 'append', trace: 't2', parent: 'b', at: 905, service: 'bill', target: 'inv' },
    ],
    [],
  ],
  [
    'fan-out two groups',
    [
      { kind: 'publish', span: 'p', at: 0, target: 'q', message: { id: 'm1' } },
      { kind: 'consume', span: 'a', parent: 'p', at: 10, lasts: 5, service: 'bill', target: 'q', message: { id: 'm1' } },
      { kind: 'append', parent: 'a', at: 12, service: 'bill', target: 'inv' },
      { kind: 'consume', span: 'b', parent: 'p', at: 10, lasts: 5, service: 'mail', target: 'q', message: { id: 'm1' } },
      { kind: 'append', parent: 'b', at: 12, service: 'mail', target: 'inv' },
    ],
    [],
  ],
  [
    'consume-write-publish',
    [
      { kind: 'consume', span: 'a', at: 0, lasts: 50, service: 'bill', target: 'q' },
      { kind: 'append', parent: 'a', at: 5, service: 'bill', target: 'inv' },
      { kind: 'publish', parent: 'a', at: 10, service: 'bill', target: 'ev' },
    ],
    ['dual-write/structural'],
  ],
  [
    'write fails then dlq',
    [
      { kind: 'consume', span: 'a', at: 0, lasts: 50, service: 'bill', target: 'q' },
      { kind: 'append', parent: 'a', at: 5, service: 'bill', target: 'inv', failed: true, sqlState: '23503' },
      { kind: 'publish', parent: 'a', at: 10, service: 'bill', target: 'q.dlq' },
    ],
    [],
  ],
  [
    'publish ok then commit fails',
    [
      request(),
      { kind: 'transaction', parent: 'root', at: 1, sql: 'begin' },
      { kind: 'append', parent: 'root', at: 5, target: 'orders' },
      { kind: 'publish', parent: 'root', at: 10, target: 'ev' },
      { kind: 'transaction', parent: 'root', at: 15, sql: 'commit', failed: true, sqlState: '40001' },
    ],
    ['dual-write/proven', 'dual-write/structural', 'write-contention/proven'],
  ],
  [
    'write ok publish fails',
    [
      request({ failed: true, httpStatus: 500 }),
      { kind: 'append', parent: 'root', at: 5, target: 'orders' },
      { kind: 'publish', parent: 'root', at: 10, target: 'ev', failed: true },
    ],
    ['dual-write/proven', 'dual-write/structural'],
  ],
  [
    'publish retried ok',
    [
      request(),
      { kind: 'append', parent: 'root', at: 5, target: 'orders' },
      { kind: 'publish', parent: 'root', at: 10, target: 'ev', failed: true, errorType: 'x' },
      { kind: 'publish', parent: 'root', at: 20, target: 'ev' },
    ],
    ['dual-write/structural'],
  ],
  [
    'optimistic update',
    [
      request(),
      ...['a', 'b'].flatMap((t, i): Step[] => [
        { kind: 'request', trace: t, span: t, at: i * 5, lasts: 60 },
        { kind: 'read', trace: t, parent: t, at: i * 5 + 2, target: 'acc' },
        { kind: 'write', trace: t, parent: t, at: 30 + i * 5, target: 'acc', sql: 'update acc set b = ? where id = ? and version = ?' },
      ]),
    ],
    [],
  ],
  [
    'shards',
    [
      request(),
      { kind: 'write', parent: 'root', at: 5, target: 'users', host: 's1', key: '1' },
      { kind: 'write', parent: 'root', at: 9, target: 'users', host: 's1', key: '1' },
      { kind: 'read', parent: 'root', at: 20, target: 'users', host: 's2', key: '2' },
    ],
    [],
  ],
  [
    '404 then partial',
    [
      request(),
      { kind: 'append', parent: 'root', at: 5, target: 'orders', service: 'shop' },
      { kind: 'call', span: 'c', parent: 'root', at: 10, lasts: 20, target: 'GET /x', failed: true, httpStatus: 404 },
      { kind: 'request', span: 'r', parent: 'c', at: 11, lasts: 10, service: 'stock', target: 'GET /x', failed: true, httpStatus: 404 },
    ],
    [],
  ],
  [
    'kafka transactional/pg queue',
    [
      request(),
      { kind: 'append', parent: 'root', at: 5, target: 'orders' },
      { kind: 'publish', parent: 'root', at: 10, target: 'jobs', system: 'postgresql' },
    ],
    [],
  ],
  [
    'ryw via trace',
    [
      request(),
      { kind: 'write', parent: 'root', at: 5, target: 'p', facts: { objectType: 'p', objectKey: '1', version: 5n } },
      { kind: 'read', parent: 'root', at: 20, target: 'p', facts: { objectType: 'p', objectKey: '1', version: 4n } },
    ],
    ['read-your-writes/proven'],
  ],
  [
    'string versions ryw',
    [
      request(),
      { kind: 'write', parent: 'root', at: 5, target: 'p', facts: { objectType: 'p', objectKey: '1', version: 'b', versionBase: 'a' } },
      { kind: 'read', parent: 'root', at: 20, target: 'p', facts: { objectType: 'p', objectKey: '1', version: 'a' } },
    ],
    ['read-your-writes/proven'],
  ],
  [
    'news of a failure, sent in the millisecond in which the rollback ended',
    [
      request(),
      { kind: 'transaction', parent: 'root', at: 1, sql: 'begin' },
      { kind: 'append', parent: 'root', at: 5, target: 'orders' },
      { kind: 'transaction', parent: 'root', at: 15, lasts: 0.4, sql: 'rollback' },
      { kind: 'publish', parent: 'root', at: 15, target: 'declined' },
    ],
    [],
  ],
  [
    'sent in the millisecond in which the commit ended, and looked for where it has not arrived',
    [
      request(),
      { kind: 'transaction', parent: 'root', at: 1, sql: 'begin' },
      { kind: 'append', parent: 'root', at: 5, target: 'orders', key: '1' },
      { kind: 'append', parent: 'root', at: 6, target: 'outbox', facts: { outboxId: 'm1' } },
      { kind: 'transaction', parent: 'root', at: 15, lasts: 0.4, sql: 'commit' },
      { kind: 'publish', span: 'p', parent: 'root', at: 15, target: 'placed', message: { id: 'm1' } },
      { kind: 'consume', span: 'c', parent: 'p', at: 20, lasts: 30, service: 'mail', target: 'placed', message: { id: 'm1' } },
      { kind: 'read', parent: 'c', at: 25, service: 'mail', target: 'orders', key: '1', rows: 0 },
    ],
    [],
  ],
];

describe('ordinary shapes', () => {
  it.each(cases)('%s', (_name, steps, expected) => {
    expect(findingsOf(steps)).toEqual(expected.toSorted((a, b) => (a < b ? -1 : 1)));
  });
});
