import { createFeatures } from '../../../src/forecast/features.ts';
import { createHistory } from '../../../src/forecast/history.ts';
import { operationAt } from '../../forecast/operations.ts';
import type { Figures } from '../bench.ts';

const series = 10_000;
const stepMs = 300_000;
const steps = 2_016;
const operations = 200_000;

/**
 * What 10,000 series cost: memory of seven days of five-minute history of all of them, processor time to fold operations of 10,000
 * key ranges into series (20 collections x 500 ranges, rounded to 512, of one region), and to close a step of them.
 */
export function timeTenThousandSeries(): Figures {
  const before = process.memoryUsage().arrayBuffers;
  const history = createHistory(stepMs, steps, series);
  const values = Array.from({ length: steps }, (_, i) => i % 97);
  for (let i = 0; i < series; i += 1)
    history.putSpan({ collection: `c${i % 20}`, bucket: Math.floor(i / 20), region: 'eu', metric: 'operations' }, 0, values);
  const historyMb = (process.memoryUsage().arrayBuffers - before) / 1e6;

  const features = createFeatures({
    stepMs,
    buckets: 512,
    lateSteps: 1,
    maxCells: 60_000,
    collectionOf: ({ target }) => target,
    regionOf: () => 'eu',
    originOf: () => '',
  });
  const startMs = 1_000 * stepMs;
  const batch = Array.from({ length: operations }, (_, i) =>
    operationAt(startMs + (i % stepMs), {
      key: `key-${(i * 7_919) % 100_003}`,
      target: `c${i % 20}`,
      kind: i % 4 === 0 ? 'write' : 'read',
    }),
  );
  const foldFrom = process.cpuUsage();
  features.fold(batch);
  const fold = process.cpuUsage(foldFrom);
  const drainFrom = process.cpuUsage();
  const points = features.drain(startMs + 3 * stepMs);
  const drained = process.cpuUsage(drainFrom);
  return {
    history_mb_10k_series: historyMb,
    fold_cpu_us_per_operation: fold.user / operations,
    close_step_cpu_ms: drained.user / 1000,
    close_step_points: points.length,
  };
}
