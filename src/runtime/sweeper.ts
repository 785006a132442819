import { setTimeout as delay } from 'node:timers/promises';
import type { Queue } from '../io/queue/queue.ts';
import { listCasesToPropose } from '../io/store/cases.ts';
import { pruneDivergences } from '../io/store/divergences.ts';
import { pruneOutbox } from '../io/store/outbox.ts';
import { forgetRows, listExpiredProposals, lockProposal } from '../io/store/proposals.ts';
import { freeClaims, listRepairsToContinue } from '../io/store/repairs.ts';
import { listSuggestionsToContinue } from '../io/store/suggestions.ts';
import { pruneSightings } from '../io/store/sightings.ts';
import { pruneWrites } from '../io/store/write-evidence.ts';
import { reopenCase } from '../io/store/cases.ts';
import { sayError } from '../io/telemetry/log.ts';
import { endProposal } from './close-case.ts';
import type { RuntimeContext } from './context.ts';
import { claimMs } from './repair-worker.ts';

export interface SweeperOptions {
  /** Time between sweeps. */
  readonly everyMs?: number;
  /** What has not moved for this long has lost its bell. */
  readonly quietMs?: number;
}

export interface Sweeper {
  close(): Promise<void>;
}

const sweepLimit = 500;
/** No case or repair waits longer than this for its next try. */
const longestWaitMs = 2 * 3_600_000;
const pruneEveryMs = 60_000;
/** How long resolved divergences, rung bells and write evidence are kept. */
const keepMs = 24 * 3_600_000;
const keepBellsMs = 3_600_000;
const evidenceRowsLimit = 2_000_000;

/**
 * Looks at the state tables, not at the queue, for what is due and has no bell: a lost queue, a ring that nobody answered, a wait
 * that is over. Also ends proposals that nobody decided, and keeps bounded what is kept for a time only.
 */
export function startSweeper(context: RuntimeContext, queue: Queue, options: SweeperOptions = {}): Sweeper {
  const stopping = new AbortController();
  const everyMs = options.everyMs ?? 1_000;
  let prunedAt = Number.NEGATIVE_INFINITY;
  const loop = (async () => {
    let isDown = false;
    while (!stopping.signal.aborted) {
      try {
        await sweepOnce(context, queue, options.quietMs ?? 3_000, stopping.signal);
        if (context.clock.monotonicMs() - prunedAt >= pruneEveryMs) {
          prunedAt = context.clock.monotonicMs();
          await pruneStore(context);
        }
        isDown = false;
      } catch (error) {
        if (!stopping.signal.aborted && !isDown) context.log('warn', `the sweep did not end: ${sayError(error)}`);
        isDown = true;
      }
      await delay(everyMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();
  return {
    close: async () => {
      stopping.abort();
      await Promise.allSettled([loop]);
    },
  };
}

/** One sweep; returns what it rang for. */
export async function sweepOnce(
  context: RuntimeContext,
  queue: Queue,
  quietMs: number,
  signal: AbortSignal,
): Promise<{ readonly cases: number; readonly repairs: number; readonly expired: number }> {
  const { database, clock, metrics } = context;
  const nowMs = clock.nowMs();
  // A clock that was set back leaves claims that end far in the future; no live worker claims further ahead than this.
  await freeClaims(database, nowMs + 2 * claimMs, nowMs + longestWaitMs);
  const repairs = await listRepairsToContinue(database, nowMs, nowMs - quietMs, sweepLimit);
  const cases = await listCasesToPropose(database, nowMs, nowMs - quietMs, nowMs + longestWaitMs, sweepLimit);
  // The number of the sweep's quiet period keeps one sweep from ringing twice for what the last one rang for.
  const period = Math.floor(nowMs / Math.max(1, quietMs));
  const timeout = AbortSignal.any([signal, AbortSignal.timeout(5_000)]);
  await queue.ring(
    'repair',
    repairs.map((id) => ({ id: `s-${id}-${period}`, subject: id })),
    timeout,
  );
  await queue.ring(
    'propose',
    cases.map((id) => ({ id: `s-${id}-${period}`, subject: id })),
    timeout,
  );
  const suggestions = await listSuggestionsToContinue(database, nowMs, sweepLimit);
  await queue.ring(
    'suggestion',
    suggestions.map((id) => ({ id: `s-${id}-${period}`, subject: id })),
    timeout,
  );
  if (repairs.length > 0) metrics.count('homeostat_swept_total', { bell: 'repair' }, repairs.length);
  if (cases.length > 0) metrics.count('homeostat_swept_total', { bell: 'propose' }, cases.length);
  const expired = await listExpiredProposals(database, nowMs, sweepLimit);
  for (const id of expired) await expireProposal(context, id);
  return { cases: cases.length, repairs: repairs.length, expired: expired.length };
}

/** Nobody decided in time: that is a no. */
async function expireProposal(context: RuntimeContext, id: string): Promise<void> {
  const { database, clock } = context;
  await database.transaction(async (tx) => {
    const proposal = await lockProposal(tx, id);
    const nowMs = clock.nowMs();
    if (proposal === null || proposal.state !== 'waiting' || proposal.expiresAtMs > nowMs) return;
    await reopenCase(tx, proposal.caseId, 'The last proposal expired: nobody decided in time.', nowMs, nowMs);
    await endProposal(tx, proposal, 'expired', 'homeostat', 'nobody decided in time', nowMs);
  });
}

async function pruneStore(context: RuntimeContext): Promise<void> {
  const { database, clock } = context;
  const nowMs = clock.nowMs();
  await pruneOutbox(database, nowMs - keepBellsMs);
  await pruneDivergences(database, nowMs - keepMs);
  await forgetRows(database, nowMs, nowMs - keepMs);
  await pruneWrites(database, (nowMs - keepMs) * 1000, evidenceRowsLimit);
  await pruneSightings(database, (nowMs - keepMs) * 1000);
}
