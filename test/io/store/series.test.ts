import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SeriesId } from '../../../src/domain/forecast.ts';
import { type Database, openDatabase } from '../../../src/io/store/database.ts';
import { migrate } from '../../../src/io/store/migrate.ts';
import { blockSteps, loadLatestSeries, loadSeriesBlock, packSeries, saveSeriesPoints } from '../../../src/io/store/series.ts';
import { startPostgres, type TestPostgres } from '../../servers/postgres.ts';

let server: TestPostgres;
let database: Database;
beforeAll(async () => {
  server = await startPostgres();
  database = openDatabase(await server.createDatabase('series'));
  await migrate(database);
});
afterAll(async () => {
  await database.close();
  await server.close();
});

const stepMs = 300_000;
const spanMs = blockSteps * stepMs;
/** A whole block boundary, in 2024. */
const startMs = Math.floor(Date.UTC(2024, 0, 1) / spanMs) * spanMs;
const rate: SeriesId = { collection: 'orders', bucket: 3, region: 'eu', metric: 'operations' };
const latency: SeriesId = { ...rate, metric: 'latency-p95-ms' };
const steps = 2 * blockSteps + 5;

const pack = (beforeMs: number): Promise<void> => database.transaction((tx) => packSeries(tx, stepMs, beforeMs));
const history = async (series: SeriesId): Promise<readonly (readonly [number, number])[]> =>
  (await loadLatestSeries(database, series, stepMs, 10_000)).map(({ atMs, value }) => [(atMs - startMs) / stepMs, value]);

describe('the history of a series', () => {
  it('reads the same before and after its closed blocks are packed, and comes back block by block', async () => {
    await saveSeriesPoints(
      database,
      Array.from({ length: steps }, (_, i) => i)
        // Every seventh step had no operation, so no point of either.
        .filter((i) => i % 7 !== 0)
        .flatMap((i) => [
          { series: rate, stepMs, atMs: startMs + i * stepMs, value: i },
          { series: latency, stepMs, atMs: startMs + i * stepMs, value: 1000 - i },
        ]),
    );
    const before = await history(rate);
    expect(before).toHaveLength(steps - Math.ceil(steps / 7));
    await pack(startMs + steps * stepMs);
    expect(await history(rate)).toEqual(before);
    const { rows } = await database.query<{ blocks: number; points: number }>(
      `select (select count(*) from series_blocks where step_ms = ${stepMs}) as blocks, (select count(*) from series_points where step_ms = ${stepMs}) as points`,
    );
    // Two series, two closed blocks; the open one stays in rows.
    expect(rows).toEqual([{ blocks: 4, points: 2 * 5 - 2 * 1 }]);
    const block = await loadSeriesBlock(database, stepMs, startMs);
    const values = block.find(({ series }) => series.metric === 'operations')?.values ?? [];
    expect(values.slice(0, 9)).toEqual([null, 1, 2, 3, 4, 5, 6, null, 8]);
    const open = await loadSeriesBlock(database, stepMs, startMs + 2 * spanMs);
    expect(open.find(({ series }) => series.metric === 'operations')).toEqual({
      series: rate,
      fromMs: startMs + 2 * spanMs,
      values: [144, 145, 146, null, 148],
    });
  });

  it('keeps an hour as the mean of the watched steps of a rate, and the peak of a latency', async () => {
    const hours = await loadLatestSeries(database, rate, stepMs * 12, 1000);
    const watched = [1, 2, 3, 4, 5, 6, 8, 9, 10, 11];
    expect(hours[0]).toMatchObject({ atMs: startMs, value: watched.reduce((sum, one) => sum + one, 0) / watched.length });
    expect(hours).toHaveLength(12);
    expect((await loadLatestSeries(database, latency, stepMs * 12, 1000))[0]?.value).toBe(999);
  });

  it('merges a point that is told again after its block was packed', async () => {
    await saveSeriesPoints(database, [
      { series: rate, stepMs, atMs: startMs, value: 70 },
      { series: rate, stepMs, atMs: startMs + stepMs, value: 71 },
    ]);
    await pack(startMs + steps * stepMs);
    expect((await history(rate)).slice(0, 3)).toEqual([
      [0, 70],
      [1, 71],
      [2, 2],
    ]);
  });

  it('forgets the fine steps after four weeks and keeps their hours', async () => {
    await pack(startMs + 40 * 86_400_000);
    expect(await history(rate)).toEqual([]);
    expect((await loadLatestSeries(database, rate, stepMs * 12, 1000)).length).toBeGreaterThan(10);
    await pack(startMs + 500 * 86_400_000);
    expect((await database.query('select 1 from series_names')).rows).toEqual([]);
  });
});
