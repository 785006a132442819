import { readFileSync } from 'node:fs';
import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import type { Clock } from '../../src/base/clock.ts';
import { defaultConfig } from '../../src/config.ts';
import { BatchPacker } from '../../src/ingest/batch-packer.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { StringTables } from '../../src/ingest/string-tables.ts';
import { detectStageOptions } from '../../src/runtime/detect-options.ts';
import { DetectStage, type SentBatch } from '../../src/runtime/detect-stage.ts';
import type { Bench } from './bench.ts';
import { createLoad } from './ingest-load.ts';

/** Event time that is made, and then taken in, at once. */
const stepMs = 100;
const spansPerRequest = 960;
/** About what the `ingest` bench sends in its steady state. */
const spansPerSecond = 96_000;

/**
 * What the detectors' thread does with a span, in one thread and in simulated time: packed batches of the `ingest` bench's load go through
 * dedupe, waiting room, shelf, operations and all detectors. The making of the batches is not measured. `us_per_span` is the thread's own
 * CPU, `helper_us_per_span` that of V8's other threads (collecting garbage, compiling) meanwhile; `allocated_bytes_per_span` is the
 * heap's growth between collections.
 */
export const bench: Bench = {
  name: 'stage',
  says: "what the detectors' thread does with a span: CPU, bytes allocated, share of garbage collection, heap and state after minutes",
  run: async ({ quick, log }) => {
    const eventSeconds = quick ? 16 : 150;
    const load = createLoad({ seed: 3, spansPerRequest });
    const templates = Array.from({ length: 8 }, () => load.template());
    const decoder = new ProtobufDecoder();
    const decoded = new SpanBatch();
    const tables = new StringTables();
    const packer = new BatchPacker();
    const clock = new HeldClock();
    const stage = new DetectStage({ ...detectStageOptions(defaultConfig()), graceMs: 0 }, clock);
    let sequence = 0;
    const make = (count: number): readonly SentBatch[] =>
      Array.from({ length: count }, (_, nth): SentBatch => {
        const template = templates[sequence % templates.length];
        if (template === undefined) throw new Error('no templates');
        const atMs = clock.nowMs() + (nth * stepMs) / count;
        decoder.decode(template.fresh(Date.now() - atMs), decoded);
        const packed = packer.pack(decoded);
        if (packed === undefined) throw new Error('no rows');
        sequence += 1;
        return { sequence: sequence - 1, packed, strings: tables.added(decoded.strings) };
      });
    let gcMs = 0;
    let startedMs = 0;
    const observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) gcMs += entry.duration;
    });
    observer.observe({ entryTypes: ['gc'] });
    let findings = 0;
    const used = { own: 0, all: 0, allocated: 0, operations: 0 };
    const warmSteps = 14_000 / stepMs;
    const steps = warmSteps + (eventSeconds * 1000) / stepMs;
    for (let step = 0; step < steps; step += 1) {
      const batches = make((spansPerSecond * stepMs) / 1000 / spansPerRequest);
      const before = { own: ownSeconds(), all: allSeconds(), heap: process.memoryUsage().heapUsed };
      let taken = 0;
      while (taken < batches.length) {
        while (taken < batches.length && stage.hasRoom) stage.take(batches[taken++] as SentBatch);
        stage.work(20);
      }
      clock.pass(stepMs);
      while (stage.work(20));
      const report = stage.report();
      findings += report.findings.length;
      if (step < warmSteps) continue;
      if (step === warmSteps) {
        gcMs = 0;
        startedMs = performance.now();
      }
      used.own += ownSeconds() - before.own;
      used.all += allSeconds() - before.all;
      used.operations += report.newOperations;
      const grown = process.memoryUsage().heapUsed - before.heap;
      // A step in which garbage was collected says nothing of what was allocated.
      if (grown > 0) used.allocated += grown;
      await new Promise((resolve) => setImmediate(resolve));
      if (step % 100 === 0) log(`${step}: ${((used.own * 1e6) / used.operations).toFixed(2)} us a span`);
    }
    observer.disconnect();
    const { counts } = stage.report();
    const { stats } = counts;
    const memory = process.memoryUsage();
    return {
      figures: {
        us_per_span: (used.own * 1e6) / used.operations,
        helper_us_per_span: ((used.all - used.own) * 1e6) / used.operations,
        allocated_bytes_per_span: used.allocated / used.operations,
        /** Of all that the process did, the making of the batches among it. */
        gc_share: gcMs / (performance.now() - startedMs),
        operations: used.operations,
        findings,
        late_spans: counts.lateSpans,
        shortened_waits: counts.shortenedWaits,
        heap_used_mb: memory.heapUsed / 1e6,
        heap_total_mb: getHeapStatistics().total_heap_size / 1e6,
        buffers_mb: memory.arrayBuffers / 1e6,
        held_mb: stats.heldBytes / 1e6,
        state_mb: stats.stateBytes / 1e6,
        trace_share: stats.traceShare,
        key_share: stats.keyShare,
      },
      baseline: {},
    };
  },
};

class HeldClock implements Clock {
  #ms = Date.UTC(2026, 0, 1);
  nowMs(): number {
    return this.#ms;
  }
  monotonicMs(): number {
    return this.#ms;
  }
  pass(ms: number): void {
    this.#ms += ms;
  }
}

function allSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** The main thread's own, by the kernel's account. */
function ownSeconds(): number {
  const [ns] = readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ');
  return Number(ns) / 1e9;
}
