import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Bench } from './bench.ts';
import { createLoad, type Template } from './ingest-load.ts';
import { grpcSender, httpSender, type Sender } from './ingest-sender.ts';
import { type Collector, cpuSecondsOf, startCollector, threadSecondsOf } from './otelcol/collector.ts';

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
    const seconds = quick ? 1.6 : 10;
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
      baseline['grpc_spans_per_cpu_s'] = await rate(other.pid, grpcSender(other.grpc), plain, quick ? 1.5 : 5);
      log(`@grpc/grpc-js and protobufjs: ${Math.round(baseline['grpc_spans_per_cpu_s'])}`);
    }

    {
      await using full = await startServer('full', '0');
      const fresh = freshOf(templates);
      Object.assign(figures, await measureFull(full, fresh, quick, log));
    }

    {
      await using sink = await startServer('sink', '1');
      const collector: Collector | null = await startCollector({ url: `http://127.0.0.1:${sink.http}` }, '0', log);
      if (collector !== null) {
        const passed = await medianOf(() => rate(collector.pid, httpSender(collector.httpPort, false), plain, quick ? 3 : 10));
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

/**
 * Everything on, in a steady state: spans come at an even pace for longer than they wait for late ones, and then the CPU time of a stretch
 * is divided by the spans that the detectors got through in it, so nothing that is put off is left out. Then acknowledgements at 70 % of
 * what one core would carry.
 */
async function measureFull(
  full: BenchServer,
  fresh: (agoMs?: number) => Buffer,
  quick: boolean,
  log: (line: string) => void,
): Promise<Record<string, number>> {
  const figures: Record<string, number> = {};
  const sender = httpSender(full.http, false);
  const sending = new AbortController();
  const fillSeconds = quick ? 13.5 : 20;
  // The first spans are from the past and time runs fast, so that detectors are at work, and compiled, long before they are measured.
  const startedMs = performance.now();
  const warming = (): Buffer => fresh(Math.max(0, warmUpMs - 5 * (performance.now() - startedMs)));
  const feeding = paced(sender, warming, 960 / steadySpansPerS, sending.signal);
  await wait(fillSeconds);
  const rates: number[] = [];
  const shares: Record<string, number> = {};
  let all = 0;
  for (let round = 0; round < 3; round += 1) {
    const before = await full.state();
    const threads = threadSecondsOf(full.pid);
    const cpu = cpuSecondsOf(full.pid);
    await wait(quick ? 2.5 : 12);
    const seconds = cpuSecondsOf(full.pid) - cpu;
    const after = await full.state();
    const through = after.operations - before.operations;
    rates.push(through / seconds);
    for (const [thread, used] of Object.entries(threadSecondsOf(full.pid)))
      shares[thread] = (shares[thread] ?? 0) + (used - (threads[thread] ?? 0)) * 1e6;
    all += through;
    log(
      `${Math.round(through / seconds)} spans/s of CPU; ${after.backlog_payloads_now} requests wait, ${after.waiting_spans_now} spans in memory`,
    );
  }
  sending.abort();
  await feeding;
  figures['full_spans_per_cpu_s'] = rates.toSorted((a, b) => a - b)[1] ?? 0;
  for (const [thread, us] of Object.entries(shares)) figures[`full_us_per_span_${thread}`] = us / all;

  const perSecond = 0.7 * figures['full_spans_per_cpu_s'];
  // 20 million spans where there is time for them, with a look at the memory at every million.
  const paced70 = new AbortController();
  const memory: [number, number][] = [];
  const started = (await full.state()).spans_accepted;
  const waits = paced(sender, () => fresh(), 960 / perSecond, paced70.signal);
  const enough = quick ? perSecond * 5 : 20_000_000;
  for (let seen = 0; seen < enough; ) {
    await wait(quick ? 1 : 5);
    seen = (await full.state()).spans_accepted - started;
    memory.push([seen / 1e6, megabytesOf(full.pid, 'VmRSS')]);
  }
  paced70.abort();
  const sorted = (await waits).toSorted((a, b) => a - b);
  sender.close();
  figures['ack_p99_ms'] = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  figures['ack_p50_ms'] = sorted[sorted.length >> 1] ?? 0;
  figures['rss_mb'] = megabytesOf(full.pid, 'VmHWM');
  figures['anonymous_mb'] = megabytesOf(full.pid, 'RssAnon');
  if (!quick) figures['rss_slope_mb_per_million'] = slopeOf(memory.slice(memory.length >> 2));
  // Memory is bounded by looking at a share of traces and keys; how large it still was, so that the figures above can be judged.
  const { stats } = await full.state();
  figures['full_trace_share'] = stats.traceShare;
  figures['full_key_share'] = stats.keyShare;
  log(
    `acknowledged at ${Math.round(perSecond)} spans/s: p50 ${figures['ack_p50_ms'].toFixed(1)}, p99 ${figures['ack_p99_ms'].toFixed(1)} ms; ` +
      `peak RSS ${figures['rss_mb'].toFixed(0)} MB`,
  );
  return figures;
}

/** What the service is made to take while its CPU time is measured; below what one core carries, or it is the backlog that is measured. */
const steadySpansPerS = 70_000;
/**
 * How far in the past the first spans are; the present is reached in a fifth of it. A little more than they wait for late ones, and long
 * enough before anything is measured that what is measured is spans of the present.
 */
const warmUpMs = 12_000;

const wait = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Least squares of megabytes over millions of spans. */
function slopeOf(points: readonly (readonly [number, number])[]): number {
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / points.length;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / points.length;
  const over = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return over / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

/** What the `full` server says of itself. */
interface FullState {
  readonly operations: number;
  readonly spans_accepted: number;
  readonly backlog_payloads_now: number;
  readonly waiting_spans_now: number;
  readonly stats: { readonly traceShare: number; readonly keyShare: number };
}

interface BenchServer extends AsyncDisposable {
  readonly pid: number;
  readonly http: number;
  readonly grpc: number;
  /** `full` only. */
  state(): Promise<FullState>;
}

const serverFile = fileURLToPath(new URL('./ingest-server.ts', import.meta.url));

async function startServer(mode: string, core: string): Promise<BenchServer> {
  const child: ChildProcess = spawn(process.execPath, [serverFile, mode], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { pid, stdout } = child;
  if (pid === undefined || stdout === null) throw new Error(`the ${mode} server did not start`);
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const failed = new Promise<never>((_, reject) =>
    child.on('exit', (code) => reject(new Error(`the ${mode} server ended with code ${code}`))),
  );
  failed.catch(() => undefined);
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  const line = async (): Promise<unknown> => JSON.parse((await Promise.race([lines.next(), failed])).value ?? 'null');
  const ports = (await line()) as { http?: number; grpc?: number };
  pin(pid, core);
  return {
    pid,
    http: ports.http ?? 0,
    grpc: ports.grpc ?? 0,
    state: async () => {
      child.kill('SIGUSR2');
      return (await line()) as FullState;
    },
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

function freshOf(templates: readonly Template[]): (agoMs?: number) => Buffer {
  let i = 0;
  // A request is on the wire while the next one is made: the template's own buffer must not change under it.
  return (agoMs) => Buffer.from((templates[i++ % templates.length] as Template).fresh(agoMs));
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
  const used = cpuSecondsOf(pid) - before;
  sender.close();
  return spans / used;
}

/**
 * Open loop until `until`: a request every `intervalS`, whatever the answers do; milliseconds from the due moment to each
 * acknowledgement.
 */
async function paced(sender: Sender, next: () => Buffer, intervalS: number, until: AbortSignal): Promise<readonly number[]> {
  const waits: number[] = [];
  const flying = new Set<Promise<void>>();
  const start = performance.now();
  for (let i = 0; !until.aborted; i += 1) {
    const due = start + i * intervalS * 1000;
    const early = due - performance.now();
    if (early > 1) await new Promise((resolve) => setTimeout(resolve, early));
    const sent = Math.max(due, performance.now() - 1);
    const flight: Promise<void> = sender.send(next()).then(() => {
      waits.push(performance.now() - sent);
      flying.delete(flight);
    });
    flying.add(flight);
    // A server that is this far behind is not helped by more of it, and neither is the generator.
    if (flying.size > 64) await Promise.race(flying);
  }
  await Promise.all(flying);
  return waits;
}

function megabytesOf(pid: number, what: 'VmHWM' | 'VmRSS' | 'RssAnon'): number {
  const found = new RegExp(`${what}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return found === null ? 0 : Number(found[1]) / 1024;
}
