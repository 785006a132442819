import type { Rng } from '../../base/rng.ts';

/** What one generated series is made with. */
export interface LoadShape {
  readonly steps: number;
  readonly perDay: number;
  readonly perHour: number;
  /** The usual level, in whatever unit. */
  readonly base: number;
}

export interface LoadKind {
  readonly id: string;
  generate(shape: LoadShape, rng: Rng): Float64Array;
}

/** How much of each ingredient a mixture has, around which each series varies. */
interface Recipe {
  readonly daily?: number;
  readonly wandering?: number;
  readonly noise?: number;
  readonly burstRate?: number;
  readonly burstSize?: number;
  readonly shiftRate?: number;
  readonly batch?: number;
  readonly isCount?: boolean;
  readonly isOnOff?: boolean;
}

/** A day with one or two humps and a weekend, a drifting level, noise that grows with the level, bursts that decay, jobs on the clock. */
function mixture(id: string, recipe: Recipe): LoadKind {
  return {
    id,
    generate: ({ steps, perDay, perHour, base }, rng) => {
      const vary = (value: number | undefined): number => (value ?? 0) * Math.exp(0.5 * rng.normal());
      const day = vary(recipe.daily);
      const second = 0.5 * rng.next();
      const phase = 2 * Math.PI * rng.next();
      const weekend = 1 - 0.7 * rng.next();
      const startDay = rng.int(7);
      const wander = vary(recipe.wandering) * 0.08;
      const spread = vary(recipe.noise);
      const memory = rng.next() < 0.3 ? 0 : 0.2 + 0.75 * rng.next();
      const decay = 0.3 + 0.65 * rng.next();
      const every = Math.max(2, rng.pick([1, 1, 3, 6, 12, 24]) * perHour);
      const lasts = 1 + rng.int(Math.min(5, every - 1));
      const offset = rng.int(every);
      const onFor = 0.9 + 0.09 * rng.next();
      const [rate, size, shifts, job] = [vary(recipe.burstRate), vary(recipe.burstSize), vary(recipe.shiftRate), vary(recipe.batch)];
      let [level, error, burst, shift, isOn] = [0, 0, 0, 0, true];
      return Float64Array.from({ length: steps }, (_, t) => {
        const turn = (2 * Math.PI * (t % perDay)) / perDay + phase;
        const isWeekend = (startDay + Math.floor(t / perDay)) % 7 >= 5;
        level = 0.999 * level + wander * rng.normal();
        error = memory * error + spread * Math.sqrt(1 - memory * memory) * rng.normal();
        burst *= decay;
        if (rng.next() < rate) burst += size * exponential(rng);
        if (rng.next() < shifts) shift = 0.8 * rng.normal();
        if (recipe.isOnOff === true && rng.next() > (isOn ? onFor : 0.97)) isOn = !isOn;
        const season = 1 + day * (Math.sin(turn) + second * Math.sin(2 * turn + phase)) * (isWeekend ? weekend : 1);
        const onClock = job > 0 && (t + offset) % every < lasts ? job : 0;
        const mean = base * Math.max(0, Math.max(0.02, season) * Math.exp(level + shift) * (isOn ? 1 : 0.1) + burst + onClock);
        const value = mean * Math.max(0, 1 + error);
        // Few events a step are counts, with the noise of counting.
        return recipe.isCount === true ? poisson(Math.min(value / 20, 500), rng) : value;
      });
    },
  };
}

/** Bursts that come about every so many steps, not on the clock: garbage collection, compaction, flushes. */
const pulses: LoadKind = {
  id: 'pulses',
  generate: ({ steps, base }, rng) => {
    const every = 5 + rng.int(40);
    const jitter = 0.4 * rng.next();
    const height = 2 + 20 * rng.next();
    const uneven = 0.6 * rng.next();
    const lasts = 1 + rng.int(4);
    const floor = 0.02 + 0.2 * rng.next();
    let next = rng.int(every);
    let left = 0;
    let now = 0;
    return Float64Array.from({ length: steps }, (_, t) => {
      if (t >= next) {
        left = Math.max(1, Math.round(lasts * (0.6 + 0.8 * rng.next())));
        now = height * Math.exp(uneven * rng.normal());
        next = t + Math.max(left + 1, Math.round(every * (1 + jitter * rng.normal())));
      }
      left -= 1;
      return base * Math.max(0, (left >= 0 ? now : 0) + 1 + floor * rng.normal());
    });
  },
};

/** A short pattern that repeats step by step, as polling and load balancing leave it, under noise and rare outliers. */
const flicker: LoadKind = {
  id: 'flicker',
  generate: ({ steps, base }, rng) => {
    const pattern = Array.from({ length: 2 + rng.int(10) }, () => rng.normal());
    const depth = 0.5 * rng.next();
    const noise = 0.02 + 0.3 * rng.next();
    const grain = rng.next() < 0.5 ? base * 0.1 * rng.next() : 0;
    return Float64Array.from({ length: steps }, (_, t) => {
      const outlier = rng.next() < 0.01 ? 4 * rng.next() : 0;
      const value = base * Math.max(0, 1 + depth * (pattern[t % pattern.length] ?? 0) + noise * rng.normal() + outlier);
      return grain > 0 ? Math.round(value / grain) * grain : value;
    });
  },
};

/** Grows and falls back: memory, disk, queues, counters that are reset. */
const sawtooth: LoadKind = {
  id: 'sawtooth',
  generate: ({ steps, base }, rng) => {
    const slope = Math.exp(-2 - 3 * rng.next());
    const resets = 0.002 + 0.03 * rng.next();
    const noise = 0.3 * rng.next();
    const isMonotonic = rng.next() < 0.5;
    let value = base;
    return Float64Array.from({ length: steps }, () => {
      const change = slope * (1 + noise * rng.normal() * 3);
      value = rng.next() < resets ? base * 0.2 * rng.next() : value + base * (isMonotonic ? Math.max(0, change) : change);
      return Math.max(0, value);
    });
  },
};

/** A level that climbs or sinks for weeks, with a day in it. */
const trend: LoadKind = {
  id: 'trend',
  generate: ({ steps, perDay, base }, rng) => {
    const growth = rng.normal();
    const day = 0.5 * rng.next();
    const phase = 2 * Math.PI * rng.next();
    const noise = 0.02 + 0.1 * rng.next();
    return Float64Array.from({ length: steps }, (_, t) => {
      const level = Math.max(0.05, 1 + (growth * t) / steps) * (1 + day * Math.sin((2 * Math.PI * t) / perDay + phase));
      return base * Math.max(0, level * (1 + noise * rng.normal()));
    });
  },
};

/** Mostly nothing; sometimes something (intermittent demand). */
const sparse: LoadKind = {
  id: 'sparse',
  generate: ({ steps, perDay, base }, rng) => {
    const share = 0.01 + 0.3 * rng.next();
    const day = rng.next();
    const phase = 2 * Math.PI * rng.next();
    const size = 0.3 + 0.7 * rng.next();
    return Float64Array.from({ length: steps }, (_, t) =>
      rng.next() < share * (1 + day * Math.sin((2 * Math.PI * t) / perDay + phase))
        ? Math.ceil(base * 0.05 * Math.exp(size * rng.normal()))
        : 0,
    );
  },
};

/** Counts around an intensity that swells fast and ebbs slowly, as mentions, retries and crowds do. */
const crowd: LoadKind = {
  id: 'crowd',
  generate: ({ steps, perDay, base }, rng) => {
    const day = 0.3 + 0.9 * rng.next();
    const phase = 2 * Math.PI * rng.next();
    const weekend = 0.3 + 0.7 * rng.next();
    const startDay = rng.int(7);
    const memory = 0.9 + 0.09 * rng.next();
    const swing = 0.3 * rng.next();
    const rate = 0.001 + 0.01 * rng.next();
    const ebb = 0.85 + 0.13 * rng.next();
    const excess = 0.1 + 0.5 * rng.next();
    const mean = Math.min(300, Math.max(2, base / 20));
    let [wave, swell] = [0, 0];
    return Float64Array.from({ length: steps }, (_, t) => {
      wave = memory * wave + swing * rng.normal() * Math.sqrt(1 - memory * memory) * 2;
      swell *= ebb;
      if (rng.next() < rate) swell += Math.exp(1.2 * rng.normal()) * 2;
      const isWeekend = (startDay + Math.floor(t / perDay)) % 7 >= 5;
      const season = Math.exp(day * Math.sin((2 * Math.PI * t) / perDay + phase)) * (isWeekend ? weekend : 1);
      return poisson(mean * season * (Math.exp(wave) + swell) * Math.exp(excess * rng.normal() - 0.5 * excess * excess), rng);
    });
  },
};

/** A level that is pulled back after jumps with heavy tails. */
const reverting: LoadKind = {
  id: 'reverting',
  generate: ({ steps, base }, rng) => {
    const pull = 0.01 + 0.4 * rng.next();
    const size = 0.02 + 0.15 * rng.next();
    let value = 0;
    return Float64Array.from({ length: steps }, () => {
      // Student's t with three degrees of freedom.
      const chi = (rng.normal() ** 2 + rng.normal() ** 2 + rng.normal() ** 2) / 3;
      value += -pull * value + (size * rng.normal()) / Math.sqrt(Math.max(chi, 0.02));
      return base * Math.exp(Math.max(-4, Math.min(4, value)));
    });
  },
};

/** Nothing happens, then the setting is changed. */
const flat: LoadKind = {
  id: 'flat',
  generate: ({ steps, base }, rng) => {
    const changes = 0.002 * rng.next();
    let level = 1;
    return Float64Array.from({ length: steps }, () => {
      if (rng.next() < changes) level = 0.2 + 2 * rng.next();
      return base * level + (rng.next() < 0.002 ? base * 0.1 * rng.next() : 0);
    });
  },
};

export const kinds: readonly [LoadKind, ...LoadKind[]] = [
  mixture('shop', { daily: 0.7, wandering: 0.1, noise: 0.08, burstRate: 0.003, burstSize: 0.8 }),
  mixture('cpu', { daily: 0.15, wandering: 0.1, noise: 0.06, burstRate: 0.006, burstSize: 0.8, shiftRate: 0.0008, batch: 0.1 }),
  pulses,
  mixture('bursty', { daily: 0.3, wandering: 0.1, noise: 0.2, burstRate: 0.02, burstSize: 3 }),
  crowd,
  mixture('batch', { daily: 0.2, wandering: 0.05, noise: 0.06, burstRate: 0.002, burstSize: 1, batch: 1.5 }),
  flicker,
  mixture('counts', { daily: 0.6, wandering: 0.2, noise: 0.05, burstRate: 0.006, burstSize: 3, isCount: true }),
  mixture('steps', { daily: 0.05, wandering: 0.05, noise: 0.05, burstRate: 0.002, burstSize: 0.5, shiftRate: 0.004 }),
  sawtooth,
  mixture('on-off', { daily: 0.1, wandering: 0.05, noise: 0.1, burstRate: 0.002, burstSize: 0.5, shiftRate: 0.0005, isOnOff: true }),
  trend,
  mixture('idle', { wandering: 0.02, noise: 0.03, burstRate: 0.01, burstSize: 12, batch: 0.5 }),
  sparse,
  mixture('network', { daily: 0.2, wandering: 0.2, noise: 0.3, burstRate: 0.015, burstSize: 4, shiftRate: 0.001, batch: 0.3 }),
  reverting,
  mixture('drift', { daily: 0.1, wandering: 0.5, noise: 0.04, burstRate: 0.001, burstSize: 0.6 }),
  pulses,
  flicker,
  flat,
];

const exponential = (rng: Rng): number => -Math.log(1 - rng.next());

/** Knuth's method for small means, a rounded normal above thirty. */
function poisson(mean: number, rng: Rng): number {
  if (mean > 30) return Math.max(0, Math.round(mean + Math.sqrt(mean) * rng.normal()));
  const limit = Math.exp(-mean);
  let count = -1;
  for (let product = 1; product > limit; count += 1) product *= rng.next();
  return Math.max(0, count);
}
