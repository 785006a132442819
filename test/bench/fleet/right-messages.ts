import type { SimSpan } from './span.ts';
import { close, type Scenario, type World } from './world.ts';

/** Ways to consume messages that are right and look much like the faults. Names differ with the seed: a name is no evidence. */
export const rightMessages: readonly Scenario[] = [
  {
    // Redelivered messages, each kind of idempotent consumer: nothing changes the second time, or the change repeats without harm.
    id: 'idempotent consumers',
    times: 240,
    play: (world, atUs, nth) => {
      const way = nth % 6;
      const consumer = world.service(`once-${way}`, undefined, way === 3 ? { showsTransactions: true } : {});
      const topic = `parcels-${way}`;
      const key = `parcel-${nth}`;
      const identity = nth % 2 === 0 ? { messageId: key, system: 'rabbitmq' } : { partition: way, offset: 9_000 + nth };
      const sentTrace = world.trace();
      const sent = sentTrace.publish(world.service('depot'), topic, { startUs: atUs, ...identity });
      for (const attempt of [0, 1]) {
        const startUs = atUs + 15_000 + attempt * 900_000;
        const { trace, got } = world.deliver(sentTrace, sent, consumer, topic, { group: `once-${way}`, startUs, ...identity });
        const sql = (text: string, offsetUs: number, more: Partial<Parameters<typeof trace.sql>[2]> = {}): void => {
          trace.sql(consumer, text, { parent: got, startUs: startUs + offsetUs, us: 400, ...more });
        };
        switch (way) {
          case 0:
            sql(`SELECT 1 FROM ${world.word}_seen WHERE message = '${key}'`, 300, { rows: attempt });
            if (attempt === 0) {
              sql(`INSERT INTO ${world.word}_seen (message) VALUES ('${key}')`, 900);
              sql(`INSERT INTO parcels (id) VALUES ('${key}')`, 1_500);
            }
            break;
          case 1:
            sql(`INSERT INTO parcels (id, state) VALUES ('${key}', 'in') ON CONFLICT (id) DO UPDATE SET state = excluded.state`, 300);
            break;
          case 2:
            sql(`UPDATE parcels SET state = 'in' WHERE id = '${key}' AND state = 'new'`, 300, {
              attributes: { 'db.response.affected_rows': 1 - attempt },
            });
            break;
          case 3:
            // The unique key refuses, and the transaction goes back.
            sql('BEGIN', 100);
            sql(`INSERT INTO ${world.word}_log (id) VALUES ('${key}')`, 300);
            sql(
              `INSERT INTO parcels (id) VALUES ('${key}')`,
              900,
              attempt === 0 ? {} : { error: { type: '23505', message: 'duplicate key value violates unique constraint (code: 23505)' } },
            );
            sql(attempt === 0 ? 'COMMIT' : 'ROLLBACK', 1_500);
            break;
          case 4:
            sql(`INSERT IGNORE INTO parcels (id) VALUES ('${key}')`, 300, { system: 'mysql' });
            break;
          default:
            sql(`UPDATE parcels SET state = 'in', version = 2 WHERE id = '${key}' AND version = 1`, 300);
        }
        close(got, trace);
      }
    },
  },
  {
    // The first attempt failed as a whole: rolled back where one sees it, and where one does not.
    id: 'redelivery after a failure',
    times: 160,
    play: (world, atUs, nth) => {
      const consumer = world.service(`second-try-${nth % 5}`);
      const topic = `claims-${nth % 5}`;
      const identity = { messageId: `claim-${nth}`, ...(nth % 2 === 0 ? { system: 'rabbitmq' } : { partition: 0, offset: 70_000 + nth }) };
      const sentTrace = world.trace();
      const sent = sentTrace.publish(world.service('claims-desk'), topic, { startUs: atUs, ...identity });
      for (const attempt of [0, 1]) {
        const startUs = atUs + 10_000 + attempt * 2_000_000;
        const error = attempt === 0 ? { error: { type: 'IllegalStateException' } } : {};
        const { trace, got } = world.deliver(sentTrace, sent, consumer, topic, { group: consumer.name, startUs, ...identity, ...error });
        // Without a framework around it the service that shows no COMMIT would be one that commits each statement: it does not fail here.
        if (!consumer.showsTransactions && consumer.language === '') continue;
        trace.sql(consumer, 'BEGIN', { parent: got, startUs: startUs + 100, us: 100 });
        trace.sql(consumer, `INSERT INTO payouts (claim, amount) VALUES ('claim-${nth}', 8)`, {
          parent: got,
          startUs: startUs + 300,
          us: 400,
        });
        trace.sql(consumer, attempt === 0 ? 'ROLLBACK' : 'COMMIT', { parent: got, startUs: startUs + 1_200, us: 300 });
        close(got, trace);
      }
    },
  },
  {
    // An operator winds a group back: messages are processed again, in order, by a consumer that may repeat them.
    id: 'rewind',
    times: 12,
    play: (world, atUs, nth) => {
      const producer = world.service('ticker');
      const consumer = world.service('projector');
      const sent = Array.from({ length: 20 }, (_, offset) => {
        const trace = world.trace();
        return {
          trace,
          span: trace.publish(producer, 'ticks', { startUs: atUs + offset * 20_000, partition: nth, offset, key: `t${nth}` }),
        };
      });
      for (const [round, from] of [0, 5].entries()) {
        for (const [offset, each] of sent.entries()) {
          if (offset < from) continue;
          const startUs = atUs + 30_000 + round * 5_000_000 + offset * 40_000;
          const { trace, got } = world.deliver(each.trace, each.span, consumer, 'ticks', {
            group: 'projector',
            partition: nth,
            offset,
            key: `t${nth}`,
            startUs,
          });
          trace.sql(consumer, `INSERT INTO view (id, at) VALUES ('t${nth}', ${offset}) ON CONFLICT (id) DO UPDATE SET at = excluded.at`, {
            parent: got,
            startUs: startUs + 300,
            us: 400,
          });
          close(got, trace);
        }
      }
    },
  },
  {
    id: 'fan-out and batches',
    times: 150,
    play: (world, atUs, nth) => {
      const producer = world.service('newsroom');
      const sentTrace = world.trace();
      const sent = sentTrace.publish(producer, 'articles', { startUs: atUs, messageId: `art-${nth}`, system: 'rabbitmq' });
      for (const name of ['search', 'mailing', 'archive']) {
        const consumer = world.service(name);
        const startUs = atUs + 12_000;
        const { trace, got } = world.deliver(sentTrace, sent, consumer, 'articles', {
          group: name,
          messageId: `art-${nth}`,
          system: 'rabbitmq',
          startUs,
        });
        trace.sql(consumer, `INSERT INTO articles (id) VALUES ('art-${nth}')`, { parent: got, startUs: startUs + 300, us: 400 });
        close(got, trace);
      }
      // A batch: one span, many links, one insert a message; the next batch has other messages.
      const reader = world.service('collector');
      const sends = Array.from({ length: 5 }, (_, at) => {
        const trace = world.trace();
        return trace.publish(producer, 'clicks', { startUs: atUs + at * 500 });
      });
      const batch = world.trace();
      const got = batch.consume(reader, 'clicks', {
        group: 'collector',
        startUs: atUs + 40_000,
        links: sends,
        attributes: { 'messaging.batch.message_count': sends.length },
      });
      for (const at of sends.keys())
        batch.sql(reader, `INSERT INTO clicks (page, n) VALUES ('p${at}', 1)`, {
          parent: got,
          startUs: got.startUs + 200 + at * 300,
          us: 200,
        });
      close(got, batch);
    },
  },
  {
    // Topics that are taken up late, in part, or by nobody: no single message of them is lost.
    id: 'slow, choosy and absent consumers',
    times: 150,
    play: (world, atUs, nth) => {
      const producer = world.service('gauge');
      for (const [topic, waitUs] of [
        ['gauge-slow', 5_000_000 + world.rng.int(40_000_000)],
        ['gauge-choosy', nth % 2 === 0 ? 20_000 : undefined],
        ['gauge-absent', undefined],
      ] as const) {
        const sentTrace = world.trace();
        const sent = sentTrace.publish(producer, topic, { startUs: atUs, messageId: `${topic}-${nth}`, system: 'rabbitmq' });
        if (waitUs === undefined) continue;
        const { trace, got } = world.deliver(sentTrace, sent, world.service(`${topic}-reader`), topic, {
          group: topic,
          messageId: `${topic}-${nth}`,
          system: 'rabbitmq',
          startUs: atUs + waitUs,
        });
        close(got, trace);
      }
    },
  },
  {
    // Outboxes under names that say nothing, relayed by another service; one that is emptied at once by whoever filled it.
    id: 'outboxes of many names',
    times: 300,
    play: (world, atUs, nth) => {
      const way = nth % 3;
      const service = world.service(`insurer-${way}`);
      const table = [`${world.word}_dispatch`, `${world.word}_to_send`, 'integration_event_log'][way] ?? '';
      const trace = world.trace();
      const key = world.id('pol');
      const root = trace.serve(service, 'POST /policies', { startUs: atUs });
      trace.sql(service, 'BEGIN', { parent: root, startUs: atUs + 200, us: 100 });
      trace.sql(service, `INSERT INTO policies (id, state) VALUES ('${key}', 'new')`, { parent: root, startUs: atUs + 500, us: 400 });
      trace.sql(service, `INSERT INTO ${table} (id, body) VALUES ('${key}', '{}')`, { parent: root, startUs: atUs + 1_200, us: 400 });
      trace.sql(service, 'COMMIT', { parent: root, startUs: atUs + 2_000, us: 300 });
      if (way === 1) {
        // The fast path: sent right after the commit and taken out; a relay would find what was left.
        sendAndForget(world, trace, root, service.name, table, key, atUs + 4_000);
        close(root, trace);
        return;
      }
      close(root, trace);
      const relay = world.trace();
      const relayService = way === 0 ? world.service('insurer-relay', service.database) : service;
      const sentAtUs = atUs + 100_000 + world.rng.int(400_000);
      const poll = relay.span(relayService, 'poll', { startUs: sentAtUs });
      relay.sql(relayService, `SELECT id, body FROM ${table} ORDER BY id LIMIT 20 FOR UPDATE SKIP LOCKED`, {
        parent: poll,
        startUs: sentAtUs + 100,
        us: 500,
        rows: 1,
      });
      sendAndForget(world, relay, poll, relayService.name, table, key, sentAtUs + 900);
      close(poll, relay);
    },
  },
  {
    // The consumer looks after the commit and finds; it looks for something else; it looks for what was deleted since.
    id: 'announced and found',
    times: 120,
    play: (world, atUs, nth) => {
      const service = world.service('library');
      const reader = world.service('library-search');
      const key = `book-${nth}`;
      const sentTrace = world.trace();
      const root = sentTrace.serve(service, 'POST /books', { startUs: atUs });
      sentTrace.sql(service, `INSERT INTO books (id) VALUES ('${key}')`, { parent: root, startUs: atUs + 500, us: 400 });
      sentTrace.sql(service, `INSERT INTO outbox (id) VALUES ('${key}')`, { parent: root, startUs: atUs + 1_200, us: 400 });
      close(root, sentTrace);
      const relay = world.trace();
      const sent = relay.publish(service, 'book-added', { startUs: atUs + 150_000, messageId: key });
      const startUs = atUs + 180_000;
      const { trace, got } = world.deliver(relay, sent, reader, 'book-added', { group: 'search', messageId: key, startUs });
      trace.sql(reader, `SELECT id FROM books WHERE id = '${key}'`, {
        parent: got,
        startUs: startUs + 200,
        us: 300,
        rows: 1,
        host: 'library-db',
      });
      trace.sql(reader, `SELECT id FROM reviews WHERE book = '${key}'`, { parent: got, startUs: startUs + 700, us: 300, rows: 0 });
      trace.sql(reader, `INSERT INTO entries (book) VALUES ('${key}') ON CONFLICT DO NOTHING`, {
        parent: got,
        startUs: startUs + 1_200,
        us: 300,
      });
      close(got, trace);
    },
  },
];

function sendAndForget(
  world: World,
  trace: ReturnType<World['trace']>,
  parent: SimSpan,
  serviceName: string,
  table: string,
  key: string,
  startUs: number,
): void {
  const service = world.service(serviceName);
  trace.publish(service, 'policy-written', { parent, startUs, us: 1_000, messageId: key, system: 'rabbitmq' });
  trace.sql(service, `DELETE FROM ${table} WHERE id = '${key}'`, { parent, startUs: startUs + 1_500, us: 400 });
}
