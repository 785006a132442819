import { readFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { Failure } from '../../base/failure.ts';
import { type Grid, gridOf, inferStepMs } from '../../forecast/time-grid.ts';
import { parseSeriesCsv } from './series-csv.ts';

export interface NamedGrid {
  readonly name: string;
  readonly grid: Grid;
}

/** One point has no step of its own; any will do, and five minutes is what the model knows. */
const loneStepMs = 300_000;

/** The series of CSV files on regular grids; `stepSeconds` undefined: as wide as points are apart. Throws Failure that names the file. */
export async function readGrids(files: readonly string[], stepSeconds: number | undefined, cwd: string): Promise<readonly NamedGrid[]> {
  const grids: NamedGrid[] = [];
  for (const file of files) {
    let text: string;
    try {
      text = await readFile(resolve(cwd, file), 'utf8');
    } catch (cause) {
      throw new Failure('no-file', `cannot read ${file}: ${cause instanceof Error ? cause.message : String(cause)}`, 'never', cause);
    }
    for (const [name, points] of parseSeriesCsv(text, file)) {
      const stepMs = stepSeconds === undefined ? (inferStepMs(points) ?? loneStepMs) : stepSeconds * 1000;
      try {
        grids.push({ name: name === '' ? basename(file).replace(/\.csv$/i, '') : name, grid: gridOf(points, stepMs) });
      } catch (cause) {
        if (cause instanceof RangeError) throw new Failure('bad-csv', `${file}: ${cause.message}`, 'never', cause);
        throw cause;
      }
    }
  }
  return grids;
}
