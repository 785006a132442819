import { describe, it } from 'vitest';
import {
  client,
  consumer,
  expectKinds,
  go,
  type InstrumentedCase,
  kafkaSend,
  producer,
  python,
  serve,
  server,
  type Span,
} from './instrumented.ts';

/**
 * Spans as OpenTelemetry instrumentations of Python and Go write them:
 * names, kinds and attributes copied from what they emit, not from the conventions. What each shape must give, and must not.
 */
const cases: readonly InstrumentedCase[] = [
  [
    'psycopg2 and pika: insert, then publish',
    [
      serve(),
      {
        id: 'w',
        parent: 'root',
        service: 'orders',
        name: 'INSERT',
        kind: client,
        at: 5,
        attributes: {
          'db.system': 'postgresql',
          'db.name': 'shop',
          'db.statement': 'INSERT INTO orders (id, total) VALUES (%s, %s)',
          'db.user': 'app',
          'net.peer.name': 'db',
          'net.peer.port': 5432,
        },
      },
      {
        id: 'p',
        parent: 'root',
        service: 'orders',
        name: 'orders send',
        kind: producer,
        at: 20,
        attributes: {
          'messaging.system': 'rabbitmq',
          'messaging.temp_destination': false,
          'messaging.destination': 'orders',
          'net.peer.name': 'rabbit',
          'net.peer.port': 5672,
        },
      },
    ],
    python,
    ['dual-write/structural'],
  ],
  [
    'SQLAlchemy and Celery: insert, then apply_async',
    [
      serve(),
      {
        id: 'w',
        parent: 'root',
        service: 'orders',
        name: 'INSERT shop',
        kind: client,
        at: 5,
        attributes: {
          'db.system': 'postgresql',
          'db.name': 'shop',
          'db.statement': 'INSERT INTO orders (id, total) VALUES (%(id)s, %(total)s)',
          'net.peer.name': 'db',
        },
      },
      {
        id: 'p',
        parent: 'root',
        service: 'orders',
        name: 'apply_async/tasks.charge',
        kind: producer,
        at: 20,
        attributes: {
          'celery.action': 'apply_async',
          'messaging.message.id': '6b2d',
          'celery.task_name': 'tasks.charge',
          'messaging.destination_kind': 'queue',
          'messaging.destination': 'celery',
        },
      },
    ],
    python,
    ['dual-write/structural'],
  ],
  [
    'Celery: a task that ran twice',
    [1, 2].flatMap((run): readonly Span[] => [
      {
        id: `c${run}`,
        trace: `t${run}`,
        service: 'billing',
        name: 'run/tasks.charge',
        kind: consumer,
        at: run * 1000,
        lasts: 30,
        attributes: {
          'celery.action': 'run',
          'celery.state': 'SUCCESS',
          'messaging.message.id': '6b2d',
          'celery.task_name': 'tasks.charge',
          'messaging.destination': 'celery',
        },
      },
      {
        id: `w${run}`,
        trace: `t${run}`,
        parent: `c${run}`,
        service: 'billing',
        name: 'INSERT',
        kind: client,
        at: run * 1000 + 5,
        attributes: { 'db.system': 'postgresql', 'db.name': 'bill', 'db.statement': 'INSERT INTO charges (amount) VALUES (%s)' },
      },
    ]),
    python,
    ['duplicate-consume/proven'],
  ],
  [
    'Celery: a task that asked for a retry has given up its transaction',
    [1, 2].flatMap((run): readonly Span[] => [
      {
        id: `c${run}`,
        trace: `t${run}`,
        service: 'billing',
        name: 'run/tasks.charge',
        kind: consumer,
        at: run * 1000,
        lasts: 30,
        ...(run === 1 ? { error: { type: 'requests.exceptions.ReadTimeout' } } : {}),
        attributes: {
          'celery.action': 'run',
          'celery.state': run === 1 ? 'RETRY' : 'SUCCESS',
          'messaging.message.id': '6b2d',
          'celery.task_name': 'tasks.charge',
          'messaging.destination': 'celery',
        },
      },
      {
        id: `w${run}`,
        trace: `t${run}`,
        parent: `c${run}`,
        service: 'billing',
        name: 'INSERT',
        kind: client,
        at: run * 1000 + 5,
        attributes: { 'db.system': 'postgresql', 'db.name': 'bill', 'db.statement': 'INSERT INTO charges (amount) VALUES (%s)' },
      },
    ]),
    python,
    [],
  ],
  [
    'Go otelsql: the transaction shows as spans of the driver',
    [
      serve({ error: true }),
      ...(
        [
          ['b', 'sql.conn.begin_tx', ''],
          ['w', 'sql.conn.exec', 'INSERT INTO orders (id) VALUES ($1)'],
          ['x', 'sql.tx.rollback', ''],
        ] as const
      ).map(
        ([id, name, text], i): Span => ({
          id,
          parent: 'root',
          service: 'orders',
          name,
          kind: client,
          at: 2 + i * 10,
          attributes: { 'db.system': 'postgresql', ...(text === '' ? {} : { 'db.statement': text }) },
        }),
      ),
      kafkaSend('p', 15, { error: { type: '*net.OpError' } }),
    ],
    go,
    [],
  ],
  [
    'GORM and Sarama',
    [
      serve(),
      {
        id: 'w',
        parent: 'root',
        service: 'orders',
        name: 'gorm.Create',
        kind: client,
        at: 5,
        attributes: {
          'db.system': 'postgresql',
          'db.statement': 'INSERT INTO "orders" ("id","total") VALUES (\'o-1\',5) RETURNING "id"',
          'db.rows_affected': 1,
          'db.sql.table': 'orders',
          'db.operation': 'create',
        },
      },
      {
        id: 'p',
        parent: 'root',
        service: 'orders',
        name: 'order-placed publish',
        kind: producer,
        at: 20,
        attributes: { 'messaging.system': 'kafka', 'messaging.destination.kind': 'topic', 'messaging.destination.name': 'order-placed' },
      },
    ],
    go,
    ['dual-write/structural'],
  ],
  [
    'Go otelhttp: a POST sent again after a timeout that only the message names',
    [
      serve(),
      ...[1, 2].map(
        (attempt): Span => ({
          id: `c${attempt}`,
          parent: 'root',
          service: 'orders',
          name: 'HTTP POST',
          kind: client,
          at: attempt * 40 - 30,
          lasts: attempt === 1 ? 30 : 5,
          attributes: {
            'http.method': 'POST',
            'http.url': 'http://billing:8080/charges',
            'net.peer.name': 'billing',
            ...(attempt === 1 ? {} : { 'http.status_code': 201 }),
          },
          ...(attempt === 1
            ? { error: { type: '*url.Error', message: 'Post "http://billing:8080/charges": context deadline exceeded' } }
            : {}),
        }),
      ),
    ],
    go,
    ['retry-without-idempotency/structural'],
  ],
  [
    'Go otelhttp: a POST sent again after a refused connection',
    [
      serve(),
      ...[1, 2].map(
        (attempt): Span => ({
          id: `c${attempt}`,
          parent: 'root',
          service: 'orders',
          name: 'HTTP POST',
          kind: client,
          at: attempt * 40 - 30,
          lasts: attempt === 1 ? 1 : 5,
          attributes: {
            'http.method': 'POST',
            'http.url': 'http://billing:8080/charges',
            ...(attempt === 1 ? {} : { 'http.status_code': 201 }),
          },
          ...(attempt === 1
            ? {
                error: {
                  type: '*url.Error',
                  message: 'Post "http://billing:8080/charges": dial tcp 10.0.0.3:8080: connect: connection refused',
                },
              }
            : {}),
        }),
      ),
    ],
    go,
    [],
  ],
  [
    'Python requests: a POST sent again after a read timeout',
    [
      serve(),
      ...[1, 2].flatMap((attempt): readonly Span[] => [
        {
          id: `c${attempt}`,
          parent: 'root',
          service: 'orders',
          name: 'POST',
          kind: client,
          at: attempt * 40 - 30,
          lasts: attempt === 1 ? 30 : 5,
          attributes: {
            'http.method': 'POST',
            'http.url': 'http://billing/charges',
            ...(attempt === 1 ? {} : { 'http.status_code': 201 }),
          },
          ...(attempt === 1 ? { error: { type: 'requests.exceptions.ReadTimeout' } } : {}),
        },
        {
          id: `s${attempt}`,
          parent: `c${attempt}`,
          service: 'billing',
          name: 'POST /charges',
          kind: server,
          at: attempt * 40 - 29,
          lasts: attempt === 1 ? 35 : 3,
          attributes: { 'http.method': 'POST', 'http.route': '/charges', 'http.status_code': 201 },
        },
        {
          id: `w${attempt}`,
          parent: `s${attempt}`,
          service: 'billing',
          name: 'INSERT',
          kind: client,
          at: attempt * 40 - 28,
          lasts: 1,
          attributes: { 'db.system': 'mysql', 'db.name': 'bill', 'db.statement': 'INSERT INTO charges (amount) VALUES (%s)' },
        },
      ]),
    ],
    python,
    ['retry-without-idempotency/structural'],
  ],
  [
    'gRPC: a change sent again after UNAVAILABLE',
    [
      serve(),
      ...[1, 2].map(
        (attempt): Span => ({
          id: `c${attempt}`,
          parent: 'root',
          service: 'orders',
          name: 'pay.Payments/Charge',
          kind: client,
          at: attempt * 20,
          lasts: 5,
          attributes: {
            'rpc.system': 'grpc',
            'rpc.service': 'pay.Payments',
            'rpc.method': 'Charge',
            'rpc.grpc.status_code': attempt === 1 ? 14 : 0,
            'server.address': 'pay',
          },
          ...(attempt === 1 ? { error: true } : {}),
        }),
      ),
    ],
    go,
    ['retry-without-idempotency/structural'],
  ],
  [
    'gRPC: a look-up sent again after UNAVAILABLE',
    [
      serve(),
      ...[1, 2].map(
        (attempt): Span => ({
          id: `c${attempt}`,
          parent: 'root',
          service: 'orders',
          name: 'pay.Payments/GetBalance',
          kind: client,
          at: attempt * 20,
          lasts: 5,
          attributes: {
            'rpc.system': 'grpc',
            'rpc.service': 'pay.Payments',
            'rpc.method': 'GetBalance',
            'rpc.grpc.status_code': attempt === 1 ? 14 : 0,
          },
          ...(attempt === 1 ? { error: true } : {}),
        }),
      ),
    ],
    go,
    [],
  ],
];

describe('spans as instrumentations of Python and Go write them', () => {
  it.each(cases)('%s', (_name, spans, resources, expected) => expectKinds(spans, resources, expected));
});
