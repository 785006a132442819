import { expect, it } from 'vitest';
import type { Detector } from '../../src/detect/detector.ts';
import { detectors } from '../../src/detect/registry.ts';
import { createDetection } from '../../src/detect/run.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { OperationReader } from '../../src/ingest/operation-from-span.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { calm, emit } from '../bench/fleet/emit.ts';
import { simulateFleet } from '../bench/fleet/fleet.ts';

/** Seeds of the benches begin at 9001. */
const seed = Number(process.env['SEED'] ?? 17);

function findingsOf(only: readonly Detector[], lines: readonly string[]): readonly Anomaly[] {
  const detection = createDetection({ only });
  const decoder = new JsonDecoder();
  const reader = new OperationReader();
  const batch = new SpanBatch();
  const found = new Map<string, Anomaly>();
  for (const line of lines) {
    decoder.decode(JSON.parse(line), batch, 'traces');
    detection.add(reader.read(batch));
    for (const anomaly of detection.advanceToLateness()) found.set(anomaly.fingerprint, anomaly);
  }
  for (const anomaly of detection.finish()) found.set(anomaly.fingerprint, anomaly);
  return [...found.values()].toSorted((a, b) => (a.fingerprint < b.fingerprint ? -1 : 1));
}

it(`showing each detector only the traces that concern it loses nothing (SEED=${seed})`, { timeout: 120_000 }, () => {
  const lines = emit(simulateFleet(seed), calm, seed);
  const shownAll = detectors.map(
    (detector): Detector =>
      detector.scope === 'trace' || detector.scope === 'message' ? { ...detector, concerns: 'every trace' } : detector,
  );
  const expected = findingsOf(shownAll, lines);
  expect(findingsOf(detectors, lines)).toEqual(expected);
  const kinds = new Set(expected.map(({ kind }) => kind));
  // Else the comparison would say nothing of those that are left out.
  for (const detector of detectors) if ('concerns' in detector) expect(kinds).toContain(detector.id);
});
