import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { type Member, memberOf } from '../forecast/examples.ts';
import { defaultRound, modelId } from '../forecast/round.ts';
import { type Checkpoint, loadCheckpoint, saveCheckpoint } from '../io/model/checkpoint.ts';
import type { ModelThread } from '../io/model/model-thread.ts';

/** The model that forecasts, and since when what it is judged on is new to it. */
export interface ModelInUse {
  readonly checkpoint: Checkpoint;
  /** The start model, which the one in use was trained from or is. */
  readonly start: Checkpoint;
  /** End of what it was trained on; undefined for the start model, which has seen nothing of this installation. */
  readonly unseenFromMs: number | undefined;
}

/** Windows of history under which training would learn noise. */
const leastTrainWindows = 3_000;
/** The newest part of the history is not trained on: who is served is chosen there. */
const unseenShare = 0.2;

/** The own model where there is one that this version can read, else the start model. */
export async function loadModel(own: string | undefined, start: string, log: (line: string) => void): Promise<ModelInUse> {
  const startModel = await loadCheckpoint(start);
  if (own !== undefined && (await exists(join(own, 'model.json')))) {
    try {
      const checkpoint = await loadCheckpoint(own);
      const record: unknown = JSON.parse(await readFile(join(own, 'training.json'), 'utf8'));
      return { checkpoint, start: startModel, unseenFromMs: z.looseObject({ unseenFromMs: z.number() }).parse(record).unseenFromMs };
    } catch (error) {
      log(`forecasting with the start model again: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { checkpoint: startModel, start: startModel, unseenFromMs: undefined };
}

/**
 * Trains the start model on the older part of the history, as `npm run bench -- forecast` does, and answers it where it beats the
 * model in use on the newer part, which neither has seen; else the one in use. Null where there is too little history yet. The
 * thread is left with the answer loaded.
 */
export async function retrainModel(
  thread: ModelThread,
  inUse: ModelInUse,
  members: readonly Member[],
  seed: number,
  folder: string | undefined,
  log: (line: string) => void,
): Promise<ModelInUse | null> {
  const { start } = inUse;
  const endOf = ({ grid }: Member): number => grid.startMs + grid.values.length * grid.stepMs;
  const endMs = members.reduce((latest, member) => Math.max(latest, endOf(member)), 0);
  const startMs = members.reduce((first, { grid }) => Math.min(first, grid.startMs), endMs);
  const unseenFromMs = endMs - unseenShare * (endMs - startMs);
  const older = members.map(({ name, grid }) =>
    memberOf(name, grid, Math.max(1, Math.min(grid.values.length, Math.floor((unseenFromMs - grid.startMs) / grid.stepMs)))),
  );
  if (older.reduce((sum, { upTo }) => sum + upTo, 0) < leastTrainWindows) return null;
  const trained = await thread.train({ members: older, seed, start: start.weights, hidden: start.shape.hidden });
  const before = await maseOf(thread, members, unseenFromMs);
  const own: Checkpoint = { id: `${start.id}+own`, shape: trained.shape, weights: trained.weights };
  await thread.use(own, start);
  const after = await maseOf(thread, members, unseenFromMs);
  const says = `trained on ${trained.windows} windows in ${trained.seconds.toFixed(1)} s on ${thread.backend}`;
  if (!(after < before)) {
    await thread.use(inUse.checkpoint, start);
    log(`${says}; kept ${inUse.checkpoint.id} (MASE ${before.toFixed(3)} against ${after.toFixed(3)})`);
    return inUse;
  }
  log(`${says}: MASE ${before.toFixed(3)} to ${after.toFixed(3)} on the newest windows`);
  if (folder !== undefined) {
    const { windows, seconds, dataDigest } = trained;
    const record = { seed, start: start.id, data: { sha256: dataDigest }, windows, seconds, backend: thread.backend, unseenFromMs };
    const scores = { maseBefore: before, maseAfter: after };
    await saveCheckpoint(
      folder,
      own,
      { ...record, scores },
      `# ${own.id}\n\n${start.id}, trained on with this installation's own history: ${says}.\n`,
    );
  }
  return { checkpoint: own, start, unseenFromMs };
}

/** Mean over the series of the network's own error on windows after then. */
async function maseOf(thread: ModelThread, members: readonly Member[], unseenFromMs: number): Promise<number> {
  const { forecasts } = await thread.round(members, { ...defaultRound, unseenFromMs });
  const scored = forecasts.map((forecast) => forecast.scores[modelId]).filter((mase) => mase !== undefined);
  return scored.reduce((sum, mase) => sum + mase, 0) / Math.max(1, scored.length);
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
