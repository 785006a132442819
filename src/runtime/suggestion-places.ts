import { type Clock, systemClock } from '../base/clock.ts';
import type { PlacementTarget } from '../domain/placement-target.ts';
import type { ClientLegs } from '../forecast/client-legs.ts';
import type { TracedLook } from '../forecast/read-looks.ts';
import type { StandbyLags, Subject } from '../forecast/suggester.ts';
import type { Database } from '../io/store/database.ts';
import { countStaleReads } from '../io/store/anomalies.ts';
import { listMoves } from '../io/store/suggestions.ts';
import type { Target } from '../io/targets/target.ts';
import { createClientRecord } from './client-record.ts';

/** What suggesters may know of a collection beyond its load. */
export interface PlaceFacts {
  readonly of: Pick<Subject, 'cluster' | 'standbys' | 'clients' | 'movedAtMs'>;
  /** A suggestion for it is approved or being carried out. */
  readonly isPending: boolean;
}

export interface SuggestionPlaces {
  /** What reads saw of what had just been written; kept for as long as the lags of their moments. */
  see(looks: readonly TracedLook[]): void;
  /** Operations of clients that ask every replica themselves; kept for an hour. */
  learn(legs: readonly ClientLegs[]): void;
  look(nowMs: number, signal: AbortSignal): Promise<ReadonlyMap<string, PlaceFacts>>;
  close(): Promise<void>;
}

/** Lags are asked for this often; an hour of them is kept. */
const sampleMs = 1_000;
const keptMoments = 3_600;
const askTimeoutMs = 5_000;
/** Looks of all collections: far more than a curve needs, and few enough that its intervals take a fraction of a second. */
const keptLooks = 20_000;

interface Kept {
  waitsFor: number;
  /** Since when commits wait for so many, as far as we have seen. */
  sinceMs: number;
  /** When each moment was. */
  readonly atMs: number[];
  readonly lags: Map<string, { readonly writeMs: number[]; readonly flushMs: number[]; readonly replayMs: number[] }>;
}

/** Asks the targets where things are, and samples how far standbys are behind, the same moments for all of them. */
export function openSuggestionPlaces(
  declared: readonly PlacementTarget[],
  targets: Readonly<Record<string, Target>>,
  database: Database,
  onError: (error: unknown) => void,
  everyMs = sampleMs,
  clock: Clock = systemClock,
): SuggestionPlaces {
  const kept = new Map<string, Kept>();
  let seen: TracedLook[] = [];
  const clients = createClientRecord();
  const failing = new Set<string>();
  const stop = new AbortController();
  let sampling: Promise<void> = Promise.resolve();
  let isSampling = false;

  /** A target that does not answer is told of once, until it answers again; what it would have told is not known meanwhile. */
  const asked = async <T>(name: string, ask: (target: Target, signal: AbortSignal) => Promise<T | null>): Promise<T | null> => {
    const target = targets[name];
    if (target === undefined) return null;
    try {
      const answer = await ask(target, AbortSignal.any([stop.signal, AbortSignal.timeout(askTimeoutMs)]));
      failing.delete(name);
      return answer;
    } catch (error) {
      if (!failing.has(name) && !stop.signal.aborted) onError(error);
      failing.add(name);
      return null;
    }
  };
  const sample = async (): Promise<void> => {
    for (const { name, kind } of declared) {
      if (kind !== 'postgres-quorum') continue;
      const moment = await asked(name, (target, signal) => target.standbyLags(signal));
      if (moment === null) continue;
      const before = kept.get(name);
      // Another set of standbys is another system: its moments are not those of the old one.
      const isSame =
        before !== undefined && moment.lags.every(({ standby }) => before.lags.has(standby)) && before.lags.size === moment.lags.length;
      const now: Kept = isSame
        ? before
        : {
            waitsFor: moment.waitsFor,
            sinceMs: clock.nowMs(),
            atMs: [],
            lags: new Map(moment.lags.map(({ standby }) => [standby, { writeMs: [], flushMs: [], replayMs: [] }])),
          };
      if (now.waitsFor !== moment.waitsFor) {
        now.waitsFor = moment.waitsFor;
        now.sinceMs = clock.nowMs();
      }
      now.atMs.push(clock.nowMs());
      if (now.atMs.length > keptMoments) now.atMs.shift();
      for (const { standby, writeMs, flushMs, replayMs } of moment.lags) {
        const lists = now.lags.get(standby);
        lists?.writeMs.push(writeMs);
        lists?.flushMs.push(flushMs);
        lists?.replayMs.push(replayMs);
        if ((lists?.flushMs.length ?? 0) > keptMoments) {
          lists?.writeMs.shift();
          lists?.flushMs.shift();
          lists?.replayMs.shift();
        }
      }
      kept.set(name, now);
    }
  };
  const timer = setInterval(() => {
    if (isSampling) return;
    isSampling = true;
    sampling = sample().finally(() => {
      isSampling = false;
    });
  }, everyMs);
  timer.unref();

  return {
    see: (looks) => {
      seen.push(...looks);
      if (seen.length > keptLooks) seen = seen.slice(-keptLooks);
    },
    learn: (legs) => clients.see(legs, clock.nowMs()),
    look: async (nowMs, signal) => {
      const stale = declared.some(({ kind }) => kind === 'postgres-quorum')
        ? await countStaleReads(database, (nowMs - 86_400_000) * 1_000)
        : new Map<string, number>();
      const facts = new Map<string, { of: PlaceFacts['of']; isPending: boolean }>();
      const add = (collection: string, of: PlaceFacts['of']): void => {
        const before = facts.get(collection);
        facts.set(collection, { of: { ...before?.of, ...of }, isPending: before?.isPending ?? false });
      };
      for (const target of declared) {
        if (signal.aborted) break;
        if (target.kind === 'redis-cluster') {
          const placement = await asked(target.name, (one, limited) => one.placement(limited));
          if (placement !== null) for (const name of target.collections) add(name, { cluster: { target, nodes: placement.nodes } });
        } else if (target.kind === 'client-quorum') {
          for (const name of target.collections) {
            const own = clients.of(name, nowMs);
            if (own !== null) add(name, { clients: { target, ...own } });
          }
        } else {
          const moments = kept.get(target.name);
          if (moments === undefined) continue;
          const lags: readonly StandbyLags[] = [...moments.lags].map(([standby, lists]) => ({
            standby,
            writeMs: [...lists.writeMs],
            flushMs: [...lists.flushMs],
            replayMs: [...lists.replayMs],
          }));
          const declaredOnly = lags.filter(({ standby }) => target.standbys.includes(standby));
          for (const name of target.collections) {
            const { waitsFor } = moments;
            const looks = looksOf(seen, name, moments);
            add(name, { standbys: { target, waitsFor, lags: declaredOnly, looks, staleReads: stale.get(name) ?? 0 } });
          }
        }
      }
      for (const { collection, atMs, isPending } of await listMoves(database)) {
        add(collection, atMs === null ? {} : { movedAtMs: atMs });
        const own = facts.get(collection);
        if (own !== undefined && isPending) own.isPending = true;
      }
      return facts;
    },
    close: async () => {
      clearInterval(timer);
      stop.abort();
      await sampling;
    },
  };
}

/** Looks at one collection since commits wait as they do, each with the last moment before it at which lags are known. */
function looksOf(
  seen: readonly TracedLook[],
  collection: string,
  { sinceMs, atMs }: Kept,
): NonNullable<NonNullable<Subject['standbys']>['looks']> {
  const looks = seen
    .filter((look) => look.collection === collection && look.atMs >= Math.max(sinceMs, atMs[0] ?? Number.POSITIVE_INFINITY))
    .toSorted((a, b) => a.atMs - b.atMs);
  let moment = 0;
  return looks.map(({ replica, host, afterMs, isFresh, atMs: lookedMs }) => {
    while ((atMs[moment + 1] ?? Number.POSITIVE_INFINITY) <= lookedMs) moment += 1;
    return { replica, host, moment, afterMs, isFresh };
  });
}
