import { createHash } from 'node:crypto';
import { context, propagation, trace } from '@opentelemetry/api';
import type pg from 'pg';
import type { Chaos, Region, ShopCollection } from './regions.ts';
import { otherRegions, regions } from './regions.ts';
import type { Tracing } from './tracing.ts';

export type Row = Readonly<Record<string, unknown>>;

/** A pool of connections into each region. */
export interface ShopStore {
  pool(region: Region): pg.Pool;
  /** Connections through a region's reader endpoint, as cloud databases have one: it promises nothing about how fresh its rows are. */
  reader(region: Region): pg.Pool;
  /** Runs in one transaction; rolls back where `work` throws. */
  transaction<T>(region: Region, work: (client: pg.PoolClient, transaction: string) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Change events take a while to cross an ocean, even when nothing is wrong, milliseconds. */
const ordinaryDelayMs = { least: 40, most: 350 };

export function openShopStore(tracing: Tracing, urls: Readonly<Record<Region, string>>): ShopStore {
  const open = (url: string, max: number): pg.Pool => {
    const made = new tracing.pg.Pool({ connectionString: url, max, application_name: 'shop' });
    // A connection that the server drops while idle is replaced at the next use.
    made.on('error', () => undefined);
    return made;
  };
  const readers = new Map(regions.map((region) => [region, open(readerUrl(urls[region]), 2)] as const));
  const pools = new Map(regions.map((region) => [region, open(urls[region], 6)] as const));
  const of = (some: ReadonlyMap<Region, pg.Pool>, region: Region): pg.Pool => {
    const found = some.get(region);
    if (found === undefined) throw new RangeError(`no region ${region}`);
    return found;
  };
  const pool = (region: Region): pg.Pool => of(pools, region);
  return {
    pool,
    reader: (region) => of(readers, region),
    async transaction(region, work) {
      const client = await pool(region).connect();
      let broken: Error | undefined;
      try {
        await client.query('begin');
        const id = trace.getActiveSpan()?.spanContext().spanId ?? 'none';
        const result = await work(client, `${region}-${id}-${Math.round(performance.now() * 1000)}`);
        await client.query('commit');
        return result;
      } catch (error) {
        await client.query('rollback').catch((failure: unknown) => {
          broken = failure instanceof Error ? failure : new Error(String(failure));
        });
        throw error;
      } finally {
        client.release(broken);
      }
    },
    close: async () => {
      await Promise.all([...pools.values(), ...readers.values()].map((each) => each.end()));
    },
  };
}

/** The same server under the name of its reader endpoint: what a client sees of it is another host. */
function readerUrl(url: string): string {
  const reader = new URL(url);
  if (reader.hostname === '127.0.0.1') reader.hostname = 'localhost';
  return reader.href;
}

/** Records, in the transaction of the write, what the other regions have to hear. */
export async function recordChange(
  client: pg.PoolClient,
  region: Region,
  change: { readonly collection: ShopCollection; readonly key: string; readonly version: number; readonly body: string },
  chaos: Chaos,
): Promise<void> {
  const destinations = otherRegions(region);
  const delays = destinations.map(
    () => (chaos.holdMs ?? 0) + ordinaryDelayMs.least + Math.random() * (ordinaryDelayMs.most - ordinaryDelayMs.least),
  );
  await client.query(
    `insert into changes (destination, collection, key, version, body, due, is_lost, traceparent)
     select d.region, $2, $3, $4, $5, clock_timestamp() + d.delay * interval '1 ms', d.lost, $8
     from unnest($1::text[], $6::float8[], $7::boolean[]) as d(region, delay, lost)`,
    [
      destinations,
      change.collection,
      change.key,
      change.version,
      change.body,
      delays,
      destinations.map((destination) => chaos.lose?.includes(destination) ?? false),
      currentTraceparent(),
    ],
  );
}

export function currentTraceparent(): string | null {
  const carrier: Record<string, string> = {};
  propagation.inject(context.active(), carrier);
  return carrier['traceparent'] ?? null;
}

/** `version` of the first row that came back. */
export function versionOf(rows: readonly Row[]): number | undefined {
  const version = rows[0]?.['version'];
  return typeof version === 'number' ? version : undefined;
}

/** The version that an update in the database itself was derived from. */
export function versionBefore(rows: readonly Row[]): number | undefined {
  const version = versionOf(rows);
  return version === undefined ? undefined : version - 1;
}

/** Digest of the JSON text that a write returned as `body`: jsonb writes equal rows as equal texts. */
export function digestOf(rows: readonly Row[]): string | undefined {
  const body = rows[0]?.['body'];
  return typeof body === 'string' ? shortDigest(body) : undefined;
}

export function shortDigest(body: string): string {
  return createHash('sha256').update(body).digest('hex').slice(0, 16);
}
