import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../../src/io/telemetry/metrics.ts';

describe('metrics', () => {
  it('are Prometheus text, with escaped labels', () => {
    const metrics = createMetrics({ jobs_total: 'Jobs.', depth: 'Depth.', wait_seconds: 'Wait.' });
    metrics.count('jobs_total', { name: 'a"b\\c\nd' });
    metrics.count('jobs_total', { name: 'a"b\\c\nd' }, 2);
    metrics.gauge('depth', 4);
    metrics.observe('wait_seconds', 0.3);
    expect(metrics.render().split('\n')).toEqual(
      expect.arrayContaining([
        '# TYPE jobs_total counter',
        'jobs_total{name="a\\"b\\\\c\\nd"} 3',
        'depth 4',
        'wait_seconds_bucket{le="0.1"} 0',
        'wait_seconds_bucket{le="0.5"} 1',
        'wait_seconds_count 1',
      ]),
    );
  });

  it('keep a bounded number of series, and lose no count', () => {
    const metrics = createMetrics({ jobs_total: 'Jobs.' });
    for (let i = 0; i < 5_000; i += 1) metrics.count('jobs_total', { name: `n${i}` });
    const lines = metrics
      .render()
      .split('\n')
      .filter((line) => line.startsWith('jobs_total'));
    expect(lines.length).toBeLessThanOrEqual(1_001);
    expect(lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)).toBe(5_000);
  });

  it('that nobody described are a mistake', () => {
    expect(() => createMetrics({}).count('unknown_total')).toThrow(RangeError);
  });
});
