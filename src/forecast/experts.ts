import { analogueExperts } from './analogues.ts';
import type { Member } from './examples.ts';
import { type Expert, expertOf } from './expert.ts';
import type { Moments, Voice } from './mix.ts';
import { type Grid, stepsPerDay } from './time-grid.ts';
import { horizons, insert, outputs } from './window.ts';

/**
 * Point forecasters that are mixed with the network and the baselines (see `mix.ts`), each cheap, each right about one kind of series:
 * recent medians where there is only noise, the medians and changes of earlier days and weeks where there is a calendar, and what
 * followed like moments where patterns come back without one. None is served alone.
 */
const recentMedian = (steps: number): Expert =>
  expertOf({
    id: `median-${steps}`,
    title: `the median of the last ${steps} values`,
    width: 1,
    say: ({ values }, at, said, from) => {
      said[from] = medianOf(values, Math.max(0, at + 1 - steps), at);
    },
    tell: (_grid, _at, said, from, out, to, stride) => {
      const median = said[from] as number;
      for (let h = 0; h < outputs; h += 1) out[to + h * stride] = median;
    },
  });

/** The first index with so many days behind it; none where a day is too few steps to have a time of day. */
const daysFrom =
  (count: number) =>
  ({ stepMs }: Grid): number => {
    const perDay = stepsPerDay(stepMs);
    return perDay > horizons ? count * perDay : Number.POSITIVE_INFINITY;
  };

/** Goes on along the least-squares line through the last values, from the last one: a rise that began some steps ago goes on. */
const trend = (steps: number): Expert =>
  expertOf({
    id: `trend-${steps}`,
    title: `the line through the last ${steps} values`,
    knowsFrom: () => steps - 1,
    width: 1,
    say: ({ values }, at, said, to) => {
      const from = Math.max(0, at + 1 - steps);
      const middle = (from + at) / 2;
      let across = 0;
      let along = 0;
      for (let i = from; i <= at; i += 1) {
        across += (i - middle) * (values[i] as number);
        along += (i - middle) ** 2;
      }
      said[to] = at + 1 >= steps ? across / along : 0;
    },
    tell: ({ values }, at, said, from, out, to, stride) => {
      const slope = said[from] as number;
      const last = values[at] ?? 0;
      for (let h = 1; h <= horizons; h += 1) out[to + (h - 1) * stride] = last + slope * h;
      out[to + horizons * stride] = last + slope * (slope > 0 ? horizons : 1);
    },
  });

/** Looks up each horizon by itself; the last value where history is too short. The maximum is that of its answers. */
const calendar = (
  id: string,
  title: string,
  knowsFrom: (grid: Grid) => number,
  answer: (values: Float64Array, at: number, h: number, perDay: number) => number | undefined,
): Expert =>
  expertOf({
    id,
    title,
    knowsFrom,
    width: 0,
    say: () => {},
    tell: ({ values, stepMs }, at, _said, _from, out, to, stride) => {
      const perDay = stepsPerDay(stepMs);
      const last = values[at] ?? 0;
      let most = Number.NEGATIVE_INFINITY;
      for (let h = 1; h <= horizons; h += 1) {
        const value = (perDay > horizons ? answer(values, at, h, perDay) : undefined) ?? last;
        out[to + (h - 1) * stride] = value;
        most = Math.max(most, value);
      }
      out[to + horizons * stride] = most;
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
const usualDay = expertOf({
  id: 'usual-day',
  title: 'the usual value at this time of day',
  knowsFrom: daysFrom(1),
  width: outputs,
  say: ({ values, stepMs }, at, said, from) => {
    const perDay = stepsPerDay(stepMs);
    let most = Number.NEGATIVE_INFINITY;
    for (let h = 1; h <= horizons; h += 1) {
      let count = 0;
      for (let day = 1; perDay > horizons && day <= days; day += 1) {
        const then = at + h - day * perDay;
        for (let i = Math.max(0, then - 1); i <= then + 1 && i <= at; i += 1) insert(sorted, count++, values[i] as number);
      }
      const usual = (count === 0 ? values[at] : sorted[count >> 1]) ?? 0;
      said[from + h - 1] = usual;
      most = Math.max(most, usual);
    }
    said[from + horizons] = most;
  },
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

/** Those that search the past cost most; they come last. */
export const experts: readonly Expert[] = [
  ...[6, 18, 72, 288].map(recentMedian),
  ...[8, 24].map(trend),
  usualDay,
  weekAgo,
  changeOfYesterday,
  ...analogueExperts,
];

/** Their answers at all moments, in the series' unit. */
export function expertVoices(member: Member, { earlier, origins }: Moments): readonly Voice[] {
  const all = [...earlier, ...origins];
  return experts.map((expert) => {
    const { predict } = expert.fit(member.grid, member.upTo);
    const points = new Float64Array(all.length * outputs);
    all.forEach((at, i) => predict(at, points.subarray(i * outputs, (i + 1) * outputs)));
    return { points, knowsFrom: expert.knowsFrom?.(member.grid) ?? 0 };
  });
}
