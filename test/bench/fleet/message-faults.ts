import { close, type Scenario } from './world.ts';

/** Faults of messages and sagas, one finding each. */
export const messageFaults: readonly Scenario[] = [
  {
    id: 'duplicate-consume',
    times: 60,
    play: (world, atUs, nth) => {
      const producer = world.service('printer');
      const consumer = world.service('ledgerer');
      const sentTrace = world.trace();
      // Three ways to know that it is the same message: offset and group, message id, or only the link.
      const way = nth % 3;
      const identity =
        way === 0
          ? { partition: 2, offset: 40_000 + nth }
          : way === 1
            ? { messageId: `dup-${nth}`, system: 'rabbitmq' }
            : { system: 'aws_sqs' };
      const topic = `bookings-${way}`;
      const sent = sentTrace.publish(producer, topic, { startUs: atUs, ...identity });
      const traces = [0, 1].map((attempt) => {
        const trace = world.trace();
        const startUs = atUs + 20_000 + attempt * 2_000_000;
        const got = trace.consume(consumer, topic, { group: 'ledgerer', startUs, links: [sent], ...identity });
        trace.sql(consumer, `INSERT INTO bookings (id, amount) VALUES ('${world.id('b')}', 5)`, {
          parent: got,
          startUs: startUs + 400,
          us: 600,
        });
        close(got, trace);
        return trace.id;
      });
      world.note({ kind: 'duplicate-consume', grade: 'proven', about: `message ${nth}`, traces });
    },
  },
  {
    id: 'out-of-order-consume',
    times: 50,
    play: (world, atUs, nth) => {
      const producer = world.service('till');
      const consumer = world.service('stockkeeper');
      const partition = 100 + nth;
      const sent = [0, 1, 2].map((offset) => {
        const trace = world.trace();
        return trace.publish(producer, 'sales', {
          startUs: atUs + offset * 1_000,
          partition,
          offset,
          messageId: `sale-${nth}-${offset}`,
          key: `sku${nth}`,
        });
      });
      const traces = [0, 2, 1].map((offset, at) => {
        const trace = world.trace();
        const startUs = atUs + 50_000 + at * 300_000;
        const link = sent[offset];
        const got = trace.consume(consumer, 'sales', {
          group: 'stockkeeper',
          partition,
          offset,
          messageId: `sale-${nth}-${offset}`,
          key: `sku${nth}`,
          startUs,
          links: link === undefined ? [] : [link],
        });
        trace.sql(consumer, `UPDATE stock SET left_over = ${offset} WHERE sku = 'sku${nth}'`, {
          parent: got,
          startUs: startUs + 300,
          us: 500,
        });
        close(got, trace);
        return trace.id;
      });
      world.note({ kind: 'out-of-order-consume', grade: 'proven', about: `partition ${partition}`, traces });
    },
  },
  {
    id: 'orphan-message',
    times: 60,
    // One in twelve messages of the topic is never consumed; its peers are, within 50 ms.
    play: (world, atUs, nth) => {
      const place = `signups-${nth % 6}`;
      const producer = world.service(`${place}-producer`);
      const consumer = world.service(`${place}-consumer`);
      for (let peer = 0; peer < 12; peer += 1) {
        const startUs = atUs + peer * 400_000;
        const trace = world.trace();
        const sent = trace.publish(producer, place, { startUs, system: 'rabbitmq', messageId: `signup-${nth}-${peer}` });
        if (peer === 5) {
          world.note({ kind: 'orphan-message', grade: 'risk', about: place, traces: [trace.id] });
          continue;
        }
        const reader = world.trace();
        const got = reader.consume(consumer, place, {
          group: place,
          system: 'rabbitmq',
          messageId: `signup-${nth}-${peer}`,
          startUs: startUs + 50_000,
          links: [sent],
        });
        reader.sql(consumer, `INSERT INTO welcomes (id) VALUES ('${world.id('w')}')`, { parent: got, startUs: startUs + 50_300, us: 500 });
        close(got, reader);
      }
    },
  },
  {
    id: 'notification-before-object',
    times: 50,
    play: (world, atUs, nth) => {
      const place = `documents-${nth % 6}`;
      const producer = world.service(place);
      const consumer = world.service(`${place}-indexer`);
      const key = `doc-${nth}`;
      const sentTrace = world.trace();
      const root = sentTrace.serve(producer, 'POST /documents', { startUs: atUs });
      const sent = sentTrace.publish(producer, `${place}-added`, { parent: root, startUs: atUs + 500, messageId: key, key });
      sentTrace.sql(producer, `INSERT INTO documents (id, body) VALUES ('${key}', 'b')`, { parent: root, startUs: atUs + 60_000, us: 900 });
      close(root, sentTrace);
      const traces = [0, 1].map((attempt) => {
        const trace = world.trace();
        const startUs = atUs + 20_000 + attempt * 1_000_000;
        const got =
          attempt === 0
            ? trace.consume(consumer, `${place}-added`, { group: `${place}-indexer`, messageId: key, key, startUs, links: [sent] })
            : trace.span(consumer, 'look again', { startUs });
        trace.sql(consumer, `SELECT id, body FROM documents WHERE id = '${key}'`, {
          parent: got,
          startUs: startUs + 400,
          us: 700,
          rows: attempt,
          host: `${place}-db`,
        });
        close(got, trace);
        return trace.id;
      });
      world.note({ kind: 'notification-before-object', grade: 'risk', about: place, traces: [sentTrace.id, ...traces] });
      world.note({ kind: 'dual-write', grade: 'structural', about: place, traces: [sentTrace.id] });
    },
  },
  {
    id: 'saga-uncompensated',
    times: 50,
    play: (world, atUs, nth) => {
      const trace = world.trace();
      const saga = { 'consistency.saga.id': `trip-bad-${nth}`, 'consistency.saga.name': 'trip' };
      const root = trace.serve(world.service('trips'), 'POST /trips', { startUs: atUs });
      const step = (name: string, outcome: string, offsetUs: number): void => {
        const attributes = {
          ...saga,
          'consistency.operation': 'write',
          'consistency.saga.step': name,
          'consistency.saga.outcome': outcome,
        };
        trace.span(world.service(name), `write ${name}`, {
          parent: root,
          startUs: atUs + offsetUs,
          attributes,
          ...(outcome === 'failed' ? { error: { type: 'sold-out' } } : {}),
        });
      };
      step('flight', 'committed', 1_000);
      step('hotel', 'failed', 4_000);
      close(root, trace);
      world.note({ kind: 'saga-uncompensated', grade: 'proven', about: `trip-bad-${nth}`, traces: [trace.id] });
    },
  },
  {
    id: 'outbox-lag',
    times: 50,
    play: (world, atUs, nth) => {
      const service = world.service('loans');
      const trace = world.trace();
      const key = `loan-${nth}`;
      const isNever = nth % 2 === 0;
      const root = trace.serve(service, 'POST /loans', { startUs: atUs });
      trace.sql(service, 'BEGIN', { parent: root, startUs: atUs + 300, us: 100 });
      trace.sql(service, `INSERT INTO loans (id) VALUES ('${key}')`, { parent: root, startUs: atUs + 500, us: 500 });
      trace.sql(service, `INSERT INTO outbox (id, topic) VALUES ('${key}', 'loan-made')`, {
        parent: root,
        startUs: atUs + 1_500,
        us: 500,
        attributes: { 'consistency.outbox.id': key },
      });
      trace.sql(service, 'COMMIT', { parent: root, startUs: atUs + 2_500, us: 500 });
      close(root, trace);
      const traces = [trace.id];
      if (!isNever) {
        const relay = world.trace();
        relay.publish(service, 'loan-made', { startUs: atUs + 150_000_000, messageId: key, attributes: { 'consistency.outbox.id': key } });
        traces.push(relay.id);
      }
      world.note({ kind: 'outbox-lag', grade: 'proven', about: key, traces });
    },
  },
];
