import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { createServer } from 'node:net';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * The OpenTelemetry Collector as a baseline: an OTLP receiver, the batch processor and either the OTLP/HTTP exporter or nop, built
 * from `main.go` with the Go toolchain and kept in the user's cache, for all checkouts that build the same one. Null where it cannot be
 * built (no Go, no module proxy).
 */
export interface Collector {
  readonly pid: number;
  readonly httpPort: number;
  readonly grpcPort: number;
  /** User and system time of its process so far. */
  cpuSeconds(): number;
  close(): Promise<void>;
}

const here = dirname(fileURLToPath(import.meta.url));
const cache = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'homeostat');
/** Clock ticks a second in /proc/PID/stat: 100 on every Linux that Node runs on (sysconf(_SC_CLK_TCK)). */
const ticksPerSecond = 100;

/**
 * @param exporter the URL that spans are passed on to as OTLP/HTTP (the Collector's defaults: gzip, batches of 8192), or `nop`
 * @param cores the cores it may use, as `taskset -c` takes them
 */
export async function startCollector(
  exporter: { readonly url: string } | 'nop',
  cores: string,
  log: (line: string) => void,
): Promise<Collector | null> {
  const binary = buildCollector(log);
  if (binary === null) return null;
  const [httpPort, grpcPort] = await Promise.all([freePort(), freePort()]);
  const name = exporter === 'nop' ? 'nop' : 'otlp_http';
  const config = {
    receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${httpPort}` }, grpc: { endpoint: `127.0.0.1:${grpcPort}` } } } },
    processors: { batch: {} },
    exporters: { [name]: exporter === 'nop' ? {} : { endpoint: exporter.url } },
    service: {
      telemetry: { metrics: { level: 'none' }, logs: { level: 'warn' } },
      pipelines: { traces: { receivers: ['otlp'], processors: exporter === 'nop' ? [] : ['batch'], exporters: [name] } },
    },
  };
  // JSON is YAML.
  const child = spawn('taskset', ['-c', cores, binary, `yaml:${JSON.stringify(config)}`], { stdio: ['ignore', 'ignore', 'inherit'] });
  const { pid } = child;
  if (pid === undefined) return null;
  const exited = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  await untilListening(httpPort, child);
  return {
    pid,
    httpPort,
    grpcPort,
    cpuSeconds: () => cpuSecondsOf(pid),
    close: async () => {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** User plus system time of a process, in seconds, from /proc (proc(5): fields 14 and 15). */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/**
 * The same by kind of thread: `receive` (Node's main thread), `detect` (its worker), `collect` (V8's helpers: mostly the garbage
 * collector), `other` (the pool that unzips, the journal's writer).
 */
export function threadSecondsOf(pid: number): Record<string, number> {
  const seconds: Record<string, number> = {};
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const kind = thread === String(pid) ? 'receive' : name.startsWith('V8') ? 'collect' : name.includes('etect') ? 'detect' : 'other';
    seconds[kind] = (seconds[kind] ?? 0) + (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  }
  return seconds;
}

function buildCollector(log: (line: string) => void): string | null {
  const source = createHash('sha256');
  for (const file of ['main.go', 'go.mod', 'go.sum']) source.update(readFileSync(join(here, file)));
  const binary = join(cache, `otelcol-${source.digest('hex').slice(0, 12)}`);
  if (existsSync(binary)) return binary;
  mkdirSync(cache, { recursive: true });
  log('building the OpenTelemetry Collector with Go (once, about a minute)...');
  const built = spawnSync('go', ['build', '-mod=readonly', '-o', `${binary}.${process.pid}`, '.'], {
    cwd: here,
    encoding: 'utf8',
    timeout: 300_000,
  });
  if (built.status !== 0) {
    log(
      `the Collector could not be built here, so its figures are left out: ${(built.stderr || String(built.error ?? '')).trim().split('\n').at(-1) ?? ''}`,
    );
    return null;
  }
  renameSync(`${binary}.${process.pid}`, binary);
  return binary;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (address !== null && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port'))));
    });
  });
}

/** The receiver answers 405 to a GET once it listens. */
async function untilListening(port: number, child: { readonly exitCode: number | null }): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`the Collector ended with code ${child.exitCode}`);
    const answered = await fetch(`http://127.0.0.1:${port}/v1/traces`).then(
      () => true,
      () => false,
    );
    if (answered) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('the Collector did not listen within 10 s');
}
