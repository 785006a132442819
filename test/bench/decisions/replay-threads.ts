import { Worker } from 'node:worker_threads';
import type { ReplayInput, ReplayResult } from '../../../src/forecast/decide-replay.ts';

/** Replays on two threads: replays do not share anything, and a bench is waited for. */
export interface ReplayThreads {
  replay(input: ReplayInput, seed: string): Promise<ReplayResult>;
  close(): Promise<void>;
}

const threads = 2;

export function openReplayThreads(): ReplayThreads {
  const waiting = new Map<number, { resolve: (result: ReplayResult) => void; reject: (error: Error) => void }>();
  let lastId = 0;
  const workers = Array.from({ length: threads }, () => {
    const worker = new Worker(new URL('./replay-worker.ts', import.meta.url));
    worker.on('message', ({ id, result }: { readonly id: number; readonly result: ReplayResult }) => {
      waiting.get(id)?.resolve(result);
      waiting.delete(id);
    });
    worker.on('error', (error) => {
      for (const { reject } of waiting.values()) reject(error instanceof Error ? error : new Error(String(error)));
      waiting.clear();
    });
    return worker;
  });
  return {
    replay: (input, seed) =>
      new Promise((resolve, reject) => {
        lastId += 1;
        waiting.set(lastId, { resolve, reject });
        workers[lastId % threads]?.postMessage({ id: lastId, input, seed });
      }),
    close: async () => {
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}
