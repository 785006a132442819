#!/usr/bin/env node
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runWithNode } from './run-with-node.mjs';

const root = dirname(dirname(realpathSync(fileURLToPath(import.meta.url))));
// A checkout runs the sources; the published package carries them compiled, since Node strips no types below node_modules.
const source = join(root, 'src', 'main.ts');
const compiled = join(root, 'dist', 'main.js');
runWithNode(existsSync(compiled) && root.includes('node_modules') ? compiled : source, process.argv.slice(2));
