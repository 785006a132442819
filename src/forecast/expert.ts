import type { Baseline } from './baseline.ts';
import type { Grid } from './time-grid.ts';
import { outputs } from './window.ts';

/**
 * A point forecaster in two halves: what it found out at a moment, which costs something and is worth keeping, and what follows of that for
 * each output, which costs nothing. Neither reads a value after the moment.
 */
export interface Expert extends Baseline {
  /** How many numbers it finds out; none where it only looks up values. */
  readonly width: number;
  /** Writes them to `said[from ..]`. */
  say(grid: Grid, at: number, said: Float64Array, from: number): void;
  /** Writes output `h` to `out[to + h * stride]`. */
  tell(grid: Grid, at: number, said: Float64Array, from: number, out: Float64Array, to: number, stride: number): void;
}

type Parts = Pick<Expert, 'id' | 'title' | 'width' | 'say'> & Partial<Pick<Expert, 'knowsFrom' | 'tell'>>;

/** Without a `tell`, it has said each output as it is. */
export function expertOf(parts: Parts): Expert {
  const tell = parts.tell ?? tellAll;
  const { width, say } = parts;
  return {
    ...parts,
    tell,
    fit: (grid) => {
      const said = new Float64Array(width);
      return {
        predict: (at, out) => {
          say(grid, at, said, 0);
          tell(grid, at, said, 0, out, 0, 1);
        },
      };
    },
  };
}

const tellAll: Expert['tell'] = (_grid, _at, said, from, out, to, stride) => {
  for (let h = 0; h < outputs; h += 1) out[to + h * stride] = said[from + h] as number;
};
