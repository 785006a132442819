/** The memory that `homeostat diff` takes while every row of a table differs, as the system saw it. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const SAMPLE_MS = 100;
const TELL_MS = 10_000;

/** Linux only: elsewhere `rssMb` is undefined. Tells the keys that the command printed as well. */
export async function peakMemory(
  urls: readonly string[],
  rows: number,
  log: (line: string) => void,
): Promise<{ readonly rssMb: number | undefined; readonly keys: number; readonly seconds: number }> {
  for (const [at, connectionString] of urls.entries()) {
    const client = new pg.Client({ connectionString });
    await client.connect();
    await client.query('CREATE TABLE masses (id bigint PRIMARY KEY, v text NOT NULL)');
    await client.query(`INSERT INTO masses SELECT i, '${at} ' || i FROM generate_series(1, ${rows}) i`);
    await client.query('ANALYZE masses');
    await client.end();
  }
  const folder = mkdtempSync(join(tmpdir(), 'homeostat-bench-'));
  const replicas = urls.map((url, at) => `      r${at}: { url: "${url}", table: masses }`).join('\n');
  writeFileSync(
    join(folder, 'homeostat.yaml'),
    `domains:\n  d: { consistency: eventual, stalenessMs: 0 }\ncollections:\n  masses:\n    domain: d\n    key: [id]\n    replicas:\n${replicas}\n`,
  );
  log(`homeostat diff of two tables that differ in each of ${rows} rows`);
  const start = performance.now();
  let told = start;
  try {
    const child = spawn(
      process.execPath,
      [join(root, 'src/main.ts'), 'diff', 'masses', '--json', '--config', join(folder, 'homeostat.yaml')],
      {
        cwd: folder,
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let keys = -1; // The summary is a line too.
    child.stdout.on('data', (chunk: Buffer) => {
      for (const byte of chunk) if (byte === 10) keys += 1;
    });
    let rssMb: number | undefined;
    const sampling = setInterval(() => {
      rssMb = peakOf(child.pid) ?? rssMb;
      if (performance.now() - told < TELL_MS) return;
      told = performance.now();
      log(`  ${keys} keys, ${rssMb ?? '?'} MB, ${Math.round((told - start) / 1000)} s`);
    }, SAMPLE_MS);
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
    clearInterval(sampling);
    if (code !== 1) throw new Error(`homeostat diff ended with ${code}`);
    return { rssMb, keys, seconds: (performance.now() - start) / 1000 };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function peakOf(pid: number | undefined): number | undefined {
  try {
    const kb = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid ?? 0}/status`, 'utf8'))?.[1];
    return kb === undefined ? undefined : Math.round((Number(kb) * 1024) / 1e6);
  } catch {
    return undefined;
  }
}
