import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { root } from './source-tree.ts';

// The launcher, tried as npm runs it: a process between the terminal and the service.
describe('launcher', () => {
  const folder = mkdtempSync(join(tmpdir(), 'homeostat-bin-'));
  const entry = join(folder, 'entry.ts');
  writeFileSync(
    entry,
    `const mode: string = process.argv[2] ?? '';
     process.on('SIGTERM', () => { process.stdout.write('got SIGTERM\\n'); process.exitCode = 7; clearInterval(alive); });
     const alive = setInterval(() => undefined, 1000);
     process.stdout.write('pid ' + process.pid + ' ' + mode + '\\n');
     if (mode === 'end') { process.exitCode = 3; clearInterval(alive); }`,
  );
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const launch = (mode: string): { child: ChildProcess; said: () => string; pid: () => Promise<number>; code: Promise<number | null> } => {
    const child = spawn(process.execPath, [join(root, 'bin', 'with-node.mjs'), entry, mode], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout?.on('data', (data: Buffer) => (text += data.toString()));
    const code = new Promise<number | null>((resolve) => child.on('close', (exit) => resolve(exit)));
    const pid = async (): Promise<number> => {
      for (;;) {
        const found = /pid (\d+)/.exec(text)?.[1];
        if (found !== undefined) return Number(found);
        await delay(20);
      }
    };
    return { child, said: () => text, pid, code };
  };
  const isAlive = (pid: number): boolean => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };

  test('a command whose reader has seen enough ends without a word', async () => {
    const child = spawn(process.execPath, [join(root, 'bin', 'homeostat.mjs'), 'doctor', '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: folder,
    });
    let said = '';
    child.stderr.on('data', (data: Buffer) => (said += data.toString()));
    child.stdout.once('data', () => child.stdout.destroy());
    const code = await new Promise<number | null>((resolve) => child.on('close', (exit) => resolve(exit)));
    expect({ code, said }).toEqual({ code: 141, said: '' });
  });

  test('hands on arguments and the exit code', async () => {
    const { said, code } = launch('end');
    expect(await code).toBe(3);
    expect(said()).toContain('end');
  });

  test('hands on signals and waits for the answer', async () => {
    const { child, said, pid, code } = launch('stay');
    await pid();
    child.kill('SIGTERM');
    expect(await code).toBe(7);
    expect(said()).toContain('got SIGTERM');
  });

  test('leaves nothing behind when it is killed', async () => {
    const { child, pid, code } = launch('stay');
    const inner = await pid();
    child.kill('SIGKILL');
    await code;
    for (let waited = 0; isAlive(inner) && waited < 100; waited += 1) await delay(50);
    expect(isAlive(inner)).toBe(false);
  });

  test('starts from what an earlier start compiled, without the stripper of types', async () => {
    const typed = join(folder, 'typed.mts');
    writeFileSync(
      typed,
      `const list = (process as { moduleLoadList?: readonly string[] }).moduleLoadList ?? [];
      process.stdout.write(list.some((name) => name.includes('amaro')) ? 'stripped ' : 'known ');`,
    );
    const run = (): string =>
      spawnSync(process.execPath, [join(root, 'bin', 'with-node.mjs'), typed], {
        encoding: 'utf8',
        env: { ...process.env, NODE_COMPILE_CACHE: join(folder, 'cache') },
      }).stdout;
    expect(run() + run()).toBe('stripped known ');
  });

  test('knows which Node is new enough', async () => {
    const { isNewEnough } = (await import(new URL('../bin/find-node.mjs', import.meta.url).href)) as {
      isNewEnough: (version: string) => boolean;
    };
    expect(['v20.20.2', 'v22.17.9', 'v18.0.0'].map(isNewEnough)).toEqual([false, false, false]);
    expect(['v22.18.0', 'v23.0.0', 'v24.21.0', 'v26.1.0'].map(isNewEnough)).toEqual([true, true, true, true]);
  });
});
