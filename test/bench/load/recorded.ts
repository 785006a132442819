import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRng } from '../../../src/base/rng.ts';
import { parseSeriesCsv } from '../../../src/edge/cli/series-csv.ts';
import { type Grid, gridOf, inferStepMs } from '../../../src/forecast/time-grid.ts';
import { syntheticLoad } from '../../../src/io/model/synthetic-load.ts';

export interface LoadPanel {
  /** Where the series come from, for the log. */
  readonly source: string;
  /** Figures of generated load say little of real load: the benches print how many series were recorded. */
  readonly isRecorded: boolean;
  readonly series: readonly { readonly name: string; readonly grid: Grid }[];
}

const checkout = fileURLToPath(new URL('../../..', import.meta.url));

/**
 * Recorded load, if there is some: CSV files under `load/` of a data directory, which HOMEOSTAT_DATA names or which lies beside the
 * checkout as `<anything>/data`. Otherwise generated load, from another seed than the start model's.
 */
export async function readLoad(): Promise<LoadPanel> {
  for (const folder of await candidates()) {
    const files = await csvFiles(join(folder, 'load'));
    if (files.length === 0) continue;
    const series = [];
    for (const file of files) {
      for (const [name, points] of parseSeriesCsv(await readFile(file, 'utf8'), file)) {
        series.push({ name: name === '' ? basename(file, '.csv') : name, grid: gridOf(points, inferStepMs(points) ?? 300_000) });
      }
    }
    return { source: `${files.length} files under ${join(folder, 'load')}`, isRecorded: true, series };
  }
  return { source: 'generated load: no data directory was found', isRecorded: false, series: syntheticLoad(24, 4_032, createRng('bench')) };
}

async function candidates(): Promise<readonly string[]> {
  const named = process.env['HOMEOSTAT_DATA'];
  if (named !== undefined && named !== '') return [named];
  const parent = dirname(checkout.replace(/\/$/, ''));
  const beside = await readdir(parent).catch(() => []);
  return beside.toSorted((a, b) => a.localeCompare(b)).map((name) => join(parent, name, 'data'));
}

async function csvFiles(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  const files = [];
  for (const name of names.toSorted((a, b) => a.localeCompare(b))) {
    const path = join(folder, name);
    if (name.endsWith('.csv') && (await stat(path)).isFile()) files.push(path);
  }
  return files;
}
