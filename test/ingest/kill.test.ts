import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { encodeTraces } from './otlp-proto.ts';

const server = fileURLToPath(new URL('./kill-server.ts', import.meta.url));
const rounds = Number(process.env['KILL_ROUNDS'] ?? 5);
const seed = process.env['SEED'] ?? String(Date.now());

test(`I4: no acknowledged span is lost when the service is killed under load, ${rounds} times (SEED=${seed})`, {
  timeout: 20_000 + rounds * 4_000,
}, async () => {
  const rng = createRng(seed);
  const directory = await mkdtemp(join(tmpdir(), 'kill-'));
  const processed = join(directory, 'processed.txt');
  await writeFile(processed, '');
  const acknowledged: string[] = [];
  let spans = 0;

  const request = (): { readonly ids: readonly string[]; readonly body: Buffer } => {
    const ids = Array.from({ length: 1 + rng.int(40) }, () => {
      spans += 1;
      return spans.toString(16).padStart(16, '0');
    });
    return {
      ids,
      body: encodeTraces({
        resourceSpans: [
          {
            scopeSpans: [
              {
                spans: ids.map((id) => ({ traceId: Buffer.alloc(16, 9), spanId: Buffer.from(id, 'hex'), name: 'x'.repeat(rng.int(2000)) })),
              },
            ],
          },
        ],
      }),
    };
  };

  /** Sends until the connection breaks; counts only what was answered 200. */
  const sendUntilBroken = async (port: number): Promise<void> => {
    for (;;) {
      const { ids, body } = request();
      const isGzip = rng.int(2) === 1;
      try {
        const response = await fetch(`http://127.0.0.1:${port}/v1/traces`, {
          method: 'POST',
          headers: { 'content-type': 'application/x-protobuf', ...(isGzip ? { 'content-encoding': 'gzip' } : {}) },
          body: new Uint8Array(isGzip ? gzipSync(body) : body),
        });
        if (response.status === 200) acknowledged.push(...ids);
      } catch {
        return;
      }
    }
  };

  const start = async (): Promise<{ readonly child: ChildProcess; readonly port: number }> => {
    const child = spawn(process.execPath, [server, join(directory, 'journal'), processed], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
    const port = await new Promise<number>((resolve, reject) => {
      child.stdout?.on('data', (chunk: Buffer) => resolve(Number(chunk.toString())));
      child.on('exit', (code) => reject(new Error(`the server ended with code ${code}`)));
    });
    return { child, port };
  };

  let killedWithBacklog = 0;
  try {
    for (let round = 0; round < rounds; round += 1) {
      const { child, port } = await start();
      const exited = new Promise((resolve) => child.once('exit', resolve));
      const senders = [sendUntilBroken(port), sendUntilBroken(port), sendUntilBroken(port)];
      await new Promise((resolve) => setTimeout(resolve, 150 + rng.int(600)));
      child.kill('SIGKILL');
      await exited;
      await Promise.all(senders);
      const done = new Set((await readFile(processed, 'utf8')).split('\n'));
      if (acknowledged.some((id) => !done.has(id))) killedWithBacklog += 1;
    }
    const { child } = await start();
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.send('idle');
    await new Promise((resolve) => child.once('message', resolve));
    child.kill('SIGKILL');
    await exited;
    const done = new Set((await readFile(processed, 'utf8')).split('\n'));
    expect(acknowledged.length).toBeGreaterThan(rounds * 10);
    // The kills meant something: work was left behind, and was found again.
    expect(killedWithBacklog).toBeGreaterThan(0);
    expect(acknowledged.filter((id) => !done.has(id))).toEqual([]);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
