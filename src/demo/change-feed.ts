// The change feed: carries what each region wrote to the other two, in order of due time, idempotently, at least once. An event
// that the injector marked as lost is dropped here without a word, as a real feed does it.
import { setTimeout as delay } from 'node:timers/promises';
import { ROOT_CONTEXT, SpanKind } from '@opentelemetry/api';
import { isRegion, type Region, regions, type ShopCollection } from './regions.ts';
import { type ChildContext, runShopChild } from './shop-child.ts';
import { linkFrom } from './shop-http.ts';
import { shortDigest } from './shop-store.ts';
import { withFacts } from './tracing.ts';

interface Change {
  readonly id: string;
  readonly destination: string;
  readonly collection: ShopCollection;
  readonly key: string;
  readonly version: number;
  /** JSON text, as the source made it: a number or a time must not pass through JavaScript. */
  readonly body: string;
  readonly is_lost: boolean;
  readonly traceparent: string | null;
}

const pollEveryMs = 50;
const batchRows = 100;

/** Older news never overwrites newer: the version decides, so order of delivery does not matter. */
const upserts: Readonly<Record<ShopCollection, string>> = {
  profiles: `insert into profiles select * from jsonb_populate_record(null::profiles, $1)
    on conflict (id) do update set name = excluded.name, email = excluded.email, city = excluded.city, points = excluded.points,
      home = excluded.home, version = excluded.version, updated_at = excluded.updated_at
    where profiles.version < excluded.version`,
  accounts: `insert into accounts select * from jsonb_populate_record(null::accounts, $1)
    on conflict (id) do update set owner = excluded.owner, balance = excluded.balance, version = excluded.version, updated_at = excluded.updated_at
    where accounts.version < excluded.version`,
  orders: `insert into orders select * from jsonb_populate_record(null::orders, $1)
    on conflict (id) do update set status = excluded.status, total = excluded.total, version = excluded.version, updated_at = excluded.updated_at
    where orders.version < excluded.version`,
};

async function applyChange(context: ChildContext, change: Change, destination: Region): Promise<void> {
  const origin = change.traceparent === null ? undefined : linkFrom({ traceparent: change.traceparent }).context;
  const links = origin === undefined ? [] : [{ context: origin }];
  await context.tracing.tracer.startActiveSpan(
    `replicate ${change.collection}`,
    { kind: SpanKind.INTERNAL, links },
    ROOT_CONTEXT,
    async (span) => {
      try {
        const facts = {
          objectType: change.collection,
          objectKey: change.key,
          operation: 'write',
          replica: destination,
          version: () => change.version,
          ...(change.collection === 'profiles' ? { digest: () => shortDigest(change.body) } : {}),
        } as const;
        await withFacts(facts, () => context.store.pool(destination).query(upserts[change.collection], [change.body]));
      } finally {
        span.end();
      }
    },
  );
}

/** One round: what is due in a region's feed. Reading and forgetting run outside of any trace, as a log reader's do. */
async function carry(context: ChildContext, source: Region): Promise<number> {
  const pool = context.store.pool(source);
  const { rows } = await pool.query<Change>(
    'select id, destination, collection, key, version, body::text as body, is_lost, traceparent from changes where due <= clock_timestamp() order by due, id limit $1',
    [batchRows],
  );
  for (const change of rows) {
    if (context.signal.aborted) break;
    if (!change.is_lost && isRegion(change.destination)) await applyChange(context, change, change.destination);
    await pool.query('delete from changes where id = $1', [change.id]);
  }
  return rows.length;
}

async function carryUntilStopped(context: ChildContext, source: Region): Promise<void> {
  while (!context.signal.aborted) {
    // A region that cannot be reached keeps its events; the next round finds them again.
    const carried = await carry(context, source).catch(() => 0);
    if (carried < batchRows) await delay(pollEveryMs, undefined, { signal: context.signal }).catch(() => undefined);
  }
}

await runShopChild('change-feed', (context) => ({
  routes: [],
  work: Promise.all(regions.map((region) => carryUntilStopped(context, region))).then(() => undefined),
}));
