import { describe, expect, it } from 'vitest';
import { client, consumer, findingsOf, internal, kindsOf, producer, type Resources, server, type Span } from './instrumented.ts';

/**
 * Spans as the OpenTelemetry instrumentations of several languages really write them: names, kinds and attributes copied from what they
 * emit, not from the conventions. What each shape must give, and must not.
 */
const java: Resources = { orders: { 'telemetry.sdk.language': 'java' }, billing: { 'telemetry.sdk.language': 'java' } };
const python: Resources = { orders: { 'telemetry.sdk.language': 'python' }, billing: { 'telemetry.sdk.language': 'python' } };
const go: Resources = { orders: { 'telemetry.sdk.language': 'go' }, billing: { 'telemetry.sdk.language': 'go' } };
const dotnet: Resources = { orders: { 'telemetry.sdk.language': 'dotnet' }, billing: { 'telemetry.sdk.language': 'dotnet' } };
const node: Resources = { orders: { 'telemetry.sdk.language': 'nodejs' }, billing: { 'telemetry.sdk.language': 'nodejs' } };

const serve = (more: Partial<Span> = {}): Span => ({
  id: 'root',
  service: 'orders',
  name: 'POST /orders',
  kind: server,
  at: 0,
  lasts: 100,
  attributes: { 'http.request.method': 'POST', 'http.route': '/orders', 'http.response.status_code': more.error === undefined ? 201 : 500 },
  ...more,
});

/** OpenTelemetry Java agent, JDBC. */
const jdbc = (id: string, at: number, sql: string, more: Partial<Span> = {}): Span => ({
  id,
  parent: 'root',
  service: 'orders',
  name: `${sql.split(' ')[0]?.toUpperCase()} shop`,
  kind: client,
  at,
  attributes: {
    'db.system': 'postgresql',
    'db.name': 'shop',
    'db.user': 'app',
    'db.connection_string': 'postgresql://db:5432',
    'db.statement': sql,
    'db.operation': sql.split(' ')[0] ?? '',
    'server.address': 'db',
    'server.port': 5432,
    'thread.id': 41,
  },
  ...more,
});

const kafkaSend = (id: string, at: number, more: Partial<Span> = {}): Span => ({
  id,
  parent: 'root',
  service: 'orders',
  name: 'order-placed publish',
  kind: producer,
  at,
  attributes: {
    'messaging.system': 'kafka',
    'messaging.destination.name': 'order-placed',
    'messaging.operation': 'publish',
    'messaging.client_id': 'producer-1',
    'messaging.kafka.destination.partition': 0,
    'messaging.kafka.message.offset': 17,
  },
  ...more,
});

const kafkaProcess = (id: string, at: number, more: Partial<Span> = {}): Span => ({
  id,
  service: 'billing',
  name: 'order-placed process',
  kind: consumer,
  at,
  lasts: 20,
  attributes: {
    'messaging.system': 'kafka',
    'messaging.destination.name': 'order-placed',
    'messaging.operation': 'process',
    'messaging.kafka.consumer.group': 'billing',
    'messaging.kafka.destination.partition': 0,
    'messaging.kafka.message.offset': 17,
  },
  ...more,
});

const cases: readonly (readonly [string, readonly Span[], Resources, readonly string[]])[] = [
  [
    'Java agent: JDBC insert, Kafka send',
    [serve(), jdbc('w', 5, 'insert into orders (total,id) values (?,?)'), kafkaSend('p', 20)],
    java,
    ['dual-write/structural'],
  ],
  [
    'Java agent: Hibernate flushes at commit, after the send',
    [
      serve(),
      kafkaSend('p', 5),
      { id: 'c', parent: 'root', service: 'orders', name: 'Transaction.commit', kind: internal, at: 10, lasts: 10 },
      jdbc('w', 12, 'insert into orders (total,id) values (?,?)', { parent: 'c' }),
    ],
    java,
    ['dual-write/structural'],
  ],
  [
    'Java agent: outbox entity in the same flush',
    [
      serve(),
      { id: 'c', parent: 'root', service: 'orders', name: 'Transaction.commit', kind: internal, at: 10, lasts: 10 },
      jdbc('w', 12, 'insert into orders (total,id) values (?,?)', { parent: 'c' }),
      jdbc('o', 14, 'insert into outbox_event (aggregate_id,payload,id) values (?,?,?)', { parent: 'c' }),
    ],
    java,
    [],
  ],
  [
    // @Transactional shows no statement: the exception that answered 500 has rolled back.
    'Java agent: the send fails and so does the request, no transaction shows',
    [
      serve({ error: { type: 'org.springframework.kafka.KafkaException' } }),
      jdbc('w', 5, 'insert into orders (total,id) values (?,?)'),
      kafkaSend('p', 20, { error: { type: 'org.apache.kafka.common.errors.TimeoutException' } }),
    ],
    java,
    ['dual-write/structural'],
  ],
  [
    'Java agent: the send fails and the request succeeds',
    [
      serve(),
      jdbc('w', 5, 'insert into orders (total,id) values (?,?)'),
      kafkaSend('p', 20, { error: { type: 'org.apache.kafka.common.errors.RecordTooLargeException' } }),
    ],
    java,
    ['dual-write/proven', 'dual-write/structural'],
  ],
  [
    'node-postgres: committed, then the send fails and the request with it',
    [
      serve({ error: true }),
      ...['BEGIN', "INSERT INTO orders (id) VALUES ('o-1')", 'COMMIT'].map(
        (text, i): Span => ({
          id: `q${i}`,
          parent: 'root',
          service: 'orders',
          name: `pg.query:${text.split(' ')[0]} shop`,
          kind: client,
          at: 2 + 3 * i,
          attributes: {
            'db.system.name': 'postgresql',
            'db.namespace': 'shop',
            'db.query.text': text,
            'server.address': 'db',
            'server.port': 5432,
          },
        }),
      ),
      kafkaSend('p', 20, { error: { type: 'KafkaJSNumberOfRetriesExceeded' } }),
    ],
    node,
    ['dual-write/proven', 'dual-write/structural'],
  ],
  [
    // The answer was lost, not the message.
    'a send that failed by its span was consumed all the same',
    [
      serve(),
      jdbc('w', 5, 'insert into orders (total,id) values (?,?)'),
      kafkaSend('p', 20, { error: { type: 'org.apache.kafka.common.errors.TimeoutException' } }),
      kafkaProcess('c', 60, { trace: 'u', links: [['t', 'p']] }),
      jdbc('i', 62, 'insert into invoices (id) values (?)', { trace: 'u', parent: 'c', service: 'billing' }),
    ],
    java,
    ['dual-write/structural'],
  ],
  [
    'Java agent: redelivered after an exception, whose rollback does not show',
    [
      kafkaProcess('c1', 0, { error: { type: 'java.lang.IllegalStateException' } }),
      jdbc('w1', 2, 'insert into invoices (id) values (?)', { parent: 'c1', service: 'billing' }),
      kafkaProcess('c2', 500, { trace: 'u' }),
      jdbc('w2', 502, 'insert into invoices (id) values (?)', { trace: 'u', parent: 'c2', service: 'billing' }),
    ],
    java,
    [],
  ],
  [
    'Java agent: one offset processed twice, both times well',
    [
      kafkaProcess('c1', 0),
      jdbc('w1', 2, 'insert into invoices (id) values (?)', { parent: 'c1', service: 'billing' }),
      kafkaProcess('c2', 500, { trace: 'u' }),
      jdbc('w2', 502, 'insert into invoices (id) values (?)', { trace: 'u', parent: 'c2', service: 'billing' }),
    ],
    java,
    ['duplicate-consume/proven'],
  ],
  [
    'Java agent with receive telemetry: a batch received, each message processed once',
    [
      {
        id: 'r',
        service: 'billing',
        name: 'order-placed receive',
        kind: consumer,
        at: 0,
        lasts: 1,
        attributes: {
          'messaging.system': 'kafka',
          'messaging.destination.name': 'order-placed',
          'messaging.operation': 'receive',
          'messaging.batch.message_count': 2,
          'messaging.kafka.consumer.group': 'billing',
        },
      },
      ...[17, 18].flatMap((offset, i): readonly Span[] => [
        kafkaProcess(`c${i}`, 5 + 30 * i, {
          parent: 'r',
          links: [['p', `p${i}`]],
          attributes: {
            'messaging.system': 'kafka',
            'messaging.destination.name': 'order-placed',
            'messaging.operation': 'process',
            'messaging.kafka.consumer.group': 'billing',
            'messaging.kafka.destination.partition': 0,
            'messaging.kafka.message.offset': offset,
          },
        }),
        jdbc(`w${i}`, 7 + 30 * i, 'insert into invoices (id) values (?)', { parent: `c${i}`, service: 'billing' }),
      ]),
    ],
    java,
    [],
  ],
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
  [
    'MassTransit and EF Core: a save, then a publish',
    [
      serve(),
      {
        id: 'w',
        parent: 'root',
        service: 'orders',
        name: 'shop',
        kind: client,
        at: 5,
        attributes: {
          'db.system': 'mssql',
          'db.name': 'shop',
          'db.statement': 'SET NOCOUNT ON;\nINSERT INTO [Orders] ([Id], [Total])\nVALUES (@p0, @p1);',
          'peer.service': 'sql',
          'server.address': 'sql',
        },
      },
      {
        id: 'p',
        parent: 'root',
        service: 'orders',
        name: 'Contracts:OrderSubmitted send',
        kind: producer,
        at: 20,
        attributes: {
          'messaging.system': 'rabbitmq',
          'messaging.destination.name': 'Contracts:OrderSubmitted',
          'messaging.operation': 'send',
          'messaging.message.id': '0f5c',
          'messaging.masstransit.message_id': '0f5c',
        },
      },
    ],
    dotnet,
    ['dual-write/structural'],
  ],
  [
    'MassTransit: its entity framework outbox',
    [
      serve(),
      ...['[Orders] ([Id])', '[OutboxMessage] ([MessageId])'].map(
        (table, i): Span => ({
          id: `w${i}`,
          parent: 'root',
          service: 'orders',
          name: 'shop',
          kind: client,
          at: 5 + i,
          attributes: {
            'db.system': 'mssql',
            'db.name': 'shop',
            'db.statement': `SET NOCOUNT ON;\nINSERT INTO ${table}\nVALUES (@p0);`,
          },
        }),
      ),
      {
        id: 'p',
        parent: 'root',
        service: 'orders',
        name: 'Contracts:OrderSubmitted send',
        kind: producer,
        at: 20,
        attributes: {
          'messaging.system': 'rabbitmq',
          'messaging.destination.name': 'Contracts:OrderSubmitted',
          'messaging.operation': 'send',
        },
      },
    ],
    dotnet,
    [],
  ],
  [
    'MassTransit: a consumer inside a receive, once each',
    [
      {
        id: 'r',
        service: 'billing',
        name: 'order-submitted receive',
        kind: consumer,
        at: 0,
        lasts: 30,
        attributes: {
          'messaging.system': 'rabbitmq',
          'messaging.destination.name': 'order-submitted',
          'messaging.operation': 'receive',
          'messaging.message.id': '0f5c',
        },
      },
      {
        id: 'c',
        parent: 'r',
        service: 'billing',
        name: 'OrderSubmittedConsumer process',
        kind: consumer,
        at: 2,
        lasts: 25,
        attributes: {
          'messaging.system': 'rabbitmq',
          'messaging.destination.name': 'order-submitted',
          'messaging.operation': 'process',
          'messaging.message.id': '0f5c',
        },
      },
      {
        id: 'w',
        parent: 'c',
        service: 'billing',
        name: 'bill',
        kind: client,
        at: 5,
        attributes: { 'db.system': 'mssql', 'db.statement': 'INSERT INTO [Invoices] ([Id]) VALUES (@p0)' },
      },
    ],
    dotnet,
    [],
  ],
  [
    'AWS SDK: DynamoDB put, then SNS publish',
    [
      serve(),
      {
        id: 'w',
        parent: 'root',
        service: 'orders',
        name: 'DynamoDB.PutItem',
        kind: client,
        at: 5,
        attributes: {
          'rpc.system': 'aws-api',
          'rpc.service': 'DynamoDB',
          'rpc.method': 'PutItem',
          'db.system': 'dynamodb',
          'db.operation': 'PutItem',
          'aws.dynamodb.table_names': ['orders'],
        },
      },
      {
        id: 'p',
        parent: 'root',
        service: 'orders',
        name: 'Sns.Publish',
        kind: client,
        at: 20,
        attributes: {
          'rpc.system': 'aws-api',
          'rpc.service': 'Sns',
          'rpc.method': 'Publish',
          'aws.sns.topic.arn': 'arn:aws:sns:eu-west-1:1:order-placed',
        },
      },
    ],
    java,
    ['dual-write/structural'],
  ],
  [
    'boto: SQS send after a Postgres insert',
    [
      serve(),
      jdbc('w', 5, 'INSERT INTO orders (id) VALUES (%s)'),
      {
        id: 'p',
        parent: 'root',
        service: 'orders',
        name: 'orders send',
        kind: producer,
        at: 20,
        attributes: {
          'messaging.system': 'aws.sqs',
          'messaging.destination': 'orders',
          'messaging.url': 'https://sqs.eu-west-1.amazonaws.com/1/orders',
        },
      },
    ],
    python,
    ['dual-write/structural'],
  ],
  [
    'redis-py: a cached value with a time to live, arguments sanitized',
    [
      serve(),
      jdbc('w', 5, 'UPDATE orders SET total = %s WHERE id = %s'),
      {
        id: 'r',
        parent: 'root',
        service: 'orders',
        name: 'SET',
        kind: client,
        at: 20,
        attributes: { 'db.system': 'redis', 'db.statement': 'SET ? ? ? ?', 'net.peer.name': 'redis', 'db.redis.args_length': 5 },
      },
    ],
    python,
    [],
  ],
  [
    'ioredis: a cached value with a time to live, arguments counted',
    [
      serve(),
      jdbc('w', 5, 'UPDATE orders SET total = $1 WHERE id = $2'),
      {
        id: 'r',
        parent: 'root',
        service: 'orders',
        name: 'set',
        kind: client,
        at: 20,
        attributes: { 'db.system': 'redis', 'db.statement': 'set order:17 [3 other arguments]', 'net.peer.name': 'redis' },
      },
    ],
    node,
    [],
  ],
  [
    'MongoDB driver: one unit writes two stores',
    [
      serve(),
      jdbc('w', 5, 'insert into orders (id) values (?)'),
      {
        id: 'm',
        parent: 'root',
        service: 'orders',
        name: 'insert history.orders',
        kind: client,
        at: 20,
        attributes: {
          'db.system': 'mongodb',
          'db.name': 'history',
          'db.mongodb.collection': 'orders',
          'db.operation': 'insert',
          'db.statement': '{"insert": "?", "ordered": "?"}',
          'server.address': 'mongo',
        },
      },
    ],
    java,
    ['cross-store-write/structural'],
  ],
  [
    'psycopg2: a deadlock named by the exception only',
    [
      serve({ error: true }),
      {
        id: 'w',
        parent: 'root',
        service: 'orders',
        name: 'UPDATE',
        kind: client,
        at: 5,
        attributes: { 'db.system': 'postgresql', 'db.name': 'shop', 'db.statement': 'UPDATE stock SET n = n - 1 WHERE sku = %s' },
        error: { type: 'psycopg2.errors.DeadlockDetected', message: 'deadlock detected\nDETAIL:  Process 71 waits for ShareLock' },
      },
    ],
    python,
    ['write-contention/proven'],
  ],
  [
    'JDBC: two read-modify-writes of one table overlap, keys hidden',
    ['a', 'b'].flatMap((trace, i): readonly Span[] => [
      serve({ trace, id: `${trace}r`, at: i * 10, name: 'POST /debit' }),
      jdbc(`${trace}1`, i * 10 + 2, 'select balance from accounts where id=?', { trace, parent: `${trace}r` }),
      jdbc(`${trace}2`, i * 10 + 30, 'update accounts set balance=? where id=?', { trace, parent: `${trace}r` }),
    ]),
    java,
    ['lost-update-risk/risk'],
  ],
  [
    'JDBC: the same under Hibernate’s optimistic lock, and one that only notes the time',
    ['a', 'b'].flatMap((trace, i): readonly Span[] => [
      serve({ trace, id: `${trace}r`, at: i * 10, name: 'POST /debit' }),
      jdbc(`${trace}1`, i * 10 + 2, 'select balance,version from accounts where id=?', { trace, parent: `${trace}r` }),
      jdbc(`${trace}2`, i * 10 + 30, 'update accounts set balance=?,version=? where id=? and version=?', { trace, parent: `${trace}r` }),
      jdbc(`${trace}3`, i * 10 + 40, 'select id from users where id=?', { trace, parent: `${trace}r` }),
      jdbc(`${trace}4`, i * 10 + 50, 'update users set last_seen=now() where id=?', { trace, parent: `${trace}r` }),
    ]),
    java,
    [],
  ],
];

/** Node's SDK takes starts from a clock of whole milliseconds, ends from a finer one: all of this happened within three of them. */
const grain: readonly Span[] = [
  serve({ lasts: 60 }),
  ...(
    [
      ['b', 5, 0.6, 'BEGIN'],
      ['w', 5, 1.4, "INSERT INTO orders (id) VALUES ('o-1')"],
      ['c', 50, 0.7, 'COMMIT'],
    ] as const
  ).map(
    ([id, at, lasts, text]): Span => ({
      id,
      parent: 'root',
      service: 'orders',
      name: `pg.query:${text.split(' ')[0]} shop`,
      kind: client,
      at,
      lasts,
      attributes: { 'db.system.name': 'postgresql', 'db.namespace': 'shop', 'db.query.text': text, 'server.address': 'db' },
    }),
  ),
  kafkaSend('p', 6, { lasts: 0.5 }),
  kafkaProcess('k', 8, { parent: 'p' }),
  {
    id: 'l',
    parent: 'k',
    service: 'billing',
    name: 'pg.query:SELECT shop',
    kind: client,
    at: 9,
    attributes: {
      'db.system.name': 'postgresql',
      'db.namespace': 'shop',
      'db.query.text': 'SELECT * FROM orders WHERE id = $1',
      'server.address': 'db',
    },
  },
];

describe('spans as instrumentations write them', () => {
  it.each(cases)('%s', (_name, spans, resources, expected) => {
    const found = findingsOf(spans, resources);
    expect(kindsOf(found), found.map((finding) => finding.title).join('\n')).toEqual(expected.toSorted((a, b) => (a < b ? -1 : 1)));
  });

  it('a statement that starts in the same millisecond as BEGIN belongs to its transaction', () => {
    const found = findingsOf(grain, node);
    expect(kindsOf(found)).toEqual(['dual-write/structural', 'notification-before-object/risk']);
  });
});
