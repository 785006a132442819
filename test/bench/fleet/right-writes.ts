import { close, type Scenario } from './world.ts';

/** Writes that are right and look much like the faults. */
export const rightWrites: readonly Scenario[] = [
  {
    id: 'caches',
    times: 400,
    play: (world, atUs, nth) => {
      const service = world.service(`menu-${nth % 4}`);
      const key = `dish:${world.rng.int(40)}`;
      const trace = world.trace();
      const isRead = nth % 2 === 0;
      const root = trace.serve(service, isRead ? 'GET /dishes' : 'PUT /dishes', { startUs: atUs });
      const redis = (text: string, startUs: number): void => {
        const shown = service.language === 'python' ? text.replaceAll(/(?<= )\S+/g, '?') : text;
        trace.span(service, text.split(' ')[0] ?? '', {
          kind: 3,
          parent: root,
          startUs,
          us: 200,
          attributes: {
            ...(service.convention === 'current'
              ? { 'db.system.name': 'redis', 'db.query.text': shown }
              : { 'db.system': 'redis', 'db.statement': shown }),
            'server.address': 'menu-redis',
          },
        });
      };
      if (isRead) {
        redis(`GET ${key}`, atUs + 200);
        trace.sql(service, `SELECT id, name FROM dishes WHERE id = '${key}'`, { parent: root, startUs: atUs + 600, us: 700, rows: 1 });
        redis(nth % 4 === 0 ? `SETEX ${key} 60 v` : `SET ${key} v EX 60`, atUs + 1_600);
      } else {
        trace.sql(service, `UPDATE dishes SET name = 'n' WHERE id = '${key}'`, { parent: root, startUs: atUs + 600, us: 700 });
        redis(nth % 4 === 1 ? `DEL ${key}` : `SET ${key} v EX 60`, atUs + 1_600);
      }
      close(root, trace);
    },
  },
  {
    id: 'two-phase commit',
    times: 80,
    play: (world, atUs, nth) => {
      const service = world.service('exchange', undefined, { showsTransactions: true, language: nth % 2 === 0 ? 'nodejs' : '' });
      const trace = world.trace();
      const root = trace.serve(service, 'POST /trades', { startUs: atUs });
      for (const [at, host] of ['left-db', 'right-db'].entries()) {
        const startUs = atUs + 500 + at * 1_500;
        trace.sql(service, 'BEGIN', { parent: root, startUs, us: 100, host });
        trace.sql(service, `INSERT INTO legs (trade) VALUES ('t${nth}')`, { parent: root, startUs: startUs + 300, us: 300, host });
        trace.sql(service, `PREPARE TRANSACTION 't${nth}'`, { parent: root, startUs: startUs + 900, us: 300, host });
      }
      for (const [at, host] of ['left-db', 'right-db'].entries())
        trace.sql(service, `COMMIT PREPARED 't${nth}'`, { parent: root, startUs: atUs + 5_000 + at * 600, us: 300, host });
      close(root, trace);
    },
  },
  {
    // Schemas of one server are one store: one transaction spans both.
    id: 'two schemas of one server',
    times: 80,
    play: (world, atUs, nth) => {
      const service = world.service('payroll');
      const trace = world.trace();
      const root = trace.serve(service, 'POST /payslips', { startUs: atUs });
      for (const [at, table] of ['staff.people', 'money.payslips'].entries())
        trace.sql(service, `INSERT INTO ${table} (id) VALUES ('p${nth}')`, {
          parent: root,
          startUs: atUs + 400 + at * 900,
          us: 400,
          system: 'mysql',
          host: 'payroll-db',
          attributes:
            service.convention === 'current' ? { 'db.namespace': table.split('.')[0] ?? '' } : { 'db.name': table.split('.')[0] ?? '' },
        });
      close(root, trace);
    },
  },
  {
    // Sent again where that is safe: reads, refused connections, answers that say nothing was done, keys, an idempotent receiver.
    id: 'safe retries',
    times: 240,
    play: (world, atUs, nth) => {
      const way = nth % 6;
      const client = world.service(`caller-${way}`);
      const server = world.service(`callee-${way}`);
      const trace = world.trace();
      const root = trace.serve(client, 'POST /run', { startUs: atUs });
      const route = ['GET /stock', 'POST /charge', 'POST /charge', 'POST /charge', 'PUT /charge', 'POST /charge'][way] ?? '';
      const header = way === 3 ? { attributes: { 'http.request.header.idempotency-key': `k-${nth}` } } : {};
      const failure = [
        { status: 503, error: { type: '503' } },
        { error: { type: 'ECONNREFUSED' } },
        { status: 429, error: { type: '429' } },
        { status: 503, error: { type: '503' } },
        { error: { type: 'timeout' } },
        { status: 504, error: { type: '504' } },
      ][way];
      const first = trace.call(client, server.name, route, { parent: root, startUs: atUs + 300, us: 20_000, ...failure, ...header });
      const second = trace.call(client, server.name, route, { parent: root, startUs: first.endUs + 9_000, us: 6_000, ...header });
      for (const [at, call] of [first, second].entries()) {
        if (at === 0 && (way === 1 || way === 2)) continue;
        const serve = trace.serve(server, route, { parent: call, startUs: call.startUs + 300, us: 2_000 });
        const sql = way === 0 ? `SELECT n FROM stock WHERE sku = 's${nth}'` : `INSERT INTO charges (id, k) VALUES ('c${nth}', 'k${nth}')`;
        trace.sql(server, way >= 4 ? `${sql} ON CONFLICT (k) DO NOTHING` : sql, { parent: serve, startUs: serve.startUs + 300, us: 500 });
      }
      close(root, trace);
    },
  },
  {
    // Statements in a loop, and a nightly job that works through a table.
    id: 'bulk writes and cron',
    times: 60,
    play: (world, atUs, nth) => {
      const service = world.service('ledger-job');
      const trace = world.trace();
      const root = trace.span(service, 'nightly', { startUs: atUs });
      trace.sql(service, 'SELECT id, amount FROM postings WHERE booked = false LIMIT 20', {
        parent: root,
        startUs: atUs + 300,
        us: 900,
        rows: 20,
      });
      for (let row = 0; row < 20; row += 1)
        trace.sql(service, `UPDATE postings SET booked = true WHERE id = ${nth * 20 + row}`, {
          parent: root,
          startUs: atUs + 2_000 + row * 800,
          us: 300,
        });
      for (let row = 0; row < 5; row += 1)
        trace.sql(service, `INSERT INTO totals (day, n) VALUES ('d${nth}', ${row})`, {
          parent: root,
          startUs: atUs + 20_000 + row * 500,
          us: 300,
        });
      close(root, trace);
    },
  },
  {
    // A refusal that is an answer: the row is there already, the stock is gone. The caller's own write goes back or needs nothing.
    id: 'refusals',
    times: 160,
    play: (world, atUs, nth) => {
      const way = nth % 3;
      const front = world.service(`front-${way}`, undefined, { showsTransactions: true, language: 'nodejs' });
      const back = world.service(`back-${way}`);
      const trace = world.trace();
      const isError = way === 1;
      const root = trace.serve(front, 'POST /signup', { startUs: atUs, ...(isError ? { error: { type: '500' } } : {}) });
      trace.sql(front, 'BEGIN', { parent: root, startUs: atUs + 200, us: 100 });
      trace.sql(front, `INSERT INTO signups (id) VALUES ('s${nth}')`, { parent: root, startUs: atUs + 500, us: 400 });
      const call = trace.call(front, back.name, 'POST /accounts', {
        parent: root,
        startUs: atUs + 1_500,
        us: 6_000,
        ...(isError ? { status: 500, error: { type: '500' } } : {}),
      });
      const serve = trace.serve(back, 'POST /accounts', {
        parent: call,
        startUs: atUs + 1_900,
        ...(isError ? { error: { type: '500' } } : {}),
      });
      if (way === 0)
        // Exists already: the receiver says so with 200.
        trace.sql(back, `INSERT INTO accounts (id) VALUES ('s${nth}')`, {
          parent: serve,
          startUs: atUs + 2_300,
          us: 400,
          error: { type: '23505', message: 'duplicate key value violates unique constraint (code: 23505)' },
        });
      else if (way === 1)
        trace.sql(back, `UPDATE pools SET left_over = left_over - 1 WHERE id = 'p'`, {
          parent: serve,
          startUs: atUs + 2_300,
          us: 400,
          error: { type: '23514', message: 'violates check constraint (code: 23514)' },
        });
      else trace.sql(back, `SELECT id FROM accounts WHERE id = 's${nth}'`, { parent: serve, startUs: atUs + 2_300, us: 400, rows: 1 });
      close(serve, trace);
      close(call, trace);
      // Seen to fail in time: the first write goes back with its transaction.
      trace.sql(front, isError ? 'ROLLBACK' : 'COMMIT', { parent: root, startUs: call.endUs + 300, us: 300 });
      close(root, trace);
    },
  },
  {
    // Read and written by the same request, in the two ways that race with nobody: by one worker at a time, and of different things.
    id: 'reads and writes that race with nobody',
    times: 200,
    play: (world, atUs, nth) => {
      const service = world.service('worker');
      const trace = world.trace();
      const root = trace.span(service, 'step', { startUs: atUs });
      trace.sql(service, `SELECT state FROM machines WHERE id = 'm1'`, { parent: root, startUs: atUs + 200, us: 300, rows: 1 });
      trace.sql(service, `UPDATE machines SET state = 's${nth}' WHERE id = 'm1'`, { parent: root, startUs: atUs + 900, us: 300 });
      close(root, trace);
      const other = world.service('lists');
      const listing = world.trace();
      const page = listing.serve(other, 'POST /seen', { startUs: atUs });
      listing.sql(other, `SELECT id, title FROM posts WHERE author = 'a${nth % 7}'`, {
        parent: page,
        startUs: atUs + 300,
        us: 400,
        rows: 9,
      });
      listing.sql(other, `UPDATE posts SET shown = 1 WHERE id = ${nth}`, { parent: page, startUs: atUs + 5_000, us: 400 });
      listing.sql(other, `SELECT id FROM readers WHERE id = 'r1'`, { parent: page, startUs: atUs + 6_000, us: 400, rows: 1 });
      listing.sql(other, `UPDATE readers SET last_seen = now() WHERE id = 'r1'`, { parent: page, startUs: atUs + 9_000, us: 400 });
      close(page, listing);
    },
  },
  {
    // Replicas read for what nobody just wrote, the primary for what somebody did.
    id: 'replicas used rightly',
    times: 200,
    play: (world, atUs, nth) => {
      const service = world.service('forum', undefined, { bindsValues: false });
      const session = { 'session.id': `member-${nth}` };
      const trace = world.trace();
      const root = trace.serve(service, 'POST /posts', { startUs: atUs, attributes: session });
      trace.sql(service, `INSERT INTO posts (id, body) VALUES (${nth}, 'b')`, {
        parent: root,
        startUs: atUs + 300,
        us: 400,
        host: 'forum-primary',
      });
      trace.sql(service, `SELECT id, body FROM posts WHERE id = ${nth}`, {
        parent: root,
        startUs: atUs + 900,
        us: 400,
        rows: 1,
        host: 'forum-primary',
      });
      trace.sql(service, `SELECT id, name FROM boards WHERE id = 1`, {
        parent: root,
        startUs: atUs + 1_500,
        us: 400,
        rows: 1,
        host: 'forum-replica',
      });
      close(root, trace);
      const later = world.trace();
      const page = later.serve(service, 'GET /posts', { startUs: atUs + 20_000_000, attributes: session });
      later.sql(service, `SELECT id, body FROM posts WHERE id = ${nth}`, {
        parent: page,
        startUs: atUs + 20_000_400,
        us: 400,
        rows: 1,
        host: 'forum-replica',
      });
      close(page, later);
    },
  },
  {
    // Steps of a workflow without attributes; some fail and are taken back.
    id: 'workflow that takes back what it did',
    times: 150,
    play: (world, atUs, nth) => {
      const desk = world.service('fairs', undefined, { showsTransactions: true, language: '' });
      const steps = ['stands', 'power', 'badges'] as const;
      const trace = world.trace();
      const failsAt = nth % 5 === 4 ? 2 : 3;
      const root = trace.serve(desk, 'POST /fairs', { startUs: atUs, ...(failsAt < 3 ? { error: { type: '500' } } : {}) });
      for (const [at, name] of steps.entries()) {
        if (at > failsAt) break;
        const isFailing = at === failsAt;
        const startUs = atUs + 1_000 + at * 5_000;
        const error = isFailing ? { error: { type: '500' } } : {};
        const call = trace.call(desk, `fair-${name}`, `POST /${name}`, {
          parent: root,
          startUs,
          us: 4_000,
          ...(isFailing ? { status: 500 } : {}),
          ...error,
        });
        const service = world.service(`fair-${name}`);
        const serve = trace.serve(service, `POST /${name}`, { parent: call, startUs: startUs + 300, ...error });
        trace.sql(service, `INSERT INTO ${name} (fair) VALUES ('f${nth}')`, {
          parent: serve,
          startUs: startUs + 600,
          us: 500,
          ...(isFailing ? { error: { type: '57014', message: 'canceling statement due to statement timeout' } } : {}),
        });
        close(serve, trace);
        close(call, trace);
      }
      for (let at = failsAt - 1; failsAt < 3 && at >= 0; at -= 1) {
        const name = steps[at] ?? '';
        const startUs = atUs + 30_000 + (2 - at) * 6_000;
        const call = trace.call(desk, `fair-${name}`, `DELETE /${name}`, { parent: root, startUs, us: 3_000 });
        const service = world.service(`fair-${name}`);
        const serve = trace.serve(service, `DELETE /${name}`, { parent: call, startUs: startUs + 300 });
        trace.sql(service, `DELETE FROM ${name} WHERE fair = 'f${nth}'`, { parent: serve, startUs: startUs + 600, us: 500 });
        close(serve, trace);
        close(call, trace);
      }
      close(root, trace);
    },
  },
];
