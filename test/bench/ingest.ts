import { gzipSync } from 'node:zlib';
import type { Bench } from './bench.ts';
import { measureFull, measureWaits } from './ingest/full.ts';
import { pin, startServer } from './ingest/server-process.ts';
import { createLoad, type Template } from './ingest-load.ts';
import { grpcSender, httpSender, type Sender } from './ingest-sender.ts';
import { type Collector, cpuSecondsOf, startCollector } from './otelcol/collector.ts';

/**
 * Spans per CPU-second of a server process that this process loads: user and system time of all its threads, from /proc, between two
 * moments at which everything sent has been acknowledged and worked off: processed by `full`, passed on by the Collector. The server is pinned to one core, generator and
 * sink to the other. What was received is compared with what was sent by the answers: each must be a success.
 */
export const bench: Bench = {
  name: 'ingest',
  says: 'spans received per CPU-second of the server: HTTP, gzip, gRPC, and with journal, dedupe and all detectors; the Collector beside it',
  parts: ['decode', 'baseline', 'full', 'collector'],
  run: async ({ quick, log, only }) => {
    const isWanted = (part: string): boolean => only === undefined || only.includes(part);
    pin(process.pid, '1');
    const load = createLoad({ seed: 3, spansPerRequest: 960 });
    const templates = Array.from({ length: 8 }, () => load.template());
    const gzipped = templates.map((template) => gzipSync(template.bytes, { level: 6 }));
    const seconds = quick ? 1.4 : 10;
    const rounds = quick ? 1 : 3;
    const figures: Record<string, number> = {};
    const baseline: Record<string, number> = {};
    const fixed = (bytes: readonly Buffer[]): (() => Buffer) => {
      let i = 0;
      return () => bytes[i++ % bytes.length] as Buffer;
    };
    const plain = fixed(templates.map((template) => template.bytes));
    const medianOf = async (measure: () => Promise<number>): Promise<number> => {
      const rates: number[] = [];
      for (let round = 0; round < rounds; round += 1) rates.push(await measure());
      return rates.toSorted((a, b) => a - b)[rounds >> 1] ?? 0;
    };

    if (isWanted('decode')) {
      await using decode = await startServer('decode', '0');
      for (const [name, open, next] of [
        ['http_spans_per_cpu_s', () => httpSender(decode.http, false), plain],
        ['http_gzip_spans_per_cpu_s', () => httpSender(decode.http, true), fixed(gzipped)],
        ['grpc_spans_per_cpu_s', () => grpcSender(decode.grpc), plain],
      ] as const) {
        figures[name] = await medianOf(() => rate(decode.pid, open(), next, seconds));
        log(`${name} ${Math.round(figures[name] ?? 0)}`);
      }
    }
    if (isWanted('baseline')) {
      await using other = await startServer('baseline', '0');
      baseline['grpc_spans_per_cpu_s'] = await rate(other.pid, grpcSender(other.grpc), plain, quick ? 1.2 : 5);
      log(`@grpc/grpc-js and protobufjs: ${Math.round(baseline['grpc_spans_per_cpu_s'])}`);
    }

    if (isWanted('full')) {
      await using full = await startServer('full', '0');
      const sender = httpSender(full.http, false);
      const fresh = freshOf(templates);
      const measured = await measureFull(full, sender, fresh, quick, log);
      Object.assign(figures, measured);
      Object.assign(figures, await measureWaits(full, sender, fresh, measured['full_spans_per_cpu_s'] ?? 0, quick, log));
      sender.close();
    }

    if (isWanted('collector')) {
      await using sink = await startServer('sink', '1');
      const collector: Collector | null = await startCollector({ url: `http://127.0.0.1:${sink.http}` }, '0', log);
      if (collector !== null) {
        const passed = await medianOf(() => rate(collector.pid, httpSender(collector.httpPort, false), plain, quick ? 2 : 10));
        await collector.close();
        baseline['collector_spans_per_cpu_s'] = passed;
        const ours = figures['full_spans_per_cpu_s'];
        if (ours !== undefined) figures['full_vs_collector'] = ours / passed;
        log(`the Collector, passing spans on: ${Math.round(passed)}`);
      }
      if (!quick && collector !== null) {
        const nop = await startCollector('nop', '0', log);
        if (nop !== null) {
          baseline['collector_nop_spans_per_cpu_s'] = await rate(nop.pid, httpSender(nop.httpPort, false), plain, 5);
          await nop.close();
        }
      }
    }
    return { figures, baseline };
  },
};

function freshOf(templates: readonly Template[]): (agoMs?: number) => Buffer {
  let i = 0;
  // A request is on the wire while the next one is made: the template's own buffer must not change under it.
  return (agoMs) => Buffer.from((templates[i++ % templates.length] as Template).fresh(agoMs));
}

/**
 * Closed loop with eight requests in flight; spans acknowledged per CPU-second, after a warm-up of a fifth of the time. The work that is
 * still to be done on what was acknowledged counts: a batch that waits to be passed on has not been paid for yet.
 */
async function rate(pid: number, sender: Sender, next: () => Buffer, seconds: number): Promise<number> {
  const run = async (forMs: number): Promise<number> => {
    const until = performance.now() + forMs;
    let acknowledged = 0;
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        while (performance.now() < until) {
          await sender.send(next());
          acknowledged += 960;
        }
      }),
    );
    return acknowledged;
  };
  await run(seconds * 200);
  await idle(pid);
  const before = cpuSecondsOf(pid);
  const spans = await run(seconds * 1000);
  await idle(pid);
  const used = cpuSecondsOf(pid) - before;
  sender.close();
  return spans / used;
}

/** Resolves once the process has done next to nothing for a while. */
async function idle(pid: number): Promise<void> {
  for (let used = cpuSecondsOf(pid), looks = 0; looks < 100; looks += 1) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    const now = cpuSecondsOf(pid);
    if (now - used < 0.02) return;
    used = now;
  }
}
