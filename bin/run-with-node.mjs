import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findNode } from './find-node.mjs';

/**
 * Runs a TypeScript entry with a Node that is new enough, in this terminal, and exits as it exits.
 * @param {string} entry absolute path of a .ts file
 * @param {readonly string[]} args
 * @param {{ flags: readonly string[], env: Record<string, string> }} runtime flags of Node, and variables where the caller has not set them
 */
export function runWithNode(entry, args, runtime = { flags: [], env: {} }) {
  let node;
  try {
    node = findNode();
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exit(2);
  }
  const here = dirname(fileURLToPath(import.meta.url));
  const child = spawn(
    node,
    ['--disable-warning=ExperimentalWarning', ...runtime.flags, '--import', join(here, 'follow-parent.mjs'), entry, ...args],
    {
      // The channel carries nothing: its end tells the child that this process was killed without a chance to say so.
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
      // What was compiled, and stripped of its types, is kept: a start takes half of the CPU time, and the stripper, 20 MB a thread, is not
      // loaded. Where it cannot be kept, Node goes without. Children of the child (vitest, esbuild) must find the same Node.
      env: {
        NODE_COMPILE_CACHE: join(dirname(here), '.node', 'compile-cache'),
        ...runtime.env,
        ...process.env,
        PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}`,
      },
    },
  );
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (signal ? (constants.signals[signal] ?? 0) : 0)));
}
