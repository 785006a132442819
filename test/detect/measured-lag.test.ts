import { describe, expect, test } from 'vitest';
import { createLagBook } from '../../src/detect/measured-lag.ts';
import { createDetection } from '../../src/detect/run.ts';
import { replicaReadAfterWrite } from '../../src/detect/detectors/replica-read-after-write.ts';
import { staleRead } from '../../src/detect/detectors/stale-read.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import type { Measurement } from '../../src/domain/measurement.ts';

const lag = (value: number, atUs: number, more: Partial<Measurement> = {}): Measurement => ({
  kind: 'replication-lag-ms',
  metric: 'postgresql.wal.lag',
  system: 'postgresql',
  instance: 'db-primary:5432',
  subject: 'db-replica',
  replica: '',
  value,
  isCumulative: false,
  atUs,
  ...more,
});

function findingOf(detector: typeof replicaReadAfterWrite | typeof staleRead): Anomaly {
  const detection = createDetection({ only: [detector] });
  detection.add(detector.example());
  const found = detection.finish()[0];
  if (found === undefined) throw new Error('the example is not reported');
  return found;
}

describe('lag that copies report of themselves', () => {
  const afterWrite = findingOf(replicaReadAfterWrite);
  const stale = findingOf(staleRead);
  const minutes = (count: number, from: number): number[] => Array.from({ length: count }, (_, i) => from - (i + 1) * 60_000_000);

  test.each<[string, Anomaly, readonly Measurement[], RegExp]>([
    [
      'a read sooner than the copy can have it',
      afterWrite,
      [lag(3200, afterWrite.lastSeenUs)],
      /db-replica was 3\.2 s behind at that time, so the change had not arrived yet/,
    ],
    [
      'a read later than the copy is behind',
      afterWrite,
      [lag(1, afterWrite.lastSeenUs)],
      /1 ms behind at that time, so the change had probably arrived/,
    ],
    [
      'a copy that is far behind and usually is not',
      stale,
      [
        ...minutes(6, stale.lastSeenUs).map((at) => lag(40, at, { subject: '', replica: 'us' })),
        lag(3200, stale.lastSeenUs, { subject: '', replica: 'us' }),
      ],
      /us was 3\.2 s behind at that time, and usually is 40 ms: replication was late/,
    ],
    [
      'a copy that is always that far behind',
      stale,
      [...minutes(6, stale.lastSeenUs), stale.lastSeenUs].map((at) => lag(2900, at, { subject: '', replica: 'us' })),
      /which is usual there \(2\.9 s\): such reads will come again/,
    ],
  ])('%s', (_, anomaly, measured, says) => {
    const book = createLagBook();
    book.observe(measured);
    const explained = book.explain(anomaly);
    expect(explained.explanation).toMatch(says);
    expect(explained.explanation.startsWith(anomaly.explanation)).toBe(true);
    expect(explained.facts['lagMs']).toBe(measured.at(-1)?.value);
    expect(explained).toMatchObject({ fingerprint: anomaly.fingerprint, grade: anomaly.grade });
  });

  test.each<[string, readonly Measurement[]]>([
    ['nothing was measured', []],
    ['it was measured at another time', [lag(3200, afterWrite.lastSeenUs - 600_000_000)]],
    ['another copy was measured', [lag(3200, afterWrite.lastSeenUs, { subject: 'db-other' })]],
    ['two copies are on that host', [5432, 5433].map((port) => lag(port, afterWrite.lastSeenUs, { subject: `db-replica:${port}` }))],
    ['bytes were measured', [lag(3200, afterWrite.lastSeenUs, { kind: 'replication-lag-bytes' })]],
  ])('nothing is said where %s', (_, measured) => {
    const book = createLagBook();
    book.observe(measured);
    expect(book.explain(afterWrite)).toBe(afterWrite);
  });

  test('what is read again after a restart changes nothing', () => {
    const book = createLagBook();
    const points = [1, 2, 3, 4, 5, 6].map((ms) => lag(ms, ms * 1_000_000));
    book.observe(points);
    const before = book.lagOf('db-replica', 6_000_000);
    book.observe(points);
    expect(book.lagOf('db-replica', 6_000_000)).toEqual(before);
    expect(before).toEqual({ ms: 6, usualMs: 4 });
  });

  test('I7: copies and points are bounded', () => {
    const book = createLagBook();
    for (let i = 0; i < 5_000; i += 1) book.observe([lag(i, i, { subject: `copy-${i}` })]);
    expect(book.lagOf('copy-4999', 4999)).toBeUndefined();
    for (let i = 0; i < 5_000; i += 1) book.observe([lag(i, i * 1_000_000, { subject: 'copy-1' })]);
    expect(book.lagOf('copy-1', 1)).toBeUndefined();
    expect(book.lagOf('copy-1', 4_999_000_000)?.ms).toBe(4_999);
  });
});
