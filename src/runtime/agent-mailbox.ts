/**
 * Calls to agents, through our own PostgreSQL: a worker puts a call there and waits; an agent, which can reach us while we cannot reach
 * it, asks any of our API processes for what waits and posts the answer. State is in the tables; notifications only save time. An agent
 * that dies before it answered loses its lease and the next one gets the call: every call may be carried out twice (reads say the same,
 * effects are compare-and-set and answer `already-applied`). One that dies in the middle of an answer fails the call.
 *
 *   waiting ──take──► taken ──parts──► done | failed
 *      ▲────lease over, no part sent────┘
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import type { CallChannel } from '../io/replicas/remote/remote.ts';
import type { RemoteCall } from '../io/replicas/remote/wire.ts';
import {
  addAgentCall,
  dropAgentCall,
  isAgentHere,
  listenAgents,
  offerAgentCallAgain,
  readAgentCall,
  takeAgentCalls,
  takeAgentParts,
  type StoredCall,
} from '../io/store/agent-calls.ts';
import type { Database } from '../io/store/database.ts';

export interface AgentMailbox extends CallChannel {
  /** For an agent: what waits for its replica, waiting up to `waitMs` for the first; empty then. */
  take(who: AgentName, limit: number, waitMs: number, signal: AbortSignal): Promise<readonly StoredCall[]>;
  close(): Promise<void>;
}

export interface AgentName {
  readonly collection: string;
  readonly replica: string;
  readonly agent: string;
}

/** How long a notification that was missed costs. */
const pollMs = 1_000;

export function openAgentMailbox(database: Database, clock: Clock): AgentMailbox {
  const waiters = new Map<string, Set<() => void>>();
  let listening: Promise<() => Promise<void>> | undefined;
  const ring = (payload: string): void => {
    for (const wake of waiters.get(payload) ?? []) wake();
  };

  /** Until `payload` is notified, a poll interval has passed, or the caller gives up. Never throws. */
  const heard = async (payload: string, ms: number, signal: AbortSignal): Promise<void> => {
    listening ??= listenAgents(database, ring).catch((error: unknown) => {
      listening = undefined;
      throw error;
    });
    // Without notifications the poll interval still finds everything.
    await listening.catch(() => undefined);
    const stop = new AbortController();
    const wakers = waiters.get(payload) ?? new Set();
    waiters.set(payload, wakers);
    const wake = (): void => stop.abort();
    wakers.add(wake);
    try {
      await delay(ms, undefined, { signal: AbortSignal.any([stop.signal, signal]) });
    } catch {
      // Woken, or aborted: the caller looks which.
    } finally {
      wakers.delete(wake);
      if (wakers.size === 0) waiters.delete(payload);
    }
  };

  async function* call(collection: string, replica: string, request: RemoteCall, signal: AbortSignal): AsyncGenerator<unknown> {
    if (!(await isAgentHere(database, collection, replica))) throw awayFailure(collection, replica);
    const { method, purpose, args, holder } = request;
    const id = await addAgentCall(database, { collection, replica, method, purpose, args, holder });
    let read = 0;
    try {
      for (;;) {
        signal.throwIfAborted();
        const progress = await readAgentCall(database, id);
        if (progress === undefined)
          throw new Failure('agent-failed', `a call to the agent of ${replica} of ${collection} was lost.`, 'later');
        if (progress.parts > read) {
          const parts = await takeAgentParts(database, id, read);
          read += parts.length;
          yield* parts;
          continue;
        }
        if (progress.state === 'done') return;
        if (progress.state === 'failed') {
          const { code, message, retry } = progress.failure ?? { code: 'agent-failed', message: 'the agent failed.', retry: 'later' };
          throw new Failure(code, message, retry);
        }
        if (progress.state === 'taken' && progress.isLeaseOver && !(await offerAgentCallAgain(database, id)))
          throw new Failure(
            'agent-failed',
            `the agent of replica ${replica} of ${collection} went silent in the middle of an answer: it is asked again.`,
            'later',
          );
        if (progress.state === 'waiting' && !(await isAgentHere(database, collection, replica, holder)))
          throw holder === undefined
            ? awayFailure(collection, replica)
            : new Failure(
                'scan-ended',
                `the agent of replica ${replica} of ${collection} that had this scan is gone: compare again.`,
                'later',
              );
        await heard(`part ${id}`, pollMs, signal);
      }
    } finally {
      // Also where the reader has left early: the agent sees that nobody wants the rest.
      await dropAgentCall(database, id).catch(() => undefined);
    }
  }

  return {
    call,
    take: async (who, limit, waitMs, signal) => {
      const untilMs = clock.monotonicMs() + waitMs;
      for (;;) {
        // What an agent takes after it has gone would wait for its lease to run out.
        if (signal.aborted) return [];
        const taken = await takeAgentCalls(database, who, limit);
        const leftMs = untilMs - clock.monotonicMs();
        if (taken.length > 0 || leftMs <= 0 || signal.aborted) return taken;
        await heard(`call ${who.collection} ${who.replica}`, Math.min(pollMs, leftMs), signal);
      }
    },
    close: async () => {
      const stop = await listening?.catch(() => undefined);
      await stop?.();
    },
  };
}

function awayFailure(collection: string, replica: string): Failure {
  return new Failure(
    'replica-down',
    `replica ${replica} of ${collection} is reached through an agent, and none is calling: start one beside it with homeostat agent --collection ${collection} --replica ${replica} --server URL.`,
    'later',
  );
}
