import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { type Member, memberOf } from '../../src/forecast/examples.ts';
import { type Checkpoint, loadCheckpoint } from '../../src/io/model/checkpoint.ts';
import { type ModelThread, openModelThread } from '../../src/io/model/model-thread.ts';
import { loadModel, type ModelInUse, retrainModel } from '../../src/runtime/own-model.ts';

const startFolder = fileURLToPath(new URL('../../models/contention/v2', import.meta.url));
const stepMs = 300_000;

/** Load that answers to itself 31 steps later, which no start model can know: what a training on one's own history is for. */
function echo(name: string, steps: number): Member {
  const rng = createRng(name);
  const values = new Float64Array(steps).fill(50);
  for (let i = 0; i < steps; i += 1) values[i] = 50 + 0.95 * (150 - (values[i - 31] ?? 50) - 50) + 12 * rng.normal();
  return memberOf(name, { startMs: 0, stepMs, values, missing: new Uint8Array(steps) });
}

describe('the own model', () => {
  let thread: ModelThread;
  let start: Checkpoint;
  let folder: string;
  const said: string[] = [];
  const log = (line: string): void => {
    said.push(line);
  };
  const members = ['a', 'b', 'c'].map((name) => echo(name, 1_600));
  beforeAll(async () => {
    [thread, start, folder] = await Promise.all([
      openModelThread(),
      loadCheckpoint(startFolder),
      mkdtemp(join(tmpdir(), 'homeostat-own-model-')),
    ]);
    await thread.use(start, start);
  });
  afterAll(async () => {
    await thread.close();
    await rm(folder, { recursive: true, force: true });
  });

  test('is the start model until there is one, and nothing is trained on too little history', async () => {
    const inUse = await loadModel(join(folder, 'none'), startFolder, log);
    expect(inUse).toMatchObject({ checkpoint: { id: start.id }, unseenFromMs: undefined });
    expect(await retrainModel(thread, inUse, [echo('short', 900)], 1, join(folder, 'none'), log)).toBeNull();
    await expect(access(join(folder, 'none'))).rejects.toThrow();
  });

  test('is trained on the older part, kept where it does better on the newer one, and found again after a restart', async () => {
    const own = join(folder, 'own');
    const first = await retrainModel(thread, { checkpoint: start, start, unseenFromMs: undefined }, members, 1, own, log);
    if (first === null) expect.fail('nothing was trained');
    expect(first.checkpoint.id).toBe(`${start.id}+own`);
    expect(first.unseenFromMs).toBe(0.8 * 1_600 * stepMs);
    const record = JSON.parse(await readFile(join(own, 'training.json'), 'utf8')) as Record<string, unknown>;
    expect(record).toMatchObject({ seed: 1, start: start.id, unseenFromMs: first.unseenFromMs });
    const { maseBefore, maseAfter } = record['scores'] as { maseBefore: number; maseAfter: number };
    expect(maseAfter).toBeLessThan(0.99 * maseBefore);

    const again = await loadModel(own, startFolder, log);
    expect(again).toEqual(first);
    // The same training once more is no better: what is in use stays, and stays loaded.
    const second = await retrainModel(thread, again, members, 1, join(folder, 'second'), log);
    expect(second).toBe(again);
    expect(said.at(-1)).toContain(`kept ${start.id}+own`);
    await expect(access(join(folder, 'second'))).rejects.toThrow();
  }, 120_000);

  test('learns nothing from the part on which it is judged', async () => {
    // Older parts alike, newer parts unlike: the same weights.
    const changed = members.map(({ name, grid }) =>
      memberOf(name, { ...grid, values: grid.values.map((value, i) => (i >= 1_280 ? 1_000 - 3 * value : value)) }),
    );
    const train = (list: readonly Member[]) => trainedWeights(thread, start, list);
    expect(await train(changed)).toEqual(await train(members));
  }, 120_000);

  test('gives way to the start model where its files are torn', async () => {
    const own = join(folder, 'own');
    const bytes = await readFile(join(own, 'weights.bin'));
    await writeFile(join(own, 'weights.bin'), bytes.subarray(0, bytes.length - 4));
    expect((await loadModel(own, startFolder, log)).checkpoint.id).toBe(start.id);
    expect(said.at(-1)).toContain('forecasting with the start model again');
  });
});

/** What a retraining would use: taken from the model thread as it is left, which holds the newly trained where it did better. */
async function trainedWeights(thread: ModelThread, start: Checkpoint, members: readonly Member[]): Promise<string> {
  const trained: string[] = [];
  const watched: ModelThread = {
    ...thread,
    train: async (request) => {
      const made = await thread.train({
        ...request,
        options: { epochs: 1, batch: 256, learningRate: 1e-3, weightDecay: 0, inputNoise: 0 },
      });
      trained.push(made.dataDigest);
      return made;
    },
  };
  const inUse: ModelInUse = { checkpoint: start, start, unseenFromMs: undefined };
  await retrainModel(watched, inUse, members, 1, undefined, () => undefined);
  return trained.join();
}
