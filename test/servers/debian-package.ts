import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Whether a command is there; where it is not, and this is root on Debian, after an attempt to install the package that has it. */
export function haveCommand(command: string, debianPackage: string): boolean {
  if (runs(command)) return true;
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) return false;
  const options = { stdio: 'ignore', timeout: 240_000, env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' } } as const;
  const install = ['install', '-y', '-qq', '--no-install-recommends', debianPackage];
  // An old list of packages names versions that are gone.
  if (spawnSync('apt-get', install, options).status !== 0) {
    spawnSync('apt-get', ['update', '-qq'], options);
    spawnSync('apt-get', install, options);
  }
  return runs(command);
}

function runs(command: string): boolean {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
