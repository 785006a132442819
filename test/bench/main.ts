// `npm run bench -- NAME [--json] [--quick] [--only PART,PART]`: runs one bench and prints one JSON object, alone on the last line.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { Bench, Figures } from './bench.ts';

const here = dirname(fileURLToPath(import.meta.url));

function benchNames(): readonly string[] {
  return readdirSync(here)
    .filter((name) => name.endsWith('.ts') && name !== 'main.ts' && name !== 'bench.ts')
    .map((name) => name.slice(0, -3))
    .toSorted();
}

function isBench(value: unknown): value is Bench {
  return typeof value === 'object' && value !== null && 'name' in value && 'run' in value && typeof value.run === 'function';
}

async function loadBench(name: string): Promise<Bench> {
  const module: Record<string, unknown> = await import(pathToFileURL(join(here, `${name}.ts`)).href);
  if (!isBench(module['bench'])) throw new Error(`test/bench/${name}.ts exports no \`bench\``);
  return module['bench'];
}

/** The commit measured, with a mark where the work tree differs from it: a figure must name the code that gave it. */
function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', ['-C', here, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    return git('rev-parse', '--short=12', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '+changes');
  } catch {
    return 'unknown';
  }
}

/** Finite figures only, to four significant digits: more would be noise. */
function rounded(figures: Figures): Record<string, number> {
  return Object.fromEntries(
    Object.entries(figures)
      .filter(([, value]) => Number.isFinite(value))
      .map(([name, value]) => [name, Number(value.toPrecision(4))]),
  );
}

async function main(args: readonly string[]): Promise<number> {
  const at = args.indexOf('--only');
  const only = at < 0 ? undefined : (args[at + 1] ?? '').split(',').filter((part) => part !== '');
  const name = args.find((arg, place) => !arg.startsWith('-') && (at < 0 || place !== at + 1));
  const known = benchNames();
  if (name === undefined || args.includes('--help')) {
    process.stdout.write('npm run bench -- NAME [--json] [--quick] [--only PART,PART]\n\n');
    for (const each of known) {
      const says = await loadBench(each).then(
        (bench) => bench.says ?? '',
        (error: unknown) => `(does not load: ${error instanceof Error ? error.message.split('\n')[0] : String(error)})`,
      );
      process.stdout.write(`  ${each.padEnd(14)} ${says}\n`);
    }
    return args.includes('--help') ? 0 : 2;
  }
  const unknown = args.find((arg) => arg.startsWith('-') && !['--json', '--quick', '--only'].includes(arg));
  if (unknown !== undefined) {
    process.stderr.write(`unknown option ${unknown}; known: --json, --quick, --only PART,PART, --help\n`);
    return 2;
  }
  if (!known.includes(name)) {
    process.stderr.write(`no bench "${name}"; there are: ${known.join(', ')}\n`);
    return 2;
  }
  const quiet = args.includes('--json');
  const started = performance.now();
  const bench = await loadBench(name);
  const strange = only?.find((part) => bench.parts?.includes(part) !== true);
  if (only?.length === 0 || strange !== undefined) {
    process.stderr.write(`${name} has no part "${strange ?? ''}"; there are: ${bench.parts?.join(', ') ?? 'none'}\n`);
    return 2;
  }
  const { figures, baseline } = await bench.run({
    quick: args.includes('--quick'),
    ...(only === undefined ? {} : { only }),
    log: quiet ? () => {} : (line) => process.stderr.write(`${line}\n`),
  });
  const cores = cpus();
  process.stdout.write(
    `${JSON.stringify({
      bench: bench.name,
      figures: rounded(figures),
      baseline: rounded(baseline),
      machine: `${cores.length} x ${cores[0]?.model.trim() ?? 'unknown'}, ${Math.round(totalmem() / 2 ** 30)} GB, Node ${process.version}`,
      commit: commit(),
      seconds: Number(((performance.now() - started) / 1000).toFixed(1)),
    })}\n`,
  );
  return 0;
}

// A bench may leave servers or workers behind when it fails: the runner ends the process either way.
main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  },
);
