import { type Prices, stepCost } from './decide.ts';
import { createNeighbours } from './decide-neighbours.ts';
import { stepsPerDay } from './time-grid.ts';

/**
 * What to do in each situation, learned from what came of similar ones: kernel-based reinforcement learning (Ormoneit and Sen 2002).
 * The record's own moments are the states. What a choice will cost is the mean over the moments most like this one of what it would
 * have cost there: the steps until a change is in effect, and from then on the value of where the load had got to, which is the same
 * question asked of that moment. Value iteration over the record answers it for all moments at once. So it knows what a forecast of
 * an hour does not tell: how long a rush of this kind lasts, whether waiting pays, and what a unit is worth once it is there.
 *
 * Averages of what was seen say nothing about what was never seen: where the present is further from its neighbours than 99 in 100
 * moments of the record are from theirs, there is no answer (0), and a rule must decide.
 * Cost: rows x neighbours x units a sweep, and rows x rows once for the neighbours.
 */
export interface KernelOptions {
  /** How many similar moments are averaged over. */
  readonly neighbours: number;
  /** How much the time of day counts in what is similar, in units of capacity; 0: not at all. */
  readonly dayWeight: number;
}

/** Of the value of one step later: looks some eight hours of 5-minute steps ahead. */
const discount = 0.99;
const firstSweeps = 25;
const laterSweeps = 8;
/** The record is learned from again every so many steps. */
const refitSteps = 576;
const noveltyLevel = 0.99;
const featureCount = 6;

/**
 * For each step in [from, to) and each number of units held, the number to have next; 0: unlike anything in the record. The answer at
 * a step is made from what came before it only. (to - from) x (maxUnits + 1).
 */
export function kernelPolicy(
  load: ArrayLike<number>,
  stepMs: number,
  from: number,
  to: number,
  prices: Prices,
  options: KernelOptions,
): Uint8Array {
  const policyWidth = prices.maxUnits + 1;
  const delay = Math.max(1, prices.delaySteps);
  const policy = new Uint8Array((to - from) * policyWidth);
  // How much is kept a row, not what is known: rows as short as can be are what a sweep's speed hangs on.
  let high = 0;
  for (let i = 0; i < to; i += 1) high = Math.max(high, load[i] ?? 0);
  const width = Math.min(prices.maxUnits, Math.ceil(high / prices.capacity) + 1) + 1;
  const features = featuresOf(load, stepMs, to, prices.capacity, options.dayWeight);
  const near = createNeighbours(features, featureCount, options.neighbours, delay + 1, Math.max(24, delay + 12));
  const count = near.count;
  const costs = new Float64Array(to * width);
  for (let i = 0; i < to; i += 1) for (let u = 1; u < width; u += 1) costs[i * width + u] = stepCost(load[i] ?? 0, u, prices);
  const weights = new Float64Array(to * count);
  const value = new Float64Array(to * width);
  /** Of each row: what holding u costs until a change made there is in effect, the present step left out. */
  const waiting = new Float64Array(to * width);
  const atOnce = new Float64Array(width);
  /** The mean of `waiting` over each row's neighbours: it does not change from sweep to sweep. */
  const waits = new Float64Array(to * width);
  const later = new Float64Array(width);
  const until = new Float64Array(width);
  const discountThen = discount ** delay;
  const nowIds = new Int32Array(count);
  const nowDistances = new Float64Array(count);
  const nowWeights = new Float64Array(count);

  const expectWait = (ids: Int32Array, by: Float64Array, base: number, units: number): void => {
    until.fill(0);
    for (let k = 0; k < count; k += 1) {
      const weight = by[base + k] as number;
      const at = (ids[base + k] as number) * width;
      if (weight > 0) for (let u = 1; u <= units; u += 1) until[u] = (until[u] as number) + weight * (waiting[at + u] as number);
    }
  };
  const expect = (ids: Int32Array, by: Float64Array, base: number, units: number): void => {
    atOnce.fill(0);
    later.fill(0);
    for (let k = 0; k < count; k += 1) {
      const weight = by[base + k] as number;
      if (weight === 0) continue;
      const at = (ids[base + k] as number) * width;
      for (let u = 1; u <= units; u += 1) {
        atOnce[u] = (atOnce[u] as number) + weight * (value[at + width + u] as number);
        later[u] = (later[u] as number) + weight * (value[at + delay * width + u] as number);
      }
    }
  };
  let chosen = 0;
  const choose = (units: number, most: number): number => {
    let least = discount * (atOnce[units] as number);
    chosen = units;
    for (let other = 1; other <= most; other += 1) {
      if (other === units) continue;
      // With no delay the new units carry the next step already.
      const cost =
        prices.move * Math.abs(other - units) +
        (prices.delaySteps === 0
          ? discount * (atOnce[other] as number)
          : (until[units] as number) + discountThen * (later[other] as number));
      if (cost < least) {
        least = cost;
        chosen = other;
      }
    }
    return least;
  };

  let known = 0;
  for (let fit = from; fit < to; fit += refitSteps) {
    near.grow(fit);
    let most = 1;
    for (let i = 0; i < fit; i += 1) most = Math.max(most, Math.ceil((load[i] ?? 0) / prices.capacity) + 1);
    most = Math.min(most, prices.maxUnits);
    for (let i = Math.max(0, known - delay); i + delay < fit; i += 1) {
      for (let u = 1; u < width; u += 1) {
        let sum = 0;
        let factor = discount;
        for (let s = 1; s < delay; s += 1, factor *= discount) sum += factor * (costs[(i + s) * width + u] as number);
        waiting[i * width + u] = sum;
      }
    }
    const reaches = new Float64Array(fit);
    for (let i = 0; i < fit; i += 1) reaches[i] = weigh(near.distances, i * count, count, weights);
    for (let i = 0; i < fit; i += 1) {
      expectWait(near.ids, weights, i * count, most);
      waits.set(until, i * width);
    }
    const usual = reaches.sort()[Math.floor(noveltyLevel * (fit - 1))] ?? 0;
    for (let sweep = 0; sweep < (known === 0 ? firstSweeps : laterSweeps); sweep += 1) {
      for (let i = fit - 1; i >= 0; i -= 1) {
        expect(near.ids, weights, i * count, most);
        until.set(waits.subarray(i * width, (i + 1) * width));
        for (let u = 1; u <= most; u += 1) value[i * width + u] = (costs[i * width + u] as number) + choose(u, most);
      }
    }
    known = fit;
    for (let t = fit; t < Math.min(to, fit + refitSteps); t += 1) {
      near.nearest(t, nowIds, nowDistances);
      if (!(weigh(nowDistances, 0, count, nowWeights) <= usual)) continue;
      expect(nowIds, nowWeights, 0, most);
      expectWait(nowIds, nowWeights, 0, most);
      for (let u = 1; u <= most; u += 1) {
        choose(u, most);
        policy[(t - from) * policyWidth + u] = chosen;
      }
    }
  }
  return policy;
}

/** Weights that fall with the distance, relative to the furthest of the neighbours; returns that one's distance. */
function weigh(distances: Float64Array, base: number, count: number, weights: Float64Array): number {
  const reach = distances[base + count - 1] as number;
  if (!Number.isFinite(reach)) {
    weights.fill(0, base, base + count);
    return Number.POSITIVE_INFINITY;
  }
  let sum = 0;
  for (let k = 0; k < count; k += 1) {
    const weight = 1 / (0.25 + (distances[base + k] as number) / Math.max(reach, 1e-9));
    weights[base + k] = weight;
    sum += weight;
  }
  for (let k = 0; k < count; k += 1) weights[base + k] = (weights[base + k] as number) / sum;
  return reach;
}

/** Load now, its fading means over 3, 12 and 72 steps, in units of capacity, and the time of day. */
function featuresOf(load: ArrayLike<number>, stepMs: number, rows: number, capacity: number, dayWeight: number): Float64Array {
  const features = new Float64Array(rows * featureCount);
  const first = (load[0] ?? 0) / capacity;
  const perDay = stepsPerDay(stepMs);
  let quick = first;
  let hourly = first;
  let slow = first;
  for (let i = 0; i < rows; i += 1) {
    const now = (load[i] ?? 0) / capacity;
    quick += (now - quick) / 3;
    hourly += (now - hourly) / 12;
    slow += (now - slow) / 72;
    const angle = perDay === 0 ? 0 : (2 * Math.PI * i) / perDay;
    features.set(
      [Math.min(now, 14), quick, hourly, 0.5 * slow, dayWeight * Math.sin(angle), dayWeight * Math.cos(angle)],
      i * featureCount,
    );
  }
  return features;
}
