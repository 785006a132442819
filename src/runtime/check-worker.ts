import { parentPort, workerData } from 'node:worker_threads';
import type { DetectionOptions } from '../detect/run.ts';
import { type CheckBatch, type CheckResult, CheckStage } from './check-stage.ts';

/** To the thread. */
export type CheckRequest = { readonly is: 'batch'; readonly batch: CheckBatch } | { readonly is: 'end' };

/** From the thread: a batch has been taken, in order of sending; or what was found. */
export type CheckAnswer = { readonly is: 'taken' } | { readonly is: 'result'; readonly result: CheckResult };

const port = parentPort;
if (port === null) throw new Error('this file is the entry of a worker thread');
const stage = new CheckStage(workerData as DetectionOptions);
const say = (answer: CheckAnswer): void => port.postMessage(answer);

port.on('message', (request: CheckRequest) => {
  if (request.is === 'batch') {
    stage.take(request.batch);
    say({ is: 'taken' });
    return;
  }
  say({ is: 'result', result: stage.finish() });
  port.close();
});
