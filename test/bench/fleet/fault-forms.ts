import type { Attributes, Service } from './span.ts';
import { close, type Scenario, type World } from './world.ts';

/** The same faults in the forms that other code, drivers and brokers give them. */
export const faultForms: readonly Scenario[] = [
  {
    id: 'dual write in a transaction, in a consumer, below an internal span, over many brokers',
    times: 240,
    play: (world, atUs, nth) => {
      const way = nth % 6;
      const service = world.service(`ferry-${way}`);
      const topic = `${world.word}-sailings-${way}`;
      const key = `sail-${nth}`;
      const isConsumer = way >= 4;
      // Realised the other way round: the message left, and then the transaction went back.
      const isUndone = nth % 24 >= 18 && way !== 1;
      const source = world.trace();
      const trace = isConsumer ? world.trace() : source;
      const entry = isConsumer
        ? trace.consume(service, 'ferry-requests', { group: service.name, startUs: atUs, messageId: `req-${nth}`, system: 'rabbitmq' })
        : trace.serve(service, 'POST /sailings', { startUs: atUs, ...(isUndone ? { error: { type: '500' } } : {}) });
      const step = trace.span(service, 'SailingService.create', { parent: entry, startUs: atUs + 200 });
      const sql = (text: string, offsetUs: number, error?: { type: string; message: string }): void => {
        trace.sql(service, text, { parent: step, startUs: atUs + offsetUs, us: 500, ...(error === undefined ? {} : { error }) });
      };
      const publish = (offsetUs: number): void => {
        const aws: Attributes = {
          'rpc.system': 'aws-api',
          'rpc.service': 'Sns',
          'rpc.method': 'Publish',
          'aws.sns.topic.arn': `arn:aws:sns:eu-west-1:1:${topic}`,
        };
        if (way === 3) trace.span(service, 'Sns.Publish', { kind: 3, parent: step, startUs: atUs + offsetUs, us: 900, attributes: aws });
        else
          trace.publish(service, topic, {
            parent: step,
            startUs: atUs + offsetUs,
            us: 900,
            system: ['kafka', 'rabbitmq', 'pulsar', '', 'kafka', 'gcp_pubsub'][way] ?? 'kafka',
            ...(way % 2 === 0 ? { messageId: key } : {}),
          });
      };
      sql('BEGIN', 400);
      sql(`INSERT INTO sailings (id, state) VALUES ('${key}', 'new')`, 700);
      if (way === 1 || isUndone) publish(1_500);
      if (isUndone)
        sql(`UPDATE berths SET taken = true WHERE id = 'b${nth}'`, 3_000, {
          type: '23514',
          message: 'new row violates check constraint (code: 23514)',
        });
      sql(isUndone ? 'ROLLBACK' : 'COMMIT', 4_000);
      if (way !== 1 && !isUndone) publish(6_000);
      close(step, trace);
      close(entry, trace);
      world.note({ kind: 'dual-write', grade: 'structural', about: `ferry-${way}`, traces: [trace.id] });
      if (isUndone) world.note({ kind: 'dual-write', grade: 'proven', about: trace.id, traces: [trace.id] });
    },
  },
  {
    id: 'a publish that failed by its span and arrived',
    times: 60,
    play: (world, atUs, nth) => {
      const service = world.service('radio');
      const sentTrace = world.trace();
      const root = sentTrace.serve(service, 'POST /songs', { startUs: atUs });
      sentTrace.sql(service, `INSERT INTO songs (id) VALUES ('s${nth}')`, { parent: root, startUs: atUs + 500, us: 500 });
      const sent = sentTrace.publish(service, 'songs-played', {
        parent: root,
        startUs: atUs + 2_000,
        us: 200_000,
        error: { type: 'timeout', message: 'no answer from the broker in time' },
      });
      close(root, sentTrace);
      const listener = world.service('radio-charts');
      const startUs = atUs + 30_000;
      const { trace, got } = world.deliver(sentTrace, sent, listener, 'songs-played', { group: 'charts', startUs });
      trace.sql(listener, `INSERT INTO plays (song) VALUES ('s${nth}') ON CONFLICT DO NOTHING`, {
        parent: got,
        startUs: startUs + 300,
        us: 400,
      });
      close(got, trace);
      world.note({ kind: 'dual-write', grade: 'structural', about: 'radio', traces: [sentTrace.id] });
    },
  },
  {
    id: 'two stores of many kinds',
    times: 200,
    play: (world, atUs, nth) => {
      const way = nth % 5;
      const service = world.service(`museum-${way}`);
      const trace = world.trace();
      const root = trace.serve(service, 'PUT /exhibits', { startUs: atUs });
      trace.sql(service, `UPDATE exhibits SET room = 4 WHERE id = 'e${nth}'`, { parent: root, startUs: atUs + 500, us: 500 });
      const store = (name: string, attributes: Attributes): void => {
        trace.span(service, name, { kind: 3, parent: root, startUs: atUs + 2_000, us: 700, attributes });
      };
      switch (way) {
        case 0:
          store('index', {
            'db.system': 'elasticsearch',
            'db.operation': 'index',
            'db.elasticsearch.path_parts.index': 'exhibits',
            'server.address': 'museum-search',
          });
          break;
        case 1:
          store('DynamoDB.PutItem', {
            'rpc.system': 'aws-api',
            'rpc.service': 'DynamoDB',
            'rpc.method': 'PutItem',
            'db.system': 'dynamodb',
            'db.operation': 'PutItem',
            'aws.dynamodb.table_names': 'exhibits',
          });
          break;
        case 2:
          trace.sql(service, `INSERT INTO rooms_log (exhibit) VALUES ('e${nth}')`, {
            parent: root,
            startUs: atUs + 2_000,
            us: 700,
            system: 'mysql',
            host: 'museum-legacy',
          });
          break;
        case 3:
          store('SET', { 'db.system': 'redis', 'db.statement': `SET exhibit:e${nth} v`, 'server.address': 'museum-redis' });
          break;
        default:
          trace.sql(service, `INSERT INTO rooms_log (exhibit) VALUES ('e${nth}')`, {
            parent: root,
            startUs: atUs + 2_000,
            us: 700,
            host: 'museum-second',
          });
      }
      close(root, trace);
      world.note({ kind: 'cross-store-write', grade: 'structural', about: `museum-${way}`, traces: [trace.id] });
    },
  },
  {
    id: 'partial writes along longer ways',
    times: 200,
    play: (world, atUs, nth) => {
      const way = nth % 4;
      const names = ['hotel', 'rooms', 'minibar'].map((name) => `${name}-${way}`);
      const [front = '', middle = '', last = ''] = names;
      const trace = world.trace();
      const fail = { error: { type: '500' } };
      const root = trace.serve(world.service(front), 'POST /stays', { startUs: atUs, ...fail });
      const hop = (from: string, to: string, parent: typeof root, offsetUs: number): typeof root => {
        const call =
          way === 1
            ? trace.span(world.service(from), `${to}.Stays/Book`, {
                kind: 3,
                parent,
                startUs: atUs + offsetUs,
                attributes: { 'rpc.system': 'grpc', 'rpc.service': `${to}.Stays`, 'rpc.method': 'Book', 'rpc.grpc.status_code': 13 },
                ...fail,
              })
            : trace.call(world.service(from), to, 'POST /book', { parent, startUs: atUs + offsetUs, status: 500, ...fail });
        return way === 1
          ? trace.span(world.service(to), `${to}.Stays/Book`, {
              kind: 2,
              parent: call,
              startUs: atUs + offsetUs + 200,
              attributes: { 'rpc.system': 'grpc', 'rpc.service': `${to}.Stays`, 'rpc.method': 'Book', 'rpc.grpc.status_code': 13 },
              ...fail,
            })
          : trace.serve(world.service(to), 'POST /book', { parent: call, startUs: atUs + offsetUs + 200, ...fail });
      };
      trace.sql(world.service(front), `INSERT INTO stays (id) VALUES ('s${nth}')`, { parent: root, startUs: atUs + 300, us: 400 });
      const second = hop(front, middle, root, 1_500);
      const third = way >= 2 ? hop(middle, last, second, 3_000) : second;
      const failing = world.service(way >= 2 ? last : middle);
      trace.sql(failing, 'BEGIN', { parent: third, startUs: atUs + 4_800, us: 100 });
      trace.sql(failing, `INSERT INTO bookings (id) VALUES ('s${nth}')`, { parent: third, startUs: atUs + 5_000, us: 300 });
      trace.sql(failing, `UPDATE free SET n = n - 1 WHERE id = 'x'`, {
        parent: third,
        startUs: atUs + 5_500,
        us: 300,
        error: { type: '57014', message: 'canceling statement due to statement timeout' },
      });
      trace.sql(failing, 'ROLLBACK', { parent: third, startUs: atUs + 6_000, us: 100 });
      for (const span of trace.spans.filter((each) => each.kind === 3 || each.kind === 2).toReversed()) {
        const children = trace.spans.filter((each) => each.parentSpanId === span.spanId);
        for (const child of children) span.endUs = Math.max(span.endUs, child.endUs + 100);
      }
      close(root, trace);
      world.note({ kind: 'partial-write', grade: 'structural', about: `hotel-${way}`, traces: [trace.id] });
    },
  },
  {
    id: 'duplicates whose effect is elsewhere or relative',
    times: 90,
    play: (world, atUs, nth) => {
      const way = nth % 3;
      const consumer = world.service(`bonus-${way}`);
      const topic = `bonuses-${way}`;
      const identity = way === 0 ? { messageId: `bonus-${nth}`, system: 'aws_sqs' } : { partition: 1, offset: 30_000 + nth };
      const sentTrace = world.trace();
      const sent = sentTrace.publish(world.service('marketing'), topic, { startUs: atUs, ...identity });
      const traces = [0, 1].map((attempt) => {
        const startUs = atUs + 10_000 + attempt * 1_500_000;
        const { trace, got } = world.deliver(sentTrace, sent, consumer, topic, { group: consumer.name, startUs, ...identity });
        if (way === 0)
          trace.sql(consumer, `UPDATE members SET points = points + 5 WHERE id = 'm${nth}'`, {
            parent: got,
            startUs: startUs + 300,
            us: 400,
          });
        else {
          const call = trace.call(consumer, 'points', 'POST /points', { parent: got, startUs: startUs + 300, us: 4_000 });
          if (way === 2) {
            const points = world.service('points');
            const serve = trace.serve(points, 'POST /points', { parent: call, startUs: startUs + 600 });
            trace.sql(points, `INSERT INTO entries (member, n) VALUES ('m${nth}', 5)`, { parent: serve, startUs: startUs + 900, us: 400 });
            close(serve, trace);
          }
        }
        close(got, trace);
        return trace.id;
      });
      world.note({ kind: 'duplicate-consume', grade: 'proven', about: `bonus ${nth}`, traces });
    },
  },
  {
    id: 'unsafe retries over RPC, of statements and of messages',
    times: 160,
    play: (world, atUs, nth) => {
      const way = nth % 4;
      const client = world.service(`meter-${way}`);
      const trace = world.trace();
      const root = trace.serve(client, 'POST /readings', { startUs: atUs });
      for (const attempt of [0, 1]) {
        const startUs = atUs + 500 + attempt * 30_000;
        const isFirst = attempt === 0;
        switch (way) {
          case 0:
            trace.span(client, 'grid.Readings/Add', {
              kind: 3,
              parent: root,
              startUs,
              us: 5_000,
              attributes: {
                'rpc.system': 'grpc',
                'rpc.service': 'grid.Readings',
                'rpc.method': 'Add',
                'rpc.grpc.status_code': isFirst ? 14 : 0,
                'server.address': 'grid',
              },
              ...(isFirst ? { error: { type: '14' } } : {}),
            });
            break;
          case 1:
            trace.sql(client, `INSERT INTO readings (meter, n) VALUES ('m${nth}', 4)`, {
              parent: root,
              startUs,
              us: 5_000,
              ...(isFirst ? { error: { type: '08006', message: 'server closed the connection unexpectedly (code: 08006)' } } : {}),
            });
            break;
          case 2:
            trace.publish(client, 'readings-in', {
              parent: root,
              startUs,
              us: 5_000,
              ...(isFirst ? { error: { type: 'TimeoutException', message: 'timed out' } } : {}),
            });
            break;
          default:
            trace.call(client, 'grid', 'PATCH /meters', {
              parent: root,
              startUs,
              us: 5_000,
              ...(isFirst ? { error: { type: '*url.Error', message: 'Patch "http://grid/meters": context deadline exceeded' } } : {}),
            });
        }
      }
      close(root, trace);
      // A statement after a lost connection is contention with nobody; a message beside a statement would be a dual write, and none is here.
      world.note({ kind: 'retry-without-idempotency', grade: 'structural', about: `meter-${way}`, traces: [trace.id] });
    },
  },
  {
    id: 'workflow without attributes that stops half way',
    times: 120,
    play: (world, atUs, nth) => {
      const desk = world.service('weddings', undefined, plain);
      const steps = ['venues', 'music', 'flowers'] as const;
      const trace = world.trace();
      const isFailing = nth % 6 === 5;
      const root = trace.serve(desk, 'POST /weddings', { startUs: atUs, ...(isFailing ? { error: { type: '500' } } : {}) });
      for (const [at, name] of steps.entries()) {
        const fails = isFailing && at === 2;
        const startUs = atUs + 1_000 + at * 6_000;
        const error = fails ? { error: { type: '500' } } : {};
        const call = trace.call(desk, name, `POST /${name}`, {
          parent: root,
          startUs,
          us: 4_000,
          ...(fails ? { status: 500 } : {}),
          ...error,
        });
        const service = world.service(`wedding-${name}`, undefined, plain);
        const serve = trace.serve(service, `POST /${name}`, { parent: call, startUs: startUs + 300, ...error });
        if (!fails)
          trace.sql(service, `INSERT INTO ${name} (wedding) VALUES ('w${nth}')`, { parent: serve, startUs: startUs + 600, us: 500 });
        close(serve, trace);
        close(call, trace);
      }
      close(root, trace);
      if (isFailing) world.note({ kind: 'saga-uncompensated', grade: 'risk', about: 'weddings', traces: [trace.id] });
    },
  },
  {
    id: 'contention as other drivers tell it',
    times: 60,
    play: (world, atUs, nth) => {
      const way = nth % 5;
      const service = world.service(`arena-${way}`);
      const trace = world.trace();
      const root = trace.serve(service, 'POST /seats', { startUs: atUs, error: { type: '409' } });
      const error = [
        { type: 'psycopg2.errors.DeadlockDetected', message: 'deadlock detected\nDETAIL: Process 7 waits' },
        {
          type: 'com.mysql.cj.jdbc.exceptions.MySQLTransactionRollbackException',
          message: 'Deadlock found when trying to get lock; try restarting transaction',
        },
        {
          type: 'Microsoft.Data.SqlClient.SqlException',
          message: 'Transaction (Process ID 52) was deadlocked on lock resources with another process',
        },
        { type: '*pgconn.PgError', message: 'ERROR: could not serialize access due to concurrent update (SQLSTATE 40001)' },
        { type: 'pymysql.err.OperationalError', message: "(1205, 'Lock wait timeout exceeded; try restarting transaction')" },
      ][way];
      trace.sql(service, `UPDATE seats SET holder = 'x' WHERE id = 'hot'`, {
        parent: root,
        startUs: atUs + 500,
        us: 9_000,
        system: ['postgresql', 'mysql', 'mssql', 'postgresql', 'mysql'][way] ?? 'postgresql',
        ...(error === undefined ? {} : { error }),
      });
      close(root, trace);
      world.note({ kind: 'write-contention', grade: 'proven', about: `arena-${way}`, traces: [trace.id] });
    },
  },
  {
    id: 'order broken by key, and in the producer’s own trace',
    times: 40,
    play: (world, atUs, nth) => {
      const producer = world.service('post');
      const consumer = world.service('sorter');
      const sends = [0, 1, 2].map((at) => {
        const trace = world.trace();
        return { trace, span: trace.publish(producer, 'letters', { startUs: atUs + at * 3_000, us: 1_000, key: `street-${nth}` }) };
      });
      const traces = [0, 2, 1].map((which, at) => {
        const send = sends[which];
        const startUs = atUs + 40_000 + at * 200_000;
        const { trace, got } = world.deliver(send?.trace ?? world.trace(), send?.span, consumer, 'letters', {
          group: 'sorter',
          key: `street-${nth}`,
          startUs,
        });
        trace.sql(consumer, `UPDATE bags SET last = ${which} WHERE street = 'street-${nth}'`, {
          parent: got,
          startUs: startUs + 300,
          us: 400,
        });
        close(got, trace);
        return trace.id;
      });
      world.note({ kind: 'out-of-order-consume', grade: 'proven', about: `street ${nth}`, traces });
    },
  },
  {
    id: 'outbox row that stays, in a table known by its relay',
    times: 60,
    play: (world, atUs, nth) => {
      const service = world.service('notary', undefined, { bindsValues: false, showsTransactions: true, language: 'nodejs' });
      const trace = world.trace();
      const key = `deed-${nth}`;
      const root = trace.serve(service, 'POST /deeds', { startUs: atUs });
      trace.sql(service, 'BEGIN', { parent: root, startUs: atUs + 200, us: 100 });
      trace.sql(service, `INSERT INTO deeds (id) VALUES ('${key}')`, { parent: root, startUs: atUs + 500, us: 400 });
      trace.sql(service, `INSERT INTO deeds_outbox (id, body) VALUES ('${key}', '{}')`, { parent: root, startUs: atUs + 1_200, us: 400 });
      trace.sql(service, 'COMMIT', { parent: root, startUs: atUs + 2_000, us: 300 });
      close(root, trace);
      const isStuck = nth % 6 === 3;
      const sentAtUs = atUs + (isStuck ? 60_000_000 : 300_000);
      const relay = world.trace();
      const poll = relay.span(service, 'poll', { startUs: sentAtUs });
      relay.publish(service, 'deeds', { parent: poll, startUs: sentAtUs + 500, us: 700, messageId: key, system: 'rabbitmq' });
      relay.sql(service, `DELETE FROM deeds_outbox WHERE id = '${key}'`, { parent: poll, startUs: sentAtUs + 2_000, us: 400 });
      close(poll, relay);
      if (isStuck) world.note({ kind: 'outbox-lag', grade: 'proven', about: key, traces: [trace.id, relay.id] });
    },
  },
  {
    id: 'read elsewhere in the next request of a session; looked up at the producer too early',
    times: 90,
    play: (world, atUs, nth) => {
      const place = `diary-${nth % 3}`;
      const service = world.service(place);
      const session = { 'session.id': `writer-${nth}` };
      const first = world.trace();
      const root = first.serve(service, 'PUT /entries', { startUs: atUs, attributes: session });
      first.sql(service, `UPDATE entries SET body = 'b' WHERE id = 'e${nth}'`, {
        parent: root,
        startUs: atUs + 300,
        us: 400,
        host: `${place}-primary`,
        attributes: session,
      });
      close(root, first);
      const second = world.trace();
      const page = second.serve(service, 'GET /entries', { startUs: atUs + 300_000, attributes: session });
      second.sql(service, `SELECT body FROM entries WHERE id = 'e${nth}'`, {
        parent: page,
        startUs: atUs + 300_400,
        us: 400,
        rows: 1,
        host: `${place}-reader`,
        attributes: session,
      });
      close(page, second);
      world.note({ kind: 'replica-read-after-write', grade: 'risk', about: place, traces: [first.id, second.id] });
      lookTooEarly(world, `shelf-${nth % 3}`, atUs + 5_000, nth);
    },
  },
];

const plain: Partial<Service> = { showsTransactions: true, language: '' };

/** The consumer asks the producer's API for the object and gets 404: the producer's transaction is still open. */
function lookTooEarly(world: World, place: string, atUs: number, nth: number): void {
  const service = world.service(place, undefined, { showsTransactions: true, language: 'nodejs' });
  const reader = world.service(`${place}-mirror`);
  const sentTrace = world.trace();
  const key = `box-${nth}`;
  const root = sentTrace.serve(service, 'POST /boxes', { startUs: atUs });
  sentTrace.sql(service, 'BEGIN', { parent: root, startUs: atUs + 200, us: 100 });
  sentTrace.sql(service, `INSERT INTO boxes (id) VALUES ('${key}')`, { parent: root, startUs: atUs + 400, us: 300 });
  const sent = sentTrace.publish(service, `${place}-boxes`, {
    parent: root,
    startUs: atUs + 1_000,
    us: 500,
    messageId: key,
    system: 'rabbitmq',
  });
  sentTrace.sql(service, 'COMMIT', { parent: root, startUs: atUs + 80_000, us: 500 });
  close(root, sentTrace);
  const startUs = atUs + 9_000;
  const { trace, got } = world.deliver(sentTrace, sent, reader, `${place}-boxes`, {
    group: reader.name,
    messageId: key,
    system: 'rabbitmq',
    startUs,
  });
  const call = trace.call(reader, place, `GET /boxes/${key}`, {
    parent: got,
    startUs: startUs + 300,
    us: 3_000,
    status: 404,
    error: { type: '404' },
  });
  const serve = trace.serve(service, 'GET /boxes/{id}', {
    parent: call,
    startUs: startUs + 600,
    attributes: { 'http.response.status_code': 404 },
  });
  trace.sql(service, `SELECT id FROM boxes WHERE id = '${key}'`, { parent: serve, startUs: startUs + 900, us: 300, rows: 0 });
  close(serve, trace);
  close(call, trace);
  close(got, trace);
  world.note({
    kind: 'notification-before-object',
    grade: 'risk',
    about: place,
    traces: [sentTrace.id, trace.id],
  });
  world.note({ kind: 'dual-write', grade: 'structural', about: place, traces: [sentTrace.id] });
}
