/**
 * The loop of an agent: asks the service for calls on the replica that it serves, carries several out at a time, posts their answers
 * part by part, and pushes a checksum of the whole collection now and then. A service that is away is tried again for ever, with
 * growing pauses; a service that refuses (wrong token, other version) ends the loop with its sentence. On abort nothing new is taken,
 * and what is being done is finished and posted.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { Failure } from '../base/failure.ts';
import type { Collection, Replica } from '../domain/collection.ts';
import { everyKey } from '../domain/key-range.ts';
import type { ReplicaConnection } from '../io/replicas/replica.ts';
import { answerCall } from '../io/replicas/remote/answer-call.ts';
import { OpenScans } from '../io/replicas/remote/open-scans.ts';
import { PROTOCOL, type RemoteCall } from '../io/replicas/remote/wire.ts';
import { sayError } from '../io/telemetry/log.ts';

export interface AgentTarget {
  readonly collection: Collection;
  readonly replica: Replica;
  /** Unique to this run. */
  readonly agent: string;
  readonly clock: Clock;
  readonly mayLeave: boolean;
  readonly mayWrite: boolean;
  open(): Promise<ReplicaConnection>;
  /** Posts to the service and gives its answer. Throws `Failure`, `retry: 'later'` where the service is away. */
  post(body: unknown, signal: AbortSignal): Promise<unknown>;
  say(says: string, facts: Readonly<Record<string, unknown>>): void;
  warn(text: string): void;
}

interface Call extends RemoteCall {
  readonly id: number;
}

interface Reply {
  readonly calls: readonly Call[];
  readonly gone: readonly number[];
  readonly unread: Readonly<Record<string, number>>;
  readonly through: 'agent' | 'direct';
  readonly scanEveryMs: number;
}

/** Two comparisons and their confirmations; more would only compete for the store. */
const callsAtOnce = 4;
const waitMs = 8_000;
/** Parts that the service has not taken: entries of about half a megabyte each. */
const partsAhead = 8;
const busyEveryMs = 5_000;
const longestPauseMs = 30_000;
/** A checksum is a scan of its own; where the service asks for sketches, one at the start is enough. */
const checksumAtMostEveryMs = 60_000;

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { readonly version: string };

export async function serveReplica(target: AgentTarget, options: { readonly once: boolean; readonly signal: AbortSignal }): Promise<void> {
  const { collection, replica, clock } = target;
  const connections = new Map<string, ReplicaConnection>();
  const connection = async (purpose: string): Promise<ReplicaConnection> => {
    const known = connections.get(purpose) ?? (await target.open());
    connections.set(purpose, known);
    return known;
  };
  const scans = new OpenScans(target.agent);
  const running = new Map<number, { readonly stop: AbortController; readonly done: Promise<void> }>();
  const ending = new AbortController();

  /** Until the service takes it, or refuses it for good. */
  const post = async (fields: object, signal: AbortSignal): Promise<Reply> => {
    for (let pauseMs = 250; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      try {
        const body = { protocol: PROTOCOL, version, collection: collection.name, replica: replica.id, agent: target.agent, ...fields };
        return (await target.post(body, signal)) as Reply;
      } catch (error) {
        if (signal.aborted || options.once || !(error instanceof Failure) || error.retry === 'never') throw error;
        if (pauseMs === 250) target.warn(`${sayError(error)} It is tried again.`);
        await delay(pauseMs * (0.5 + Math.random()), undefined, { signal });
      }
    }
  };

  const checksum = async (): Promise<Reply> => {
    const open = await connection('repair');
    const shape = await open.describe(options.signal);
    const [digest] = await open.digest(shape, [everyKey], options.signal);
    const reply = await post({ checksum: digest }, options.signal);
    target.say(`Pushed the checksum of ${digest?.count ?? 0} rows of ${collection.name} on ${replica.id}.`, {
      event: 'checksum',
      collection: collection.name,
      replica: replica.id,
      count: digest?.count ?? 0,
      sum: digest?.sum ?? '',
      through: reply.through,
    });
    return reply;
  };

  const carryOut = async (call: Call, signal: AbortSignal): Promise<void> => {
    let seq = 0;
    const alive = setInterval(() => void renew(call.id), busyEveryMs);
    // A lost renewal is made good by the next one; a lost lease shows when the answer is posted.
    const renew = (id: number): Promise<void> =>
      post({ busy: [id] }, signal).then(
        (reply) => (reply.gone.includes(id) ? running.get(id)?.stop.abort() : undefined),
        () => undefined,
      );
    const give = async (part: unknown): Promise<void> => {
      for (let answer: object = { call: call.id, seq, part }; ; answer = { call: call.id, seq: seq - 1 }) {
        const reply = await post({ answers: [answer] }, signal);
        if (reply.gone.includes(call.id)) throw new Failure('not-wanted', 'nobody waits for this answer any more.', 'never');
        if ('part' in answer) seq += 1;
        if ((reply.unread[String(call.id)] ?? 0) <= partsAhead) return;
        await delay(100, undefined, { signal });
      }
    };
    try {
      await answerCall(call, {
        connection: await connection(call.purpose),
        mayLeave: target.mayLeave,
        mayWrite: target.mayWrite,
        scans,
        signal,
        give,
      });
      await post({ answers: [{ call: call.id, seq, end: 'done' }] }, signal);
      if (call.method === 'apply')
        target.say(`Executed effects on ${collection.name} as the service decided.`, { event: 'apply', call: call.id });
    } catch (error) {
      if (signal.aborted || (error instanceof Failure && error.code === 'not-wanted')) return;
      // The text of a foreign error may hold values.
      const failure =
        error instanceof Failure
          ? { code: error.code, message: error.message, retry: error.retry }
          : {
              code: 'agent-failed',
              message: `the agent of ${replica.id} of ${collection.name} failed in ${call.method}: see its log.`,
              retry: 'later',
            };
      if (!(error instanceof Failure)) target.warn(sayError(error));
      await post({ answers: [{ call: call.id, seq, end: 'failed', failure }] }, signal).catch(() => undefined);
    } finally {
      clearInterval(alive);
    }
  };

  const start = (call: Call): void => {
    const stop = new AbortController();
    const done = carryOut(call, AbortSignal.any([stop.signal, ending.signal])).finally(() => running.delete(call.id));
    running.set(call.id, { stop, done });
  };

  try {
    let saidDirect = false;
    let checksumDueMs = Number.NEGATIVE_INFINITY;
    while (!options.signal.aborted) {
      if (clock.monotonicMs() >= checksumDueMs) {
        const { through, scanEveryMs } = await checksum();
        checksumDueMs = through === 'agent' ? Number.POSITIVE_INFINITY : clock.monotonicMs() + Math.max(scanEveryMs, checksumAtMostEveryMs);
        if (through === 'direct' && !saidDirect) {
          saidDirect = true;
          target.warn(
            `The service reads replica ${replica.id} of ${collection.name} itself; give the replica "via: agent" in its configuration to have it compared and repaired through this agent.`,
          );
        }
      }
      const take = callsAtOnce - running.size;
      if (take > 0) {
        const reply = await post({ busy: [...running.keys()], take, waitMs: options.once ? 0 : waitMs }, options.signal);
        for (const id of reply.gone) running.get(id)?.stop.abort();
        for (const call of reply.calls) start(call);
        if (options.once && reply.calls.length === 0 && running.size === 0) return;
      }
      if (running.size >= callsAtOnce || options.once) await Promise.race([...running.values()].map((one) => one.done));
    }
  } catch (error) {
    if (!options.signal.aborted) throw error;
  } finally {
    await Promise.allSettled([...running.values()].map((one) => one.done));
    ending.abort();
    await scans.closeAll();
    await Promise.allSettled([...connections.values()].map((one) => one.close()));
  }
}
