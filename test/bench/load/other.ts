import { createRng, type Rng } from '../../../src/base/rng.ts';
import type { Grid } from '../../../src/forecast/time-grid.ts';

/**
 * Load made by mechanisms instead of recipes, so that it shares no code and no shape with what the start model learned from: a queue
 * that fills and drains, events that cause events, a seasonal autoregression, a cache that warms up, a retrying client, a weekly shop
 * by the hour, a random walk, and a random telegraph.
 */
export function otherLoad(series: number): LoadSeries[] {
  const rng = createRng('other load');
  return Array.from({ length: series }, (_, i) => {
    const kind = kinds[i % kinds.length] ?? kinds[0];
    const own = rng.fork(`other-${i}`);
    const values = Float64Array.from(kind.generate(own, 1_500));
    const startMs = Date.UTC(2025, 2, 1) + own.int(1440) * 60_000;
    return { name: `${kind.id}-${i}`, grid: { startMs, stepMs: kind.stepMs, values, missing: new Uint8Array(values.length) } };
  });
}

export interface LoadSeries {
  readonly name: string;
  readonly grid: Grid;
}

interface Kind {
  readonly id: string;
  readonly stepMs: number;
  generate(rng: Rng, steps: number): number[];
}

const day = (t: number, perDay: number): number => Math.sin((2 * Math.PI * t) / perDay);
const list = (steps: number, next: (t: number) => number): number[] => Array.from({ length: steps }, (_, t) => next(t));

const kinds: readonly [Kind, ...Kind[]] = [
  {
    id: 'queue-length',
    stepMs: 300_000,
    generate: (rng, steps) => {
      let waiting = 0;
      return list(steps, (t) => {
        for (let k = 0; k < 30; k += 1) {
          if (rng.next() < 0.44 + 0.06 * day(t, 288)) waiting += 1;
          if (rng.next() < 0.5) waiting = Math.max(0, waiting - 1);
        }
        return waiting;
      });
    },
  },
  {
    id: 'self-exciting',
    stepMs: 60_000,
    generate: (rng, steps) => {
      let heat = 0;
      return list(steps, () => {
        let events = 0;
        for (let k = 0; k < 40; k += 1) if (rng.next() < Math.min(0.9, 0.02 + 0.02 * heat)) events += 1;
        heat = 0.8 * heat + 0.19 * events;
        return events;
      });
    },
  },
  {
    id: 'seasonal-ar',
    stepMs: 300_000,
    generate: (rng, steps) => {
      const values: number[] = [];
      for (let t = 0; t < steps; t += 1)
        values.push(0.6 * (values[t - 1] ?? 0) + 0.35 * ((values[t - 288] ?? 0) - 0.6 * (values[t - 289] ?? 0)) + rng.normal());
      return values.map((value) => 40 + 5 * value);
    },
  },
  {
    id: 'cache-misses',
    stepMs: 60_000,
    generate: (rng, steps) => {
      let share = 1;
      return list(steps, (t) => {
        share = rng.next() < 0.004 ? 1 : share * 0.93 + 0.004;
        return 900 * share * (1.3 + day(t, 1440)) * (1 + 0.1 * rng.normal());
      });
    },
  },
  {
    id: 'retry-storm',
    stepMs: 60_000,
    generate: (rng, steps) => {
      let backlog = 0;
      return list(steps, (t) => {
        const arrivals = 50 + 15 * day(t, 1440) + 7 * rng.normal();
        const capacity = rng.next() < 0.01 ? 0 : 70;
        const tried = Math.max(0, arrivals) + 0.9 * backlog;
        backlog = Math.max(0, tried - capacity);
        return tried;
      });
    },
  },
  {
    id: 'weekly-shop',
    stepMs: 3_600_000,
    generate: (rng, steps) =>
      list(steps, (t) => Math.max(0, (t % 168 >= 120 ? 40 : 100) * (1.1 + day(t - 6, 24)) * Math.exp(0.12 * rng.normal()))),
  },
  {
    id: 'random-walk',
    stepMs: 300_000,
    generate: (rng, steps) => {
      let level = 500;
      return list(steps, () => {
        level = Math.max(0, level + 4 * rng.normal());
        return level;
      });
    },
  },
  {
    id: 'telegraph',
    stepMs: 30_000,
    generate: (rng, steps) => {
      let isHigh = false;
      return list(steps, () => {
        if (rng.next() < (isHigh ? 0.08 : 0.03)) isHigh = !isHigh;
        return (isHigh ? 80 : 12) + 3 * rng.normal();
      });
    },
  },
];
