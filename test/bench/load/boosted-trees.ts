import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { partsOf } from '../../../src/forecast/backtest-panel.ts';
import { originsIn } from '../../../src/forecast/backtest.ts';
import { examplesOf, type Member } from '../../../src/forecast/examples.ts';
import { fillWindow, type Frame, horizons, inputs, outputs } from '../../../src/forecast/window.ts';

const script = fileURLToPath(new URL('boosted-trees.py', import.meta.url));
/** Windows a series that the trees are asked about: thinned evenly, as each costs 12 models' answers. */
const mostWindows = 1_000;

export interface TreesScores {
  readonly mase: number;
  readonly naiveMase: number;
}

/**
 * Mean MASE of scikit-learn's histogram-based gradient boosting, fitted on the same windows as the network (steps before each member's
 * `upTo`) and asked about the last part, and the last value's on the same windows. Null where there is no python3 with scikit-learn.
 * Thirteen minutes of processor time.
 */
export async function boostedTrees(members: readonly Member[], limit: number, log: (line: string) => void): Promise<TreesScores | null> {
  const python = process.env['HOMEOSTAT_PYTHON'] ?? 'python3';
  if ((await run(python, ['-c', 'import sklearn'], () => {})) !== 0) {
    log('boosted trees left out: no python3 with scikit-learn');
    return null;
  }
  const folder = await mkdtemp(join(tmpdir(), 'boosted-trees-'));
  try {
    const train = examplesOf(members, limit);
    const asked = members.map((member) => {
      const origins = originsIn(member, partsOf(member.grid.values.length).calibrationEnd, member.grid.values.length, 1);
      const stride = Math.max(1, Math.ceil(origins.length / mostWindows));
      return origins.filter((_, i) => i % stride === 0);
    });
    const test = new Float32Array(asked.reduce((sum, origins) => sum + origins.length, 0) * inputs);
    const frames: Frame[] = [];
    members.forEach((member, i) => {
      for (const at of asked[i] ?? []) frames.push(fillWindow(member.grid, at, member.unit, test, frames.length * inputs));
    });
    const targets = new Float32Array(train.count * horizons);
    for (let i = 0; i < train.count; i += 1) targets.set(train.y.subarray(i * outputs, i * outputs + horizons), i * horizons);
    const files = { 'train.x': train.x, 'train.y': targets, 'train.w': train.weight, 'test.x': test };
    for (const [name, data] of Object.entries(files)) await writeFile(join(folder, name), new Uint8Array(data.buffer));
    if ((await run(python, [script, folder, String(inputs), String(horizons)], (line) => log(`boosted trees, ${line}`))) !== 0)
      throw new Error('the boosted trees failed; see above');
    const bytes = await readFile(join(folder, 'test.p'));
    return meanMase(members, asked, frames, new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function meanMase(
  members: readonly Member[],
  asked: readonly (readonly number[])[],
  frames: readonly Frame[],
  answers: Float32Array,
): TreesScores {
  let row = 0;
  const scores = members.flatMap((member, i) => {
    let sum = 0;
    let naive = 0;
    for (const at of asked[i] ?? []) {
      const { level, spread } = frames[row] ?? { level: 0, spread: 0 };
      for (let h = 0; h < horizons; h += 1) {
        const outcome = member.grid.values[at + h + 1] ?? 0;
        sum += Math.abs(outcome - (level + spread * (answers[row * horizons + h] ?? 0)));
        naive += Math.abs(outcome - (member.grid.values[at] ?? 0));
      }
      row += 1;
    }
    const windows = asked[i]?.length ?? 0;
    const perUnit = windows * horizons * member.unit;
    return windows === 0 ? [] : [{ mase: sum / perUnit, naiveMase: naive / perUnit }];
  });
  const mean = (key: keyof TreesScores): number => scores.reduce((sum, one) => sum + one[key], 0) / scores.length;
  return { mase: mean('mase'), naiveMase: mean('naiveMase') };
}

function run(command: string, args: readonly string[], onLine: (line: string) => void): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    createInterface({ input: child.stderr }).on('line', onLine);
    child.once('error', () => resolve(-1));
    child.once('close', (code) => resolve(code ?? -1));
  });
}
