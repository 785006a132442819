import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import * as tf from '@tensorflow/tfjs-core';

/** Which implementation of TensorFlow.js computes. Said in logs, in the API and in every training record. */
export type BackendName = 'tfjs-node' | 'wasm' | 'cpu';

let opened: Promise<BackendName> | undefined;

/**
 * Opens the first backend that loads: tfjs-node (native, an optional dependency whose install script downloads and may have
 * failed), then wasm (SIMD; one thread in Node, hence worker threads around it), then plain JavaScript. `only` skips the choice.
 * One backend a thread: later calls answer what the first one opened.
 */
export function openBackend(only?: BackendName): Promise<BackendName> {
  opened ??= choose(only);
  return opened;
}

async function choose(only: BackendName | undefined): Promise<BackendName> {
  if (only === undefined || only === 'tfjs-node') {
    if (await loadNative()) return 'tfjs-node';
    if (only !== undefined) throw new Error('tfjs-node does not load here; use the wasm or cpu backend');
  }
  if (only === undefined || only === 'wasm') {
    if (await loadWasm()) return 'wasm';
    if (only !== undefined) throw new Error('the wasm backend does not load here; use the cpu backend');
  }
  await import('@tensorflow/tfjs-backend-cpu');
  await tf.setBackend('cpu');
  return 'cpu';
}

async function loadNative(): Promise<boolean> {
  const require = createRequire(import.meta.url);
  try {
    // tfjs-node 4.22 calls two functions that Node 23 took out of `util`; without them its first tensor throws.
    const util = require('node:util') as Record<string, unknown>;
    util['isNullOrUndefined'] ??= (value: unknown): boolean => value === null || value === undefined;
    util['isArray'] ??= Array.isArray;
    require('@tensorflow/tfjs-node');
    return (await tf.setBackend('tensorflow')) && tf.getBackend() === 'tensorflow';
  } catch {
    // Absent, or built for another Node: the next backend answers, and the name that is returned says so.
    return false;
  }
}

async function loadWasm(): Promise<boolean> {
  try {
    await import('@tensorflow/tfjs-backend-wasm');
    return (await tf.setBackend('wasm')) && tf.getBackend() === 'wasm';
  } catch {
    return false;
  }
}

/** Cores that a training run may count on, for the record beside its seconds. */
export const cores = availableParallelism();
