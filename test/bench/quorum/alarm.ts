import { isMainThread, parentPort, Worker } from 'node:worker_threads';

/**
 * A timer that keeps fractions of a millisecond, which those of Node do not: a thread of its own sleeps. Not by spinning: that would
 * take a core from whoever is waited for.
 */
export interface Alarm {
  after(ms: number): Promise<void>;
  close(): Promise<void>;
}

export function openAlarm(): Alarm {
  const worker = new Worker(new URL(import.meta.url));
  return {
    after: (ms) =>
      new Promise((resolve, reject) => {
        worker.once('error', reject);
        worker.once('message', () => {
          worker.off('error', reject);
          resolve();
        });
        worker.postMessage(ms);
      }),
    close: async () => {
      await worker.terminate();
    },
  };
}

if (!isMainThread) {
  const nobody = new Int32Array(new SharedArrayBuffer(4));
  parentPort?.on('message', (ms: number) => {
    Atomics.wait(nobody, 0, 0, ms);
    parentPort?.postMessage('over');
  });
}
