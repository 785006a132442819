import { setTimeout as delay } from 'node:timers/promises';
import type { Collection } from '../domain/collection.ts';
import { keyText, type Key } from '../domain/row.ts';
import { closeEmptyCase } from './close-case.ts';
import { agreedShape, compareKeys, confirmDivergences } from './compare.ts';
import type { RuntimeContext } from './context.ts';
import { parseObjectKey } from './explain-case.ts';
import { recordFound } from './scan-loop.ts';
import { nextScanNumber, resolveKeys } from '../io/store/divergences.ts';
import { countKeysChecked, takeTouchedKeys } from '../io/store/write-evidence.ts';
import { sayError } from '../io/telemetry/log.ts';

/*
 * Between scans, only what traces saw written is compared: a quiet minute costs nothing, a busy one costs what changed, and a change
 * that never reached a replica is seen a staleness budget after it was made, however far away the next scan is. What traces do not
 * show (a write by hand, a service without instrumentation) waits for the scan, which trusts nobody.
 */

const tickMs = 300;
/** Keys compared at once: one read a replica. */
const keysAtOnce = 500;
/** A write gets this long to reach every replica before it is looked at; a shorter staleness budget shortens it. */
const settleMs = 1_000;
/** A collection whose comparison failed is left alone for this long: its scan says what is wrong. */
const restMs = 5_000;

export interface TouchedKeysLoop {
  close(): Promise<void>;
}

export function startTouchedKeysLoop(context: RuntimeContext): TouchedKeysLoop {
  const stopping = new AbortController();
  const loops = Object.values(context.collections).map(async (collection) => {
    while (!stopping.signal.aborted) {
      let waitMs = tickMs;
      try {
        if ((await checkTouchedKeys(context, collection, stopping.signal)) >= keysAtOnce) waitMs = 0;
      } catch (error) {
        waitMs = restMs;
        if (!stopping.signal.aborted)
          context.log('warn', `keys of ${collection.name} that were written could not be compared: ${sayError(error)}`, {
            collection: collection.name,
          });
      }
      await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  });
  return {
    close: async () => {
      stopping.abort();
      await Promise.allSettled(loops);
    },
  };
}

/** Compares the keys that were written since the last look; returns how many. */
export async function checkTouchedKeys(context: RuntimeContext, collection: Collection, signal: AbortSignal): Promise<number> {
  const { database, clock, metrics } = context;
  const stalenessMs = context.domains[collection.domain]?.stalenessMs ?? 0;
  const beforeMs = clock.nowMs() - Math.min(stalenessMs, settleMs);
  const texts = await database.transaction((tx) => takeTouchedKeys(tx, collection.name, beforeMs, keysAtOnce));
  if (texts.length === 0) return 0;
  const connections = await context.replicas.connections(collection.name);
  // A number above every scan that runs now, so that none of them takes for gone what it has read past already.
  const scan = await nextScanNumber(database);
  const shape = await agreedShape(collection, connections, signal);
  const keys = [...new Map(texts.flatMap((text) => parsed(shape, text))).values()];
  const seen = await compareKeys({ collection, connections, keys, shape, clock, signal });
  await countKeysChecked(database, collection.name, keys.length);
  metrics.count('homeostat_keys_checked_total', { collection: collection.name }, keys.length);
  const { confirmed, healed } = await confirmDivergences({
    collection,
    connections,
    divergences: seen.divergences,
    shape,
    stalenessMs,
    clock,
    signal,
  });
  const equal = [...seen.equalKeys, ...healed].map((key) => keyText(shape.key, key));
  await database.transaction(async (tx) => {
    const nowMs = clock.nowMs();
    for (const caseId of await resolveKeys(tx, collection.name, equal, nowMs)) await closeEmptyCase(tx, caseId, 'gone', nowMs);
    await recordFound(tx, collection, confirmed, scan, nowMs);
  });
  metrics.count('homeostat_divergences_total', { collection: collection.name, status: 'confirmed' }, confirmed.length);
  return texts.length;
}

function parsed(shape: Parameters<typeof parseObjectKey>[0], text: string): readonly (readonly [string, Key])[] {
  const key = parseObjectKey(shape, text);
  return key === undefined ? [] : [[keyText(shape.key, key), key]];
}
