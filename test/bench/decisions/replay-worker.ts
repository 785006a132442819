import { parentPort } from 'node:worker_threads';
import { createRng } from '../../../src/base/rng.ts';
import { type ReplayInput, replayDecisions } from '../../../src/forecast/decide-replay.ts';

parentPort?.on('message', ({ id, input, seed }: { readonly id: number; readonly input: ReplayInput; readonly seed: string }) => {
  parentPort?.postMessage({ id, result: replayDecisions(input, createRng(seed)) });
});
