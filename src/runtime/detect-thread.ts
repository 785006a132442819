import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { Failure } from '../base/failure.ts';
import type { ClientLegs } from '../forecast/client-legs.ts';
import type { FeaturePoint } from '../forecast/features.ts';
import type { TracedLook } from '../forecast/read-looks.ts';
import type { PackedBatch } from '../ingest/packed-batch.ts';
import { StringTables } from '../ingest/string-tables.ts';
import type { DetectCounts, DetectReport, DetectStageOptions, SentBatch } from './detect-stage.ts';
import type { DetectAnswer, DetectRequest } from './detect-worker.ts';

export interface DetectThread {
  /** Bytes handed over and not taken yet. */
  readonly bytesInFlight: number;
  /**
   * Everything is sent in this order, some milliseconds later. A batch in a shared slab is given back once it is taken; the buffer of
   * another is detached.
   */
  send(sequence: number, packed: PackedBatch, strings: readonly string[]): void;
  /** Resolves once all that was sent before is taken and no work is due; its reports have come by then. */
  sync(): Promise<void>;
  drainFeatures(nowMs: number): Promise<readonly FeaturePoint[]>;
  drainLooks(): Promise<readonly TracedLook[]>;
  drainLegs(): Promise<readonly ClientLegs[]>;
  readonly counts: DetectCounts | undefined;
  close(): Promise<void>;
}

export interface DetectThreadOptions {
  readonly stage: DetectStageOptions;
  /** Most that its old generation may hold, MiB. */
  readonly heapMb?: number;
  readonly onReport: (report: DetectReport) => void;
  /** The thread is gone with all that it held; called once, not after `close`. */
  readonly onDeath: (error: Error) => void;
}

/**
 * The detectors' own thread: however long they think, whoever receives and acknowledges spans is not kept waiting. Columns
 * lie in memory that both threads see, strings travel once.
 */
export function openDetectThread(options: DetectThreadOptions): DetectThread {
  // A flag of the process (bin/service-runtime.json) would overrule the limits given here.
  setFlagsFromString('--max-semi-space-size=0');
  const worker = new Worker(new URL('./detect-worker.ts', import.meta.url), {
    name: 'detect',
    workerData: options.stage,
    // Operations live for about a second; with the default nursery most of them would be moved to the old generation first.
    resourceLimits: { maxYoungGenerationSizeMb: nurseryMb, maxOldGenerationSizeMb: options.heapMb ?? oldMb(options.stage) },
  });
  const tables = new StringTables();
  const flying: { readonly sequence: number; readonly bytes: number }[] = [];
  const waiting = new Map<number, { resolve: (answer: DetectAnswer) => void; reject: (error: Error) => void }>();
  let outbox: SentBatch[] = [];
  let bytesInFlight = 0;
  let lastId = 0;
  let counts: DetectCounts | undefined;
  let dead: Error | undefined;
  let isClosing = false;

  const die = (error: Error): void => {
    if (dead !== undefined) return;
    dead = error;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    if (!isClosing) options.onDeath(error);
  };
  worker.on('error', (error) => die(new Failure('detect-thread-died', `the detectors' thread died: ${sayOf(error)}`, 'later', error)));
  worker.on('exit', () => die(new Failure('detect-thread-ended', "the detectors' thread has ended", 'later')));
  worker.on('message', (answer: DetectAnswer) => {
    switch (answer.is) {
      case 'report': {
        const { report } = answer;
        let taken = 0;
        for (const sent of flying) {
          if (sent.sequence >= report.taken) break;
          bytesInFlight -= sent.bytes;
          taken += 1;
        }
        flying.splice(0, taken);
        counts = report.counts;
        options.onReport(report);
        return;
      }
      case 'synced':
      case 'features':
      case 'looks':
      case 'legs':
        waiting.get(answer.id)?.resolve(answer);
        waiting.delete(answer.id);
        return;
    }
  });
  const post = (request: DetectRequest, transfer: readonly ArrayBuffer[] = []): void => {
    if (dead === undefined) worker.postMessage(request, transfer);
  };
  const flush = (): void => {
    const batches = outbox;
    if (batches.length === 0) return;
    outbox = [];
    post(
      { is: 'batches', batches },
      batches.flatMap(({ packed: { buffer } }) => (buffer instanceof ArrayBuffer ? [buffer] : [])),
    );
  };
  const ask = (request: (id: number) => DetectRequest): Promise<DetectAnswer> => {
    if (dead !== undefined) return Promise.reject(dead);
    lastId += 1;
    const id = lastId;
    flush();
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      post(request(id));
    });
  };

  return {
    get bytesInFlight() {
      return bytesInFlight;
    },
    send: (sequence, packed, strings) => {
      flying.push({ sequence, bytes: packed.bytes });
      bytesInFlight += packed.bytes;
      if (outbox.length === 0) setTimeout(flush, gatherMs);
      outbox.push({ sequence, packed, strings: tables.added(strings) });
    },
    sync: async () => {
      await ask((id) => ({ is: 'sync', id }));
    },
    drainFeatures: async (nowMs) => {
      const answer = await ask((id) => ({ is: 'features', id, nowMs }));
      return answer.is === 'features' ? answer.points : [];
    },
    drainLooks: async () => {
      const answer = await ask((id) => ({ is: 'looks', id }));
      return answer.is === 'looks' ? answer.looks : [];
    },
    drainLegs: async () => {
      const answer = await ask((id) => ({ is: 'legs', id }));
      return answer.is === 'legs' ? answer.legs : [];
    },
    get counts() {
      return counts;
    },
    close: async () => {
      isClosing = true;
      await worker.terminate();
    },
  };
}

/**
 * For how long batches are gathered before they are sent. Where threads share a core each message is a change from one to the other, and of
 * what the core's caches hold; spans wait for late ones for much longer.
 */
const gatherMs = 100;
const nurseryMb = 24;

/**
 * The heap holds some tens of megabytes, its big tables lie outside of it; what the configuration lets wait as operations has its room. How far
 * it grows before everything is collected is said in bin/service-runtime.json: to half as much again as lives in it. Left to itself V8 takes a
 * third more as reason enough under a limit like this one, more than once in two seconds for a megabyte or two, and four times without a limit.
 */
const oldMb = (stage: DetectStageOptions): number => 768 + Math.ceil((stage.detection.maxOperations ?? 0) / 1000);

const sayOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
