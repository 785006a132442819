import { execFileSync, spawn } from 'node:child_process';
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import mysql from 'mysql2/promise';

// Debian keeps servers in /usr/sbin, which is not on everybody's path.
const environment = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin` };

/** Whether mariadbd is on this machine: suites that need it are skipped, by name, where it is not. */
export const mariadbAvailable = ((): boolean => {
  try {
    execFileSync('mariadbd', ['--version'], { stdio: 'ignore', env: environment });
    return true;
  } catch {
    return false;
  }
})();

export interface TestMariadb {
  /** mysql://homeostat:secret@127.0.0.1:port/test */
  readonly url: string;
  createDatabase(name: string): Promise<string>;
  /** Where it keeps its tables and its log. */
  readonly data: string;
  /** SIGKILL; the data stay. */
  kill(): Promise<void>;
  /** On the same port and data, after `kill`. */
  startAgain(): Promise<void>;
  close(): Promise<void>;
}

/** Every commit is on disk before it is answered. */
export const durable = ['--innodb-flush-log-at-trx-commit=1', '--sync-binlog=1'];

const NOBODY = 65_534;

/** A private MariaDB on a free port, without durability unless the settings say so, binary log on; its data goes with it. */
export async function startMariadb(settings: readonly string[] = []): Promise<TestMariadb> {
  const dir = await mkdtemp(join(tmpdir(), 'homeostat-mariadb-'));
  // As root the server would refuse: it gets another user, and the folder.
  const identity = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  if ('uid' in identity) await chown(dir, NOBODY, NOBODY);
  await chmod(dir, 0o755);
  const port = await freePort();
  const data = join(dir, 'data');
  const socket = join(dir, 'sock');
  const install = (): void =>
    void execFileSync(
      'mariadb-install-db',
      ['--no-defaults', `--datadir=${data}`, '--skip-test-db', '--auth-root-authentication-method=normal', '--skip-name-resolve'],
      { stdio: 'pipe', ...identity, cwd: dir, env: environment },
    );
  try {
    install();
  } catch (error) {
    // On a busy machine it was seen to fail after its server had begun to fill the folder; the error says why.
    console.error(error);
    await rm(data, { recursive: true, force: true });
    install();
  }
  const start = (): { readonly kill: () => Promise<unknown> } => {
    const child = spawn(
      'mariadbd',
      [
        '--no-defaults',
        `--datadir=${data}`,
        `--socket=${socket}`,
        `--pid-file=${join(dir, 'pid')}`,
        `--port=${port}`,
        '--bind-address=127.0.0.1',
        '--skip-name-resolve',
        '--innodb-flush-log-at-trx-commit=0',
        '--innodb-buffer-pool-size=256M',
        '--log-bin=binlog',
        '--binlog-format=ROW',
        '--server-id=1',
        ...settings,
      ],
      { stdio: 'ignore', cwd: dir, env: environment, ...identity },
    );
    const exited = new Promise((resolve) => child.once('exit', resolve));
    return {
      kill: () => {
        child.kill('SIGKILL');
        return exited;
      },
    };
  };
  let server = start();
  let admin = await connect(socket);
  await admin.query(
    "CREATE DATABASE test CHARACTER SET utf8mb4; CREATE USER homeostat@'%' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO homeostat@'%'",
  );
  const urlOf = (name: string): string => `mysql://homeostat:secret@127.0.0.1:${port}/${encodeURIComponent(name)}`;
  return {
    url: urlOf('test'),
    createDatabase: async (name) => {
      await admin.query(`CREATE DATABASE ${mysql.escapeId(name)} CHARACTER SET utf8mb4`);
      return urlOf(name);
    },
    data,
    kill: async () => {
      admin.destroy();
      await server.kill();
    },
    startAgain: async () => {
      server = start();
      admin = await connect(socket);
    },
    close: async () => {
      admin.destroy();
      await server.kill();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

async function connect(socketPath: string): Promise<mysql.Connection> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await mysql.createConnection({ socketPath, user: 'root', multipleStatements: true });
    } catch (error) {
      if (attempt > 200) throw error;
      await delay(50);
    }
  }
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
