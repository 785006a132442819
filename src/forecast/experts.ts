import { analogueExperts, oldestLookedAt } from './analogues.ts';
import type { Baseline } from './baseline.ts';
import type { Member } from './examples.ts';
import type { Moments, Voice } from './mix.ts';
import { createRecall, type Recall } from './recall.ts';
import { type Grid, stepsPerDay } from './time-grid.ts';
import { horizons, insert, outputs } from './window.ts';

/**
 * Point forecasters that are mixed with the network and the baselines (see `mix.ts`), each cheap, each right about one kind of series:
 * recent medians where there is only noise, the medians and changes of earlier days and weeks where there is a calendar, and what
 * followed like moments where patterns come back without one. None is served alone.
 */
const recentMedian = (steps: number): Baseline => ({
  id: `median-${steps}`,
  title: `the median of the last ${steps} values`,
  fit: ({ values }) => ({
    predict: (at, out) => {
      out.fill(medianOf(values, Math.max(0, at + 1 - steps), at), 0, outputs);
    },
  }),
});

/** The first index with so many days behind it; none where a day is too few steps to have a time of day. */
const daysFrom =
  (count: number) =>
  ({ stepMs }: Grid): number => {
    const perDay = stepsPerDay(stepMs);
    return perDay > horizons ? count * perDay : Number.POSITIVE_INFINITY;
  };

/** Goes on along the least-squares line through the last values, from the last one: a rise that began some steps ago goes on. */
const trend = (steps: number): Baseline => ({
  id: `trend-${steps}`,
  title: `the line through the last ${steps} values`,
  knowsFrom: () => steps - 1,
  fit: ({ values }) => ({
    predict: (at, out) => {
      const from = Math.max(0, at + 1 - steps);
      const middle = (from + at) / 2;
      let across = 0;
      let along = 0;
      for (let i = from; i <= at; i += 1) {
        across += (i - middle) * (values[i] as number);
        along += (i - middle) ** 2;
      }
      const slope = at + 1 >= steps ? across / along : 0;
      const last = values[at] ?? 0;
      for (let h = 1; h <= horizons; h += 1) out[h - 1] = last + slope * h;
      out[horizons] = last + slope * (slope > 0 ? horizons : 1);
    },
  }),
});

/** A forecaster that answers each horizon by itself, and the last value where history is too short. The maximum is that of its answers. */
const calendar = (
  id: string,
  title: string,
  knowsFrom: (grid: Grid) => number,
  answer: (values: Float64Array, at: number, h: number, perDay: number) => number | undefined,
): Baseline => ({
  id,
  title,
  knowsFrom,
  fit: ({ values, stepMs }) => {
    const perDay = stepsPerDay(stepMs);
    return {
      predict: (at, out) => {
        const last = values[at] ?? 0;
        let most = Number.NEGATIVE_INFINITY;
        for (let h = 1; h <= horizons; h += 1) {
          const value = (perDay > horizons ? answer(values, at, h, perDay) : undefined) ?? last;
          out[h - 1] = value;
          most = Math.max(most, value);
        }
        out[horizons] = most;
      },
    };
  },
});

const days = 7;

/** Scratch for the values of one median. */
const sorted = new Float64Array(288);

/** The upper median of the values in [from, to], by Hoare's selection: nothing but the middle is put in order. */
function medianOf(values: Float64Array, from: number, to: number): number {
  const middle = (to - from + 1) >> 1;
  for (let i = from; i <= to; i += 1) sorted[i - from] = values[i] as number;
  let low = 0;
  let high = to - from;
  while (low < high) {
    const pivot = sorted[(low + high) >> 1] as number;
    let left = low;
    let right = high;
    while (left <= right) {
      while ((sorted[left] as number) < pivot) left += 1;
      while ((sorted[right] as number) > pivot) right -= 1;
      if (left > right) break;
      const kept = sorted[left] as number;
      sorted[left] = sorted[right] as number;
      sorted[right] = kept;
      left += 1;
      right -= 1;
    }
    if (middle <= right) high = right;
    else if (middle >= left) low = left;
    else break;
  }
  return sorted[middle] ?? 0;
}

/** The median over a week of days of the value at this time of day and the steps beside it. */
const usualDay = calendar('usual-day', 'the usual value at this time of day', daysFrom(1), (values, at, h, perDay) => {
  let count = 0;
  for (let day = 1; day <= days; day += 1) {
    const then = at + h - day * perDay;
    for (let i = Math.max(0, then - 1); i <= then + 1 && i <= at; i += 1) insert(sorted, count++, values[i] as number);
  }
  return count === 0 ? undefined : sorted[count >> 1];
});

const weekAgo = calendar(
  'week-ago',
  'the value a week ago',
  daysFrom(days),
  (values, at, h, perDay) => values[at + h - days * perDay] ?? values[at + h - perDay],
);

const changeOfYesterday = calendar(
  'change-of-yesterday',
  'the last value and the change of a day ago',
  daysFrom(1),
  (values, at, h, perDay) => {
    const then = at - perDay;
    return then < 0 ? undefined : (values[at] ?? 0) + (values[then + h] ?? 0) - (values[then] ?? 0);
  },
);

export const experts: readonly Baseline[] = [
  ...[6, 18, 72, 288].map(recentMedian),
  ...[8, 24].map(trend),
  usualDay,
  weekAgo,
  changeOfYesterday,
  ...analogueExperts,
];

/** Their answers at all moments, in the series' unit. Those that search the past cost most: a recall spares them most moments. */
export function expertVoices(member: Member, { earlier, origins }: Moments, recall: Recall = createRecall()): readonly Voice[] {
  const all = [...earlier, ...origins];
  const fitted = experts.map((expert) => expert.fit(member.grid, member.upTo).predict);
  const firstCostly = experts.length - analogueExperts.length;
  const width = analogueExperts.length * outputs;
  const oldest = (at: number): number => oldestLookedAt(member.grid, at);
  const costly = recall.answers(member, all, width, oldest, (at, out) => {
    for (let e = firstCostly; e < experts.length; e += 1)
      fitted[e]?.(at, out.subarray((e - firstCostly) * outputs, (e - firstCostly + 1) * outputs));
  });
  return experts.map((expert, e) => {
    const points = new Float64Array(all.length * outputs);
    all.forEach((at, i) => {
      const from = i * width + (e - firstCostly) * outputs;
      if (e >= firstCostly) points.set(costly.subarray(from, from + outputs), i * outputs);
      else fitted[e]?.(at, points.subarray(i * outputs, (i + 1) * outputs));
    });
    return { points, knowsFrom: expert.knowsFrom?.(member.grid) ?? 0 };
  });
}
