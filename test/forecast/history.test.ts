import { describe, expect, it } from 'vitest';
import type { SeriesId } from '../../src/domain/forecast.ts';
import { createHistory } from '../../src/forecast/history.ts';

const operations: SeriesId = { collection: 'orders', bucket: -1, region: 'eu', metric: 'operations' };
const latency: SeriesId = { ...operations, metric: 'latency-p95-ms' };

describe('history', () => {
  it('reads 0 for a rate in a watched step without a point, and a gap where nothing was watched', () => {
    const history = createHistory(1_000, 10, 100);
    history.put([{ series: operations, atMs: 0, value: 4 }]);
    history.watched(1, 1);
    history.put([{ series: operations, atMs: 3_000, value: 8 }]);
    const grid = history.gridOf(operations, 3);
    expect([...(grid?.values ?? [])]).toEqual([4, 0, 4, 8]);
    expect([...(grid?.missing ?? [])]).toEqual([0, 0, 1, 0]);
  });

  it('does not call a latency 0 where nothing ran', () => {
    const history = createHistory(1_000, 10, 100);
    history.put([{ series: latency, atMs: 0, value: 5 }]);
    history.watched(1, 2);
    expect([...(history.gridOf(latency, 2)?.values ?? [])]).toEqual([5, 5, 5]);
    expect([...(history.gridOf(latency, 2)?.missing ?? [])]).toEqual([0, 1, 1]);
  });

  it('keeps only the last steps, and forgets a series that has none in them', () => {
    const history = createHistory(1_000, 4, 100);
    history.put([{ series: latency, atMs: 0, value: 1 }]);
    for (let step = 0; step < 10; step += 1) history.put([{ series: operations, atMs: step * 1_000, value: step }]);
    expect([...(history.gridOf(operations, 9)?.values ?? [])]).toEqual([6, 7, 8, 9]);
    expect(history.series()).toEqual([operations]);
  });

  it('holds no more series than told', () => {
    const history = createHistory(1_000, 4, 2);
    for (let bucket = 0; bucket < 5; bucket += 1) history.put([{ series: { ...operations, bucket }, atMs: 0, value: 1 }]);
    expect(history.series()).toHaveLength(2);
    expect(history.refused).toBe(3);
  });
});
