import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { StoredAnomaly } from '../../src/io/store/anomalies.ts';
import type { MeasuredState } from '../../src/io/store/measurements.ts';
import { call } from '../io/otlp/exporting.ts';
import { type Chromium, chromiumAvailable, startChromium } from '../servers/chromium.ts';
import { until } from './estate.ts';
import { type Ready, serviceFolder, type ServiceProcess, startServiceProcess } from './started-homeostat.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

/** A service as its config says it: TLS and a token on the way in, log texts that name orders, a lag that explains a stale read. */
const token = 'a token of this test';
let service: ServiceProcess;
let ready: Ready;
let folder: Awaited<ReturnType<typeof serviceFolder>>;
let ca: Buffer;
let chromium: Chromium | undefined;
let page: Page;
const pageErrors: string[] = [];

beforeAll(async () => {
  folder = await serviceFolder({
    ingest: {
      latenessMs: 100,
      token: '${INGEST_TOKEN:-a token of this test}',
      tls: { cert: './cert.pem', key: './key.pem' },
      logKeys: [{ pattern: 'order (?<key>\\d+) (?:saved|shipped) as version (?<version>\\d+)', collection: 'order' }],
    },
  });
  execFileSync(
    'openssl',
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem'.split(
      ' ',
    ),
    { cwd: folder.dir, stdio: 'ignore' },
  );
  ca = readFileSync(join(folder.dir, 'cert.pem'));
  service = startServiceProcess(folder);
  ready = await service.ready;
});
afterAll(async () => {
  await chromium?.close();
  service.kill('SIGTERM');
  expect(await service.ended).toBe(0);
  rmSync(folder.dir, { recursive: true, force: true });
});

function post(signal: string, document: object, headers: Record<string, string> = { authorization: `Bearer ${token}` }): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      `${ready.otlpHttp}/v1/${signal}`,
      { method: 'POST', ca, headers: { 'content-type': 'application/json', ...headers } },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    );
    request.on('error', reject);
    request.end(JSON.stringify(document));
  });
}

async function read<T>(path: string): Promise<T> {
  const local = readFileSync(join(folder.data, 'token'), 'utf8').trim();
  const response = await fetch(`${ready.api}${path}`, { headers: { authorization: `Bearer ${local}` } });
  expect(response.status).toBe(200);
  return (await response.json()) as T;
}
const anomalies = async (kind: string): Promise<readonly StoredAnomaly[]> =>
  (await read<{ items: StoredAnomaly[] }>(`/api/v1/anomalies?kind=${kind}`)).items;
const metrics = async (): Promise<string> => (await fetch(`${ready.api}/metrics`)).text();

const text = (key: string, value: string): object => ({ key, value: { stringValue: value } });
const startMs = Date.now() - 5_000;
const nano = (afterMs: number): string => `${startMs + afterMs}000000`;
const resource = (service_: string): object => ({ attributes: [text('service.name', service_)] });

test.skipIf(!chromiumAvailable)('the empty ingest page says what to start a service with (chromium)', async () => {
  chromium = await startChromium();
  page = await chromium.newPage();
  page.on('pageerror', (error) => pageErrors.push(error.message));
  await page.goto(ready.ui);
  await page.getByRole('link', { name: 'Ingest' }).click();
  await page.getByText('No span has come in yet').waitFor();
  const variables = await page.locator('.copy pre').innerText();
  expect(variables).toContain(`OTEL_EXPORTER_OTLP_ENDPOINT=${ready.otlpHttp}`);
  expect(variables).toContain('OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20');
});

test('exporters without TLS or the token are turned away, and counted by reason', async () => {
  expect(ready.otlpHttp).toMatch(/^https:/);
  expect(await post('traces', {}, {})).toBe(401);
  expect(await post('traces', {}, { authorization: 'Bearer wrong wrong wrong' })).toBe(401);
  expect(await post('traces', {})).toBe(200);
  const client = new Client(ready.otlpGrpc.replace(/^https:\/\/127\.0\.0\.1/, 'localhost'), credentials.createSsl(ca));
  const path = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
  expect((await call(client, path, Buffer.alloc(0))).error?.code).toBe(16);
  const metadata = new Metadata();
  metadata.set('authorization', `bearer ${token}`);
  expect((await call(client, path, Buffer.alloc(0), metadata)).error).toBeNull();
  client.close();
  await expect(fetch(`${ready.otlpHttp.replace('https', 'http')}/v1/traces`, { method: 'POST' })).rejects.toThrow();
  expect(await metrics()).toMatch(/homeostat_ingest_refused_total\{reason="token"\} 3\n/);
});

test('what stores measure of themselves is kept, shown and explains a read', async () => {
  const lag = (value: number, at: string): object => ({
    timeUnixNano: at,
    asDouble: value,
    attributes: [text('operation', 'replay'), text('replication_client', 'db-replica')],
  });
  const gauge = { name: 'postgresql.wal.lag', unit: 's', gauge: { dataPoints: [lag(0.04, nano(-60_000)), lag(3.2, nano(0))] } };
  const other = { name: 'system.cpu.load', gauge: { dataPoints: [{ timeUnixNano: nano(0), asDouble: 1 }] } };
  const metricsRequest = {
    resourceMetrics: [{ resource: { attributes: [text('server.address', 'db-primary')] }, scopeMetrics: [{ metrics: [gauge, other] }] }],
  };
  expect(await post('metrics', metricsRequest)).toBe(200);
  const shown = await until(async () => {
    const { items } = await read<{ items: MeasuredState[] }>('/api/v1/measurements');
    return items.length > 0 ? items : undefined;
  }, 'the measurement is shown');
  expect(shown).toMatchObject([
    { kind: 'replication-lag-ms', instance: 'db-primary', subject: 'db-replica', value: 3200, highest: 3200, points: 2 },
  ]);

  const spanOf = (id: number, parent: string, kind: number, from: number, attributes: object[]): object => ({
    traceId: '1'.repeat(32),
    spanId: String(id).padStart(16, '0'),
    parentSpanId: parent,
    name: `step ${id}`,
    kind,
    startTimeUnixNano: nano(from),
    endTimeUnixNano: nano(from + 5),
    attributes,
  });
  const database = (host: string, sql: string): object[] => [
    text('db.system.name', 'postgresql'),
    text('server.address', host),
    text('db.query.text', sql),
  ];
  const root = '1'.padStart(16, '0');
  const spans = [
    { ...spanOf(1, '', 2, 0, [text('http.request.method', 'POST'), text('http.route', '/profile')]), endTimeUnixNano: nano(100) },
    spanOf(2, root, 3, 10, database('db-primary', 'UPDATE profiles SET name = $1 WHERE id = 7')),
    spanOf(3, root, 3, 30, database('db-replica', 'SELECT name FROM profiles WHERE id = 7')),
  ];
  expect(await post('traces', { resourceSpans: [{ resource: resource('web'), scopeSpans: [{ spans }] }] })).toBe(200);
  const found = await until(async () => (await anomalies('replica-read-after-write'))[0], 'the read from the replica is found');
  expect(found.explanation).toMatch(/By its own metrics db-replica was 3\.2 s behind at that time, so the change had not arrived yet\./);
  expect(await metrics()).toMatch(/homeostat_ingest_measurements_total 2\n/);
});

test('log texts become operations that prove something', async () => {
  const record = (trace: string, body: string, at: number): object => ({
    traceId: trace.repeat(32),
    spanId: trace.repeat(16),
    timeUnixNano: nano(at),
    body: { stringValue: body },
  });
  // Three writes as logged, and a span that reads, a second after the last, what the first one wrote.
  const logRecords = [
    record('a', 'order 17 saved as version 3', 0),
    record('b', 'INFO order 17 shipped as version 4', 200),
    record('b', 'nothing of note', 210),
  ];
  expect(await post('logs', { resourceLogs: [{ resource: resource('shipping'), scopeLogs: [{ logRecords }] }] })).toBe(200);
  const span = {
    traceId: 'c'.repeat(32),
    spanId: 'c'.repeat(16),
    name: 'read order',
    kind: 3,
    startTimeUnixNano: nano(1_500),
    endTimeUnixNano: nano(1_510),
    attributes: [
      text('consistency.object.type', 'order'),
      text('consistency.object.key', '17'),
      text('consistency.operation', 'read'),
      { key: 'consistency.version', value: { intValue: '3' } },
    ],
  };
  expect(await post('traces', { resourceSpans: [{ resource: resource('web'), scopeSpans: [{ spans: [span] }] }] })).toBe(200);
  const found = await until(async () => (await anomalies('stale-read'))[0], 'the stale read is found');
  expect(found).toMatchObject({ grade: 'proven', objectKey: '17', service: 'web' });
  expect(found.explanation).toContain('shipping had committed version 4');
  await until(async () => (await metrics()).includes('homeostat_ingest_lag_ms 0\n'), 'nothing waits any more');
});

test.skipIf(!chromiumAvailable)(
  'the ingest page says what came in, what was refused and why, and how far a replica is behind (chromium)',
  async () => {
    await page.getByText(/spans a second;/).waitFor();
    await page.getByText('the bearer token is missing or wrong').waitFor();
    const row = page.locator('tr', { hasText: 'replica is behind' });
    expect((await row.locator('td').allInnerTexts()).slice(0, 4)).toEqual(['db-replica postgresql on db-primary', '3 s', '3 s', '3 s']);
    expect(pageErrors).toEqual([]);
  },
);
