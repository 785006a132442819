import { describe, expect, test } from 'vitest';
import type { Operation } from '../../src/domain/operation.ts';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { LogsDecoder } from '../../src/ingest/decode-otlp-logs.ts';
import { OperationReader } from '../../src/ingest/operation-from-span.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { logsRequestType } from './otlp-proto.ts';

type Value = string | number | boolean | readonly string[];
const attributesOf = (values: Readonly<Record<string, Value>>): object[] =>
  Object.entries(values).map(([key, value]) => ({
    key,
    value:
      typeof value === 'string'
        ? { stringValue: value }
        : typeof value === 'number'
          ? { intValue: String(value) }
          : typeof value === 'boolean'
            ? { boolValue: value }
            : { arrayValue: { values: value.map((item) => ({ stringValue: item })) } },
  }));

/** The operations of one span with these attributes. */
function read(attributes: Readonly<Record<string, Value>>, span: object = {}): readonly Operation[] {
  const batch = new SpanBatch();
  const decoded = new JsonDecoder().decode(
    {
      resourceSpans: [
        {
          resource: { attributes: attributesOf({ 'service.name': 'shop', 'consistency.replica.id': 'eu', 'cloud.region': 'us' }) },
          scopeSpans: [
            {
              spans: [
                {
                  traceId: '0af7651916cd43dd8448eb211c80319c',
                  spanId: 'b7ad6b7169203331',
                  name: 'name',
                  kind: 3,
                  startTimeUnixNano: '1000',
                  endTimeUnixNano: '3000',
                  attributes: attributesOf(attributes),
                  ...span,
                },
              ],
            },
          ],
        },
      ],
    },
    batch,
  );
  expect(decoded).toEqual({ is: 'decoded' });
  return new OperationReader().read(batch);
}

describe('databases', () => {
  test.each<[string, Readonly<Record<string, Value>>, Partial<Operation>]>([
    [
      'current names',
      {
        'db.system.name': 'postgresql',
        'db.namespace': 'shop',
        'db.query.text': "UPDATE orders SET a = 1 WHERE id = 'x'",
        'server.address': 'db',
        'server.port': 5432,
      },
      { kind: 'write', system: 'postgresql', namespace: 'shop', target: 'orders', host: 'db:5432', key: 'x', region: 'us' },
    ],
    [
      'former names',
      { 'db.system': 'mysql', 'db.name': 'shop', 'db.statement': 'select 1 from `a`', 'net.peer.name': 'db', 'net.peer.port': 3306 },
      { kind: 'read', system: 'mysql', namespace: 'shop', target: 'a', host: 'db:3306' },
    ],
    [
      'both: the current wins',
      { 'db.system.name': 'postgresql', 'db.system': 'mysql', 'db.query.text': 'DELETE FROM a', 'db.statement': 'SELECT 1 FROM b' },
      { kind: 'delete', system: 'postgresql', target: 'a' },
    ],
    [
      'only operation and collection',
      { 'db.system.name': 'mysql', 'db.operation.name': 'INSERT', 'db.collection.name': 'food_order' },
      { kind: 'write', target: 'food_order', statement: undefined },
    ],
    [
      'only db.sql.table',
      { 'db.system': 'mysql', 'db.operation': 'select', 'db.sql.table': 'ts.orders' },
      { kind: 'read', target: 'ts.orders' },
    ],
    ['only a summary', { 'db.system.name': 'postgresql', 'db.query.summary': 'UPDATE orders' }, { kind: 'write', target: 'orders' }],
    [
      'bound parameters',
      {
        'db.system.name': 'postgresql',
        'db.query.text': 'SELECT a FROM t WHERE id = $2',
        'db.query.parameter.0': 'no',
        'db.query.parameter.1': '17',
      },
      { key: '17' },
    ],
    [
      'values of node-postgres',
      { 'db.system': 'postgresql', 'db.statement': 'SELECT a FROM t WHERE id = $1', 'db.postgresql.values': ['k-1'] },
      { key: 'k-1' },
    ],
    ['transactions', { 'db.system': 'postgresql', 'db.statement': 'COMMIT' }, { kind: 'transaction' }],
    ['XA', { 'db.system': 'mysql', 'db.statement': "XA PREPARE 'a'" }, { kind: 'transaction' }],
    ['redis', { 'db.system': 'redis', 'db.statement': 'SET user:17 ? EX 60' }, { kind: 'write', target: 'user', key: 'user:17' }],
    [
      'redis reads',
      { 'db.system.name': 'redis', 'db.operation.name': 'HGETALL', 'db.query.text': 'HGETALL cart:7' },
      { kind: 'read', target: 'cart', key: 'cart:7' },
    ],
    [
      'mongodb',
      { 'db.system': 'mongodb', 'db.operation': 'findAndModify', 'db.mongodb.collection': 'orders' },
      { kind: 'write', target: 'orders' },
    ],
    ['rows', { 'db.system.name': 'postgresql', 'db.query.text': 'SELECT 1 FROM t', 'db.response.returned_rows': 3 }, { rows: 3 }],
  ])('%s', (_, attributes, says) => {
    expect(read(attributes)[0]).toMatchObject(says);
  });

  test.each<[string, Readonly<Record<string, Value>>, object, string]>([
    ['response status code', { 'db.response.status_code': '40001' }, {}, '40001'],
    ['error.type', { 'error.type': '40P01' }, {}, '40P01'],
    ['a class', { 'error.type': 'psycopg.errors.SerializationFailure' }, {}, '40001'],
    ['MySQL number', { 'db.system.name': 'mysql', 'db.response.status_code': '1213' }, {}, '40001'],
    ['status message', {}, { status: { code: 2, message: 'duplicate key value violates unique constraint "x"' } }, '23505'],
    [
      'exception event',
      {},
      {
        events: [
          { name: 'exception', attributes: attributesOf({ 'exception.type': 'Error', 'exception.message': 'failed (code: 55P03)' }) },
        ],
      },
      '55P03',
    ],
    ['a word that is none', { 'error.type': 'ERROR' }, {}, ''],
  ])('SQLSTATE from %s', (_, attributes, span, expected) => {
    expect(
      read({ 'db.system.name': 'postgresql', 'db.query.text': 'UPDATE t SET a = 1', ...attributes }, { status: { code: 2 }, ...span })[0],
    ).toMatchObject({ failed: true, sqlState: expected });
  });
});

describe('messages', () => {
  test.each<[string, Readonly<Record<string, Value>>, number, Partial<Operation>]>([
    [
      'kafka, current names',
      {
        'messaging.system': 'kafka',
        'messaging.operation.type': 'process',
        'messaging.destination.name': 'orders',
        'messaging.destination.partition.id': '3',
        'messaging.kafka.offset': 42,
        'messaging.consumer.group.name': 'g',
      },
      5,
      {
        kind: 'consume',
        target: 'orders',
        message: { id: '', key: '', partition: 3, offset: 42, consumerGroup: 'g', deliveryCount: 0, batch: 1 },
      },
    ],
    [
      'kafka, former names',
      {
        'messaging.system': 'kafka',
        'messaging.operation': 'publish',
        'messaging.destination': 'orders',
        'messaging.kafka.message_key': 'k',
        'messaging.kafka.partition': 1,
      },
      4,
      { kind: 'publish', target: 'orders' },
    ],
    ['no operation: the span kind says', { 'messaging.system': 'rabbitmq', 'messaging.destination.name': 'q' }, 5, { kind: 'consume' }],
    [
      'default exchange: the routing key is the queue',
      {
        'messaging.system': 'rabbitmq',
        'messaging.operation.type': 'send',
        'messaging.destination.name': '<default>',
        'messaging.rabbitmq.destination.routing_key': 'jobs',
      },
      4,
      { kind: 'publish', target: 'jobs' },
    ],
    [
      'rabbitmq, former names',
      {
        'messaging.system': 'rabbitmq',
        'messaging.operation': 'process',
        'messaging.destination': '',
        'messaging.rabbitmq.routing_key': 'jobs',
        'messaging.message_id': 'm-1',
      },
      5,
      {
        kind: 'consume',
        target: 'jobs',
        message: { id: 'm-1', key: '', partition: -1, offset: -1, consumerGroup: '', deliveryCount: 0, batch: 1 },
      },
    ],
    [
      'sqs, current names: the queue from its URL',
      {
        'messaging.system': 'aws_sqs',
        'messaging.operation.type': 'send',
        'messaging.operation.name': 'SendMessage',
        'aws.sqs.queue.url': 'https://sqs.eu-central-1.example/1234/orders.fifo',
        'messaging.message.id': 'm-2',
      },
      3,
      { kind: 'publish', target: 'orders.fifo' },
    ],
    [
      'sqs, former names',
      { 'messaging.system': 'AmazonSQS', 'messaging.operation': 'process', 'messaging.url': 'https://sqs.example/1234/orders?x=1' },
      5,
      { kind: 'consume', target: 'orders' },
    ],
    [
      'nats, a queue group',
      {
        'messaging.system': 'nats',
        'messaging.operation.type': 'process',
        'messaging.destination.name': 'orders.created',
        'messaging.consumer.group.name': 'billing',
      },
      5,
      {
        kind: 'consume',
        system: 'nats',
        target: 'orders.created',
        message: { id: '', key: '', partition: -1, offset: -1, consumerGroup: 'billing', deliveryCount: 0, batch: 1 },
      },
    ],
    [
      'nats, one template for many subjects',
      {
        'messaging.system': 'nats',
        'messaging.operation': 'publish',
        'messaging.destination.template': 'orders.{id}',
        'messaging.destination.name': 'orders.17',
      },
      4,
      { kind: 'publish', target: 'orders.{id}' },
    ],
    [
      'pub/sub, a subscription and an attempt',
      {
        'messaging.system': 'gcp_pubsub',
        'messaging.operation.type': 'process',
        'messaging.destination.name': 'orders',
        'messaging.destination.subscription.name': 'billing',
        'messaging.gcp_pubsub.message.delivery_attempt': 2,
        'messaging.gcp_pubsub.message.ordering_key': 'o-1',
      },
      5,
      { kind: 'consume', message: { id: '', key: 'o-1', partition: -1, offset: -1, consumerGroup: 'billing', deliveryCount: 2, batch: 1 } },
    ],
    [
      'a poll consumes nothing',
      {
        'messaging.system': 'kafka',
        'messaging.operation.type': 'receive',
        'messaging.destination.name': 'orders',
        'messaging.batch.message_count': 5,
      },
      3,
      { kind: 'call' },
    ],
    [
      'settling',
      { 'messaging.system': 'servicebus', 'messaging.operation.type': 'settle', 'messaging.destination.name': 'q' },
      3,
      { kind: 'internal' },
    ],
  ])('%s', (_, attributes, kind, says) => {
    expect(read(attributes, { kind })[0]).toMatchObject(says);
  });
});

test('calls are named by method and route, gRPC status has its HTTP twin', () => {
  expect(
    read({ 'http.request.method': 'POST', 'http.route': '/orders/{id}', 'http.response.status_code': 503 }, { kind: 2 })[0],
  ).toMatchObject({ kind: 'request', target: 'POST /orders/{id}', httpStatus: 503 });
  expect(read({ 'http.method': 'GET', 'http.url': 'http://a:1/x/y?z=1', 'http.request.header.idempotency-key': ['k'] })[0]).toMatchObject({
    kind: 'call',
    target: 'GET /x/y',
    idempotencyKey: 'k',
  });
  expect(read({ 'rpc.system': 'grpc', 'rpc.service': 'p.S', 'rpc.method': 'M', 'rpc.grpc.status_code': 4 })[0]).toMatchObject({
    kind: 'call',
    target: 'p.S/M',
    httpStatus: 504,
  });
  expect(read({}, { kind: 1 })[0]).toMatchObject({ kind: 'internal', facts: undefined });
});

test('consistency attributes: on the span, on its events, from the resource; versions order themselves or do not', () => {
  const operations = read(
    {
      'consistency.operation': 'write',
      'consistency.object.type': 'order',
      'consistency.object.key': 'o-1',
      'consistency.version': 7,
      'consistency.version.base': '',
      'session.id': 's',
      'consistency.domain': 'ledger',
    },
    {
      events: [
        {
          name: 'consistency.operation',
          timeUnixNano: '2000',
          attributes: attributesOf({
            'consistency.operation': 'read',
            'consistency.object.type': 'stock',
            'consistency.object.key': 's-1',
            'consistency.version': 'etag-1',
          }),
        },
        { name: 'log' },
      ],
    },
  );
  expect(operations).toHaveLength(2);
  expect(operations[0]).toMatchObject({
    kind: 'write',
    index: 0,
    session: 's',
    facts: { objectKey: 'o-1', version: 7n, versionBase: '', sessionId: 's', replicaId: 'eu', transactionOutcome: 'committed' },
  });
  expect(operations[1]).toMatchObject({
    kind: 'read',
    index: 1,
    startUs: 2,
    target: 'stock',
    facts: {
      domain: 'ledger',
      objectKey: 's-1',
      version: 'etag-1',
      versionBase: undefined,
      transactionId: '0af7651916cd43dd8448eb211c80319c:b7ad6b7169203331',
    },
  });
  expect(read({ 'consistency.version': '9007199254740993' })[0]?.facts?.version).toBe('9007199254740993');
});

test('log records that name a trace and an object are operations of their span; others are nothing', () => {
  const record = {
    timeUnixNano: '5000',
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    attributes: attributesOf({ 'consistency.operation': 'write', 'consistency.object.key': 'o-1', 'consistency.version': 3 }),
  };
  const records = [record, { ...record, traceId: '' }, { ...record, attributes: attributesOf({ 'log.level': 'info' }) }];
  const document = {
    resourceLogs: [{ resource: { attributes: attributesOf({ 'service.name': 'shop' }) }, scopeLogs: [{ logRecords: records }] }],
  };
  const fromJson = new SpanBatch();
  expect(new JsonDecoder().decodeText(JSON.stringify(document), fromJson, 'logs')).toEqual({ is: 'decoded' });
  const binary = JSON.parse(JSON.stringify(document), (name, value: unknown) =>
    name === 'traceId' || name === 'spanId' ? Buffer.from(String(value), 'hex') : value,
  ) as object;
  const fromProtobuf = new SpanBatch();
  expect(new LogsDecoder().decode(logsRequestType.encode(logsRequestType.fromObject(binary)).finish(), fromProtobuf)).toEqual({
    is: 'decoded',
  });
  const [operation, ...more] = new OperationReader().read(fromJson);
  expect(more).toEqual([]);
  expect(operation).toMatchObject({
    kind: 'write',
    service: 'shop',
    spanId: 'b7ad6b7169203331',
    startUs: 5,
    facts: { objectKey: 'o-1', version: 3n },
  });
  expect(operation?.index).toBeGreaterThanOrEqual(1_000_000);
  expect(new OperationReader().read(fromProtobuf)).toEqual([operation]);
});

test('records of one span in one millisecond are operations of their own, reads first and versions in order; one sent twice is one', () => {
  const record = (operation: string, version: number | string, key = 'o-1'): object => ({
    timeUnixNano: '1700000000000000000',
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    attributes: attributesOf({
      'consistency.object.type': 'order',
      'consistency.object.key': key,
      'consistency.operation': operation,
      'consistency.version': version,
    }),
  });
  const indexes = (...logRecords: object[]): readonly number[] => {
    const batch = new SpanBatch();
    expect(new JsonDecoder().decodeText(JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] }), batch, 'logs')).toEqual({
      is: 'decoded',
    });
    return new OperationReader().read(batch).map(({ index }) => index);
  };
  for (let nth = 0; nth < 500; nth += 1) {
    const inOrder = indexes(record('read', nth, `o-${nth}`), record('write', nth + 1, `o-${nth}`), record('write', nth + 2, `o-${nth}`));
    expect(inOrder, String(nth)).toEqual(inOrder.toSorted((a, b) => a - b));
    expect(inOrder.at(-1)).toBeLessThan(2 ** 31);
  }
  const others = [record('write', 'a'), record('write', 'b'), record('write', 'a', 'o-2'), record('delete', 'a'), record('read', 'a')];
  expect(new Set(indexes(...others)).size).toBe(others.length);
  expect(indexes(record('write', 4))).toEqual(indexes(record('write', 4)));
});
