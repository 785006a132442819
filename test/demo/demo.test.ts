import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { root } from '../source-tree.ts';

interface Run {
  readonly child: ChildProcess;
  readonly said: () => string;
  readonly done: Promise<{ readonly code: number | null; readonly summary: Readonly<Record<string, unknown>> }>;
}

// The README's command as a stranger runs it: the real service, three real databases, the real SDK. Slow, and worth it.
describe('demo', () => {
  const folder = mkdtempSync(join(tmpdir(), 'homeostat-demo-'));
  chmodSync(folder, 0o755);
  const running: ChildProcess[] = [];
  afterAll(() => {
    for (const child of running) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  const homeostat = (...args: readonly string[]): Run => {
    const child = spawn(process.execPath, [join(root, 'bin', 'homeostat.mjs'), ...args], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    running.push(child);
    let out = '';
    let err = '';
    child.stdout?.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr?.on('data', (data: Buffer) => (err += data.toString()));
    const done = new Promise<{ code: number | null; summary: Record<string, unknown> }>((resolve, reject) =>
      child.on('close', (code) => {
        try {
          resolve({ code, summary: JSON.parse(out.trim().split('\n').at(-1) ?? '') as Record<string, unknown> });
        } catch {
          reject(new Error(`no summary, exit ${code}:\n${out}\n${err}`));
        }
      }),
    );
    return { child, said: () => out + err, done };
  };
  const until = async (run: Run, words: RegExp): Promise<void> => {
    while (!words.test(run.said())) {
      if (run.child.exitCode !== null) throw new Error(`ended before it said ${words.source}:\n${run.said()}`);
      await delay(50);
    }
  };
  const data = join(folder, 'data');
  const demo = (seed: number): Run =>
    homeostat('demo', '--until-converged', '--json', '--port-base', '0', '--seed', String(seed), '--data', data);
  const wanted = { missed: 0, false: 0, equal: true, unaudited: 0, problems: [] };

  test('finds and repairs everything, although the service is killed twice on the way', { timeout: 360_000 }, async () => {
    const run = demo(41);
    for (const fault of [3, 12]) {
      await until(run, new RegExp(`(?:^fault: .*\\n[\\s\\S]*?){${fault}}`, 'm'));
      const { pid } = JSON.parse(readFileSync(join(data, 'runtime.json'), 'utf8')) as { pid: number };
      process.kill(pid, 'SIGKILL');
      await until(run, /starting it again/);
      // Ready again before the next blow, so that both are at a service that works.
      for (let waited = 0; waited < 300; waited += 1) {
        const now = JSON.parse(readFileSync(join(data, 'runtime.json'), 'utf8')) as { pid: number };
        if (now.pid !== pid) break;
        await delay(100);
      }
    }
    const { code, summary } = await run.done;
    expect(summary, run.said()).toMatchObject(wanted);
    expect(summary['restarts']).toBeGreaterThanOrEqual(2);
    expect(summary['verified']).toBe(Number(summary['autoRepaired']) + Number(summary['approved']));
    expect(code).toBe(0);
  });

  test('runs again on the same data, and the audit chain of both runs is whole', { timeout: 360_000 }, async () => {
    const run = demo(42);
    const { code, summary } = await run.done;
    expect(summary, run.said()).toMatchObject(wanted);
    expect(code).toBe(0);
    const audit = await homeostat('audit', 'verify', '--data', data, '--json').done;
    expect(audit.code).toBe(0);
  });

  test('stops what it started when nobody reads it any more', { timeout: 120_000 }, async () => {
    const run = homeostat('demo', '--port-base', '0', '--data', data);
    run.done.catch(() => undefined);
    await until(run, /Approval page/);
    const servers = [join(data, 'postgres'), join(data, 'estate', 'postgres')].map((place) =>
      Number.parseInt(readFileSync(join(place, 'postmaster.pid'), 'utf8'), 10),
    );
    run.child.stdout?.destroy();
    run.child.stderr?.destroy();
    await once(run.child, 'exit');
    for (const pid of servers) expect(existsSync(`/proc/${pid}`)).toBe(false);
  });
});
