import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { OperationReader } from '../../src/ingest/operation-from-span.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { traceRequestType } from '../ingest/otlp-proto.ts';
import type { Bench } from './bench.ts';
import { createLoad } from './ingest-load.ts';

/** Spans a second of CPU time, decoding requests of 1,000 spans of some 400 bytes each from protobuf, this decoder against protobufjs. */
export const bench: Bench = {
  name: 'decode',
  says: 'spans decoded per CPU-second, against protobufjs on the same bytes',
  run: async ({ quick, log }) => {
    const load = createLoad({ seed: 1, spansPerRequest: 1000 });
    const requests = Array.from({ length: 24 }, () => load.next());
    const bytesPerSpan = requests.reduce((sum, request) => sum + request.length, 0) / (requests.length * 1000);
    const decoder = new ProtobufDecoder();
    const batch = new SpanBatch();
    const reader = new OperationReader();
    const seconds = quick ? 2 : 6;
    const ours = await medianRate(seconds, () => {
      let spans = 0;
      for (const request of requests) {
        if (decoder.decode(request, batch).is !== 'decoded') throw new Error('the request is well-formed');
        spans += batch.count;
      }
      return spans;
    });
    log(`columns: ${Math.round(ours)} spans/s of CPU, ${bytesPerSpan.toFixed(0)} B a span`);
    const asOperations = await medianRate(seconds, () => {
      let spans = 0;
      for (const request of requests) {
        decoder.decode(request, batch);
        spans += reader.read(batch).length;
      }
      return spans;
    });
    log(`columns and operations: ${Math.round(asOperations)} spans/s of CPU`);
    const theirs = await medianRate(seconds, () => {
      let spans = 0;
      for (const request of requests.slice(0, 6)) {
        const decoded = traceRequestType.decode(request) as unknown as { resourceSpans: { scopeSpans: { spans: unknown[] }[] }[] };
        for (const resource of decoded.resourceSpans) for (const scope of resource.scopeSpans) spans += scope.spans.length;
      }
      return spans;
    });
    log(`protobufjs: ${Math.round(theirs)} spans/s of CPU`);
    return {
      figures: { spans_per_cpu_s: ours, vs_protobufjs: ours / theirs, operations_per_cpu_s: asOperations, bytes_per_span: bytesPerSpan },
      baseline: { spans_per_cpu_s: theirs },
    };
  },
};

/** Median over five slices after a warm-up; CPU time of this process, so that a busy machine does not count. */
async function medianRate(seconds: number, once: () => number): Promise<number> {
  const slice = (ms: number): number => {
    const from = process.cpuUsage();
    const until = performance.now() + ms;
    let done = 0;
    while (performance.now() < until) done += once();
    const used = process.cpuUsage(from);
    return done / ((used.user + used.system) / 1e6);
  };
  slice(seconds * 150);
  const rates: number[] = [];
  for (let i = 0; i < 5; i += 1) {
    rates.push(slice((seconds * 1000) / 5));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return rates.toSorted((a, b) => a - b)[2] ?? 0;
}
