import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFeatures, type FeatureOptions, fittingBuckets } from '../../src/forecast/features.ts';
import { bucketOfKey } from '../../src/forecast/key-slot.ts';
import { operationAt } from './operations.ts';

const options: FeatureOptions = {
  stepMs: 1_000,
  buckets: 16,
  lateSteps: 1,
  maxCells: 1_000,
  collectionOf: (operation) => operation.target,
  regionOf: () => 'eu',
  originOf: ({ region = '' }) => region,
};

describe('features', () => {
  it('count operations, writes, conflicts and the hottest key of a step', () => {
    const features = createFeatures(options);
    features.fold([
      operationAt(100, { key: 'a' }),
      operationAt(200, { key: 'a', kind: 'write' }),
      operationAt(300, { key: 'a', kind: 'write', failed: true, sqlState: '40001' }),
      operationAt(999, { key: 'b' }),
      operationAt(500, {}),
      operationAt(500, { kind: 'publish' }),
    ]);
    const points = features.drain(3_000).filter(({ series }) => series.bucket === -1);
    const value = (metric: string): number | undefined => points.find(({ series }) => series.metric === metric)?.value;
    expect(value('operations')).toBe(5);
    expect(value('writes')).toBe(2);
    expect(value('conflicts')).toBe(1);
    expect(value('hottest-key-share')).toBe(0.6);
    expect(value('latency-p95-ms')).toBeCloseTo(1, 0);
    expect(points.every(({ atMs }) => atMs === 0)).toBe(true);
  });

  it('count an operation where it comes from, and as crossing where another region served it', () => {
    const features = createFeatures(options);
    features.fold([
      operationAt(100, { key: 'a', region: 'us' }),
      operationAt(150, { key: 'a', region: 'us', kind: 'write' }),
      operationAt(200, { key: 'a', region: 'eu' }),
      operationAt(300, { key: 'a' }),
    ]);
    const points = features.drain(3_000);
    const value = (region: string, bucket: number, metric: string): number | undefined =>
      points.find(({ series }) => series.metric === metric && series.region === region && series.bucket === bucket)?.value;
    for (const bucket of [-1, bucketOfKey('a', 16)]) {
      expect(value('us', bucket, 'operations')).toBe(2);
      expect(value('us', bucket, 'crossings')).toBe(2);
      expect(value('eu', bucket, 'operations')).toBe(2);
      expect(value('eu', bucket, 'crossings')).toBeUndefined();
    }
  });

  it('tell how long the quickest reads take there and back, for whole collections', () => {
    const features = createFeatures(options);
    features.fold(Array.from({ length: 40 }, (_, i) => operationAt(100 + i, { key: 'a', tookMs: i < 8 ? 4 : 90, kind: 'read' })));
    features.fold([operationAt(200, { key: 'a', tookMs: 1, kind: 'write' }), operationAt(200, { key: 'a', tookMs: 1, failed: true })]);
    const trips = features.drain(3_000).filter(({ series }) => series.metric === 'read-trip-ms');
    expect(trips.map(({ series }) => series.bucket)).toEqual([-1]);
    expect(Math.abs((trips[0]?.value ?? 0) - 4)).toBeLessThan(0.4);
  });

  it('tell it of each region whose replica was asked, wherever the question came from', () => {
    const features = createFeatures({ ...options, regionOf: ({ host }) => host, originOf: ({ region }) => region ?? '' });
    features.fold([
      operationAt(100, { key: 'a', host: 'eu', region: 'us', tookMs: 20, kind: 'read' }),
      operationAt(150, { key: 'a', host: 'eu', region: 'eu', tookMs: 30, kind: 'read' }),
      operationAt(200, { key: 'a', host: 'us', region: 'ap', tookMs: 6, kind: 'read' }),
      operationAt(250, { key: 'a', host: '', region: 'ap', tookMs: 40, kind: 'read' }),
    ]);
    const trips = features.drain(3_000).filter(({ series }) => series.metric === 'read-trip-ms');
    expect(trips.map(({ series }) => series.region).toSorted()).toEqual(['ap', 'eu', 'us']);
    const tripTo = (region: string): number => trips.find(({ series }) => series.region === region)?.value ?? 0;
    for (const [region, ms] of [
      ['eu', 20],
      ['us', 6],
      ['ap', 40],
    ] as const)
      expect(Math.abs(tripTo(region) - ms) / ms, region).toBeLessThan(0.1);
  });

  it('give each step once, after its lateness, and count what comes later', () => {
    const features = createFeatures(options);
    features.fold([operationAt(100, { key: 'a' })]);
    expect(features.drain(1_999)).toEqual([]);
    expect(features.drain(2_000)).not.toEqual([]);
    features.fold([operationAt(150, { key: 'a' })]);
    expect(features.drain(9_000)).toEqual([]);
    expect(features.counters.late).toBe(1);
  });

  it('do not depend on how operations are batched or ordered, and buckets add up to the whole', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ at: fc.integer({ min: 0, max: 4_999 }), key: fc.constantFrom('a', 'b', 'c', 'd') }), { maxLength: 60 }),
        fc.nat(60),
        (raw, cut) => {
          const operations = raw.map(({ at, key }) => operationAt(at, { key }));
          const one = createFeatures(options);
          one.fold(operations);
          const two = createFeatures(options);
          two.fold(operations.slice(cut).toReversed());
          two.fold(operations.slice(0, cut));
          const byName = (points: ReturnType<typeof one.drain>): unknown => points.map((point) => JSON.stringify(point)).toSorted();
          const points = one.drain(10_000);
          expect(byName(two.drain(10_000))).toEqual(byName(points));
          const total = (isWhole: boolean): number =>
            points
              .filter(({ series }) => series.metric === 'operations' && (series.bucket === -1) === isWhole)
              .reduce((sum, { value }) => sum + value, 0);
          expect(total(true)).toBeCloseTo(raw.length, 9);
          expect(total(false)).toBeCloseTo(raw.length, 9);
          expect(new Set(points.map(({ series }) => series.bucket))).toEqual(
            raw.length === 0 ? new Set() : new Set([-1, ...raw.map(({ key }) => bucketOfKey(key, 16))]),
          );
        },
      ),
    );
  });

  it('hold no more cells than told, whatever comes', () => {
    const features = createFeatures({ ...options, maxCells: 10, collectionOf: (operation) => operation.spanName });
    for (let i = 0; i < 200; i += 1) features.fold([operationAt(i, { key: `k${i}`, spanName: `c${i}` })]);
    expect(features.counters.folded).toBeLessThanOrEqual(10);
    expect(features.counters.refused).toBeGreaterThanOrEqual(190);
    expect(fittingBuckets(64, 10, 3, 3, 2_000)).toBe(8);
  });

  it('refuse an operation from the far future', () => {
    const features = createFeatures(options);
    features.drain(1_000_000);
    features.fold([operationAt(1_000_000_000, { key: 'a' })]);
    expect(features.counters.refused).toBe(1);
  });
});
