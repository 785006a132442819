#!/usr/bin/env node
// node bin/with-node.mjs FILE.ts ARGS...: the package scripts' way to a new enough Node.
import { resolve } from 'node:path';
import { runWithNode } from './run-with-node.mjs';

const [entry = '', ...args] = process.argv.slice(2);
runWithNode(resolve(entry), args);
