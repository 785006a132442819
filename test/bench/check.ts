import { execFileSync } from 'node:child_process';
import { closeSync, linkSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import serviceRuntime from '../../bin/service-runtime.json' with { type: 'json' };
import { checkBounds } from '../../src/edge/cli/check.ts';
import { asJson } from '../ingest/otlp-as-json.ts';
import { traceRequestType } from '../ingest/otlp-proto.ts';
import type { Bench, Figures } from './bench.ts';
import type { CheckRun } from './check/run-check.ts';
import { createLoad, type Template } from './ingest-load.ts';

const runner = fileURLToPath(new URL('check/run-check.ts', import.meta.url));
const spansPerRequest = 510;
const templates = 64;
/** Of event time: what a fleet that fills a gigabyte an hour does at its busiest. */
const spansPerSecond = 20_000;
const startMs = 1_760_000_000_000;

/**
 * `homeostat check` on files of the ingest bench's load (some 940 bytes of JSON or 470 of protobuf a span, a hundred services' worth of keys,
 * 20,000 spans a second of event time), each run in a process of its own with the flags that the command gives itself: spans a second of wall
 * time and of processor time, by format. Then memory on files of 1, 4 and 16 times as many spans; keys of objects are remembered for ten
 * minutes, so it grows until its bounds and no further. Baseline: the same detectors, every line through `JSON.parse`.
 */
export const bench: Bench = {
  name: 'check',
  says: 'spans a second that homeostat check reads and judges, by format, and its memory on files up to sixteen times as large',
  parts: ['formats', 'memory'],
  run: async ({ quick, only, log }) => {
    const folder = mkdtempSync(join(tmpdir(), 'homeostat-check-bench-'));
    try {
      const wants = (part: string): boolean => only?.includes(part) !== false;
      const run = (how: 'streamed' | 'parsed', file: string): CheckRun => {
        const found = runCheck(how, file);
        log(
          `${how} ${file.slice(folder.length + 1)} (${Math.round(statSync(file).size / 1e6)} MB): ${found.operations} operations in ${found.wallS.toFixed(1)} s, ${found.cpuS.toFixed(1)} CPU-s, ${Math.round(found.rssMb)} MB, ${found.findings} findings`,
        );
        rmSync(file);
        return found;
      };
      const formats = wants('formats') ? compareFormats(folder, quick ? 60_000 : 1_000_000, run) : undefined;
      const memory = wants('memory') ? compareSizes(folder, quick ? 30_000 : 1_000_000, run) : undefined;
      return { figures: { ...formats?.figures, ...memory }, baseline: { ...formats?.baseline } };
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

type Run = (how: 'streamed' | 'parsed', file: string) => CheckRun;

function compareFormats(folder: string, spans: number, run: Run): { readonly figures: Figures; readonly baseline: Figures } {
  const files = writeFiles(folder, spans, ['jsonl', 'jsonl.gz', 'json', 'pb']);
  const ofGz = run('streamed', files['jsonl.gz']);
  const ofWhole = run('streamed', files.json);
  const ofPb = run('streamed', files.pb);
  const again = join(folder, 'again.jsonl');
  linkSync(files.jsonl, again);
  const ofJson = run('streamed', files.jsonl);
  const parsed = run('parsed', again);
  for (const other of [ofGz, ofWhole, ofPb, parsed])
    if (other.operations !== ofJson.operations || other.findings !== ofJson.findings) throw new Error('formats differ in what was found');
  const perWall = ({ operations, wallS }: CheckRun): number => Math.round(operations / wallS);
  const perCpu = ({ operations, cpuS }: CheckRun): number => Math.round(operations / cpuS);
  return {
    figures: {
      json_spans_per_s: perWall(ofJson),
      json_spans_per_cpu_s: perCpu(ofJson),
      json_gz_spans_per_cpu_s: perCpu(ofGz),
      one_document_spans_per_cpu_s: perCpu(ofWhole),
      pb_spans_per_s: perWall(ofPb),
      pb_spans_per_cpu_s: perCpu(ofPb),
      json_rss_mb: Math.round(ofJson.rssMb),
      json_vs_parse_wall: parsed.wallS / ofJson.wallS,
      json_vs_parse_cpu: parsed.cpuS / ofJson.cpuS,
    },
    baseline: { parse_spans_per_s: perWall(parsed), parse_spans_per_cpu_s: perCpu(parsed), parse_rss_mb: Math.round(parsed.rssMb) },
  };
}

function compareSizes(folder: string, spans: number, run: Run): Figures {
  const [one, four, sixteen] = [1, 4, 16].map((times) => run('streamed', writeFiles(folder, spans * times, ['pb']).pb).rssMb) as [
    number,
    number,
    number,
  ];
  return {
    rss_mb: Math.round(one),
    rss_mb_4x: Math.round(four),
    rss_mb_16x: Math.round(sixteen),
    rss_ratio_4x: four / one,
    rss_ratio_16x_to_4x: sixteen / four,
  };
}

function runCheck(how: 'streamed' | 'parsed', file: string): CheckRun {
  const args = [...serviceRuntime.flags, '--disable-warning=ExperimentalWarning', runner, how, file, JSON.stringify(checkBounds)];
  const text = execFileSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...serviceRuntime.env },
  });
  return JSON.parse(text) as CheckRun;
}

/** Files of so many spans, the same ones in every format. */
function writeFiles<F extends Format>(folder: string, spans: number, formats: readonly F[]): Readonly<Record<F, string>> {
  const paths = Object.fromEntries(formats.map((format) => [format, join(folder, `${spans}.${format}`)])) as Record<F, string>;
  const files = formats.map((format) => ({ format, file: openSync(paths[format], 'w') }));
  const load = createLoad({ seed: 7, spansPerRequest, spansPerSecond });
  const requests = Array.from({ length: templates }, () => load.template());
  const head = '{"resourceSpans":[';
  for (let made = 0; made < spans; made += spansPerRequest) {
    const request = requests[(made / spansPerRequest) % templates] as Template;
    const bytes = request.freshAt(startMs + (made / spansPerSecond) * 1000);
    const text = formats.every((format) => format === 'pb') ? '' : jsonOf(bytes);
    const isLast = made + spansPerRequest >= spans;
    for (const { format, file } of files) {
      if (format === 'pb') writeSync(file, bytes);
      else if (format === 'jsonl') writeSync(file, `${text}\n`);
      else if (format === 'jsonl.gz') writeSync(file, gzipSync(`${text}\n`, { level: 1 }));
      else writeSync(file, `${made === 0 ? head : ','}${text.slice(head.length, -2)}${isLast ? ']}' : ''}`);
    }
  }
  for (const { file } of files) closeSync(file);
  return paths;
}

type Format = 'jsonl' | 'jsonl.gz' | 'json' | 'pb';

function jsonOf(bytes: Buffer): string {
  return JSON.stringify(asJson(traceRequestType.toObject(traceRequestType.decode(bytes), { longs: String, enums: Number, bytes: Buffer })));
}
