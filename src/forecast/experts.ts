import { analogueExperts } from './analogues.ts';
import type { Baseline } from './baseline.ts';
import type { Member } from './examples.ts';
import { stepsPerDay } from './time-grid.ts';
import { horizons, outputs } from './window.ts';

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
      const sorted = values.slice(Math.max(0, at + 1 - steps), at + 1).sort();
      out.fill(sorted[sorted.length >> 1] ?? 0, 0, outputs);
    },
  }),
});

/** A forecaster that answers each horizon by itself, and the last value where history is too short. The maximum is that of its answers. */
const calendar = (
  id: string,
  title: string,
  answer: (values: Float64Array, at: number, h: number, perDay: number) => number | undefined,
): Baseline => ({
  id,
  title,
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

/** The median over a week of days of the value at this time of day and the steps beside it. */
const usualDay = calendar('usual-day', 'the usual value at this time of day', (values, at, h, perDay) => {
  const found: number[] = [];
  for (let day = 1; day <= days; day += 1) {
    const then = at + h - day * perDay;
    for (let i = Math.max(0, then - 1); i <= then + 1 && i <= at; i += 1) found.push(values[i] ?? 0);
  }
  return found.toSorted((a, b) => a - b)[found.length >> 1];
});

const weekAgo = calendar(
  'week-ago',
  'the value a week ago',
  (values, at, h, perDay) => values[at + h - days * perDay] ?? values[at + h - perDay],
);

const changeOfYesterday = calendar('change-of-yesterday', 'the last value and the change of a day ago', (values, at, h, perDay) => {
  const then = at - perDay;
  return then < 0 ? undefined : (values[at] ?? 0) + (values[then + h] ?? 0) - (values[then] ?? 0);
});

export const experts: readonly Baseline[] = [
  ...[6, 18, 72, 288].map(recentMedian),
  usualDay,
  weekAgo,
  changeOfYesterday,
  ...analogueExperts,
];

/** Their answers at each origin: origins x outputs, one array an expert, in the series' unit. */
export function expertPoints(member: Member, origins: readonly number[]): readonly Float64Array[] {
  return experts.map((expert) => {
    const { predict } = expert.fit(member.grid, member.upTo);
    const points = new Float64Array(origins.length * outputs);
    origins.forEach((at, i) => predict(at, points.subarray(i * outputs, (i + 1) * outputs)));
    return points;
  });
}
