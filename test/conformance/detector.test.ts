import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Detector } from '../../src/detect/detector.ts';
import { detectors } from '../../src/detect/registry.ts';
import { createDetection } from '../../src/detect/run.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import type { Operation } from '../../src/domain/operation.ts';

const latenessMs = 10_000;

function run(detector: Detector, operations: readonly Operation[]): readonly Anomaly[] {
  const detection = createDetection({ only: [detector] });
  detection.add(operations);
  return detection.finish();
}

/** Feeds batches with the watermark close behind, as the service does; the last state of each finding, by fingerprint. */
function runInBatches(detector: Detector, batches: readonly (readonly Operation[])[]): readonly Anomaly[] {
  const detection = createDetection({ only: [detector], latenessMs });
  const found = new Map<string, Anomaly>();
  const keep = (anomalies: readonly Anomaly[]) => {
    for (const anomaly of anomalies) found.set(anomaly.fingerprint, anomaly);
  };
  for (const batch of batches) {
    detection.add(batch);
    keep(detection.advanceToLateness());
  }
  keep(detection.finish());
  return [...found.values()];
}

function comparable(anomalies: readonly Anomaly[]): unknown {
  return anomalies
    .map(({ spans: _spans, explanation: _explanation, ...rest }) => rest)
    .toSorted((a, b) => (a.fingerprint < b.fingerprint ? -1 : 1));
}

/** The example, its twin and the example again much later, so that watermarks move between them. */
function longHistory(detector: Detector): readonly Operation[] {
  const shifted = (operations: readonly Operation[], round: number): readonly Operation[] =>
    operations.map((operation) => ({
      ...operation,
      traceId: round.toString(16) + operation.traceId.slice(1),
      startUs: operation.startUs + round * 700_000_000,
      endUs: operation.endUs + round * 700_000_000,
      links: operation.links.map((link) => ({ ...link, traceId: round.toString(16) + link.traceId.slice(1) })),
    }));
  return [...shifted(detector.example(), 1), ...shifted(detector.twin(), 2), ...shifted(detector.example(), 3)];
}

describe.each(detectors.map((detector) => [detector.id, detector] as const))('detector %s', (id, detector) => {
  it('says what it is', () => {
    expect(id).toMatch(/^[a-z]+(-[a-z]+)*$/);
    expect(detector.title.length).toBeGreaterThan(3);
    expect(detector.sentence).toMatch(/^[A-Z].*\.$/s);
    expect(detector.fix).toMatch(/^[A-Z].*\.$/s);
    expect(detector.needs).not.toBe('');
    for (const field of Object.values(detector.options)) {
      expect(field.says).toMatch(/\.$/);
      if (field.is === 'number') {
        expect(field.default).toBeGreaterThanOrEqual(field.min);
        expect(field.default).toBeLessThanOrEqual(field.max);
      }
    }
  });

  it('finds its example, with a witness that is in the input, in words', () => {
    const example = detector.example();
    const found = run(detector, example);
    expect(found.length).toBeGreaterThan(0);
    const ids = new Set(example.map((operation) => `${operation.traceId}/${operation.spanId}`));
    for (const anomaly of found) {
      expect(anomaly.kind).toBe(id);
      expect(detector.grades).toContain(anomaly.grade);
      expect(anomaly.count).toBeGreaterThan(0);
      expect(anomaly.fingerprint).toMatch(/^[0-9a-f]{32}$/);
      expect(anomaly.spans.length).toBeGreaterThan(0);
      // A witness that can be read; only a cycle may be longer.
      if (id !== 'isolation') expect(anomaly.spans.length).toBeLessThanOrEqual(5);
      for (const span of anomaly.spans) expect(ids).toContain(`${span.traceId}/${span.spanId}`);
      expect(anomaly.title).not.toMatch(/undefined|NaN|\n/);
      expect(anomaly.explanation).toMatch(/^[A-Z`a-z].*\.$/s);
      expect(anomaly.explanation).not.toMatch(/undefined|NaN/);
      expect(anomaly.firstSeenUs).toBeLessThanOrEqual(anomaly.lastSeenUs);
    }
  });

  it('finds nothing in the repaired twin', () => {
    expect(run(detector, detector.twin())).toEqual([]);
  });

  it('finds the same however the input is cut, repeated or reordered within the lateness bound', () => {
    const history = longHistory(detector);
    const expected = comparable(run(detector, history));
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 20 }),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 30 }),
        fc.nat({ max: 6 }),
        (sizes, delays, repeats) => {
          // Arrival: end of the span, plus a delay below the bound; some operations arrive twice.
          const arrivals = history
            .flatMap((operation, i) => {
              const delay = (j: number) => operation.endUs + (delays[(i + j) % delays.length] ?? 0) * (latenessMs - 1) * 1000;
              return i % 7 < repeats
                ? [
                    { operation, atUs: delay(0) },
                    { operation, atUs: delay(1) },
                  ]
                : [{ operation, atUs: delay(0) }];
            })
            .toSorted((a, b) => a.atUs - b.atUs)
            .map(({ operation }) => operation);
          const batches: Operation[][] = [];
          for (let at = 0, i = 0; at < arrivals.length; i += 1) {
            const size = sizes[i % sizes.length] ?? 1;
            batches.push(arrivals.slice(at, at + size));
            at += size;
          }
          expect(comparable(runInBatches(detector, batches))).toEqual(expected);
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe('registry', () => {
  it('has each id once', () => {
    expect(new Set(detectors.map((detector) => detector.id)).size).toBe(detectors.length);
  });
});
