import { setTimeout as delay } from 'node:timers/promises';
import { bells } from '../domain/bell.ts';
import type { Queue } from '../io/queue/queue.ts';
import { markRung, outboxChannel, takeOutbox } from '../io/store/outbox.ts';
import { sayError } from '../io/telemetry/log.ts';
import type { RuntimeContext } from './context.ts';

/** Entries rung in one transaction. */
const batchEntries = 200;
/** How long an entry waits if its notification was missed. */
const pollMs = 1_000;
const ringTimeoutMs = 5_000;
const retryMs = 1_000;

export interface Relay {
  close(): Promise<void>;
}

/**
 * Carries the outbox to the queue, with the outbox id as job id. An entry is marked in the transaction that holds it while it is
 * rung: killed in between, it rings again, which the job id or, failing that, the workers' compare-and-set makes harmless.
 */
export async function startRelay(context: RuntimeContext, queue: Queue): Promise<Relay> {
  const stopping = new AbortController();
  let wake: (() => void) | undefined;
  const stopListening = await context.database.listen(outboxChannel, () => wake?.());
  const loop = (async () => {
    let isDown = false;
    while (!stopping.signal.aborted) {
      const heard = new Promise<void>((resolve) => (wake = resolve));
      try {
        while ((await relayOnce(context, queue, stopping.signal)) === batchEntries && !stopping.signal.aborted);
        if (isDown) context.log('info', 'the queue answers again');
        isDown = false;
        await Promise.race([heard, delay(pollMs, undefined, { signal: stopping.signal })]);
      } catch (error) {
        if (stopping.signal.aborted) break;
        // Once, not every second: the sweeper and this loop go on, and nothing is lost.
        if (!isDown) context.log('warn', sayError(error));
        isDown = true;
        await delay(retryMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    }
  })();
  return {
    close: async () => {
      stopping.abort();
      wake?.();
      await Promise.allSettled([loop]);
      await stopListening();
    },
  };
}

/** Rings what is unrung, at most one batch; returns how many. */
export async function relayOnce(context: RuntimeContext, queue: Queue, signal: AbortSignal): Promise<number> {
  return context.database.transaction(async (tx) => {
    const entries = await takeOutbox(tx, batchEntries);
    for (const bell of bells) {
      const rings = entries.filter((entry) => entry.bell === bell).map((entry) => ({ id: `o-${entry.id}`, subject: entry.subject }));
      await queue.ring(bell, rings, AbortSignal.any([signal, AbortSignal.timeout(ringTimeoutMs)]));
    }
    const nowMs = context.clock.nowMs();
    if (entries.length > 0)
      await markRung(
        tx,
        entries.map((entry) => entry.id),
        nowMs,
      );
    return entries.length;
  });
}
