/** Starts the feeds of all stores that can tell their writes, and the rounds that compare what was written. */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Collection, isCompared } from '../domain/collection.ts';
import type { Key } from '../domain/row.ts';
import { changeFeedOf } from '../io/replicas/changes/registry.ts';
import { forgetFeed, getInstallation, listFeeds } from '../io/store/change-feeds.ts';
import { sayError } from '../io/telemetry/log.ts';
import { ChangeCheck } from './check-changes.ts';
import type { RuntimeContext } from './context.ts';
import { recordReplicaStates } from './scan-loop.ts';
import { type Source, sourceId, watchSource } from './watch-source.ts';

/** Between two rounds of a collection. */
const roundEveryMs = 100;
/** Between two looks at what traces told. */
const touchedEveryMs = 300;
/** With nothing written, how often the replicas are asked where they are. */
const quietEveryMs = 5_000;
/** A collection whose replicas do not answer is left alone for this long: its scan says what is wrong. */
const restMs = 5_000;

export interface ChangeLoop {
  /** These keys are compared as those that were written are. */
  lookAgain(collection: string, keys: readonly Key[]): void;
  close(): Promise<void>;
}

export function startChangeLoop(context: RuntimeContext): ChangeLoop {
  const stopping = new AbortController();
  const { signal } = stopping;
  const compared = Object.values(context.collections).filter(isCompared);
  const checks = new Map(compared.map((one) => [one.name, new ChangeCheck(context, one)]));
  const rounds = compared.map((collection) => {
    const check = checks.get(collection.name);
    return check === undefined ? undefined : runRounds(context, collection, check, signal);
  });
  const feeds = watchAll(context, checks, signal);
  return {
    lookAgain: (collection, keys) => {
      for (const key of keys) checks.get(collection)?.mark(key);
    },
    close: async () => {
      stopping.abort();
      await Promise.allSettled([...rounds, feeds]);
    },
  };
}

async function watchAll(context: RuntimeContext, checks: ReadonlyMap<string, ChangeCheck>, signal: AbortSignal): Promise<void> {
  const sources = sourcesOf(Object.values(context.collections));
  const owner = `${process.pid}-${randomBytes(6).toString('hex')}`;
  while (!signal.aborted) {
    try {
      const installation = await getInstallation(context.database);
      await removeForgotten(context, sources, installation, signal);
      await Promise.all(sources.map((source) => watchSource(context, { source, checks, installation, owner, signal })));
      return;
    } catch (error) {
      // Our own store is away.
      context.log('warn', `changes are not read: ${sayError(error)}`);
      await delay(restMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** What an earlier configuration watched and this one does not: a store must not keep its log for nobody. */
async function removeForgotten(
  context: RuntimeContext,
  sources: readonly Source[],
  installation: string,
  signal: AbortSignal,
): Promise<void> {
  const { database, log } = context;
  for (const { source, feed } of await listFeeds(database)) {
    if (sources.some((one) => one.id === source)) continue;
    const replica = Object.values(context.collections)
      .flatMap((collection) => collection.replicas)
      .find((one) => sourceId(one) === source);
    if (replica === undefined) {
      // Another process may still have the old configuration, and its URL is all that we have not kept.
      log('warn', `a store that is no longer configured told its writes by ${feed}: drop the slots homeostat_${installation}_* there`, {
        source,
      });
      continue;
    }
    try {
      await changeFeedOf(replica.engine)?.remove(replica, installation, signal);
      await forgetFeed(database, source);
    } catch (error) {
      log('warn', `what told the writes of ${replica.id} could not be removed: ${sayError(error)}`, { source });
    }
  }
}

/** Replicas by store: one feed tells all collections of a database. */
export function sourcesOf(collections: readonly Collection[]): readonly Source[] {
  const replicas = collections.flatMap((collection) =>
    collection.changes === undefined
      ? []
      : collection.replicas.flatMap((replica) => (replica.via === 'agent' ? [] : [{ collection, replica, changes: collection.changes }])),
  );
  return [...Map.groupBy(replicas, ({ replica }) => sourceId(replica)).entries()].flatMap(([id, members]) => {
    const [first] = members;
    const feed = first === undefined ? undefined : changeFeedOf(first.replica.engine);
    if (feed === undefined) return [];
    const bounds = members.flatMap(({ changes }) => (changes === undefined ? [] : [changes.maxRetainedBytes]));
    const isDurable = members.some(({ changes }) => changes?.isDurable === true);
    return [{ id, feed, maxRetainedBytes: Math.min(...bounds), isDurable, replicas: members }];
  });
}

async function runRounds(context: RuntimeContext, collection: Collection, check: ChangeCheck, signal: AbortSignal): Promise<void> {
  const { clock, log } = context;
  let touchedMs = 0;
  let quietMs = clock.monotonicMs();
  let hasResumed = false;
  while (!signal.aborted) {
    let waitMs = roundEveryMs;
    try {
      if (!hasResumed) await check.resume();
      hasResumed = true;
      const nowMs = clock.monotonicMs();
      if (nowMs - touchedMs >= touchedEveryMs) {
        touchedMs = nowMs;
        await check.takeTouched(signal);
      }
      const round = await check.round(signal);
      if (round.keys > 0) quietMs = nowMs;
      else if (nowMs - quietMs >= quietEveryMs && check.told.size > 0) {
        quietMs = nowMs;
        await quietRound(context, collection, signal);
      }
    } catch (error) {
      waitMs = restMs;
      if (!signal.aborted)
        log('warn', `keys of ${collection.name} that were written could not be compared: ${sayError(error)}`, {
          collection: collection.name,
        });
    }
    await delay(waitMs, undefined, { signal }).catch(() => undefined);
  }
}

/** Nothing was written: only where each replica is. Throws the failure of the first that does not answer. */
export async function quietRound(context: RuntimeContext, collection: Collection, signal: AbortSignal): Promise<void> {
  await recordReplicaStates(context, collection, await context.replicas.connections(collection.name), signal);
}
