import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { checkBounds } from '../../src/edge/cli/check.ts';
import { asJson } from '../ingest/otlp-as-json.ts';
import { traceRequestType } from '../ingest/otlp-proto.ts';
import type { Bench } from './bench.ts';
import type { CheckRun } from './check/run-check.ts';
import { createLoad } from './ingest-load.ts';

const runner = fileURLToPath(new URL('check/run-check.ts', import.meta.url));
const spansPerRequest = 510;
/** Of event time: what a fleet that fills a gigabyte an hour does at its busiest. */
const spansPerSecond = 20_000;

/**
 * `homeostat check` on files of the ingest bench's load (some 940 bytes of JSON a span, a hundred services' worth of keys, 20,000 spans a second
 * of event time), each run in a process of its own: spans a second of wall time and of processor time, and the memory of a file and of one
 * four times as large. Baseline: the same detectors, every line through `JSON.parse`.
 */
export const bench: Bench = {
  name: 'check',
  says: 'spans a second that homeostat check reads and judges, by format, and its memory on a file and on one four times as large',
  run: async ({ quick, log }) => {
    const folder = mkdtempSync(join(tmpdir(), 'homeostat-check-bench-'));
    try {
      const spans = quick ? 80_000 : 1_000_000;
      const files = writeFiles(folder, spans, ['jsonl', 'jsonl.gz', 'json', 'pb']);
      const large = writeFiles(folder, spans * 4, ['pb']).pb;
      const run = (how: 'streamed' | 'parsed', file: string): CheckRun => {
        const found = runCheck(how, file);
        log(
          `${how} ${file.slice(folder.length + 1)} (${Math.round(statSync(file).size / 1e6)} MB): ${found.operations} operations in ${found.wallS.toFixed(1)} s, ${found.cpuS.toFixed(1)} CPU-s, ${Math.round(found.rssMb)} MB, ${found.findings} findings`,
        );
        return found;
      };
      const ofJson = run('streamed', files.jsonl);
      const ofGz = run('streamed', files['jsonl.gz']);
      const ofWhole = run('streamed', files.json);
      const ofPb = run('streamed', files.pb);
      const ofLarge = run('streamed', large);
      const parsed = run('parsed', files.jsonl);
      for (const other of [ofGz, ofWhole, ofPb, parsed])
        if (other.operations !== ofJson.operations || other.findings !== ofJson.findings)
          throw new Error('formats differ in what was found');
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
          rss_mb: Math.round(ofPb.rssMb),
          rss_mb_4x: Math.round(ofLarge.rssMb),
          rss_ratio_4x: ofLarge.rssMb / ofPb.rssMb,
          json_vs_parse_wall: parsed.wallS / ofJson.wallS,
          json_vs_parse_cpu: parsed.cpuS / ofJson.cpuS,
        },
        baseline: { parse_spans_per_s: perWall(parsed), parse_spans_per_cpu_s: perCpu(parsed), parse_rss_mb: Math.round(parsed.rssMb) },
      };
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

function runCheck(how: 'streamed' | 'parsed', file: string): CheckRun {
  const text = execFileSync(process.execPath, ['--disable-warning=ExperimentalWarning', runner, how, file, JSON.stringify(checkBounds)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return JSON.parse(text) as CheckRun;
}

/** Files of so many spans, the same ones in every format. */
function writeFiles<F extends Format>(folder: string, spans: number, formats: readonly F[]): Readonly<Record<F, string>> {
  const paths = Object.fromEntries(formats.map((format) => [format, join(folder, `${spans}.${format}`)])) as Record<F, string>;
  const files = formats.map((format) => ({ format, file: openSync(paths[format], 'w') }));
  const load = createLoad({ seed: 7, spansPerRequest, spansPerSecond });
  const head = '{"resourceSpans":[';
  for (let made = 0; made < spans; made += spansPerRequest) {
    const bytes = load.next();
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
