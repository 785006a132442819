import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Bench } from './bench.ts';
import { createLoad, type Template } from './ingest-load.ts';
import { grpcSender, httpSender, type Sender } from './ingest-sender.ts';
import { type Collector, cpuSecondsOf, startCollector } from './otelcol/collector.ts';

/**
 * Spans per CPU-second of a server process that this process loads: user and system time of all its threads, from /proc, between two
 * moments at which everything sent has been acknowledged (and, for `full`, processed). The server is pinned to one core, generator and
 * sink to the other. What was received is compared with what was sent by the answers: each must be a success.
 */
export const bench: Bench = {
  name: 'ingest',
  says: 'spans received per CPU-second of the server: HTTP, gzip, gRPC, and with journal, dedupe and all detectors; the Collector beside it',
  run: async ({ quick, log }) => {
    pin(process.pid, '1');
    const load = createLoad({ seed: 3, spansPerRequest: 960 });
    const templates = Array.from({ length: 8 }, () => load.template());
    const gzipped = templates.map((template) => gzipSync(template.bytes, { level: 6 }));
    const seconds = quick ? 2.5 : 10;
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

    await using decode = await startServer('decode', '0');
    for (const [name, open, next] of [
      ['http_spans_per_cpu_s', () => httpSender(decode.http, false), plain],
      ['http_gzip_spans_per_cpu_s', () => httpSender(decode.http, true), fixed(gzipped)],
      ['grpc_spans_per_cpu_s', () => grpcSender(decode.grpc), plain],
    ] as const) {
      figures[name] = await medianOf(() => rate(decode.pid, open(), next, seconds));
      log(`${name} ${Math.round(figures[name] ?? 0)}`);
    }
    {
      await using other = await startServer('baseline', '0');
      baseline['grpc_spans_per_cpu_s'] = await rate(other.pid, grpcSender(other.grpc), plain, quick ? 2 : 5);
      log(`@grpc/grpc-js and protobufjs: ${Math.round(baseline['grpc_spans_per_cpu_s'])}`);
    }

    {
      await using full = await startServer('full', '0');
      const fresh = freshOf(templates);
      figures['full_spans_per_cpu_s'] = await medianOf(() => rate(full.pid, httpSender(full.http, false), fresh, quick ? 14 : 30));
      log(`full_spans_per_cpu_s ${Math.round(figures['full_spans_per_cpu_s'] ?? 0)}`);
      const perSecond = 0.7 * (figures['full_spans_per_cpu_s'] ?? 0);
      const waits = await paced(httpSender(full.http, false), fresh, 960 / perSecond, quick ? 4 : 20);
      figures['ack_p99_ms'] = waits[Math.floor(waits.length * 0.99)] ?? 0;
      baseline['ack_p50_ms'] = waits[waits.length >> 1] ?? 0;
      figures['rss_mb'] = peakMegabytes(full.pid);
      // Memory is bounded by looking at a share of traces and keys; how large it still was, so that the figure above can be judged.
      figures['full_trace_share'] = await full.traceShare();
      log(
        `p99 of the acknowledgement at ${Math.round(perSecond)} spans/s: ${figures['ack_p99_ms'].toFixed(1)} ms; peak RSS ${figures['rss_mb'].toFixed(0)} MB`,
      );
    }

    {
      await using sink = await startServer('sink', '1');
      const collector: Collector | null = await startCollector({ url: `http://127.0.0.1:${sink.http}` }, '0', log);
      if (collector !== null) {
        const passed = await medianOf(() => rate(collector.pid, httpSender(collector.httpPort, false), plain, quick ? 4 : 10));
        await collector.close();
        baseline['collector_spans_per_cpu_s'] = passed;
        figures['full_vs_collector'] = (figures['full_spans_per_cpu_s'] ?? 0) / passed;
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

interface BenchServer extends AsyncDisposable {
  readonly pid: number;
  readonly http: number;
  readonly grpc: number;
  /** `full` only: the share of traces that the detectors still look at. */
  traceShare(): Promise<number>;
}

const serverFile = fileURLToPath(new URL('./ingest-server.ts', import.meta.url));

async function startServer(mode: string, core: string): Promise<BenchServer> {
  const child: ChildProcess = spawn(process.execPath, [serverFile, mode], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { pid, stdout } = child;
  if (pid === undefined || stdout === null) throw new Error(`the ${mode} server did not start`);
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const line = await new Promise<string>((resolve, reject) => {
    let text = '';
    stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('\n')) resolve(text);
    });
    child.on('exit', (code) => reject(new Error(`the ${mode} server ended with code ${code}`)));
  });
  pin(pid, core);
  const ports = JSON.parse(line) as { http?: number; grpc?: number };
  return {
    pid,
    http: ports.http ?? 0,
    grpc: ports.grpc ?? 0,
    traceShare: () =>
      new Promise((resolve) => {
        stdout.once('data', (chunk: Buffer) =>
          resolve((JSON.parse(chunk.toString()) as { stats: { traceShare: number } }).stats.traceShare),
        );
        child.kill('SIGUSR2');
      }),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** All threads of a process to one core, where the system can. */
function pin(pid: number, core: string): void {
  spawnSync('taskset', ['-a', '-c', '-p', core, String(pid)], { stdio: 'ignore' });
}

function freshOf(templates: readonly Template[]): () => Buffer {
  let i = 0;
  // A request is on the wire while the next one is made: the template's own buffer must not change under it.
  return () => Buffer.from((templates[i++ % templates.length] as Template).fresh());
}

/** Closed loop with eight requests in flight; spans acknowledged per CPU-second, after a warm-up of a fifth of the time. */
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
  const before = cpuSecondsOf(pid);
  const spans = await run(seconds * 1000);
  await settled(pid);
  const used = cpuSecondsOf(pid) - before;
  sender.close();
  return spans / used;
}

/** What was acknowledged may still wait to be processed: its CPU time counts too. */
async function settled(pid: number): Promise<void> {
  for (let i = 0; i < 100; i += 1) {
    const before = cpuSecondsOf(pid);
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (cpuSecondsOf(pid) - before <= 0.02) return;
  }
}

/** Open loop: a request every `intervalS`, whatever the answers do; milliseconds from the due moment to the acknowledgement, sorted. */
async function paced(sender: Sender, next: () => Buffer, intervalS: number, seconds: number): Promise<readonly number[]> {
  const waits: number[] = [];
  const flying: Promise<void>[] = [];
  const start = performance.now();
  for (let i = 0; i * intervalS < seconds; i += 1) {
    const due = start + i * intervalS * 1000;
    const early = due - performance.now();
    if (early > 1) await new Promise((resolve) => setTimeout(resolve, early));
    const sent = Math.max(due, performance.now() - 1);
    flying.push(
      sender.send(next()).then(() => {
        waits.push(performance.now() - sent);
      }),
    );
  }
  await Promise.all(flying);
  sender.close();
  return waits.toSorted((a, b) => a - b);
}

function peakMegabytes(pid: number): number {
  const found = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return found === null ? 0 : Number(found[1]) / 1024;
}
