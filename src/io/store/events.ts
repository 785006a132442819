import type { Database, Queryable } from './database.ts';

/** Tells open pages that something changed, in whatever process they are served; carries ids only. */
export interface StoreEvent {
  readonly kind: 'anomaly' | 'divergence' | 'case' | 'proposal' | 'repair' | 'domain' | 'suggestion' | 'scan';
  readonly id: string;
  readonly domain?: string;
  readonly state?: string;
}

const channel = 'homeostat_events';

/** Delivered when the transaction commits; PostgreSQL drops equal ones of one transaction. */
export async function publishEvent(tx: Queryable, event: StoreEvent): Promise<void> {
  await tx.query('select pg_notify($1, $2)', [channel, JSON.stringify(event)]);
}

/** Hears events until the returned function is called. Missed ones are not repeated: readers reload their list when they connect. */
export function listenEvents(database: Database, heard: (event: StoreEvent) => void): Promise<() => Promise<void>> {
  return database.listen(channel, (payload) => {
    try {
      heard(JSON.parse(payload) as StoreEvent);
    } catch {
      // Not ours: another program may notify on a channel of this name.
    }
  });
}
