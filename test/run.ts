// `npm test`: gets the servers that the tests need where it may, runs every test, and ends with the counts alone on the last line.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** What the tests use beyond npm: Debian package -> the binaries of which any one will do. */
const servers: Readonly<Record<string, readonly string[]>> = {
  'redis-server': ['redis-server'],
  'mariadb-server': ['mariadbd', 'mysqld'],
  chromium: ['chromium', 'chromium-browser', 'google-chrome'],
};

function isOnPath(binary: string): boolean {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin', '/opt/homebrew/bin'];
  return folders.some((folder) => folder !== '' && existsSync(join(folder, binary)));
}

const missing = (): readonly string[] =>
  Object.entries(servers)
    .filter(([, binaries]) => !binaries.some(isOnPath))
    .map(([name]) => name);

/** One package at a time: one that cannot be had must not cost the others. */
function installServers(names: readonly string[]): void {
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) return;
  const quiet = {
    stdio: ['ignore', 'ignore', 'inherit'] as const,
    timeout: 240_000,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  };
  process.stderr.write(`installing ${names.join(', ')} by apt...\n`);
  spawnSync('apt-get', ['update', '-qq'], { ...quiet, stdio: [...quiet.stdio] });
  for (const name of names) {
    // A freshly installed server would be started as a system service, on its default port: the tests start their own.
    const env = { ...quiet.env, RUNLEVEL: '1' };
    spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', name], { ...quiet, stdio: [...quiet.stdio], env });
  }
}

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

async function runVitest(args: readonly string[], reportFile: string): Promise<number> {
  const child = spawn(
    process.execPath,
    [
      join(root, 'node_modules', 'vitest', 'vitest.mjs'),
      'run',
      '--reporter=dot',
      '--reporter=json',
      `--outputFile.json=${reportFile}`,
      ...args,
    ],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] },
  );
  return new Promise((resolve) => child.on('close', (code) => resolve(code ?? 1)));
}

async function main(args: readonly string[]): Promise<number> {
  const lacking = missing();
  if (lacking.length > 0 && args.length === 0) installServers(lacking);
  for (const name of missing()) process.stdout.write(`not here: ${name}; the tests that need it are skipped\n`);

  const folder = mkdtempSync(join(tmpdir(), 'homeostat-test-'));
  const reportFile = join(folder, 'report.json');
  const code = await runVitest(args, reportFile);
  let report: Report = { testResults: [] };
  try {
    report = JSON.parse(readFileSync(reportFile, 'utf8')) as Report;
  } catch {
    process.stdout.write('vitest wrote no report\n');
  }
  rmSync(folder, { recursive: true, force: true });

  let passed = 0;
  const failed: string[] = [];
  const skipped: string[] = [];
  for (const file of report.testResults) {
    const name = file.name.startsWith(root) ? file.name.slice(root.length + 1) : file.name;
    // A file that does not load has no tests to fail: it counts as one.
    if (file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'))
      failed.push(`${name}: ${file.message}`);
    for (const test of file.assertionResults) {
      if (test.status === 'passed') passed += 1;
      else if (test.status === 'failed') failed.push(`${name} > ${test.fullName}`);
      else skipped.push(`${name} > ${test.fullName}`);
    }
  }
  // vitest also fails on errors outside of any test (an unhandled rejection): never report those as green.
  if (code !== 0 && failed.length === 0) failed.push(`vitest exited ${code}: see its errors above`);
  for (const name of skipped) process.stdout.write(`skipped: ${name}\n`);
  for (const name of failed) process.stdout.write(`failed: ${name}\n`);
  process.stdout.write(`${passed} passed, ${failed.length} failed${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}\n`);
  return failed.length > 0 || passed === 0 ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
