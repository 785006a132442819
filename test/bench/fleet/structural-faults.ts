import { close, type Scenario } from './world.ts';

const places = ['shop', 'travel', 'school', 'bank', 'clinic', 'games'];

function placeOf(nth: number): string {
  return places[nth % places.length] ?? 'shop';
}

/** Faults that the code path permits: each happens often, in six places. */
export const structuralFaults: readonly Scenario[] = [
  {
    id: 'dual-write',
    times: 300,
    play: (world, atUs, nth) => {
      const place = placeOf(nth);
      const service = world.service(`${place}-orders`);
      const trace = world.trace();
      const key = world.id('o');
      const isRealised = nth % 10 === 9;
      // The error is swallowed, or it fails the request: then a transaction that does not show may well have been rolled back.
      const isSwallowed = nth % 20 === 19;
      const isPublishedFirst = place === 'clinic';
      const root = trace.serve(service, `POST /${place}/orders`, {
        startUs: atUs,
        ...(isRealised && !isSwallowed ? { error: { type: '500' } } : {}),
      });
      const system = place === 'travel' || place === 'school' ? 'rabbitmq' : 'kafka';
      const topic = `${place}-order-placed`;
      const write = (startUs: number): void => {
        trace.sql(service, `INSERT INTO ${place}_orders (id, state) VALUES ('${key}', 'new')`, { parent: root, startUs, us: 1_500 });
      };
      const publish = (startUs: number) =>
        trace.publish(service, topic, {
          parent: root,
          startUs,
          us: 1_500,
          system,
          messageId: key,
          ...(isRealised ? { error: { type: 'timeout', message: 'broker did not answer' } } : {}),
        });
      const sent = isPublishedFirst ? publish(atUs + 1_000) : publish(atUs + 4_000);
      write(isPublishedFirst ? atUs + 4_000 : atUs + 1_000);
      close(root, trace);
      if (!isRealised) {
        const consumer = world.service(`${place}-delivery`);
        const reader = world.trace();
        const got = reader.consume(consumer, topic, {
          group: `${place}-delivery`,
          system,
          messageId: key,
          startUs: atUs + 40_000,
          links: [sent],
        });
        reader.sql(consumer, `INSERT INTO ${place}_deliveries (id, order_id) VALUES ('${world.id('d')}', '${key}')`, {
          parent: got,
          startUs: got.startUs + 300,
          us: 700,
        });
        close(got, reader);
      }
      world.note({ kind: 'dual-write', grade: 'structural', about: place, traces: [trace.id] });
      if (isRealised && (isSwallowed || service.showsTransactions))
        world.note({ kind: 'dual-write', grade: 'proven', about: trace.id, traces: [trace.id] });
    },
  },
  {
    id: 'cross-store-write',
    times: 200,
    play: (world, atUs, nth) => {
      const place = placeOf(nth);
      const service = world.service(`${place}-catalog`);
      const trace = world.trace();
      const key = world.id('p');
      const root = trace.serve(service, `PUT /${place}/items`, { startUs: atUs });
      trace.sql(service, `UPDATE ${place}_items SET name = 'n' WHERE id = '${key}'`, { parent: root, startUs: atUs + 500, us: 900 });
      const other =
        nth % 2 === 0
          ? {
              'db.system.name': 'mongodb',
              'db.operation.name': 'insert',
              'db.collection.name': `${place}_history`,
              'db.namespace': `${place}-docs`,
              'server.address': `${place}-mongo`,
            }
          : {
              'db.system': 'mongodb',
              'db.operation': 'insert',
              'db.mongodb.collection': `${place}_history`,
              'db.name': `${place}-docs`,
              'net.peer.name': `${place}-mongo`,
            };
      trace.span(service, 'insert', { kind: 3, parent: root, startUs: atUs + 2_000, us: 900, attributes: other });
      close(root, trace);
      world.note({ kind: 'cross-store-write', grade: 'structural', about: place, traces: [trace.id] });
    },
  },
  {
    id: 'partial-write',
    times: 200,
    play: (world, atUs, nth) => {
      const place = placeOf(nth);
      const front = world.service(`${place}-checkout`);
      const back = world.service(`${place}-stock`);
      const trace = world.trace();
      const root = trace.serve(front, `POST /${place}/checkout`, { startUs: atUs, error: { type: '500' } });
      trace.sql(front, `INSERT INTO ${place}_checkouts (id) VALUES ('${world.id('c')}')`, { parent: root, startUs: atUs + 500, us: 900 });
      const call = trace.call(front, `${place}-stock`, 'POST /reserve', {
        parent: root,
        startUs: atUs + 2_000,
        us: 5_000,
        status: 500,
        error: { type: '500' },
      });
      const serve = trace.serve(back, 'POST /reserve', { parent: call, startUs: atUs + 2_500, error: { type: '500' } });
      trace.sql(back, `UPDATE ${place}_levels SET left_over = left_over - 1 WHERE sku = '${world.id('s')}'`, {
        parent: serve,
        startUs: atUs + 3_000,
        us: 700,
        error: { type: '57014', message: 'canceling statement due to statement timeout' },
      });
      close(serve, trace);
      close(call, trace);
      close(root, trace);
      world.note({ kind: 'partial-write', grade: 'structural', about: place, traces: [trace.id] });
    },
  },
  {
    id: 'retry-without-idempotency',
    times: 200,
    play: (world, atUs, nth) => {
      const place = placeOf(nth);
      const client = world.service(`${place}-cart`);
      const server = world.service(`${place}-pay`);
      const trace = world.trace();
      const root = trace.serve(client, `POST /${place}/cart`, { startUs: atUs });
      const first = trace.call(client, `${place}-pay`, 'POST /charge', {
        parent: root,
        startUs: atUs + 500,
        us: 50_000,
        ...(nth % 2 === 0 ? { error: { type: 'timeout' } } : { status: 503, error: { type: '503' } }),
      });
      const second = trace.call(client, `${place}-pay`, 'POST /charge', { parent: root, startUs: first.endUs + 10_000, us: 5_000 });
      for (const call of nth % 2 === 0 ? [first, second] : [second]) {
        const serve = trace.serve(server, 'POST /charge', { parent: call, startUs: call.startUs + 300, us: 2_000 });
        trace.sql(server, `INSERT INTO ${place}_charges (id) VALUES ('${world.id('ch')}')`, {
          parent: serve,
          startUs: serve.startUs + 300,
          us: 700,
        });
      }
      close(root, trace);
      world.note({ kind: 'retry-without-idempotency', grade: 'structural', about: place, traces: [trace.id] });
    },
  },
];
