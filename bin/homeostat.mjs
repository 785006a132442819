#!/usr/bin/env node
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runWithNode } from './run-with-node.mjs';

const root = dirname(dirname(realpathSync(fileURLToPath(import.meta.url))));
// A checkout runs the sources; the published package carries them compiled, since Node strips no types below node_modules.
const source = join(root, 'src', 'main.ts');
const compiled = join(root, 'dist', 'main.js');
const args = process.argv.slice(2);
const entry = existsSync(compiled) && root.includes('node_modules') ? compiled : source;
// The first thread of the service and of `check` receives: it makes little that lives, and a nursery as large as V8 takes it is a hundred
// megabytes of nothing. And glibc's allocator, left alone, keeps what detectors' tables leave behind as they grow, another hundred: large
// blocks go back at once. Commands that think on the first thread (`diff`) keep their nursery.
if (args[0] === 'start' || args[0] === 'check')
  runWithNode(entry, args, JSON.parse(readFileSync(join(root, 'bin', 'service-runtime.json'), 'utf8')));
else runWithNode(entry, args);
