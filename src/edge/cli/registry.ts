import type { RegisterCommand } from './program.ts';

/** The commands that live under edge, in the order that --help lists them. `start` and `demo` are registered by root files. */
export const commands: readonly RegisterCommand[] = [];
