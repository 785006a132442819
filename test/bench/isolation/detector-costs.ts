import type { Detector } from '../../../src/detect/detector.ts';
import { detectors } from '../../../src/detect/registry.ts';
import { createDetection } from '../../../src/detect/run.ts';
import type { Operation } from '../../../src/domain/operation.ts';
import { ProtobufDecoder } from '../../../src/ingest/decode-otlp-protobuf.ts';
import { OperationReader } from '../../../src/ingest/operation-from-span.ts';
import { SpanBatch } from '../../../src/ingest/span-batch.ts';
import { createLoad } from '../ingest-load.ts';

export interface DetectorCosts {
  /** The engine with no detector, with all of them, and what each adds to the engine alone; microseconds of CPU a span. */
  readonly engineUs: number;
  readonly allUs: number;
  readonly ownUs: ReadonlyMap<string, number>;
}

/** Spans fed before the clock starts: code is compiled and tables have grown by then. */
const warmUpShare = 0.25;

/**
 * What each detector costs on the ingest bench's load, fed as the service feeds it: in order of time, with the watermark close behind. The
 * operations are made beforehand and shared by all runs. Collecting garbage counts with whoever makes it.
 *
 * The engine alone is run again beside each detector, and its own cost is the median of the differences: what slows the machine for a
 * while slows both, and is not taken for a cost.
 */
export function measureDetectorCosts(spans: number, rounds: number): DetectorCosts {
  const batches = ordinaryOperations(spans);
  const engine: number[] = [];
  const all: number[] = [];
  const own = new Map<string, number[]>(detectors.map(({ id }) => [id, []]));
  microsecondsASpan(batches, detectors);
  for (let round = 0; round < rounds; round += 1) {
    for (const detector of detectors) {
      const without = microsecondsASpan(batches, []);
      own.get(detector.id)?.push(microsecondsASpan(batches, [detector]) - without);
      engine.push(without);
    }
    all.push(microsecondsASpan(batches, detectors));
  }
  return {
    engineUs: medianOf(engine),
    allUs: medianOf(all),
    ownUs: new Map([...own].map(([id, costs]) => [id, Math.max(0, medianOf(costs))])),
  };
}

function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

function microsecondsASpan(batches: readonly (readonly Operation[])[], only: readonly Detector[]): number {
  const detection = createDetection({ only, traceIdleMs: 100, tracePatienceMs: 100 });
  let spans = 0;
  let spentUs = 0;
  batches.forEach((operations, nth) => {
    const before = process.cpuUsage();
    detection.add(operations);
    detection.advance((operations.at(-1)?.startUs ?? 0) - 100_000);
    const { user, system } = process.cpuUsage(before);
    if (nth < batches.length * warmUpShare) return;
    spans += operations.length;
    spentUs += user + system;
  });
  return spentUs / spans;
}

/** Twenty thousand spans a second of event time, a tenth of a second at once. */
function ordinaryOperations(spans: number): readonly (readonly Operation[])[] {
  const load = createLoad({ seed: 5, spansPerRequest: 510 });
  const decoder = new ProtobufDecoder();
  const batch = new SpanBatch();
  const reader = new OperationReader();
  const perBatch = 2040;
  const shiftUs = (perBatch / 20_000) * 1_000_000;
  return Array.from({ length: Math.ceil(spans / perBatch) }, (_, nth) => {
    const operations: Operation[] = [];
    while (operations.length < perBatch) {
      decoder.decode(load.next(), batch);
      operations.push(...reader.read(batch));
    }
    // The load's own clock runs on with each trace; here time is spread evenly.
    const firstUs = operations[0]?.startUs ?? 0;
    const fromUs = 1_760_000_000_000_000 + nth * shiftUs;
    return operations.map((operation) => ({
      ...operation,
      startUs: fromUs + ((operation.startUs - firstUs) % shiftUs),
      endUs: fromUs + ((operation.startUs - firstUs) % shiftUs) + (operation.endUs - operation.startUs),
    }));
  });
}
