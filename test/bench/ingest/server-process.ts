import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import serviceRuntime from '../../../bin/service-runtime.json' with { type: 'json' };

/** What the `full` server says of itself. */
export interface FullState {
  readonly operations: number;
  readonly spans_accepted: number;
  readonly backlog_payloads_now: number;
  readonly waiting_spans_now: number;
  readonly stats: { readonly traceShare: number; readonly keyShare: number };
}

export interface BenchServer extends AsyncDisposable {
  readonly pid: number;
  readonly http: number;
  readonly grpc: number;
  /** `full` only. */
  state(): Promise<FullState>;
}

const serverFile = fileURLToPath(new URL('../ingest-server.ts', import.meta.url));

export async function startServer(mode: string, core: string): Promise<BenchServer> {
  const child: ChildProcess = spawn(process.execPath, [...serviceRuntime.flags, serverFile, mode], {
    env: { ...serviceRuntime.env, ...process.env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { pid, stdout } = child;
  if (pid === undefined || stdout === null) throw new Error(`the ${mode} server did not start`);
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const failed = new Promise<never>((_, reject) =>
    child.on('exit', (code) => reject(new Error(`the ${mode} server ended with code ${code}`))),
  );
  failed.catch(() => undefined);
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  const line = async (): Promise<unknown> => JSON.parse((await Promise.race([lines.next(), failed])).value ?? 'null');
  const ports = (await line()) as { http?: number; grpc?: number };
  pin(pid, core);
  return {
    pid,
    http: ports.http ?? 0,
    grpc: ports.grpc ?? 0,
    state: async () => {
      child.kill('SIGUSR2');
      return (await line()) as FullState;
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** All threads of a process to one core, where the system can. */
export function pin(pid: number, core: string): void {
  spawnSync('taskset', ['-a', '-c', '-p', core, String(pid)], { stdio: 'ignore' });
}

export function megabytesOf(pid: number, what: 'VmHWM' | 'VmRSS' | 'RssAnon'): number {
  const found = new RegExp(`${what}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return found === null ? 0 : Number(found[1]) / 1024;
}
