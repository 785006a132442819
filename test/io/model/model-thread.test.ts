import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRng } from '../../../src/base/rng.ts';
import { memberOf } from '../../../src/forecast/examples.ts';
import { loadCheckpoint, saveCheckpoint } from '../../../src/io/model/checkpoint.ts';
import { type ModelThread, openModelThread } from '../../../src/io/model/model-thread.ts';
import { syntheticLoad } from '../../../src/io/model/synthetic-load.ts';

const shipped = new URL('../../../models/contention/v2', import.meta.url).pathname;

describe('the model thread', () => {
  let thread: ModelThread;
  beforeAll(async () => {
    thread = await openModelThread();
    const start = await loadCheckpoint(shipped);
    await thread.use(start, start);
  });
  afterAll(() => thread.close());

  it('says which backend computes', () => {
    expect(['tfjs-node', 'wasm', 'cpu']).toContain(thread.backend);
  });

  it('forecasts short, flat and long series alike, in order and finite', async () => {
    const grid = (values: number[]): Parameters<typeof memberOf>[1] => ({
      startMs: 0,
      stepMs: 300_000,
      values: Float64Array.from(values),
      missing: new Uint8Array(values.length),
    });
    const [long] = syntheticLoad(1, 1_500, createRng(5));
    const members = [
      memberOf('one', grid([5])),
      memberOf('two', grid([5, 6])),
      memberOf('flat', grid(Array.from({ length: 100 }, () => 7))),
      memberOf('long', long?.grid ?? grid([])),
    ];
    const { forecasts } = await thread.round(members);
    expect(forecasts.map(({ name }) => name)).toEqual(['one', 'two', 'flat', 'long']);
    for (const { values, maximum } of forecasts) {
      for (const row of [...values, maximum]) {
        expect(row.every((value) => Number.isFinite(value) && value >= 0)).toBe(true);
        expect(row).toEqual(row.toSorted((a, b) => a - b));
      }
    }
    // One point says little, and the band says so; a hundred equal ones say that it stays.
    const [one, , flat] = forecasts;
    expect((one?.values[11]?.[8] ?? 0) - (one?.values[11]?.[0] ?? 0)).toBeGreaterThan(1);
    expect(flat?.values[11]?.[4]).toBe(7);
  });

  it('trains the same weights from the same seed', async () => {
    const members = syntheticLoad(4, 600, createRng(9)).map(({ name, grid }) => memberOf(name, grid));
    const request = {
      members,
      seed: 7,
      examples: 400,
      hidden: [8, 8] as const,
      options: { epochs: 2, batch: 64, learningRate: 1e-3, weightDecay: 0, inputNoise: 0 },
    };
    const [a, b] = [await thread.train(request), await thread.train(request)];
    expect(a.weights).toEqual(b.weights);
    expect(a.windows).toBe(400);
  });

  it('writes a model that reads back equal, and refuses one whose weights were changed', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'model-'));
    const checkpoint = await loadCheckpoint(shipped);
    await saveCheckpoint(folder, checkpoint, { seed: 1 }, '# card\n');
    expect(await loadCheckpoint(folder)).toEqual(checkpoint);
    const bytes = await readFile(join(folder, 'weights.bin'));
    bytes[100] = (bytes[100] ?? 0) ^ 1;
    await writeFile(join(folder, 'weights.bin'), bytes);
    await expect(loadCheckpoint(folder)).rejects.toThrow(/does not match the digest/);
    await rm(folder, { recursive: true });
    await expect(loadCheckpoint(folder)).rejects.toThrow(/there is no model/);
  });

  it('fails calls after it is closed', async () => {
    const closed = await openModelThread();
    await closed.close();
    await expect(closed.round([])).rejects.toThrow(/has ended/);
  });
});
