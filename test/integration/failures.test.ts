import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { listDivergences } from '../../src/io/store/divergences.ts';
import { getCollectionState, listReplicaStates } from '../../src/io/store/scans.ts';
import { startPostgres, type TestPostgres } from '../servers/postgres.ts';
import { startEstate, until } from './estate.ts';
import { serviceFolder, startServiceProcess } from './started-homeostat.ts';
import type { Collection } from '../../src/domain/collection.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const quiet = { domains: {}, collections: {}, forecast: { enabled: false } };

async function sentenceOf(
  config: object,
  args?: readonly string[],
): Promise<{ readonly code: number | NodeJS.Signals; readonly said: string }> {
  const folder = await serviceFolder(config);
  const service = startServiceProcess({ ...folder, ...(args === undefined ? {} : { args }) });
  const code = await service.ended;
  await rm(folder.dir, { recursive: true, force: true });
  return { code, said: service.stderr().trim() };
}

describe('what cannot work says so in one sentence', () => {
  let server: TestPostgres;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(() => server.close());

  it('a port in use', async () => {
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    const address = blocker.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    const { code, said } = await sentenceOf(quiet, ['--port-base', String(port)]);
    await new Promise((resolve) => blocker.close(resolve));
    expect(code).toBe(2);
    expect(said.split('\n').at(-1)).toMatch(new RegExp(`port ${port} .* in use`));
    expect(said).not.toMatch(/at .*\.ts:/);
  });

  it('a wrong password of our own database', async () => {
    const url = new URL(server.url);
    url.password = 'not-it';
    const { code, said } = await sentenceOf({ ...quiet, database: url.href });
    expect(code).toBe(2);
    expect(said).toContain('check the user and password');
    expect(said).not.toContain('not-it');
  });

  it('our own database not there', async () => {
    const { code, said } = await sentenceOf({ ...quiet, database: 'postgres://somebody:x@127.0.0.1:1/nothing' });
    expect(code).toBe(2);
    expect(said).toMatch(/our database does not answer/);
  });

  it('an unknown key in the configuration, with its line', async () => {
    const { code, said } = await sentenceOf({ ...quiet, domain: {} });
    expect(code).toBe(2);
    expect(said).toMatch(/homeostat\.yaml:\d+: /);
  });
});

describe('a replica that cannot be compared', () => {
  it.each([
    ['down', (url: URL) => void (url.port = '1'), /down|answer|refused/i],
    ['with a wrong password', (url: URL) => void (url.password = 'not-it'), /password/i],
  ])('%s: the comparison says so, nothing is lost, and it goes on when it is back', async (_name, spoil, sentence) => {
    const estate = await startEstate();
    for (const region of ['eu', 'us', 'ap'])
      await estate.sql(region, `insert into profiles select i, 'n', 'm', '2026-01-01' from generate_series(1, 5) i`);
    const collection = estate.collections['profiles'];
    if (collection === undefined) throw new Error('no collection');
    const right = collection.replicas[1];
    if (right === undefined) throw new Error('no replica');
    await estate.sql('us', `update profiles set name = 'wrong' where id = 1`);
    const url = new URL(right.url);
    spoil(url);
    // The configuration that a person wrote wrong, and then right.
    const replicas = collection.replicas as Collection['replicas'][number][];
    replicas[1] = { ...right, url: url.href };
    let loops = await estate.run();
    const error = await until(
      async () => (await getCollectionState(estate.database, 'profiles'))?.error ?? undefined,
      'the comparison failed',
    );
    expect(error).toMatch(sentence);
    expect(error).not.toContain(url.password);
    const state = (await listReplicaStates(estate.database)).find((replica) => replica.replica === 'us');
    expect(state).toMatchObject({ isUp: false });
    expect((await listDivergences(estate.database, {}, {})).items).toEqual([]);
    await loops.stop();
    replicas[1] = right;
    await estate.context.replicas.close();
    await estate.reopenReplicas();
    loops = await estate.run();
    await until(
      async () => (await estate.sql('us', 'select name from profiles where id = 1')).rows[0]?.name === 'n',
      'it is repaired when the replica is back',
    );
    await loops.stop();
    await estate.close();
  });
});

describe('a service whose own PostgreSQL is killed', () => {
  it('has it back, and goes on', async () => {
    const folder = await serviceFolder(quiet);
    const service = startServiceProcess(folder);
    const { api } = await service.ready;
    process.kill(Number(readFileSync(join(folder.data, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]), 'SIGKILL');
    const readiness = async (): Promise<number> => {
      const answer = await fetch(`${api}/readyz`).catch((cause: unknown) => {
        throw new Error(`the service does not answer any more; it said: ${service.stderr().slice(-3_000)}`, { cause });
      });
      return answer.status;
    };
    await until(async () => (await readiness()) === 503, 'it says that it is not ready');
    await until(async () => (await readiness()) === 200, 'it is ready again');
    service.kill('SIGTERM');
    expect(await service.ended).toBe(0);
    await rm(folder.dir, { recursive: true, force: true });
  });
});

const canMount = ((): boolean => {
  try {
    execFileSync('mkdir', ['-p', '/tmp/homeostat-mount-try']);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', '/tmp/homeostat-mount-try'], { stdio: 'ignore' });
    execFileSync('umount', ['/tmp/homeostat-mount-try']);
    return true;
  } catch {
    return false;
  }
})();

describe.skipIf(!canMount)('a full disk (needs mount)', () => {
  it('at the first start is one sentence', async () => {
    const folder = await serviceFolder(quiet);
    await mkdir(folder.data);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m,mode=755', 'tmpfs', folder.data]);
    try {
      const service = startServiceProcess({ ...folder, args: ['--port-base', '0'] });
      expect(await service.ended).toBe(2);
      expect(service.stderr()).toContain('no disk space left');
    } finally {
      execFileSync('umount', ['-l', folder.data]);
      await rm(join(folder.dir), { recursive: true, force: true });
    }
  });
});
