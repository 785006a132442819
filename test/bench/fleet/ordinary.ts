import { close, type Scenario } from './world.ts';

/** Code paths that are right, and look much like the faults: nothing may be found in them. */
export const ordinary: readonly Scenario[] = [
  {
    id: 'outbox',
    times: 900,
    play: (world, atUs) => {
      const service = world.service('billing');
      const trace = world.trace();
      const key = world.id('inv');
      const root = trace.serve(service, 'POST /invoices', { startUs: atUs });
      trace.sql(service, 'BEGIN', { parent: root, startUs: atUs + 500, us: 200 });
      trace.sql(service, `INSERT INTO invoices (id, total) VALUES ('${key}', 12)`, { parent: root, startUs: atUs + 1_000, us: 900 });
      trace.sql(service, `INSERT INTO outbox (id, topic, payload) VALUES ('${key}', 'invoice-created', '{}')`, {
        parent: root,
        startUs: atUs + 2_000,
        us: 900,
      });
      trace.sql(service, 'COMMIT', { parent: root, startUs: atUs + 3_000, us: 600 });
      close(root, trace);
      // The relay: reads the outbox, publishes, marks the row. A write and a publish in one trace, and right.
      const relay = world.trace();
      const relayService = world.service('billing-relay', 'billing');
      const sentAtUs = atUs + 200_000 + world.rng.int(300_000);
      const poll = relay.span(relayService, 'relay', { startUs: sentAtUs });
      relay.sql(relayService, 'SELECT id, topic, payload FROM outbox WHERE sent_at IS NULL ORDER BY id LIMIT 10 FOR UPDATE SKIP LOCKED', {
        parent: poll,
        startUs: sentAtUs + 100,
        us: 900,
        rows: 1,
      });
      const sent = relay.publish(relayService, 'invoice-created', { parent: poll, startUs: sentAtUs + 1_500, us: 2_000, messageId: key });
      relay.sql(relayService, `UPDATE outbox SET sent_at = now() WHERE id = '${key}'`, {
        parent: poll,
        startUs: sentAtUs + 4_000,
        us: 900,
      });
      close(poll, relay);
      const reader = world.trace();
      const mailer = world.service('mailer');
      const got = reader.consume(mailer, 'invoice-created', { group: 'mailer', startUs: sentAtUs + 20_000, links: [sent], messageId: key });
      reader.sql(mailer, `INSERT INTO mails (id, invoice) VALUES ('${world.id('m')}', '${key}')`, {
        parent: got,
        startUs: sentAtUs + 21_000,
      });
      close(got, reader);
    },
  },
  {
    id: 'browse',
    times: 2_000,
    play: (world, atUs) => {
      const web = world.service('web');
      const catalog = world.service('catalog');
      const trace = world.trace();
      const root = trace.serve(web, 'GET /products', { startUs: atUs });
      const call = trace.call(web, 'catalog', 'GET /items', { parent: root, startUs: atUs + 500, us: 4_000 });
      const serve = trace.serve(catalog, 'GET /items', { parent: call, startUs: atUs + 800 });
      const id = world.rng.int(500);
      trace.sql(catalog, `SELECT id, name, price FROM items WHERE id = ${id}`, {
        parent: serve,
        startUs: atUs + 1_500,
        us: 700,
        rows: 1,
        host: world.rng.next() < 0.5 ? 'catalog-db' : 'catalog-db-replica',
      });
      close(serve, trace);
      close(call, trace);
      close(root, trace);
    },
  },
  {
    id: 'locked read-modify-write',
    times: 300,
    play: (world, atUs, nth) => {
      const service = world.service('wallet');
      // Pairs overlap on one key, and are safe in three different ways.
      const key = `w${Math.floor(nth / 2)}`;
      const startUs = nth % 2 === 0 ? atUs : atUs + 1_000;
      const trace = world.trace();
      const root = trace.serve(service, 'POST /wallets', { startUs });
      const way = Math.floor(nth / 2) % 3;
      if (way === 0) trace.sql(service, 'BEGIN', { parent: root, startUs: startUs + 100, us: 100 });
      trace.sql(service, `SELECT balance, version FROM wallets WHERE id = '${key}'${way === 0 ? ' FOR UPDATE' : ''}`, {
        parent: root,
        startUs: startUs + 300,
        us: 500,
        rows: 1,
      });
      const update = [
        `UPDATE wallets SET balance = 90 WHERE id = '${key}'`,
        `UPDATE wallets SET balance = 90, version = 8 WHERE id = '${key}' AND version = 7`,
        `UPDATE wallets SET balance = balance - 10 WHERE id = '${key}'`,
      ][way];
      trace.sql(service, update ?? '', { parent: root, startUs: startUs + 2_500, us: 500 });
      if (way === 0) trace.sql(service, 'COMMIT', { parent: root, startUs: startUs + 3_200, us: 300 });
      close(root, trace);
    },
  },
  {
    id: 'idempotent redelivery',
    times: 120,
    play: (world, atUs, nth) => {
      const producer = world.service('sensors');
      const consumer = world.service('meter');
      const sentTrace = world.trace();
      const sent = sentTrace.publish(producer, 'readings', { startUs: atUs, partition: 1, offset: 10_000 + nth, messageId: `r${nth}` });
      for (const attempt of [0, 1]) {
        const trace = world.trace();
        const startUs = atUs + 10_000 + attempt * 400_000;
        const got = trace.consume(consumer, 'readings', {
          group: 'meter',
          partition: 1,
          offset: 10_000 + nth,
          messageId: `r${nth}`,
          startUs,
          links: [sent],
        });
        const seen = trace.sql(consumer, `SELECT 1 FROM processed_messages WHERE id = 'r${nth}'`, {
          parent: got,
          startUs: startUs + 300,
          us: 300,
          rows: attempt,
        });
        if (attempt === 0) {
          trace.sql(consumer, `INSERT INTO readings (id, value) VALUES ('r${nth}', 4)`, {
            parent: got,
            startUs: seen.endUs + 200,
            us: 500,
          });
          trace.sql(consumer, `INSERT INTO processed_messages (id) VALUES ('r${nth}') ON CONFLICT DO NOTHING`, {
            parent: got,
            startUs: seen.endUs + 900,
            us: 500,
          });
        }
        close(got, trace);
      }
    },
  },
  {
    id: 'safe retry',
    times: 150,
    play: (world, atUs, nth) => {
      const client = world.service('web');
      const server = world.service('payments');
      const trace = world.trace();
      const root = trace.serve(client, 'POST /pay', { startUs: atUs });
      const isRead = nth % 2 === 0;
      const route = isRead ? 'GET /balance' : 'POST /charges';
      const attributes = isRead ? {} : { 'http.request.header.idempotency-key': `k${nth}` };
      const first = trace.call(client, 'payments', route, {
        parent: root,
        startUs: atUs + 500,
        us: 30_000,
        status: 503,
        error: { type: '503' },
        attributes,
      });
      const second = trace.call(client, 'payments', route, { parent: root, startUs: first.endUs + 5_000, us: 4_000, attributes });
      const serve = trace.serve(server, route, { parent: second, startUs: second.startUs + 300, us: 2_000 });
      if (isRead)
        trace.sql(server, `SELECT balance FROM charges WHERE id = ${nth}`, {
          parent: serve,
          startUs: serve.startUs + 300,
          us: 500,
          rows: 1,
        });
      else
        trace.sql(server, `INSERT INTO charges (id, key) VALUES (${nth}, 'k${nth}') ON CONFLICT (key) DO NOTHING`, {
          parent: serve,
          startUs: serve.startUs + 300,
          us: 500,
        });
      close(root, trace);
    },
  },
  {
    id: 'failure with nothing written',
    times: 100,
    play: (world, atUs) => {
      const front = world.service('web');
      const stock = world.service('stock');
      const trace = world.trace();
      const root = trace.serve(front, 'POST /reserve', { startUs: atUs, error: { type: '500' } });
      const call = trace.call(front, 'stock', 'POST /reservations', {
        parent: root,
        startUs: atUs + 500,
        us: 6_000,
        status: 500,
        error: { type: '500' },
      });
      const serve = trace.serve(stock, 'POST /reservations', { parent: call, startUs: atUs + 900, error: { type: '500' } });
      trace.sql(stock, 'BEGIN', { parent: serve, startUs: atUs + 1_000, us: 100 });
      trace.sql(stock, "INSERT INTO reservations (id) VALUES ('x')", { parent: serve, startUs: atUs + 1_500, us: 300 });
      trace.sql(stock, "UPDATE levels SET left_over = left_over - 1 WHERE sku = 'a'", {
        parent: serve,
        startUs: atUs + 2_000,
        us: 300,
        error: { type: '23514', message: 'new row violates check constraint (code: 23514)' },
      });
      trace.sql(stock, 'ROLLBACK', { parent: serve, startUs: atUs + 2_500, us: 100 });
      close(serve, trace);
      close(call, trace);
      close(root, trace);
    },
  },
  {
    id: 'compensated saga',
    times: 80,
    play: (world, atUs, nth) => {
      const trace = world.trace();
      const saga = { 'consistency.saga.id': `trip-ok-${nth}`, 'consistency.saga.name': 'trip' };
      const root = trace.serve(world.service('trips'), 'POST /trips', { startUs: atUs });
      const step = (name: string, operation: string, outcome: string, offsetUs: number): void => {
        const attributes = {
          ...saga,
          'consistency.operation': operation,
          'consistency.saga.step': name,
          'consistency.saga.outcome': outcome,
        };
        trace.span(world.service(name), `${operation} ${name}`, { parent: root, startUs: atUs + offsetUs, attributes });
      };
      step('flight', 'write', 'committed', 1_000);
      step('hotel', 'write', nth % 2 === 0 ? 'failed' : 'committed', 4_000);
      if (nth % 2 === 0) step('flight', 'compensate', 'compensated', 9_000);
      close(root, trace);
    },
  },
  {
    id: 'versioned session',
    times: 600,
    play: (world, atUs, nth) => {
      const service = world.service('profiles');
      const key = `user-${nth}`;
      const common = {
        'consistency.domain': 'ledger',
        'consistency.object.type': 'profile',
        'consistency.object.key': key,
        'session.id': `s-${nth}`,
      };
      const step = (operation: string, version: number, base: number | undefined, startUs: number, replica: string): void => {
        const trace = world.trace();
        const versions = { 'consistency.version': version, ...(base === undefined ? {} : { 'consistency.version.base': base }) };
        trace.span(service, `${operation} profile`, {
          kind: 3,
          startUs,
          us: 1_000,
          attributes: {
            ...common,
            'consistency.operation': operation,
            'consistency.replica.id': replica,
            'consistency.value.digest': `${key}-${version}`,
            ...versions,
          },
        });
      };
      step('write', 1, 0, atUs, 'eu');
      step('read', 1, undefined, atUs + 500_000, 'eu');
      step('write', 2, 1, atUs + 1_000_000, 'eu');
      step('read', 2, undefined, atUs + 2_000_000, 'us');
      step('read', 2, undefined, atUs + 3_000_000, 'eu');
    },
  },
  {
    id: 'serial transactions',
    times: 200,
    play: (world, atUs, nth) => {
      const service = world.service('bank');
      for (const round of [0, 1, 2]) {
        const trace = world.trace();
        const startUs = atUs + round * 1_000_000;
        const root = trace.serve(service, 'POST /transfer', { startUs });
        const transaction = { 'consistency.transaction.id': `serial-${nth}-${round}`, 'consistency.object.type': 'account' };
        for (const [at, account] of [`a${nth}`, `b${nth}`].entries()) {
          const object = { ...transaction, 'consistency.object.key': account };
          if (round > 0)
            trace.span(service, 'read', {
              kind: 3,
              parent: root,
              startUs: startUs + 500 + at * 2_000,
              us: 300,
              attributes: { ...object, 'consistency.operation': 'read', 'consistency.version': round },
            });
          trace.span(service, 'write', {
            kind: 3,
            parent: root,
            startUs: startUs + 1_500 + at * 2_000,
            us: 300,
            attributes: {
              ...object,
              'consistency.operation': 'write',
              'consistency.version': round + 1,
              'consistency.version.base': round,
            },
          });
        }
        close(root, trace);
      }
    },
  },
  {
    id: 'ordered topic',
    times: 400,
    play: (world, atUs, nth) => {
      const producer = world.service('tracker');
      const sentTrace = world.trace();
      const partition = nth % 4;
      const offset = 500 + Math.floor(nth / 4);
      const sent = sentTrace.publish(producer, 'positions', {
        startUs: atUs,
        partition,
        offset,
        messageId: `p${nth}`,
        key: `car${partition}`,
      });
      for (const group of ['map', 'alerts']) {
        const trace = world.trace();
        const got = trace.consume(world.service(group), 'positions', {
          group,
          partition,
          offset,
          messageId: `p${nth}`,
          key: `car${partition}`,
          startUs: atUs + 30_000,
          us: 1_500,
          links: [sent],
        });
        trace.sql(world.service(group), `SELECT id FROM cars WHERE id = 'car${partition}'`, {
          parent: got,
          startUs: got.startUs + 200,
          us: 300,
          rows: 1,
        });
        close(got, trace);
      }
    },
  },
];
