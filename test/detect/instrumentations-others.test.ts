import { describe, it } from 'vitest';
import {
  client,
  consumer,
  dotnet,
  expectKinds,
  type InstrumentedCase,
  java,
  jdbc,
  node,
  producer,
  python,
  serve,
  type Span,
} from './instrumented.ts';

/**
 * Spans as OpenTelemetry instrumentations of .NET, AWS SDKs, caches and documents write them:
 * names, kinds and attributes copied from what they emit, not from the conventions. What each shape must give, and must not.
 */
const cases: readonly InstrumentedCase[] = [
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
];

describe('spans as instrumentations of .NET, AWS SDKs, caches and documents write them', () => {
  it.each(cases)('%s', (_name, spans, resources, expected) => expectKinds(spans, resources, expected));
});
