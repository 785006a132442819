import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { JsonDecoder } from '../../../src/ingest/decode-otlp-json.ts';
import { BatchPacker } from '../../../src/ingest/batch-packer.ts';
import { SpanBatch } from '../../../src/ingest/span-batch.ts';
import { StringTables } from '../../../src/ingest/string-tables.ts';
import { checkFiles } from '../../../src/runtime/check-files.ts';
import { CheckStage } from '../../../src/runtime/check-stage.ts';

/** What one run took, in a process of its own: the last line that it prints. */
export interface CheckRun {
  readonly operations: number;
  readonly findings: number;
  readonly wallS: number;
  readonly cpuS: number;
  readonly rssMb: number;
}

const [how = '', file = '', optionsText = '{}'] = process.argv.slice(2);
const detection: object = JSON.parse(optionsText) as object;

/** As `homeostat check` does it. */
async function streamed(): Promise<{ operations: number; findings: number }> {
  const { stats, anomalies } = await checkFiles([file], {
    detection,
    logKeys: [],
    signal: new AbortController().signal,
    onProblem: (sentence) => {
      throw new Error(sentence);
    },
    onPosition: () => undefined,
  });
  return { operations: stats.operations, findings: anomalies.length };
}

/** The baseline: every line through `JSON.parse` and a walk over its objects, then the same detectors, in one thread. */
async function parsed(): Promise<{ operations: number; findings: number }> {
  const stage = new CheckStage(detection);
  const decoder = new JsonDecoder();
  const batch = new SpanBatch();
  const tables = new StringTables();
  const packer = new BatchPacker();
  const bytes = createReadStream(file);
  for await (const line of createInterface({ input: file.endsWith('.gz') ? bytes.pipe(createGunzip()) : bytes })) {
    decoder.decodeText(line, batch);
    const packed = packer.pack(batch);
    if (packed !== undefined) stage.take({ packed, strings: tables.added(batch.strings) });
  }
  const { stats, anomalies } = stage.finish();
  return { operations: stats.operations, findings: anomalies.length };
}

const startedMs = performance.now();
const found = await (how === 'parsed' ? parsed() : streamed());
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
const run: CheckRun = {
  ...found,
  wallS: (performance.now() - startedMs) / 1000,
  cpuS: (userCPUTime + systemCPUTime) / 1e6,
  rssMb: (maxRSS * 1024) / 1e6,
};
process.stdout.write(`${JSON.stringify(run)}\n`);
