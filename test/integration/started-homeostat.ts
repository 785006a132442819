import { type ChildProcess, spawn } from 'node:child_process';
import { chmod, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface Ready {
  readonly ui: string;
  readonly api: string;
  readonly otlpHttp: string;
  readonly otlpGrpc: string;
  readonly pid: number;
}

export interface ServiceProcess {
  /** Where it answers; rejects with what it said if it ended before. */
  readonly ready: Promise<Ready>;
  readonly stderr: () => string;
  kill(signal: NodeJS.Signals): void;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** The real service in a process of its own. */
export function startServiceProcess(options: {
  readonly config: string;
  readonly data: string;
  readonly args?: readonly string[];
}): ServiceProcess {
  const args = [
    '--disable-warning=ExperimentalWarning',
    main,
    'start',
    '--config',
    options.config,
    '--data',
    options.data,
    ...(options.args ?? ['--port-base', '0']),
  ];
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    if (process.env['TEST_LOG'] !== undefined) process.stderr.write(chunk);
  });
  const ended = new Promise<number | NodeJS.Signals>((resolve) => child.on('exit', (code, signal) => resolve(code ?? signal ?? -1)));
  const ready = new Promise<Ready>((resolve, reject) => {
    if (child.stdout !== null) {
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (line.startsWith('{"ready":true')) resolve(JSON.parse(line) as Ready);
      });
    }
    ended.then((how) => reject(new Error(`the service ended (${how}): ${stderr}`)), reject);
  });
  // Nobody may be waiting for it when it is killed on purpose.
  ready.catch(() => undefined);
  return { ready, stderr: () => stderr, kill: (signal) => void child.kill(signal), ended };
}

/** A folder that the user whom PostgreSQL runs as can pass through, with a configuration in it. */
export async function serviceFolder(config: object): Promise<{ readonly dir: string; readonly config: string; readonly data: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'homeostat-service-'));
  await chmod(dir, 0o755);
  const path = join(dir, 'homeostat.yaml');
  // JSON is YAML.
  await writeFile(path, JSON.stringify(config, null, 2));
  return { dir, config: path, data: join(dir, 'data') };
}
