import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { Failure } from '../../base/failure.ts';
import { sha256Hex } from '../../base/hash.ts';
import { levels } from '../../forecast/contender.ts';
import { inputs, outputs } from '../../forecast/window.ts';
import { type NetworkShape, weightNames, type Weights, weightShape } from './network-shape.ts';

/**
 * A trained model on disk: `model.json` (shape, quantile levels, where each weight lies), `weights.bin` (float32, little-endian, in
 * the order of `model.json`), `training.json` (seed, data digest, options, scores) and `card.md` for people. The digest of the
 * weights stands in `model.json`, so that a torn or swapped file is refused instead of forecasting nonsense.
 */
export interface Checkpoint {
  readonly id: string;
  readonly shape: NetworkShape;
  readonly weights: Weights;
}

const format = 'homeostat-quantile-network/1';

const modelFile = z.object({
  format: z.literal(format),
  id: z.string(),
  inputs: z.int().positive(),
  hidden: z.tuple([z.int().positive(), z.int().positive()]),
  outputs: z.int().positive(),
  levels: z.array(z.number().gt(0).lt(1)).nonempty(),
  weights: z.array(z.object({ name: z.enum(weightNames), shape: z.tuple([z.int(), z.int()]) })),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

/** Reads a model folder. Throws Failure where a file is absent, malformed or does not match its digest. */
export async function loadCheckpoint(folder: string): Promise<Checkpoint> {
  let text: string;
  let bytes: Uint8Array;
  try {
    text = await readFile(join(folder, 'model.json'), 'utf8');
    bytes = await readFile(join(folder, 'weights.bin'));
  } catch (cause) {
    throw new Failure('no-model', `there is no model in ${folder}: train one with "homeostat forecast --train ${folder}"`, 'never', cause);
  }
  const parsed = modelFile.safeParse(parseJson(text));
  if (!parsed.success)
    throw new Failure('bad-model', `${join(folder, 'model.json')} is not a model of format ${format}`, 'never', parsed.error);
  const { data } = parsed;
  if (sha256Hex(bytes) !== data.sha256)
    throw new Failure('bad-model', `weights.bin in ${folder} does not match the digest in model.json`, 'never');
  const shape: NetworkShape = { inputs: data.inputs, hidden: data.hidden, outputs: data.outputs, levels: data.levels };
  if (shape.inputs !== inputs || shape.outputs !== outputs || shape.levels.join() !== levels.join()) {
    throw new Failure(
      'bad-model',
      `the model in ${folder} was trained for other inputs (${shape.inputs}) than this version makes (${inputs}): train it again with "homeostat forecast --train ${folder}"`,
      'never',
    );
  }
  const floats = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const weights: Record<string, Float32Array> = {};
  let offset = 0;
  for (const name of weightNames) {
    const [rows, columns] = weightShape(shape, name);
    weights[name] = floats.slice(offset, offset + rows * columns);
    offset += rows * columns;
  }
  if (offset !== floats.length)
    throw new Failure('bad-model', `weights.bin in ${folder} holds ${floats.length} numbers, model.json asks for ${offset}`, 'never');
  return { id: data.id, shape, weights: weights as unknown as Weights };
}

/** Writes a model folder; `training` and `card` become training.json and card.md. The weights are renamed into place before model.json. */
export async function saveCheckpoint(folder: string, checkpoint: Checkpoint, training: object, card: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const total = weightNames.reduce((sum, name) => sum + checkpoint.weights[name].length, 0);
  const floats = new Float32Array(total);
  let offset = 0;
  for (const name of weightNames) {
    floats.set(checkpoint.weights[name], offset);
    offset += checkpoint.weights[name].length;
  }
  const bytes = new Uint8Array(floats.buffer);
  const { shape } = checkpoint;
  const model = {
    format,
    id: checkpoint.id,
    inputs: shape.inputs,
    hidden: shape.hidden,
    outputs: shape.outputs,
    levels: shape.levels,
    weights: weightNames.map((name) => ({ name, shape: weightShape(shape, name) })),
    sha256: sha256Hex(bytes),
  };
  await replaceFile(join(folder, 'weights.bin'), bytes);
  await replaceFile(join(folder, 'model.json'), `${JSON.stringify(model, null, 2)}\n`);
  await replaceFile(join(folder, 'training.json'), `${JSON.stringify(training, null, 2)}\n`);
  await replaceFile(join(folder, 'card.md'), card);
}

async function replaceFile(path: string, content: string | Uint8Array): Promise<void> {
  await writeFile(`${path}.part`, content);
  await rename(`${path}.part`, path);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
