import { expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { createDetection } from '../../src/detect/run.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { OperationReader } from '../../src/ingest/operation-from-span.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { calm, emit, rough } from '../bench/fleet/emit.ts';
import { simulateFleet } from '../bench/fleet/fleet.ts';

const seed = process.env['SEED'] ?? String(Date.now());

test(`a witness is at most five spans, or as long as its cycle, whatever the fleet does (SEED=${seed})`, { timeout: 120_000 }, () => {
  const rng = createRng(seed);
  const world = simulateFleet(rng.int(1_000_000));
  const spans = new Map(world.traces.map((trace) => [trace.id, new Set(trace.spans.map(({ spanId }) => spanId))]));
  const detection = createDetection();
  const decoder = new JsonDecoder();
  const reader = new OperationReader();
  const batch = new SpanBatch();
  const kinds = new Set<string>();
  const look = (anomalies: readonly Anomaly[]): void => {
    for (const anomaly of anomalies) {
      kinds.add(anomaly.kind);
      const cycle = Number(anomaly.facts['transactions'] ?? 0);
      expect(anomaly.spans.length, anomaly.title).toBeLessThanOrEqual(Math.max(5, cycle));
      // Each is a span that there was.
      for (const { traceId, spanId } of anomaly.spans) expect(spans.get(traceId)?.has(spanId), anomaly.title).toBe(true);
    }
  };
  for (const line of emit(world, rng.pick([calm, rough]), rng.int(1_000_000))) {
    decoder.decodeText(line, batch);
    detection.add(reader.read(batch));
    look(detection.advanceToLateness());
  }
  look(detection.finish());
  expect(kinds.size).toBeGreaterThan(8);
});
