import type { Queue } from '../io/queue/queue.ts';
import { freeFeeds } from '../io/store/change-feeds.ts';
import { freeClaims } from '../io/store/repairs.ts';
import { freeScans } from '../io/store/scans.ts';
import { sayError } from '../io/telemetry/log.ts';
import { startChangeLoop } from './change-loop.ts';
import type { RuntimeContext } from './context.ts';
import { proposeForCase } from './propose-worker.ts';
import { RecentWrites } from './recent-writes.ts';
import { startRelay } from './relay.ts';
import { workOnRepair } from './repair-worker.ts';
import { startScanLoop } from './scan-loop.ts';
import { type SweeperOptions, startSweeper } from './sweeper.ts';
import { workOnSuggestion } from './suggestion-worker.ts';

/** Cases and repairs in work at once in one process: each holds up to two connections of the pool. */
const proposeConcurrency = 3;
const repairConcurrency = 3;

export interface Loops {
  /** Lets what is in work come to its next recorded step. */
  close(graceMs: number): Promise<void>;
}

/** Everything a worker does: compares, proposes, repairs, rings and sweeps. */
export async function startLoops(
  context: RuntimeContext,
  queue: Queue,
  options: { readonly isOnlyProcess: boolean; readonly sweeper?: SweeperOptions } = { isOnlyProcess: false },
): Promise<Loops> {
  // Whoever held a claim on our own embedded database is gone: its repairs go on now, not when their claims run out.
  if (options.isOnlyProcess) {
    await freeClaims(context.database, 0, 0);
    await freeScans(context.database);
    await freeFeeds(context.database);
  }
  const failed =
    (what: string) =>
    (subject: string, error: unknown): void => {
      context.metrics.count('homeostat_job_failures_total', { bell: what });
      context.log('warn', `${what} ${subject}: ${sayError(error)}`, { subject });
    };
  // What one loop is told, the other takes for a mark.
  const watching = { ...context, writes: new RecentWrites() };
  const changes = startChangeLoop(watching);
  const proposing: RuntimeContext = { ...context, lookAgain: (collection, keys) => changes.lookAgain(collection, keys) };
  await queue.answer('propose', proposeConcurrency, (subject, signal) => proposeForCase(proposing, subject, signal), failed('propose'));
  await queue.answer('repair', repairConcurrency, (subject, signal) => workOnRepair(context, subject, signal), failed('repair'));
  await queue.answer('suggestion', 1, (subject, signal) => workOnSuggestion(context, subject, signal), failed('suggestion'));
  const relay = await startRelay(context, queue);
  const sweeper = startSweeper(context, queue, options.sweeper);
  const scans = startScanLoop(watching);
  return {
    close: async (graceMs) => {
      // What makes work first, what does it last.
      await Promise.allSettled([scans.close(), changes.close(), sweeper.close(), relay.close()]);
      await queue.close(graceMs);
    },
  };
}
