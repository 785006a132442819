import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type CliContext, type CommandEntry, commandsFor, createProgram, explainError, runProgram } from './edge/cli/program.ts';
import { commands } from './edge/cli/registry.ts';

/** Open handles of a dependency must not keep a finished command alive. */
const exitGraceMs = 3_000;
const interrupted = 130;
const brokenPipe = 141;

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { readonly version: string };
const stopping = new AbortController();
let exitCode = 0;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // The second time somebody means it.
    if (stopping.signal.aborted && signal === 'SIGINT') process.exit(interrupted);
    stopping.abort();
  });
}
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    // State is in the store and the journal: ending here loses nothing, going on in an unknown state might.
    process.stderr.write(`${explainError(error)}\n`);
    process.exit(1);
  });
}

// Who reads has seen enough, as `head` has: nobody is left to tell. A command ends as one that SIGPIPE ends, not with a code that means
// something; a service whose log nobody reads goes on; the demo stops what it started first.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    if (process.argv[2] === 'demo') stopping.abort();
    else if (process.argv[2] !== 'start') process.exit(brokenPipe);
  });
}

const context: CliContext = {
  out: (text) => void process.stdout.write(`${text}\n`),
  err: (text) => void process.stderr.write(`${text}\n`),
  isTty: process.stdout.isTTY === true,
  cwd: process.cwd(),
  env: process.env,
  signal: stopping.signal,
  exit: (code) => {
    exitCode = code;
  },
  loadConfig: async (path) => (await import('./config.ts')).loadConfig(resolve(path ?? 'homeostat.yaml'), process.env),
};

const service: readonly CommandEntry[] = [
  {
    name: 'start',
    summary: 'run the service: OTLP in, comparisons, repairs, API and page',
    load: async () => (await import('./start-command.ts')).registerStart,
  },
  {
    name: 'demo',
    summary: 'run the service beside a shop in three regions whose replicas drift apart, and watch it repair them',
    load: async () => (await import('./demo-command.ts')).registerDemo,
  },
];
const args = process.argv.slice(2);
await runProgram(createProgram(context, await commandsFor([...commands, ...service], args), version), context, args);
process.exitCode = exitCode;
setTimeout(() => process.exit(exitCode), exitGraceMs).unref();
