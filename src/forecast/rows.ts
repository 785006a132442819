import { analogueExperts } from './analogues.ts';
import { baselines } from './baseline.ts';
import { levels, medianIndex, type QuantileRequest, type Windows, windowsOf } from './contender.ts';
import type { Member } from './examples.ts';
import { experts } from './experts.ts';
import { type Moments, type Panel, wakingAt } from './mix.ts';
import type { Rows, RowWidths, SaidBy } from './recall.ts';
import { predictRidge, type Ridge } from './ridge.ts';
import { fillWindow, inputs, outputs } from './window.ts';

/**
 * What is kept of each moment of a series, a row of numbers: what the experts said, the ridge's points and the network's quantiles with what
 * puts them back into the series' unit. Rows are filled for many series at once, those of them that are not known, and read as the panel
 * that is mixed.
 */
const firstSearched = experts.length - analogueExperts.length;
/** Where each expert's numbers begin. */
const saidAt = experts.map((_, e) => experts.slice(0, e).reduce((sum, { width }) => sum + width, 0));
const ridgeAt = experts.reduce((sum, { width }) => sum + width, 0);
const spreadAt = ridgeAt + outputs;
const quantileCount = outputs * levels.length;
export const rowWidths: RowWidths = { said: spreadAt + 1, quantiles: quantileCount };

export interface Asked {
  readonly member: Member;
  /** Those whose hour is complete: the first of the moments' origins. */
  readonly origins: readonly number[];
  readonly moments: Moments;
  readonly rows: Rows;
}

/** Asks for all that is not known of these series; each window is filled once. Answers the windows of the origins that were asked about. */
export function fillRows(block: readonly Asked[], by: SaidBy): void {
  const unknown = block.map(({ moments: { earlier, origins }, rows }) => ({
    earlier: earlier.filter((_, i) => rows.isSaid[i] === 0),
    origins: origins.filter((_, i) => rows.isSaid[earlier.length + i] === 0),
  }));
  const requestsOf = (kind: 'earlier' | 'origins'): readonly QuantileRequest[] =>
    block.map(({ member }, i) => ({ member, origins: unknown[i]?.[kind] ?? [] }));
  const ask = (kind: 'earlier' | 'origins', predict: SaidBy['predict']): void => {
    const windows = windowsOf(requestsOf(kind));
    if (windows.frames.length === 0) return;
    const scaled = predict(windows.x, windows.frames.length);
    let window = 0;
    for (const { moments, rows } of block) {
      const skipped = kind === 'earlier' ? 0 : moments.earlier.length;
      moments[kind].forEach((_, i) => {
        if (rows.isSaid[skipped + i] === 1) return;
        const row = rows.of[skipped + i] as number;
        rows.quantiles.set(scaled.subarray(window * quantileCount, (window + 1) * quantileCount), row * quantileCount);
        rows.said[row * rowWidths.said + spreadAt] = windows.frames[window]?.spread ?? 0;
        if (kind === 'origins' && by.ridge !== null) sayRidge(by.ridge, windows, window, rows.said, row * rowWidths.said + ridgeAt);
        window += 1;
      });
    }
  };
  ask('origins', by.predict);
  if (by.standIn !== null) ask('earlier', by.standIn);
  for (const { member, moments, rows } of block) {
    [...moments.earlier, ...moments.origins].forEach((at, i) => {
      const from = (rows.of[i] as number) * rowWidths.said;
      const first = rows.isSaid[i] === 1 ? firstSearched : 0;
      const last = rows.isSearched[i] === 1 ? firstSearched : experts.length;
      for (let e = first; e < last; e += 1) experts[e]?.say(member.grid, at, rows.said, from + (saidAt[e] as number));
    });
    rows.filled();
  }
}

const point = new Float64Array(outputs);

function sayRidge(ridge: Ridge, { x, frames }: Windows, window: number, said: Float64Array, from: number): void {
  predictRidge(ridge, x, window * inputs, point);
  const { level, spread } = frames[window] ?? { level: 0, spread: 0 };
  for (let h = 0; h < outputs; h += 1) said[from + h] = level + spread * (point[h] as number);
}

const window = new Float32Array(inputs);

/**
 * Everybody's answers at all moments: the network's medians, the baselines, the ridge where there is one, the experts. The ridge sleeps at
 * the earlier moments, which it was fitted to; at the last one `newest` answers, who has seen all.
 */
export function panelOfRows({ member, origins, moments, rows }: Asked, by: SaidBy, newest: Ridge | null): Panel {
  const { grid } = member;
  const steps = [...moments.earlier, ...moments.origins];
  const before = moments.earlier.length;
  const first = moments.origins[0] ?? 0;
  const rules = by.ridge === null ? [] : [first];
  const knowsFrom = Float64Array.of(
    by.standIn === null ? first : 0,
    ...baselines.map((baseline) => baseline.knowsFrom?.(grid) ?? 0),
    ...rules,
    ...experts.map((expert) => expert.knowsFrom?.(grid) ?? 0),
  );
  const k = knowsFrom.length;
  const points = new Float64Array(steps.length * outputs * k);
  const put = (i: number, e: number, from: Float64Array, at: number): void => {
    for (let h = 0; h < outputs; h += 1) points[(i * outputs + h) * k + e] = from[at + h] as number;
  };
  for (let i = by.standIn === null ? before : 0; i < steps.length; i += 1) {
    const row = rows.of[i] as number;
    const spread = rows.said[row * rowWidths.said + spreadAt] as number;
    const level = grid.values[steps[i] as number] ?? 0;
    for (let h = 0; h < outputs; h += 1)
      points[(i * outputs + h) * k] = level + spread * (rows.quantiles[row * quantileCount + h * levels.length + medianIndex] as number);
  }
  // Baselines are fitted before the origins begin, so that nobody is scored on what it has seen.
  const upTo = Math.max(1, origins[0] ?? member.upTo);
  baselines.forEach((baseline, b) => {
    const { predict } = baseline.fit(grid, upTo, (find) => rows.smoothing(find));
    steps.forEach((at, i) => {
      if (at < (knowsFrom[b + 1] as number)) return;
      predict(at, point);
      put(i, b + 1, point, 0);
    });
  });
  if (by.ridge !== null) {
    for (let i = before; i < steps.length; i += 1)
      put(i, baselines.length + 1, rows.said, (rows.of[i] as number) * rowWidths.said + ridgeAt);
  }
  if (newest !== null) {
    const frame = fillWindow(grid, steps.at(-1) ?? 0, member.unit, window, 0);
    sayRidge(newest, { x: window, frames: [frame] }, 0, point, 0);
    put(steps.length - 1, baselines.length + 1, point, 0);
  }
  const firstExpert = k - experts.length;
  experts.forEach((expert, e) => {
    steps.forEach((at, i) => {
      const from = (rows.of[i] as number) * rowWidths.said + (saidAt[e] as number);
      expert.tell(grid, at, rows.said, from, points, i * outputs * k + firstExpert + e, k);
    });
  });
  return { points, isAwake: wakingAt(knowsFrom, steps), experts: k, knowsFrom };
}

/** The network's quantiles at the origins, in the series' unit: origins x outputs x levels. */
export function quantilesOfRows({ member, moments: { earlier, origins }, rows }: Asked): Float64Array {
  const out = new Float64Array(origins.length * quantileCount);
  origins.forEach((at, i) => {
    const row = rows.of[earlier.length + i] as number;
    const spread = rows.said[row * rowWidths.said + spreadAt] as number;
    const level = member.grid.values[at] ?? 0;
    for (let j = 0; j < quantileCount; j += 1)
      out[i * quantileCount + j] = level + spread * (rows.quantiles[row * quantileCount + j] as number);
  });
  return out;
}
