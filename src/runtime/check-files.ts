import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { Failure } from '../base/failure.ts';
import type { DetectionOptions } from '../detect/run.ts';
import type { LogKey } from '../ingest/log-keys.ts';
import { BatchPacker } from '../ingest/batch-packer.ts';
import { StringTables } from '../ingest/string-tables.ts';
import { readOtlpBatches } from '../io/otlp/read-file.ts';
import type { CheckResult } from './check-stage.ts';
import type { CheckAnswer, CheckRequest } from './check-worker.ts';

export interface CheckFilesOptions {
  readonly detection: DetectionOptions;
  readonly logKeys: readonly LogKey[];
  readonly signal: AbortSignal;
  /** Hears of what cannot be read, as `file:line: why`. */
  readonly onProblem: (sentence: string, file: string) => void;
  /** Hears how many bytes of the file `nth` have been read, and how many spans so far. */
  readonly onPosition: (nth: number, bytes: number, spans: number) => void;
}

/** Packed spans on their way to the thread: enough that neither side waits for the other. */
const flyingBytesMax = 8 * 1024 * 1024;

/**
 * Operations wait for their traces' ends, some hundred thousand at once. Both limits are there so that V8 collects rather than grows: without
 * them it takes its share of the machine's memory, whatever lives in the heap.
 */
const limitsOf = ({ maxOperations = 0 }: DetectionOptions) => ({
  maxYoungGenerationSizeMb: 16,
  maxOldGenerationSizeMb: 300 + Math.ceil(maxOperations / 1000),
});

/**
 * Reads OTLP files one after the other and runs the detectors over them, in constant memory. Reading and decoding is done here, detection in a
 * thread of its own, so that a large file takes two processors. Throws `Failure` where the thread dies, and what `signal` says.
 */
export async function checkFiles(files: readonly string[], options: CheckFilesOptions): Promise<CheckResult> {
  // A flag of the process (bin/service-runtime.json) would overrule the limits given here.
  setFlagsFromString('--max-semi-space-size=0');
  const worker = new Worker(new URL('./check-worker.ts', import.meta.url), {
    name: 'check',
    workerData: options.detection,
    resourceLimits: limitsOf(options.detection),
  });
  const tables = new StringTables();
  const flying: number[] = [];
  let flyingBytes = 0;
  let wake: (() => void) | undefined;
  let dead: Error | undefined;
  let result: CheckResult | undefined;
  const hear = (): void => {
    wake?.();
    wake = undefined;
  };
  worker.on('message', (answer: CheckAnswer) => {
    if (answer.is === 'taken') flyingBytes -= flying.shift() ?? 0;
    else result = answer.result;
    hear();
  });
  worker.on('error', (error) => {
    dead = new Failure(
      'check-thread-died',
      `the detectors' thread died: ${error instanceof Error ? error.message : String(error)}`,
      'never',
      error,
    );
    hear();
  });
  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds()) {
      if (dead !== undefined) throw dead;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  options.signal.addEventListener('abort', hear);
  try {
    const packer = new BatchPacker();
    let spans = 0;
    for (const [nth, file] of files.entries()) {
      const batches = readOtlpBatches(file, {
        logKeys: options.logKeys,
        onProblem: (sentence) => options.onProblem(sentence, file),
        onPosition: (bytes) => options.onPosition(nth, bytes, spans),
      });
      for await (const batch of batches) {
        options.signal.throwIfAborted();
        const packed = packer.pack(batch);
        if (packed === undefined) continue;
        spans += packed.rows;
        const { bytes, buffer } = packed;
        flying.push(bytes);
        flyingBytes += bytes;
        const request: CheckRequest = { is: 'batch', batch: { packed, strings: tables.added(batch.strings) } };
        worker.postMessage(request, buffer instanceof ArrayBuffer ? [buffer] : []);
        if (flyingBytes > flyingBytesMax) await until(() => flyingBytes <= flyingBytesMax || options.signal.aborted);
      }
    }
    worker.postMessage({ is: 'end' } satisfies CheckRequest);
    await until(() => result !== undefined || options.signal.aborted);
    options.signal.throwIfAborted();
    if (result === undefined) throw new Failure('check-thread-ended', "the detectors' thread ended without an answer", 'never');
    return result;
  } finally {
    options.signal.removeEventListener('abort', hear);
    await worker.terminate();
  }
}
