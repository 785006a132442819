import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { type Measurement, measuredThing } from '../domain/measurement.ts';
import { type MeasuredState, pruneMeasurements, saveMeasurements } from '../io/store/measurements.ts';
import type { Queryable } from '../io/store/database.ts';

export interface MeasureLoop {
  /** Measurements as they come; cheap. */
  observe(measurements: readonly Measurement[]): void;
  close(): Promise<void>;
}

interface Thing {
  readonly last: Measurement;
  /** The numbers that say what is usual, oldest first. */
  readonly recent: number[];
  /** Of a counter: the total that the last gain was taken from. */
  total: number;
  points: number;
}

const storeEveryMs = 2_000;
const pruneEveryMs = 600_000;
const keptMs = 86_400_000;
/** Things measured at once; more are counted in /metrics as measurements and not shown. */
const thingsKept = 5_000;
const recentKept = 240;

/** Keeps what stores say of themselves where the page and the API find it: the last number of each thing, and what is usual. */
export function startMeasureLoop(options: {
  readonly database: Queryable;
  readonly clock: Clock;
  readonly onError: (error: unknown) => void;
}): MeasureLoop {
  const { database, clock } = options;
  const stopping = new AbortController();
  const things = new Map<string, Thing>();
  const changed = new Set<string>();
  let prunedAtMs = Number.NEGATIVE_INFINITY;

  const observe = (measurements: readonly Measurement[]): void => {
    for (const one of measurements) {
      const key = measuredThing(one);
      const known = things.get(key);
      if (known === undefined) {
        if (things.size >= thingsKept) continue;
        things.set(key, { last: one, recent: one.isCumulative ? [] : [one.value], total: one.value, points: 1 });
      } else {
        if (one.atUs <= known.last.atUs) continue;
        // A server that started again counts from nothing.
        const gain = !one.isCumulative ? one.value : one.value >= known.total ? one.value - known.total : one.value;
        known.recent.push(gain);
        if (known.recent.length > recentKept) known.recent.shift();
        things.set(key, { last: one, recent: known.recent, total: one.value, points: known.points + 1 });
      }
      changed.add(key);
    }
  };

  const store = async (): Promise<void> => {
    const nowMs = clock.nowMs();
    const keys = [...changed];
    changed.clear();
    try {
      if (keys.length > 0)
        await saveMeasurements(
          database,
          keys.flatMap((key) => stateOf(things.get(key))),
        );
      if (nowMs - prunedAtMs < pruneEveryMs) return;
      prunedAtMs = nowMs;
      for (const [key, { last }] of things) if (last.atUs / 1000 < nowMs - keptMs) things.delete(key);
      await pruneMeasurements(database, nowMs - keptMs);
    } catch (error) {
      for (const key of keys) changed.add(key);
      throw error;
    }
  };

  const loop = (async () => {
    while (!stopping.signal.aborted) {
      await delay(storeEveryMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      await store().catch(options.onError);
    }
  })();

  return {
    observe,
    close: async () => {
      stopping.abort();
      await loop;
    },
  };
}

function stateOf(thing: Thing | undefined): MeasuredState[] {
  if (thing === undefined) return [];
  const { kind, system, instance, subject, metric, replica, atUs } = thing.last;
  const sorted = thing.recent.toSorted((a, b) => a - b);
  return [
    {
      kind,
      system,
      instance,
      subject,
      metric,
      replica,
      value: thing.recent.at(-1) ?? 0,
      usual: sorted[sorted.length >> 1] ?? 0,
      highest: sorted.at(-1) ?? 0,
      points: thing.points,
      atMs: Math.floor(atUs / 1000),
    },
  ];
}
