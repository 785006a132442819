// `npm run check`: what is worth knowing before each commit, in about a minute.
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = (name: string): string => join(root, 'node_modules', '.bin', name);

interface Step {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
}

/** Two lanes for two cores: the first is the compiler and its kin, the second the tests. */
const lanes: readonly (readonly Step[])[] = [
  [
    { name: 'types', command: bin('tsc'), args: ['--noEmit'] },
    { name: 'lint', command: bin('oxlint'), args: ['--type-aware', '--quiet'] },
    { name: 'format', command: bin('biome'), args: ['format', '.'] },
  ],
  [
    {
      name: 'unit and conformance',
      command: process.execPath,
      args: [
        join(root, 'node_modules', 'vitest', 'vitest.mjs'),
        'run',
        '--reporter=dot',
        '--maxWorkers=1',
        // What starts browsers, whole services or several database servers is `npm test`'s.
        ...['test/integration/**', 'test/demo/**', 'test/**/*chromium*', 'test/**/*browser*'].map((pattern) => `--exclude=${pattern}`),
      ],
    },
  ],
];

async function runStep(step: Step): Promise<boolean> {
  const started = performance.now();
  const child = spawn(step.command, step.args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  child.stdout.on('data', (data: Buffer) => output.push(data));
  child.stderr.on('data', (data: Buffer) => output.push(data));
  const code = await new Promise<number>((resolve) => {
    child.on('error', () => resolve(127));
    child.on('close', (exit) => resolve(exit ?? 1));
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(`${code === 0 ? 'ok   ' : 'FAILS'} ${step.name} (${seconds} s)\n`);
  if (code !== 0) process.stdout.write(`${Buffer.concat(output).toString('utf8')}\n`);
  return code === 0;
}

const results = await Promise.all(
  lanes.map(async (lane) => {
    let ok = true;
    for (const step of lane) ok = (await runStep(step)) && ok;
    return ok;
  }),
);
process.exitCode = results.every(Boolean) ? 0 : 1;
