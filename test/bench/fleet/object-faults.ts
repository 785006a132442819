import type { Attributes } from './span.ts';
import { close, type Scenario, type World } from './world.ts';

/** Versions, sessions, contention and locks: one finding an object. */
export const objectFaults: readonly Scenario[] = [
  {
    id: 'lost-update',
    times: 50,
    play: (world, atUs, nth) => {
      const key = `stock-${nth}`;
      const traces = [0, 1].map((writer) =>
        versioned(world, 'stockroom', atUs + writer * 3_000, {
          operation: 'write',
          type: 'stock',
          key,
          version: 11 + writer,
          base: 10,
          session: `w${nth}${writer}`,
        }),
      );
      world.note({ kind: 'lost-update', grade: 'proven', about: key, traces, also: ['isolation', 'version-fork', 'lost-update-risk'] });
    },
  },
  {
    id: 'stale-read',
    times: 50,
    play: (world, atUs, nth) => {
      const key = `acct-${nth}`;
      const traces = [
        versioned(world, 'bank', atUs, { operation: 'write', type: 'account', key, version: 5, base: 4, domain: 'ledger', replica: 'eu' }),
        versioned(world, 'bank', atUs + 5_000_000, {
          operation: 'write',
          type: 'account',
          key,
          version: 6,
          base: 5,
          domain: 'ledger',
          replica: 'eu',
        }),
        versioned(world, 'statements', atUs + 12_000_000, {
          operation: 'read',
          type: 'account',
          key,
          version: 5,
          domain: 'ledger',
          replica: 'us',
        }),
      ];
      world.note({ kind: 'stale-read', grade: 'proven', about: key, traces, also: ['isolation'] });
    },
  },
  {
    id: 'non-monotonic-read',
    times: 50,
    play: (world, atUs, nth) => {
      const key = `note-${nth}`;
      const session = `reader-${nth}`;
      const traces = [
        versioned(world, 'notes', atUs, { operation: 'write', type: 'note', key, version: 3, base: 2 }),
        versioned(world, 'notes', atUs + 1_000_000, { operation: 'read', type: 'note', key, version: 3, session, replica: 'eu' }),
        versioned(world, 'notes', atUs + 2_000_000, { operation: 'read', type: 'note', key, version: 2, session, replica: 'us' }),
      ];
      world.note({ kind: 'non-monotonic-read', grade: 'proven', about: key, traces, also: ['stale-read', 'isolation'] });
    },
  },
  {
    id: 'read-your-writes',
    times: 50,
    play: (world, atUs, nth) => {
      const key = `cart-${nth}`;
      const session = `buyer-${nth}`;
      const traces = [
        versioned(world, 'carts', atUs, { operation: 'write', type: 'cart', key, version: 8, base: 7, session, replica: 'eu' }),
        versioned(world, 'carts', atUs + 800_000, { operation: 'read', type: 'cart', key, version: 7, session, replica: 'us' }),
      ];
      world.note({
        kind: 'read-your-writes',
        grade: 'proven',
        about: key,
        traces,
        also: ['stale-read', 'non-monotonic-read', 'replica-read-after-write', 'isolation'],
      });
    },
  },
  {
    id: 'version-fork',
    times: 50,
    play: (world, atUs, nth) => {
      const key = `tariff-${nth}`;
      const traces = ['eu', 'us'].map((replica, at) =>
        versioned(world, 'tariffs', atUs + at * 2_000_000, {
          operation: 'read',
          type: 'tariff',
          key,
          version: 4,
          replica,
          digest: `d-${nth}-${replica}`,
        }),
      );
      world.note({ kind: 'version-fork', grade: 'proven', about: key, traces });
    },
  },
  {
    id: 'write-contention',
    times: 90,
    play: (world, atUs, nth) => {
      const table = ['seats', 'tickets', 'slots'][nth % 3] ?? 'seats';
      const service = world.service(`${table}-desk`);
      const trace = world.trace();
      const root = trace.serve(service, `POST /${table}`, { startUs: atUs, error: { type: '409' } });
      const error = [
        { type: '40001', message: 'could not serialize access due to concurrent update' },
        { type: 'DatabaseError', message: 'deadlock detected (code: 40P01)' },
        { type: '55P03', message: 'canceling statement due to lock timeout' },
      ][nth % 3];
      const status: Attributes =
        service.convention === 'current' ? { 'db.response.status_code': ['40001', '40P01', '55P03'][nth % 3] ?? '' } : {};
      trace.sql(service, `UPDATE ${table} SET holder = 'x' WHERE id = 'hot-${table}'`, {
        parent: root,
        startUs: atUs + 500,
        us: 9_000,
        attributes: status,
        ...(error === undefined ? {} : { error }),
      });
      close(root, trace);
      world.note({ kind: 'write-contention', grade: 'proven', about: table, traces: [trace.id] });
    },
  },
  {
    id: 'lost-update-risk',
    times: 60,
    play: (world, atUs, nth) => {
      // One finding a place in the code: six services with the same mistake.
      const place = `counters-${nth % 6}`;
      const service = world.service(place);
      const traces = [0, 1].map((writer) => {
        const trace = world.trace();
        const startUs = atUs + writer * 2_000;
        const root = trace.serve(service, 'POST /visits', { startUs });
        trace.sql(service, `SELECT visits FROM pages WHERE id = 'page-${nth}'`, { parent: root, startUs: startUs + 300, us: 700, rows: 1 });
        trace.sql(service, `UPDATE pages SET visits = ${nth + 1} WHERE id = 'page-${nth}'`, {
          parent: root,
          startUs: startUs + 6_000,
          us: 700,
        });
        close(root, trace);
        return trace.id;
      });
      world.note({ kind: 'lost-update-risk', grade: 'risk', about: place, traces, also: ['write-contention'] });
    },
  },
  {
    id: 'replica-read-after-write',
    times: 60,
    play: (world, atUs, nth) => {
      const place = `settings-${nth % 6}`;
      const service = world.service(place);
      const trace = world.trace();
      const attributes = { 'session.id': `browser-${nth}` };
      const key = `set-${nth}`;
      const root = trace.serve(service, 'PUT /settings', { startUs: atUs, attributes });
      trace.sql(service, `UPDATE settings SET theme = 'dark' WHERE id = '${key}'`, {
        parent: root,
        startUs: atUs + 400,
        us: 700,
        host: `${place}-primary`,
        attributes,
      });
      trace.sql(service, `SELECT theme FROM settings WHERE id = '${key}'`, {
        parent: root,
        startUs: atUs + 4_000,
        us: 500,
        host: `${place}-replica`,
        rows: 1,
        attributes,
      });
      close(root, trace);
      world.note({ kind: 'replica-read-after-write', grade: 'risk', about: place, traces: [trace.id] });
    },
  },
];

interface VersionedStep {
  readonly operation: 'read' | 'write';
  readonly type: string;
  readonly key: string;
  readonly version: number;
  readonly base?: number;
  readonly session?: string;
  readonly replica?: string;
  readonly domain?: string;
  readonly digest?: string;
}

/** One trace with one versioned access; gives its trace id. */
export function versioned(world: World, serviceName: string, startUs: number, step: VersionedStep): string {
  const service = world.service(serviceName);
  const trace = world.trace();
  const attributes: Record<string, string | number> = {
    'consistency.operation': step.operation,
    'consistency.object.type': step.type,
    'consistency.object.key': step.key,
    'consistency.version': step.version,
  };
  if (step.base !== undefined) attributes['consistency.version.base'] = step.base;
  if (step.session !== undefined) attributes['consistency.session.id'] = step.session;
  if (step.replica !== undefined) attributes['consistency.replica.id'] = step.replica;
  if (step.domain !== undefined) attributes['consistency.domain'] = step.domain;
  if (step.digest !== undefined) attributes['consistency.value.digest'] = step.digest;
  trace.span(service, `${step.operation} ${step.type}`, { kind: 3, startUs, us: 1_000, attributes });
  return trace.id;
}
