import { describe, expect, it } from 'vitest';
import {
  client,
  consumer,
  expectKinds,
  findingsOf,
  type InstrumentedCase,
  internal,
  java,
  jdbc,
  kafkaProcess,
  kafkaSend,
  kindsOf,
  node,
  serve,
  type Span,
} from './instrumented.ts';

/**
 * Spans as OpenTelemetry instrumentations of the Java agent and Node write them:
 * names, kinds and attributes copied from what they emit, not from the conventions. What each shape must give, and must not.
 */
const cases: readonly InstrumentedCase[] = [
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

describe('spans as instrumentations of the Java agent and Node write them', () => {
  it.each(cases)('%s', (_name, spans, resources, expected) => expectKinds(spans, resources, expected));

  it('a statement that starts in the same millisecond as BEGIN belongs to its transaction', () => {
    const found = findingsOf(grain, node);
    expect(kindsOf(found)).toEqual(['dual-write/structural', 'notification-before-object/risk']);
  });
});
