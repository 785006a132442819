import type { Rng } from '../../base/rng.ts';
import type { Grid } from '../../forecast/time-grid.ts';

/**
 * A load generator of our own, so that the start model is trained on data that anyone can make again from a seed and that belongs to
 * nobody. It mixes what operators see: a day with one or two humps, a drifting level, noise that grows with the level, bursts that
 * decay, batch jobs on the clock, sudden shifts of level, on-off load, counts with few events, and idling flat lines with spikes.
 */
const stepMs = 300_000;
const perDay = 288;

export function syntheticLoad(series: number, steps: number, rng: Rng): readonly { readonly name: string; readonly grid: Grid }[] {
  return Array.from({ length: series }, (_, i) => {
    const own = rng.fork(`series-${i}`);
    const kind = kinds[i % kinds.length] ?? 'shop';
    return {
      name: `${kind}-${i}`,
      grid: {
        startMs: Date.UTC(2024, 0, 1) + own.int(perDay) * stepMs,
        stepMs,
        values: generate(kind, steps, own),
        missing: new Uint8Array(steps),
      },
    };
  });
}

const kinds = ['shop', 'cpu', 'bursty', 'batch', 'counts', 'steps', 'on-off', 'idle', 'network', 'drift'] as const;
type Kind = (typeof kinds)[number];

/** How much of each ingredient a kind has: [daily, wandering, noise, burst rate, burst size, shift rate, batch]. */
const recipes: Readonly<Record<Kind, readonly [number, number, number, number, number, number, number]>> = {
  shop: [0.7, 0.1, 0.08, 0.003, 0.8, 0, 0],
  cpu: [0.15, 0.1, 0.06, 0.006, 0.8, 0.0008, 0.1],
  bursty: [0.3, 0.1, 0.2, 0.02, 3, 0, 0],
  batch: [0.2, 0.05, 0.06, 0.002, 1, 0, 1.5],
  counts: [0.6, 0.2, 0.05, 0.006, 3, 0, 0],
  steps: [0.05, 0.05, 0.05, 0.002, 0.5, 0.004, 0],
  'on-off': [0.1, 0.05, 0.1, 0.002, 0.5, 0.0005, 0],
  idle: [0, 0.02, 0.03, 0.01, 12, 0, 0.5],
  network: [0.2, 0.2, 0.3, 0.015, 4, 0.001, 0.3],
  drift: [0.1, 0.5, 0.04, 0.001, 0.6, 0, 0],
};

function generate(kind: Kind, steps: number, rng: Rng): Float64Array {
  const [daily, wandering, noise, burstRate, burstSize, shiftRate, batch] = recipes[kind];
  const vary = (value: number): number => value * Math.exp(0.5 * rng.normal());
  const base = Math.exp(1 + 6 * rng.next());
  const day = vary(daily);
  const second = 0.5 * rng.next();
  const phase = 2 * Math.PI * rng.next();
  const weekend = 1 - 0.4 * rng.next();
  const startDay = rng.int(7);
  const wander = vary(wandering) * 0.08;
  const spread = vary(noise);
  const memory = 0.2 + 0.75 * rng.next();
  const decay = 0.3 + 0.65 * rng.next();
  const every = rng.pick([12, 12, 36, 72, 144, 288]);
  const lasts = 1 + rng.int(5);
  const offset = rng.int(every);
  const onFor = 0.9 + 0.09 * rng.next();
  const [rate, size, shifts, job] = [vary(burstRate), vary(burstSize), vary(shiftRate), vary(batch)];
  let level = 0;
  let error = 0;
  let burst = 0;
  let shift = 0;
  let isOn = true;
  return Float64Array.from({ length: steps }, (_, t) => {
    const turn = (2 * Math.PI * (t % perDay)) / perDay + phase;
    const isWeekend = (startDay + Math.floor(t / perDay)) % 7 >= 5;
    level = 0.999 * level + wander * rng.normal();
    error = memory * error + spread * Math.sqrt(1 - memory * memory) * rng.normal();
    burst *= decay;
    if (rng.next() < rate) burst += size * -Math.log(1 - rng.next());
    if (rng.next() < shifts) shift = 0.8 * rng.normal();
    if (kind === 'on-off' && rng.next() > (isOn ? onFor : 0.97)) isOn = !isOn;
    const season = 1 + day * (Math.sin(turn) + second * Math.sin(2 * turn + phase)) * (isWeekend ? weekend : 1);
    const onClock = job > 0 && batch > 0 && (t + offset) % every < lasts ? job : 0;
    const mean = base * Math.max(0, Math.max(0.02, season) * Math.exp(level + shift) * (isOn ? 1 : 0.1) + burst + onClock);
    const value = mean * Math.max(0, 1 + error);
    // Few events a step are counts, with the noise of counting.
    return kind === 'counts' ? poisson(Math.min(value / 20, 500), rng) : value;
  });
}

/** Knuth's method for small means, a rounded normal above thirty. */
function poisson(mean: number, rng: Rng): number {
  if (mean > 30) return Math.max(0, Math.round(mean + Math.sqrt(mean) * rng.normal()));
  const limit = Math.exp(-mean);
  let count = -1;
  for (let product = 1; product > limit; count += 1) product *= rng.next();
  return Math.max(0, count);
}
