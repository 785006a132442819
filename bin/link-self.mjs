// After `npm install` in a checkout: makes `npx homeostat` find this very checkout. npm links the bins of dependencies only.
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
if (existsSync(join(root, 'src', 'main.ts')) && process.platform !== 'win32') {
  const bins = join(root, 'node_modules', '.bin');
  mkdirSync(bins, { recursive: true });
  rmSync(join(bins, 'homeostat'), { force: true });
  symlinkSync('../../bin/homeostat.mjs', join(bins, 'homeostat'));
}
