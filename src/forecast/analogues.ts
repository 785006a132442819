import { type Expert, expertOf } from './expert.ts';
import type { Grid } from './time-grid.ts';
import { horizons, insert, outputs } from './window.ts';

/**
 * Forecasts by what came after the most similar moments of the same series: nearest neighbours in the space of its last values
 * (analogues, Lorenz 1969; for series, Martínez et al. 2019), and the median of what followed them. Patterns that come back without
 * keeping to the clock (jobs, compactions, polling, bursts that ebb) are found by this and by nothing that averages lags.
 *
 * Distances are absolute differences, the newest lags counting twice, abandoned as soon as they exceed the worst neighbour kept.
 * Cost: 10 to 25 microseconds a forecast on one core, most of what the experts cost.
 */
interface AnalogueOptions {
  readonly id: string;
  readonly title: string;
  /** How many of the last values must be alike: an even number above {@link fresh}. */
  readonly lags: number;
  readonly neighbours: number;
  /** Whether shapes are compared whatever level they stand on; else values are. */
  readonly isByShape: boolean;
}

/** How far back moments are looked for, in steps. */
const reach = 720;
const mostLags = 36;
/** Where history is shorter it is taken to begin at a multiple of so many steps, if there are so many. */
const beginsOn = 72;
const enough = 2 * beginsOn;
/** The newest lags count twice; {@link find} names each. */
const fresh = 4;
/** Under this many neighbours the last value is the better guess. */
const leastNeighbours = 3;

const analogues = ({ id, title, lags, neighbours, isByShape }: AnalogueOptions): Expert =>
  expertOf({
    id,
    title,
    knowsFrom: () => lags + horizons + leastNeighbours - 1,
    width: outputs,
    say: (grid, at, said, from) => {
      const { values } = grid;
      const found = find(values, at, Math.max(oldestLookedAt(grid, at) + lags, at - reach), lags, neighbours, isByShape);
      if (found < leastNeighbours) {
        said.fill(values[at] ?? 0, from, from + outputs);
        return;
      }
      /** What must be added to values near `place` so that they stand on today's level. */
      const shiftOf = (place: number): number => (isByShape ? (values[at] as number) - (values[place] as number) : 0);
      for (let h = 1; h <= horizons; h += 1) {
        for (let k = 0; k < found; k += 1) {
          const place = places[k] as number;
          insert(followed, k, (values[place + h] as number) + shiftOf(place));
        }
        said[from + h - 1] = medianOf(followed, found);
      }
      for (let k = 0; k < found; k += 1) {
        const place = places[k] as number;
        let most = Number.NEGATIVE_INFINITY;
        for (let h = 1; h <= horizons; h += 1) most = Math.max(most, values[place + h] as number);
        insert(followed, k, most + shiftOf(place));
      }
      said[from + horizons] = medianOf(followed, found);
    },
  });

const mostNeighbours = 21;
/** Scratch: moments are asked about by the hundred thousand. */
const own = new Float64Array(mostLags);
const distances = new Float64Array(mostNeighbours);
const places = new Int32Array(mostNeighbours);
const followed = new Float64Array(mostNeighbours);

/** Fills `places` with the ends of the most similar stretches from `first` on, whose next hour had passed by `at`; answers how many. */
function find(values: Float64Array, at: number, first: number, lags: number, neighbours: number, isByShape: boolean): number {
  for (let lag = 0; lag < lags; lag += 1) own[lag] = values[at - lag] as number;
  const [own0, own1, own2, own3] = [own[0] as number, own[1] as number, own[2] as number, own[3] as number];
  let found = 0;
  let worst = Number.POSITIVE_INFINITY;
  let place = at - horizons;
  // The fresh lags of one place are those of the last one, moved on by one: each is read once.
  let [lag0, lag1, lag2, lag3] = [0, values[place] as number, values[place - 1] as number, values[place - 2] as number];
  for (; place >= first; place -= 1) {
    lag0 = lag1;
    lag1 = lag2;
    lag2 = lag3;
    lag3 = values[place - 3] as number;
    const shift = isByShape ? own0 - lag0 : 0;
    let distance =
      2 * (Math.abs(lag0 + shift - own0) + Math.abs(lag1 + shift - own1) + Math.abs(lag2 + shift - own2) + Math.abs(lag3 + shift - own3));
    // Most places are left here or after few lags more; two at a time, as asking costs as much as adding.
    for (let lag = fresh; lag < lags && distance < worst; lag += 2)
      distance +=
        Math.abs((values[place - lag] as number) + shift - (own[lag] as number)) +
        Math.abs((values[place - lag - 1] as number) + shift - (own[lag + 1] as number));
    if (!(distance < worst)) continue;
    let rank = found < neighbours ? found : neighbours - 1;
    if (found < neighbours) found += 1;
    for (; rank > 0 && (distances[rank - 1] as number) > distance; rank -= 1) {
      distances[rank] = distances[rank - 1] as number;
      places[rank] = places[rank - 1] as number;
    }
    distances[rank] = distance;
    places[rank] = place;
    if (found === neighbours) worst = distances[neighbours - 1] as number;
  }
  return found;
}

/** Of the first `count`, which ascend. */
function medianOf(sorted: Float64Array, count: number): number {
  const middle = count >> 1;
  return count % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/**
 * The oldest value that is looked at from `at`. A history that is kept for so many steps begins one step later each round: it is taken to
 * begin at a quarter of a day, so that most rounds look at the same values, unless there are few.
 */
export function oldestLookedAt({ startMs, stepMs }: Grid, at: number): number {
  if (at >= reach + mostLags) return at - reach - mostLags;
  if (at < enough) return 0;
  const step = Math.round(startMs / stepMs);
  return ((-step % beginsOn) + beginsOn) % beginsOn;
}

export const analogueExperts: readonly Expert[] = [
  analogues({ id: 'like-moments', title: 'what followed like moments', lags: 6, neighbours: mostNeighbours, isByShape: false }),
  analogues({ id: 'like-hours', title: 'what followed like stretches', lags: 16, neighbours: 15, isByShape: false }),
  analogues({ id: 'like-shapes', title: 'what followed stretches of like shape', lags: mostLags, neighbours: 15, isByShape: true }),
];
