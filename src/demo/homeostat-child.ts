import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** Where the service answers: the line that `homeostat start` prints when it is ready. */
export interface Addresses {
  readonly ui: string;
  readonly api: string;
  readonly otlpHttp: string;
  readonly pid: number;
  readonly login?: string;
}

export interface HomeostatChild {
  readonly addresses: Addresses;
  /** How often it died and was started again. */
  readonly restarts: number;
  close(): Promise<void>;
}

const readyMs = 120_000;
const stopMs = 20_000;
const restartPauseMs = 500;
/** A service that cannot stay up is a failure to show, not to paper over. */
const mostRestarts = 50;

/**
 * Runs the service as a process of its own, as anybody would, and starts it again where it dies: the demo may be tried with
 * `kill -9`. Rejects with the service's own sentence where it does not come up at all.
 */
export async function startHomeostat(options: {
  readonly command: readonly string[];
  readonly logFile: string;
  readonly onRestart: (says: string) => void;
}): Promise<HomeostatChild> {
  const log = createWriteStream(options.logFile, { flags: 'a', mode: 0o600 });
  let isClosing = false;
  let restarts = 0;
  let child: ChildProcess | undefined;
  let addresses: Addresses | undefined;
  let failed: string | undefined;

  const start = async (): Promise<void> => {
    const launched = launch(options.command, log);
    child = launched.child;
    launched.child.once('exit', (code, signal) => {
      if (isClosing || (addresses === undefined && signal === null)) return;
      restarts += 1;
      if (restarts > mostRestarts) {
        failed = `the service died ${restarts} times; its log is ${options.logFile}`;
        options.onRestart(failed);
        return;
      }
      options.onRestart(`the service ended (${signal ?? `exit ${code ?? '?'}`}): starting it again`);
      void delay(restartPauseMs).then(async () => {
        if (isClosing) return;
        await start().catch((error: unknown) => options.onRestart(error instanceof Error ? error.message : String(error)));
      });
    });
    addresses = await launched.ready;
  };

  const deadline = performance.now() + readyMs;
  let refused: unknown;
  await start().catch((error: unknown) => {
    refused = error;
  });
  // Killed before it was ever ready: the next start is under way. Refused by itself: its sentence is the answer.
  while (addresses === undefined && restarts > 0 && failed === undefined && performance.now() < deadline) await delay(100);
  if (addresses === undefined) {
    isClosing = true;
    log.end();
    throw refused instanceof Error ? refused : new Error(failed ?? 'the service did not start');
  }
  const first = addresses;
  return {
    get addresses() {
      return addresses ?? first;
    },
    get restarts() {
      return restarts;
    },
    async close() {
      isClosing = true;
      if (child !== undefined) await stop(child);
      log.end();
    },
  };
}

function launch(command: readonly string[], log: WriteStream): { child: ChildProcess; ready: Promise<Addresses> } {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  let said = '';
  let errors = '';
  const ready = new Promise<Addresses>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the service was not ready within ${readyMs / 1000} s`)), readyMs);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      for (const line of said.split('\n').slice(0, -1)) {
        const parsed = parseReady(line);
        if (parsed !== undefined) resolve(parsed);
      }
      said = said.slice(said.lastIndexOf('\n') + 1);
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log.write(text);
      errors = (errors + text).slice(-4000);
    });
    child.once('error', (error) => reject(error));
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      reject(new Error(`the service did not start (${signal ?? `exit ${code ?? '?'}`}): ${lastSentence(errors)}`));
    });
    child.once('exit', () => clearTimeout(timer));
  });
  // Its end after it was ready is the exit listener's business.
  ready.catch(() => undefined);
  return { child, ready };
}

function parseReady(line: string): Addresses | undefined {
  try {
    const value = JSON.parse(line) as Partial<Addresses> & { readonly ready?: boolean };
    return value.ready === true && value.api !== undefined && value.otlpHttp !== undefined
      ? { ui: value.api, pid: 0, ...value, api: value.api, otlpHttp: value.otlpHttp }
      : undefined;
  } catch {
    return undefined;
  }
}

/** The service logs JSON lines; a plain line is its last word, which is what a person needs. */
function lastSentence(errors: string): string {
  const lines = errors.split('\n').filter((line) => line.trim() !== '');
  return lines.find((line) => !line.startsWith('{') && !/^\s+at /.test(line)) ?? lines.at(-1) ?? 'it said nothing';
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs);
  await ended;
  clearTimeout(timer);
}

/** Three free ports in a row: a restarted service must come back where the exporters look for it. */
export async function findPortBase(random: () => number): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const base = 20_000 + Math.floor(random() * 12_000);
    const free = await Promise.all([0, 1, 2].map((offset) => isFree(base + offset)));
    if (free.every(Boolean)) return base;
  }
  throw new Error('found no three free ports in a row; name some with --port-base');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
