import type { Rng } from '../base/rng.ts';

const draws = 200;
const z95 = 1.96;

/** 95 % interval of the mean of values in order of time, by drawing whole spells of neighbours again: a slow minute is slow throughout. */
export function spellInterval(values: Float64Array, spell: number, rng: Rng): { readonly low: number; readonly high: number } {
  const length = Math.max(1, Math.min(spell, values.length));
  const before = new Float64Array(values.length + 1);
  values.forEach((value, i) => {
    before[i + 1] = (before[i] ?? 0) + value;
  });
  const means = new Float64Array(draws);
  for (let draw = 0; draw < draws; draw += 1) {
    let sum = 0;
    for (let count = 0; count < values.length; count += length) {
      const start = rng.int(values.length - length + 1);
      sum += (before[start + Math.min(length, values.length - count)] ?? 0) - (before[start] ?? 0);
    }
    means[draw] = sum / Math.max(1, values.length);
  }
  means.sort();
  return { low: means[Math.floor(0.025 * draws)] ?? 0, high: means[Math.ceil(0.975 * draws) - 1] ?? 1 };
}

/** 95 % interval of a share of so many throws (Wilson 1927): none among 300 does not promise one in a thousand. */
export function wilson(share: number, count: number): { readonly low: number; readonly high: number } {
  if (count === 0) return { low: 0, high: 1 };
  const z2 = z95 * z95;
  const middle = share + z2 / (2 * count);
  const half = z95 * Math.sqrt((share * (1 - share)) / count + z2 / (4 * count * count));
  const scale = 1 + z2 / count;
  return { low: Math.max(0, (middle - half) / scale), high: Math.min(1, (middle + half) / scale) };
}

/** 0 of none. */
export function meanOf(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return values.length === 0 ? 0 : sum / values.length;
}
