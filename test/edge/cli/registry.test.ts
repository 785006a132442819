import { spawnSync } from 'node:child_process';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { type CliContext, commandsFor, createProgram, runProgram } from '../../../src/edge/cli/program.ts';
import { commands } from '../../../src/edge/cli/registry.ts';

function contextOf(out: string[]): CliContext {
  const say = (text: string): void => void out.push(text);
  return {
    out: say,
    err: say,
    isTty: false,
    cwd: '.',
    env: {},
    signal: new AbortController().signal,
    exit: () => undefined,
    loadConfig: () => Promise.reject(new Error('no configuration here')),
  };
}

describe('the list of commands', () => {
  test.each(commands)('$name is what its file registers, and says there nothing of its own about what it is', async ({ name, load }) => {
    const program = new Command();
    (await load())(program, contextOf([]));
    expect(program.commands.map((command) => [command.name(), command.description()])).toEqual([[name, '']]);
  });

  test('--help shows all of them with their summaries, and a command its summary and options', async () => {
    const all: string[] = [];
    await runProgram(createProgram(contextOf(all), await commandsFor(commands, ['--help']), '0'), contextOf(all), ['--help']);
    const text = all.join('\n').replaceAll(/\s+/g, ' ');
    for (const { name, summary } of commands) expect(text).toContain(`${name} ${summary}`);
    const one: string[] = [];
    const args = ['diff', '--help'];
    await runProgram(createProgram(contextOf(one), await commandsFor(commands, args), '0'), contextOf(one), args);
    expect(one.join('\n')).toContain('--replicas <a,b>');
    expect(one.join('\n').replaceAll(/\s+/g, ' ')).toContain('compare the replicas of a collection once');
  });

  test('a word that is no command is answered with the one that was probably meant', async () => {
    const said: string[] = [];
    const args = ['dif', 'accounts'];
    await runProgram(createProgram(contextOf(said), await commandsFor(commands, args), '0'), contextOf(said), args);
    expect(said.join('\n')).toContain('Did you mean diff?');
  });

  test('what --help and diff load is what they need: no model, no web server, no client of a store', () => {
    const loadedBy = (module: string): readonly string[] => {
      const script = `import { registerHooks } from 'node:module';
const loaded = [];
registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
await import(${JSON.stringify(module)});
console.log(JSON.stringify(loaded));`;
      const ran = spawnSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' });
      return JSON.parse(ran.stdout) as readonly string[];
    };
    const root = new URL('../../../src/', import.meta.url);
    const heavy = /tensorflow|cedar|mysql2|ioredis|fastify|node_modules\/pg\//;
    expect(loadedBy(new URL('edge/cli/registry.ts', root).href).filter((url) => heavy.test(url))).toEqual([]);
    expect(loadedBy(new URL('edge/cli/program.ts', root).href).filter((url) => heavy.test(url))).toEqual([]);
    const diff = loadedBy(new URL('edge/cli/diff.ts', root).href);
    expect(diff.length).toBeGreaterThan(20);
    expect(diff.filter((url) => heavy.test(url))).toEqual([]);
  });
});
