import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { Failure } from '../../base/failure.ts';
import { type EmbeddedPlace, handOver, locateEmbedded } from './embedded-place.ts';

/*
 * The bundled PostgreSQL: real, on a free loopback port, with a password that only its data directory knows. It outlives the
 * process that started it: a service that is killed leaves it running, and the next start finds it by `postmaster.pid` and goes
 * on with it. Each process that uses it holds a shared advisory lock; the last one to close stops the server.
 */

export interface EmbeddedPostgres {
  readonly url: string;
  close(): Promise<void>;
}

export interface EmbeddedOptions {
  /** The service's data directory; PostgreSQL's is `postgres` below it. Created where missing. */
  readonly dataDir: string;
  /** Settings beyond the defaults, for tests. */
  readonly settings?: Readonly<Record<string, string>>;
}

const run = promisify(execFile);
const startTimeoutMs = 60_000;
const stopTimeoutS = 30;
const portAttempts = 5;
/** Any number: names the lock that users of the server hold. */
const usersLock = 0x75736572;
const logLimitBytes = 16 * 1024 * 1024;

export async function openEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  mkdirSync(options.dataDir, { recursive: true });
  const place = locateEmbedded(options.dataDir);
  const passwordFile = join(realpathSync(options.dataDir), 'postgres.password');
  await createCluster(place, passwordFile);
  const password = readFileSync(passwordFile, 'utf8').trim();
  const settings = options.settings ?? {};
  const port = (await adopt(place, password)) ?? (await start(place, password, settings));
  const url = urlFor(port, password);
  let user = await holdServer(url);
  let closing: Promise<void> | undefined;
  /** The connection that holds the lock ended by itself: the server restarted, or it is dead and has to be started again, on its port. */
  const watch = (held: pg.Client): void => {
    held.on('end', () => {
      if (closing === undefined && held === user) reviving = revive();
    });
  };
  const revive = async (): Promise<void> => {
    for (let attempt = 0; closing === undefined; attempt += 1) {
      try {
        const found = await adopt(place, password);
        if (found === undefined) await start(place, password, settings, port);
        user = await holdServer(url);
        watch(user);
        return;
      } catch {
        // Whoever queries the server says what is wrong; here it is tried again, more and more slowly.
        await delay(Math.min(10_000, 200 * 2 ** Math.min(attempt, 6)));
      }
    }
  };
  let reviving: Promise<void> | undefined;
  watch(user);
  const close = async (): Promise<void> => {
    await reviving;
    await release(place, user);
  };
  return { url, close: () => (closing ??= close()) };
}

/** A connection that says, by a shared lock, that the server is in use. */
async function holdServer(url: string): Promise<pg.Client> {
  const user = new pg.Client({ connectionString: url, application_name: 'homeostat (holds the server)' });
  // The server going away ends this too; whoever queries it says so.
  user.on('error', () => undefined);
  await user.connect();
  await user.query('select pg_advisory_lock_shared($1)', [usersLock]);
  return user;
}

async function release(place: EmbeddedPlace, user: pg.Client): Promise<void> {
  let isLast = true;
  try {
    await user.query('select pg_advisory_unlock_shared($1)', [usersLock]);
    const { rows } = await user.query<{ alone: boolean }>('select pg_try_advisory_lock($1) as alone', [usersLock]);
    isLast = rows[0]?.alone ?? true;
    await user.end();
  } catch {
    // The server is gone already, or going: stopping it again is harmless.
  }
  if (isLast) await stop(place, 'fast');
}

function urlFor(port: number, password: string): string {
  return `postgres://homeostat:${password}@127.0.0.1:${port}/postgres`;
}

/** initdb, once: into a draft that takes its place when it is whole, so that a start killed half-way leaves nothing that looks like data. */
async function createCluster(place: EmbeddedPlace, passwordFile: string): Promise<void> {
  if (existsSync(join(place.dataDir, 'PG_VERSION'))) {
    if (existsSync(passwordFile)) return;
    throw new Failure(
      'embedded-password',
      `${passwordFile} is missing, and ${place.dataDir} cannot be opened without it: restore it, or remove both to start from nothing`,
      'never',
    );
  }
  const draft = `${place.dataDir}.new-${process.pid}`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { mode: 0o700 });
  handOver(draft, place.runAs);
  const password = randomBytes(24).toString('hex');
  // initdb reads the password as the user that it runs as.
  const passwordDraft = `${draft}.password`;
  writeFileSync(passwordDraft, password, { mode: 0o600 });
  handOver(passwordDraft, place.runAs);
  try {
    await run(
      join(place.bin, 'initdb'),
      [
        '-D',
        draft,
        '-U',
        'homeostat',
        '--auth=scram-sha-256',
        `--pwfile=${passwordDraft}`,
        '--encoding=UTF8',
        '--locale=C',
        '--no-instructions',
      ],
      { ...place.runAs, cwd: '/', env: childEnvironment(place) },
    );
    writeFileSync(passwordFile, password, { mode: 0o600 });
    renameSync(draft, place.dataDir);
  } catch (cause) {
    rmSync(draft, { recursive: true, force: true });
    if (existsSync(join(place.dataDir, 'PG_VERSION'))) return;
    const text = cause instanceof Error ? ('stderr' in cause ? `${String(cause.stderr)} ${cause.message}` : cause.message) : String(cause);
    if (/No space left|ENOSPC/.test(text))
      throw new Failure('disk-full', `no disk space left for ${place.dataDir}: free some and start again`, 'later', cause);
    throw new Failure('embedded-initdb', `the bundled PostgreSQL could not create ${place.dataDir}: ${lastLine(text)}`, 'never', cause);
  } finally {
    rmSync(passwordDraft, { force: true });
  }
}

/** The port of a server that already runs on this data directory and takes our password; otherwise stops what is left of it. */
async function adopt(place: EmbeddedPlace, password: string): Promise<number | undefined> {
  const file = join(place.dataDir, 'postmaster.pid');
  if (!existsSync(file)) return undefined;
  const [pidText, , , portText] = readFileSync(file, 'utf8').split('\n');
  const pid = Number(pidText);
  const port = Number(portText);
  if (!Number.isInteger(pid) || pid <= 0 || !isPostgres(pid)) {
    // A reboot or a container restart: the number now belongs to another program, or to none.
    rmSync(file, { force: true });
    return undefined;
  }
  const deadline = performance.now() + startTimeoutMs;
  while (performance.now() < deadline && isPostgres(pid)) {
    if (Number.isInteger(port) && port > 0 && (await answers(port, password, place.dataDir)) === 'yes') return port;
    // It may be recovering, or shutting down.
    await delay(100);
  }
  await stop(place, 'immediate');
  rmSync(file, { force: true });
  return undefined;
}

function isPostgres(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false;
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('postgres');
  } catch {
    // No /proc (macOS): the connection decides.
    return process.platform !== 'linux';
  }
}

async function answers(port: number, password: string, dataDir: string): Promise<'yes' | 'not-yet'> {
  const client = new pg.Client({ connectionString: urlFor(port, password), connectionTimeoutMillis: 2_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ data_directory: string }>('show data_directory');
    // Another instance's server can have taken the port; it has another password, but be sure.
    return realpathSync(rows[0]?.data_directory ?? '/') === realpathSync(dataDir) ? 'yes' : 'not-yet';
  } catch {
    return 'not-yet';
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function start(
  place: EmbeddedPlace,
  password: string,
  settings: Readonly<Record<string, string>>,
  wantedPort?: number,
): Promise<number> {
  const logFile = join(dirname(place.dataDir), 'postgres.log');
  for (let attempt = 1; ; attempt += 1) {
    const port = wantedPort ?? (await freePort());
    if (existsSync(logFile) && statSync(logFile).size > logLimitBytes) truncateSync(logFile);
    const log = openSync(logFile, 'a', 0o600);
    const logStart = statSync(logFile).size;
    const all: Record<string, string> = {
      listen_addresses: '127.0.0.1',
      port: String(port),
      unix_socket_directories: '',
      max_connections: '120',
      shared_buffers: '64MB',
      log_min_messages: 'warning',
      ...settings,
    };
    const child = spawn(
      join(place.bin, 'postgres'),
      ['-D', place.dataDir, ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      {
        ...place.runAs,
        cwd: '/',
        // Its own session: neither Ctrl-C in the terminal nor our own death takes it down half-way.
        detached: true,
        stdio: ['ignore', log, log],
        env: childEnvironment(place),
      },
    );
    closeSync(log);
    child.unref();
    let ended: string | undefined;
    child.on('error', (error) => (ended = error.message));
    child.on('exit', (code, signal) => (ended = `exit ${code ?? signal}`));
    const deadline = performance.now() + startTimeoutMs;
    while (ended === undefined && performance.now() < deadline) {
      if ((await answers(port, password, place.dataDir)) === 'yes') return port;
      await delay(50);
    }
    const said = readFileSync(logFile, 'utf8').slice(logStart);
    if (ended === undefined) await stop(place, 'immediate');
    if (/Address already in use|lock file .* already exists/.test(said) && attempt < portAttempts) {
      // Somebody took the port, or another process of ours started the server: look again.
      const running = await adopt(place, password);
      if (running !== undefined) return running;
      continue;
    }
    if (/No space left/.test(said))
      throw new Failure('disk-full', `no disk space left for ${place.dataDir}: free some and start again`, 'later');
    throw new Failure(
      'embedded-start',
      `the bundled PostgreSQL did not start (${ended ?? 'no answer in time'}): ${lastLine(said) || 'nothing in its log'} (all of it: ${logFile})`,
      'later',
    );
  }
}

async function stop(place: EmbeddedPlace, mode: 'fast' | 'immediate'): Promise<void> {
  try {
    await run(join(place.bin, 'pg_ctl'), ['stop', '-D', place.dataDir, '-m', mode, '-w', '-t', String(stopTimeoutS)], {
      ...place.runAs,
      cwd: '/',
      env: childEnvironment(place),
    });
  } catch (cause) {
    if (existsSync(join(place.dataDir, 'postmaster.pid')) && mode === 'fast') await stop(place, 'immediate');
    else if (
      existsSync(join(place.dataDir, 'postmaster.pid')) &&
      isPostgres(Number(readFileSync(join(place.dataDir, 'postmaster.pid'), 'utf8').split('\n')[0]))
    ) {
      throw new Failure(
        'embedded-stop',
        `the bundled PostgreSQL on ${place.dataDir} did not stop: stop it by hand (\`pg_ctl stop\`), then start again`,
        'later',
        cause,
      );
    }
  }
}

/** Only what PostgreSQL needs: PG* variables of the caller would change what it does. */
function childEnvironment(place: EmbeddedPlace): NodeJS.ProcessEnv {
  return {
    PATH: '/usr/bin:/bin',
    LC_ALL: 'C',
    TZ: 'UTC',
    LD_LIBRARY_PATH: join(place.bin, '..', 'lib'),
    DYLD_LIBRARY_PATH: join(place.bin, '..', 'lib'),
  };
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

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? '';
}
