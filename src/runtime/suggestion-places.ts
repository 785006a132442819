import type { PlacementTarget } from '../domain/placement-target.ts';
import type { StandbyLags, Subject } from '../forecast/suggester.ts';
import type { Database } from '../io/store/database.ts';
import { countStaleReads } from '../io/store/anomalies.ts';
import { listMoves } from '../io/store/suggestions.ts';
import type { Target } from '../io/targets/target.ts';

/** What suggesters may know of a collection beyond its load. */
export interface PlaceFacts {
  readonly of: Pick<Subject, 'cluster' | 'standbys' | 'movedAtMs'>;
  /** A suggestion for it is approved or being carried out. */
  readonly isPending: boolean;
}

export interface SuggestionPlaces {
  look(nowMs: number, signal: AbortSignal): Promise<ReadonlyMap<string, PlaceFacts>>;
  close(): Promise<void>;
}

/** Lags are asked for this often; an hour of them is kept. */
const sampleMs = 1_000;
const keptMoments = 3_600;
const askTimeoutMs = 5_000;

interface Kept {
  waitsFor: number;
  readonly lags: Map<string, { readonly writeMs: number[]; readonly flushMs: number[]; readonly replayMs: number[] }>;
}

/** Asks the targets where things are, and samples how far standbys are behind, the same moments for all of them. */
export function openSuggestionPlaces(
  declared: readonly PlacementTarget[],
  targets: Readonly<Record<string, Target>>,
  database: Database,
  onError: (error: unknown) => void,
  everyMs = sampleMs,
): SuggestionPlaces {
  const kept = new Map<string, Kept>();
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
            lags: new Map(moment.lags.map(({ standby }) => [standby, { writeMs: [], flushMs: [], replayMs: [] }])),
          };
      now.waitsFor = moment.waitsFor;
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
          for (const name of target.collections)
            add(name, { standbys: { target, waitsFor: moments.waitsFor, lags: declaredOnly, staleReads: stale.get(name) ?? 0 } });
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
