import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { StoredAnomaly } from '../../src/io/store/anomalies.ts';
import { startPostgres, type TestPostgres } from '../servers/postgres.ts';
import { until } from './estate.ts';
import { type Ready, serviceFolder, type ServiceProcess, startServiceProcess } from './started-homeostat.ts';

vi.setConfig({ testTimeout: 150_000, hookTimeout: 120_000 });

/**
 * From nothing to the first finding, as a newcomer does it: an application that is left as it is, the SDK's own instrumentation of http and
 * pg, and OTEL_EXPORTER_OTLP_ENDPOINT. Then the same with one line of the helper, which makes it a proof.
 */
const bank = fileURLToPath(new URL('./bank/', import.meta.url));
let postgres: TestPostgres;
let service: ServiceProcess;
let ready: Ready;
let folder: Awaited<ReturnType<typeof serviceFolder>>;

beforeAll(async () => {
  postgres = await startPostgres();
  folder = await serviceFolder({ ingest: { latenessMs: 500 } });
  service = startServiceProcess(folder);
  ready = await service.ready;
});
afterAll(async () => {
  service.kill('SIGTERM');
  await service.ended;
  await postgres.close();
  rmSync(folder.dir, { recursive: true, force: true });
});

interface App {
  readonly port: number;
  stop(): Promise<void>;
}

async function startApp(name: string, databaseUrl: string, env: Record<string, string>): Promise<App> {
  const child: ChildProcess = spawn(process.execPath, ['--require', './tracing.cjs', 'app.cjs'], {
    cwd: bank,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: process.env['PATH'] ?? '',
      DATABASE_URL: databaseUrl,
      OTEL_SERVICE_NAME: name,
      OTEL_EXPORTER_OTLP_ENDPOINT: ready.otlpHttp,
      OTEL_TRACES_EXPORTER: 'otlp',
      OTEL_METRICS_EXPORTER: 'none',
      OTEL_LOGS_EXPORTER: 'none',
      OTEL_BSP_SCHEDULE_DELAY: '500',
      ...env,
    },
  });
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const port = await new Promise<number>((resolve, reject) => {
    if (child.stdout !== null)
      createInterface({ input: child.stdout }).on('line', (line) => resolve((JSON.parse(line) as { port: number }).port));
    void ended.then(() => reject(new Error('the application ended')));
  });
  return {
    port,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function findings(kind: string): Promise<readonly StoredAnomaly[]> {
  const token = readFileSync(join(folder.data, 'token'), 'utf8').trim();
  const response = await fetch(`${ready.api}/api/v1/anomalies?kind=${kind}`, { headers: { authorization: `Bearer ${token}` } });
  return ((await response.json()) as { items: StoredAnomaly[] }).items;
}

describe.each([
  { name: 'an unmodified application', kind: 'lost-update-risk', grade: 'risk', env: {} },
  { name: 'with one line of the helper', kind: 'lost-update', grade: 'proven', env: { WITH_HELPER: '1' } },
])('$name', ({ kind, grade, env }) => {
  const app_ = `bank-${grade}`;
  let app: App;
  let database: pg.Client;
  beforeAll(async () => {
    const url = await postgres.createDatabase(app_.replace('-', '_'));
    database = new pg.Client({ connectionString: url });
    await database.connect();
    await database.query('create table accounts (id text primary key, balance int not null, version int not null)');
    await database.query(`insert into accounts values ('a-1', 0, 1), ('a-2', 0, 1)`);
    app = await startApp(app_, url, env);
  });
  afterAll(async () => {
    await app.stop();
    await database.end();
  });
  const deposit = async (id: string): Promise<void> => {
    const response = await fetch(`http://127.0.0.1:${app.port}/deposit/${id}/10`, { method: 'POST' });
    expect(await response.text()).toBe('done');
  };

  test(`an update that was really lost is found: ${kind}, ${grade}`, async () => {
    // One after another nothing is lost; two at once, one is.
    for (let i = 0; i < 3; i += 1) await deposit('a-2');
    let deposits = 0;
    const balanceOf = async (id: string): Promise<number> =>
      (await database.query<{ balance: number }>('select balance from accounts where id = $1', [id])).rows[0]?.balance ?? 0;
    do {
      await Promise.all([deposit('a-1'), deposit('a-1')]);
      deposits += 2;
    } while ((await balanceOf('a-1')) === deposits * 10);
    expect(await balanceOf('a-2')).toBe(30);
    const found = await until(
      async () => (await findings(kind)).find((one) => one.service === app_),
      `${kind} is found within two minutes`,
      120_000,
    );
    expect(found).toMatchObject({ grade });
    if (grade === 'proven') expect(found.objectKey).toBe('a-1');
    // And of the account whose deposits came one after another nothing is said.
    expect((await findings('lost-update')).filter((one) => one.service === app_ && one.objectKey === 'a-2')).toEqual([]);
  });
});
