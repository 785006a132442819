import pg from 'pg';
import { collections, type Region, regions, type ShopCollection } from './regions.ts';

/** The demo's own look at the databases, in its own way: whole rows as text, one region beside the other. */
export interface RegionComparison {
  readonly isEqual: boolean;
  readonly rows: Readonly<Record<ShopCollection, number>>;
  /** `collection/key` of each row that is not the same in all regions. */
  readonly different: readonly string[];
}

export async function compareRegions(urls: Readonly<Record<Region, string>>): Promise<RegionComparison> {
  const clients = await Promise.all(regions.map((region) => connect(urls[region])));
  try {
    const rows = { accounts: 0, profiles: 0, orders: 0 };
    const different: string[] = [];
    for (const collection of collections) {
      const tables = await Promise.all(
        clients.map(async (client) => {
          const found = await client.query<{ id: string; row: string }>(
            `select id::text, t::text as row from ${pg.escapeIdentifier(collection)} t order by id`,
          );
          return new Map(found.rows.map((row) => [row.id, row.row]));
        }),
      );
      const keys = new Set(tables.flatMap((table) => Array.from(table.keys())));
      rows[collection] = keys.size;
      for (const key of keys) if (new Set(tables.map((table) => table.get(key))).size > 1) different.push(`${collection}/${key}`);
    }
    return { isEqual: different.length === 0, rows, different };
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** The columns of `wanted` that some region does not have as they have to be: a repair that made the regions equal, and wrong. */
export async function findWrongRows(
  urls: Readonly<Record<Region, string>>,
  wanted: readonly { readonly collection: string; readonly key: string; readonly row: Readonly<Record<string, string>> }[],
): Promise<readonly string[]> {
  const wrong: string[] = [];
  for (const region of regions) {
    const client = await connect(urls[region]);
    try {
      for (const { collection, key, row } of wanted) {
        const { rows } = await client.query<Record<string, unknown>>(
          `select to_jsonb(t) as row from ${pg.escapeIdentifier(collection)} t where id::text = $1`,
          [key],
        );
        const there = rows[0]?.['row'] as Record<string, unknown> | undefined;
        for (const [column, value] of Object.entries(row))
          if (there === undefined || !isSameValue(there[column], value)) wrong.push(`${collection}/${key} ${column} in ${region}`);
      }
    } finally {
      await client.end();
    }
  }
  return wrong;
}

/** `12.50` and `12.5` are one amount: JSON numbers lose the scale. */
function isSameValue(there: unknown, wanted: string): boolean {
  return String(there) === wanted || (typeof there === 'number' && there === Number(wanted));
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url, application_name: 'demo judge' });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}
