import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { openEmbeddedPostgres } from '../../../src/io/store/embedded.ts';

const source = fileURLToPath(new URL('../../../src/io/store/embedded.ts', import.meta.url));

async function folder(mode = 0o755): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'homeostat-embedded-'));
  await chmod(dir, mode);
  return dir;
}

async function ask(url: string, text: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(text);
  } finally {
    await client.end();
  }
}

const pidOf = (dir: string): number => Number(readFileSync(join(dir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);

describe('the bundled PostgreSQL', () => {
  it('is version 18, keeps what it was given, and is gone after the last close', async () => {
    const dir = await folder();
    const first = await openEmbeddedPostgres({ dataDir: dir });
    expect((await ask(first.url, 'show server_version')).rows[0]?.server_version).toMatch(/^18\./);
    await ask(first.url, 'create table kept (x int)');
    await first.close();
    expect(existsSync(join(dir, 'postgres', 'postmaster.pid'))).toBe(false);
    const second = await openEmbeddedPostgres({ dataDir: dir });
    expect((await ask(second.url, 'select count(*)::int as rows from kept')).rows).toEqual([{ rows: 0 }]);
    await second.close();
    await rm(dir, { recursive: true });
  });

  it('is shared by two users of one directory, and stays until the second has closed', async () => {
    const dir = await folder();
    const [first, second] = [await openEmbeddedPostgres({ dataDir: dir }), await openEmbeddedPostgres({ dataDir: dir })];
    expect(second.url).toBe(first.url);
    await first.close();
    expect((await ask(second.url, 'select 1 as one')).rows).toEqual([{ one: 1 }]);
    await second.close();
    await rm(dir, { recursive: true });
  });

  it('runs beside another on another directory', async () => {
    const [a, b] = [await folder(), await folder()];
    const [first, second] = await Promise.all([openEmbeddedPostgres({ dataDir: a }), openEmbeddedPostgres({ dataDir: b })]);
    expect(first.url).not.toBe(second.url);
    await Promise.all([first.close(), second.close()]);
    await Promise.all([rm(a, { recursive: true }), rm(b, { recursive: true })]);
  });

  it('is found again after the process that started it was killed', async () => {
    const dir = await folder();
    const child = spawn(
      process.execPath,
      [
        '--disable-warning=ExperimentalWarning',
        '--input-type=module',
        '-e',
        `import { openEmbeddedPostgres } from ${JSON.stringify(source)}; console.log((await openEmbeddedPostgres({ dataDir: ${JSON.stringify(dir)} })).url); setInterval(() => undefined, 1000);`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const url = await new Promise<string>((resolve) => child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString().trim())));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    const orphan = pidOf(dir);
    const again = await openEmbeddedPostgres({ dataDir: dir });
    expect(again.url).toBe(url);
    expect(pidOf(dir)).toBe(orphan);
    await again.close();
    expect(existsSync(join(dir, 'postgres', 'postmaster.pid'))).toBe(false);
    await rm(dir, { recursive: true });
  });

  it('comes back at the same address when the server itself is killed', async () => {
    const dir = await folder();
    const server = await openEmbeddedPostgres({ dataDir: dir });
    await ask(server.url, 'create table kept (x int)');
    process.kill(pidOf(dir), 'SIGKILL');
    const deadline = performance.now() + 60_000;
    for (;;) {
      const answer = await ask(server.url, 'select count(*)::int as rows from kept').catch(() => undefined);
      if (answer !== undefined) {
        expect(answer.rows).toEqual([{ rows: 0 }]);
        break;
      }
      if (performance.now() > deadline) throw new Error('the server did not come back');
      await delay(100);
    }
    await server.close();
    expect(existsSync(join(dir, 'postgres', 'postmaster.pid'))).toBe(false);
    await rm(dir, { recursive: true });
  });

  it('starts over a pid file that a dead machine left', async () => {
    const dir = await folder();
    await (await openEmbeddedPostgres({ dataDir: dir })).close();
    // The number now belongs to this test, which is no PostgreSQL.
    await writeFile(join(dir, 'postgres', 'postmaster.pid'), `${process.pid}\n${dir}/postgres\n0\n1\n\n127.0.0.1\n`);
    const server = await openEmbeddedPostgres({ dataDir: dir });
    expect((await ask(server.url, 'select 1 as one')).rows).toEqual([{ one: 1 }]);
    await server.close();
    await rm(dir, { recursive: true });
  });

  it('starts below a directory that only its owner can pass, as in /root', async () => {
    const closed = await folder(0o700);
    const dir = join(closed, 'data');
    await mkdir(dir);
    const server = await openEmbeddedPostgres({ dataDir: dir });
    await ask(server.url, 'create table kept (x int)');
    await server.close();
    const again = await openEmbeddedPostgres({ dataDir: dir });
    expect((await ask(again.url, 'select count(*)::int as rows from kept')).rows).toEqual([{ rows: 0 }]);
    await again.close();
    await rm(closed, { recursive: true });
  });

  it('does not let anybody in without the password of its directory', async () => {
    const dir = await folder();
    const server = await openEmbeddedPostgres({ dataDir: dir });
    const url = new URL(server.url);
    url.password = 'guess';
    await expect(ask(url.href, 'select 1')).rejects.toThrow(/password authentication failed/);
    await server.close();
    await rm(dir, { recursive: true });
  });
});
