import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { until } from './estate.ts';
import { type Ready, serviceFolder, type ServiceProcess, startServiceProcess } from './started-homeostat.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

/**
 * Logs and metrics alone, without a span: what they say of a collection becomes the series that are forecast. Its servers cannot be reached,
 * and need not be.
 */
const collection = {
  domain: 'shop',
  key: ['id'],
  replicas: {
    eu: { url: 'mysql://root@db-eu.invalid:3306/shop', table: 'orders', region: 'eu', role: 'leader' },
    us: { url: 'mysql://root@db-us.invalid:3306/shop', table: 'orders', region: 'us', role: 'follower' },
  },
};
let service: ServiceProcess;
let ready: Ready;
let folder: Awaited<ReturnType<typeof serviceFolder>>;

beforeAll(async () => {
  folder = await serviceFolder({
    forecast: { stepMs: 1000, retrain: false },
    ingest: { latenessMs: 100, logKeys: [{ pattern: 'order (?<key>\\d+) saved as version (?<version>\\d+)', collection: 'orders' }] },
    domains: { shop: { consistency: 'eventual', stalenessMs: 30_000 } },
    collections: { orders: collection },
  });
  service = startServiceProcess(folder);
  ready = await service.ready;
});
afterAll(async () => {
  service.kill('SIGTERM');
  await service.ended;
  rmSync(folder.dir, { recursive: true, force: true });
});

const post = async (signal: string, document: object): Promise<void> => {
  const headers = { 'content-type': 'application/json' };
  const { status } = await fetch(`${ready.otlpHttp}/v1/${signal}`, { method: 'POST', headers, body: JSON.stringify(document) });
  expect(status).toBe(200);
};
const text = (key: string, value: string): object => ({ key, value: { stringValue: value } });
const seriesSeen = async (): Promise<ReadonlySet<string>> => {
  const authorization = `Bearer ${readFileSync(join(folder.data, 'token'), 'utf8').trim()}`;
  const response = await fetch(`${ready.api}/api/v1/forecasts?limit=200`, { headers: { authorization } });
  const { items } = (await response.json()) as {
    items: { series: { collection: string; region: string; metric: string; bucket: number } }[];
  };
  return new Set(
    items.filter(({ series }) => series.bucket === -1).map(({ series }) => `${series.collection} ${series.region} ${series.metric}`),
  );
};

/** One word of the Collector's mysql receiver, and one log record, `nth` in their order. */
async function sayOnce(nth: number): Promise<void> {
  const now = `${Date.now()}000000`;
  const points = (value: number, kind: string): object => ({ timeUnixNano: now, asInt: String(value), attributes: [text('kind', kind)] });
  const sum = (name: string, unit: string, dataPoints: object[]): object => ({
    name,
    unit,
    sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints },
  });
  const of = (server: string, metric: object): object => ({
    resource: { attributes: [text('mysql.instance.endpoint', server)] },
    scopeMetrics: [{ metrics: [metric] }],
  });
  await post('metrics', {
    resourceMetrics: [
      of('db-eu.invalid:3306', sum('mysql.row_locks', '1', [points(5 * nth, 'waits'), points(50 * nth, 'time')])),
      of('db-us.invalid:3306', sum('mysql.replica.time_behind_source', 's', [points(3, '')])),
    ],
  });
  const record = {
    traceId: nth.toString(16).padStart(32, '0'),
    spanId: nth.toString(16).padStart(16, '0'),
    timeUnixNano: now,
    body: { stringValue: `order ${nth} saved as version 1` },
  };
  const resource = { attributes: [text('service.name', 'shipping'), text('cloud.region', 'eu')] };
  await post('logs', { resourceLogs: [{ resource, scopeLogs: [{ logRecords: [record] }] }] });
}

test('what stores measure of locks and lag, and what logs say was written, are series of the collection', async () => {
  const wanted = [
    'orders eu lock-wait-ms',
    'orders eu lock-waits',
    'orders eu operations',
    'orders eu writes',
    'orders us replication-lag-ms',
  ];
  let nth = 0;
  const seen = await until(
    async () => {
      nth += 1;
      await sayOnce(nth);
      const series = await seriesSeen();
      return wanted.every((one) => series.has(one)) ? series : undefined;
    },
    `forecasts of ${wanted.join(', ')}`,
  );
  // Lag is the follower's, locks are the leader's.
  expect(seen.has('orders eu replication-lag-ms')).toBe(false);
  expect(seen.has('orders us lock-waits')).toBe(false);
});
