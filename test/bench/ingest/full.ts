import type { Sender } from '../ingest-sender.ts';
import { cpuSecondsOf, threadSecondsOf } from '../otelcol/collector.ts';
import { type BenchServer, type FullState, megabytesOf } from './server-process.ts';

/** A request of 960 spans that ended about `agoMs` before now. */
export type Fresh = (agoMs?: number) => Buffer;
const spansPerRequest = 960;

/**
 * Everything on, in a steady state: spans come at an even pace for longer than they wait for late ones, and then the CPU time of a stretch
 * is divided by the spans that the detectors got through in it, so nothing that is put off is left out.
 *
 * The pace is what keeps the core three quarters busy, found before anything is measured: an idle core shows threads that wake up for
 * little, a full one a backlog that grows.
 */
export async function measureFull(
  full: BenchServer,
  sender: Sender,
  fresh: Fresh,
  quick: boolean,
  log: (line: string) => void,
): Promise<Record<string, number>> {
  const figures: Record<string, number> = {};
  const sending = new AbortController();
  const pace = { spansPerS: firstSpansPerS };
  // The first spans are from the past and time runs fast, so that detectors are at work, and compiled, long before they are measured.
  const startedMs = performance.now();
  const warming = (): Buffer => fresh(Math.max(0, warmUpMs - warmUpSpeed * (performance.now() - startedMs)));
  const feeding = paced(sender, warming, pace, sending.signal);
  await findPace(full, pace, log);
  // What waits for late ones was sent at another pace until now.
  await wait(latenessS + 0.5);
  const rates: number[] = [];
  const shares: Record<string, number> = {};
  let all = 0;
  let cpuSeconds = 0;
  const measuredMs = performance.now();
  for (let round = 0; round < 3; round += 1) {
    const before = await full.state();
    const threads = threadSecondsOf(full.pid);
    const cpu = cpuSecondsOf(full.pid);
    await wait(quick ? 2 : 12);
    const seconds = cpuSecondsOf(full.pid) - cpu;
    const after = await full.state();
    const through = after.operations - before.operations;
    rates.push(through / seconds);
    for (const [thread, used] of Object.entries(threadSecondsOf(full.pid)))
      shares[thread] = (shares[thread] ?? 0) + (used - (threads[thread] ?? 0)) * 1e6;
    all += through;
    cpuSeconds += seconds;
    log(
      `${Math.round(through / seconds)} spans/s of CPU at ${Math.round(pace.spansPerS)} spans/s; ` +
        `${after.backlog_payloads_now} requests wait, ${after.waiting_spans_now} spans in memory`,
    );
  }
  figures['full_core_share'] = cpuSeconds / ((performance.now() - measuredMs) / 1000);
  sending.abort();
  await feeding;
  figures['full_spans_per_cpu_s'] = rates.toSorted((a, b) => a - b)[1] ?? 0;
  figures['full_steady_spans_per_s'] = pace.spansPerS;
  for (const [thread, us] of Object.entries(shares)) figures[`full_us_per_span_${thread}`] = us / all;
  const { stats } = await full.state();
  // Memory is bounded by looking at a share of traces and keys; how large it still was, so that the figures above can be judged.
  figures['full_trace_share'] = stats.traceShare;
  figures['full_key_share'] = stats.keyShare;
  return figures;
}

/** Acknowledgements at 70 % of what one core would carry, and what the server holds meanwhile: over 20 million spans where there is time. */
export async function measureWaits(
  full: BenchServer,
  sender: Sender,
  fresh: Fresh,
  spansPerCpuS: number,
  quick: boolean,
  log: (line: string) => void,
): Promise<Record<string, number>> {
  const figures: Record<string, number> = {};
  const spansPerS = 0.7 * spansPerCpuS;
  const sending = new AbortController();
  const memory: [number, number][] = [];
  const started = (await full.state()).spans_accepted;
  const waits = paced(sender, () => fresh(), { spansPerS }, sending.signal);
  const enough = quick ? spansPerS * 5 : 20_000_000;
  for (let seen = 0; seen < enough; ) {
    await wait(quick ? 1 : 5);
    seen = (await full.state()).spans_accepted - started;
    memory.push([seen / 1e6, megabytesOf(full.pid, 'VmRSS')]);
  }
  sending.abort();
  const sorted = (await waits).toSorted((a, b) => a - b);
  figures['ack_p99_ms'] = sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  figures['ack_p50_ms'] = sorted[sorted.length >> 1] ?? 0;
  figures['rss_mb'] = megabytesOf(full.pid, 'VmHWM');
  figures['anonymous_mb'] = megabytesOf(full.pid, 'RssAnon');
  if (!quick) figures['rss_slope_mb_per_million'] = slopeOf(memory.slice(memory.length >> 2));
  log(
    `acknowledged at ${Math.round(spansPerS)} spans/s: p50 ${figures['ack_p50_ms'].toFixed(1)}, p99 ${figures['ack_p99_ms'].toFixed(1)} ms; ` +
      `peak RSS ${figures['rss_mb'].toFixed(0)} MB`,
  );
  return figures;
}

/**
 * Sets the pace anew from the CPU time that a span took in the last stretch, until it stays. Time runs fast meanwhile, so detectors are
 * through with what came two seconds ago.
 */
async function findPace(full: BenchServer, pace: { spansPerS: number }, log: (line: string) => void): Promise<void> {
  await wait(2.5);
  for (let round = 0; round < 4; round += 1) {
    const before: FullState = await full.state();
    const cpu = ownSecondsOf(full.pid);
    await wait(1.25);
    const after: FullState = await full.state();
    const through = Math.min(after.operations - before.operations, after.spans_accepted - before.spans_accepted);
    const perSpan = (ownSecondsOf(full.pid) - cpu) / Math.max(1, through);
    // A stretch that was spent on a backlog, or in the compiler, must not throw the pace off.
    pace.spansPerS = Math.min(Math.max(coreShare / perSpan, pace.spansPerS / 1.5), pace.spansPerS * 1.5);
  }
  log(`${Math.round(pace.spansPerS)} spans/s keep the core ${100 * coreShare} % busy`);
}

/** Without V8's own threads, which compile as much in these seconds as they do later in an hour. */
function ownSecondsOf(pid: number): number {
  const { receive = 0, detect = 0, other = 0 } = threadSecondsOf(pid);
  return receive + detect + other;
}

/** How busy the core is made while its CPU time is measured. */
const coreShare = 0.75;
const firstSpansPerS = 60_000;
/** How long spans wait for late ones: the config's default. */
const latenessS = 10;
/** How far in the past the first spans are; the present is reached when the pace is found. */
const warmUpMs = 40_000;
const warmUpSpeed = 5;

const wait = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/**
 * Open loop until `until`: requests at an even pace, which may change, whatever the answers do; milliseconds from the due moment to each
 * acknowledgement.
 */
async function paced(
  sender: Sender,
  next: () => Buffer,
  pace: { readonly spansPerS: number },
  until: AbortSignal,
): Promise<readonly number[]> {
  const waits: number[] = [];
  const flying = new Set<Promise<void>>();
  let due = performance.now();
  for (; !until.aborted; due += (spansPerRequest / pace.spansPerS) * 1000) {
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

/** Least squares of megabytes over millions of spans. */
function slopeOf(points: readonly (readonly [number, number])[]): number {
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / points.length;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / points.length;
  const over = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return over / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}
