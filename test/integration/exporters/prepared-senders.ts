import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runAside } from './run-aside.ts';

/**
 * Senders of other languages, fetched from their registries once, into node_modules/.cache. Each is named for what it is made of, so that a
 * changed source is built again; made aside and moved into place whole, so that runs at the same time or cut short leave nothing half done;
 * and made without blocking, because a test runner takes a worker that is silent for a minute for dead.
 */
const here = dirname(fileURLToPath(import.meta.url));
const cache = join(here, '..', '..', '..', 'node_modules', '.cache', 'homeostat');
const longestMs = 240_000;

/** A Python with the SDK in it, or null. */
export async function preparePython(): Promise<string | null> {
  const requirements = join(here, 'requirements.txt');
  const home = join(cache, `python-${digestOf([requirements])}`);
  const isReady = (at: string): Promise<boolean> =>
    runs(join(at, 'bin', 'python'), ['-c', 'import opentelemetry.exporter.otlp.proto.grpc, opentelemetry.exporter.otlp.proto.http']);
  if (await isReady(home)) return join(home, 'bin', 'python');
  const made = await inPlace(home, async (aside) => {
    const pip = ['-m', 'pip', 'install', '--quiet', '-r', requirements];
    return (await runs('python3', ['-m', 'venv', aside])) && (await runs(join(aside, 'bin', 'python'), pip)) && (await isReady(aside));
  });
  return made ? join(home, 'bin', 'python') : null;
}

/** The Go sender, built, or null. */
export async function prepareGo(): Promise<string | null> {
  const source = join(here, 'go');
  const binary = join(cache, `go-sender-${digestOf(['go.mod', 'go.sum', 'main.go'].map((name) => join(source, name)))}`);
  if (existsSync(binary)) return binary;
  const made = await inPlace(binary, (aside) => runs('go', ['build', '-mod=readonly', '-o', aside, '.'], source));
  return made ? binary : null;
}

const digestOf = (files: readonly string[]): string =>
  files
    .reduce((hash, file) => hash.update(readFileSync(file)), createHash('sha256'))
    .digest('hex')
    .slice(0, 12);

/** Makes something beside its place and moves it there; what another run has put there meanwhile is as good. */
async function inPlace(place: string, make: (aside: string) => Promise<boolean>): Promise<boolean> {
  const aside = `${place}.${process.pid}`;
  mkdirSync(cache, { recursive: true });
  try {
    if (!(await make(aside))) return false;
    // A place that holds less than a whole is taken over.
    rmSync(place, { recursive: true, force: true });
    renameSync(aside, place);
    return true;
  } catch {
    return existsSync(place);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

const runs = (command: string, args: readonly string[], cwd?: string): Promise<boolean> =>
  runAside(command, args, { timeout: longestMs, ...(cwd === undefined ? {} : { cwd }) }).then(
    () => true,
    () => false,
  );
