import { rmSync } from 'node:fs';
import { ROOT_CONTEXT, SpanKind, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { openDatabase } from '../../src/io/store/database.ts';
import { migrate } from '../../src/io/store/migrate.ts';
import { saveSeriesPoints } from '../../src/io/store/series.ts';
import type { StoredSuggestion } from '../../src/io/store/suggestions.ts';
import { type AskedRedis, type Counted, startAskedRedis, type TraceTurn } from '../servers/asked-redis.ts';
import { startPostgres, type TestPostgres } from '../servers/postgres.ts';
import { redisAvailable } from '../servers/redis.ts';
import { until } from './estate.ts';
import { type Ready, serviceFolder, type ServiceProcess, startServiceProcess } from './started-homeostat.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

/**
 * Clients ask three real Redis servers, one of them far, over connections of their own; their spans go by the real SDK and OTLP to the real
 * service. What it tells of them, and of the (R, W) that it suggests, is held against what the clients counted afterwards.
 */
const token = 'a-token-of-the-test-alone';
const stepMs = 1_000;
/** So many turns of each lane are the record, and so many are counted afterwards. */
const turns = 250;
const promised = 0.99;
const people = { alice: { role: 'admin', token } };

describe.skipIf(!redisAvailable)('clients that ask three Redis servers themselves', () => {
  let register: AskedRedis;
  let postgres: TestPostgres;
  let service: ServiceProcess;
  let ready: Ready;
  let folder: Awaited<ReturnType<typeof serviceFolder>>;
  let provider: TracerProvider;
  const rng = createRng('ways');

  beforeAll(async () => {
    // One is far, and writes take longer than reads, as they do where they are kept for good.
    const wayMs = (replica: number, kind: string): number =>
      (replica === 2 ? 8 : kind === 'write' ? 4 : 1) * (1 - Math.log(1 - rng.next()));
    [register, postgres] = await Promise.all([
      startAskedRedis((replica, kind) => ({ there: wayMs(replica, kind), back: wayMs(replica, kind) })),
      startPostgres(),
    ]);
    const storeUrl = await postgres.createDatabase('store');
    await keepHistory(storeUrl);
    folder = await serviceFolder({
      database: storeUrl,
      people,
      forecast: { stepMs, retrain: false },
      ingest: { latenessMs: 1_000 },
      domains: { shop: { consistency: 'eventual' } },
      // Nothing here connects to its stores.
      collections: { registers: { domain: 'shop', key: ['id'] } },
      targets: {
        ring: {
          kind: 'client-quorum',
          collections: ['registers'],
          // One is known by its host alone.
          replicas: [names[0], names[1], register.hosts[2]],
          read: 1,
          write: 1,
          freshShare: promised,
        },
      },
    });
    service = startServiceProcess(folder);
    ready = await service.ready;
    provider = new TracerProvider({
      resource: resourceFromAttributes({ 'service.name': 'register-client' }),
      spanProcessors: [
        new BatchSpanProcessor({
          exporter: new OTLPTraceExporter({ url: `${ready.otlpHttp}/v1/traces` }),
          scheduledDelayMillis: 200,
          maxQueueSize: 20_000,
        }),
      ],
    });
  });
  afterAll(async () => {
    await provider.shutdown();
    service.kill('SIGTERM');
    await service.ended;
    await Promise.all([register.close(), postgres.close()]);
    rmSync(folder.dir, { recursive: true, force: true });
  });

  const names = ['near', 'middle', 'far'];
  /** As an instrumented client of its own would: a span a call, below one of what it is doing. */
  const traced: TraceTurn = async (work) => {
    const tracer = provider.getTracer('register-client');
    const root = tracer.startSpan('turn', { kind: SpanKind.SERVER }, ROOT_CONTEXT);
    const inside = trace.setSpan(ROOT_CONTEXT, root);
    await work(async ({ kind, key, replica, host }, send) => {
      const verb = kind === 'read' ? 'GET' : 'SET';
      const [address = '', port = ''] = host.split(':');
      const span = tracer.startSpan(
        verb,
        {
          kind: SpanKind.CLIENT,
          attributes: {
            'db.system.name': 'redis',
            'db.operation.name': verb,
            'db.query.text': `${verb} registers:${key}${kind === 'read' ? '' : ' ?'}`,
            'server.address': address,
            'server.port': Number(port),
            'consistency.object.type': 'registers',
            'consistency.object.key': key,
            ...(replica === 2 ? {} : { 'consistency.replica.id': names[replica] ?? '' }),
          },
        },
        inside,
      );
      const version = await send();
      span.setAttribute('consistency.version', version);
      span.end();
      return version;
    });
    root.end();
  };

  const count = async (read: number, write: number): Promise<Counted> => {
    const chosen = { read, write, trace: traced };
    return (await register.run(turns, () => chosen)).get(chosen) ?? expect.fail('all turns are so');
  };
  const call = async (path: string, body?: object): Promise<{ readonly status: number; readonly body: unknown }> => {
    const response = await fetch(`${ready.api}/api/v1/${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: await response.json() };
  };
  /** Made of all that the clients have done so far. */
  const suggestedOf = (reads: number): Promise<StoredSuggestion> =>
    until(async () => {
      const { body } = await call('suggestions?kind=quorum&state=open');
      const [item] = (body as { readonly items: readonly StoredSuggestion[] }).items;
      return item?.stale?.reads === reads && item;
    }, `a quorum is suggested from ${reads} reads`);
  const errorOf = (share: number, reads: number): number => Math.sqrt((share * (1 - share)) / reads);

  test('are told how stale their reads are, and which (R, W) keeps the promise, as is counted once they do as they are told', async () => {
    const record = await count(1, 1);
    await provider.forceFlush();
    const suggestion = await suggestedOf(record.reads);
    const { stale, action } = suggestion;
    if (stale === undefined) expect.fail('it is told');
    // By the answers in the spans about as many were stale as the clients saw: which of two came first in one turn of the loop is nobody's word.
    const seen = record.stale / record.reads;
    expect(Math.abs((stale.observed ?? 0) - seen)).toBeLessThan(4 * errorOf(seen, record.reads));

    // What comes now is counted as it was made: whoever makes no spans asks sooner.
    const before = await count(1, 1);
    const share = before.stale / before.reads;
    // Told from the sooner half of one record, counted in another of the same size.
    const error = Math.hypot(errorOf(share, record.reads / 2), errorOf(share, before.reads));
    expect(Math.abs(stale.predicted - share)).toBeLessThan(4 * error);
    expect(share).toBeGreaterThan(stale.predictedLow - 4 * errorOf(share, before.reads));
    expect(share).toBeLessThan(stale.predictedHigh + 4 * errorOf(share, before.reads));
    expect(1 - stale.predictedLow).toBeLessThan(promised);

    const read = Number(action.parameters['read']);
    const write = Number(action.parameters['write']);
    expect(read + write).toBeGreaterThan(2);
    const after = await count(read, write);
    const left = after.stale / after.reads;
    expect(left).toBeLessThan(1 - promised + 4 * errorOf(1 - promised, after.reads));
    expect(Math.abs(left - stale.predictedWith)).toBeLessThan(4 * errorOf(1 - promised, after.reads));
  });

  test('get commands to copy: it is approved like any other, and carried out by nobody here', async () => {
    const { body } = await call('suggestions?kind=quorum&state=open');
    const [suggestion] = (body as { readonly items: readonly StoredSuggestion[] }).items;
    if (suggestion === undefined) expect.fail('it is still open');
    const { id, digest, action, rollback } = suggestion;
    const { read, write } = action.parameters;
    expect(action.commands[0]).toContain(`go on after ${write} of 3 acknowledgements and ${read} of 3 answers`);
    expect(rollback).toContain('go on after 1 of 3 acknowledgements and 1 of 3 answers');
    expect((await call(`suggestions/${id}/approve`, { digest })).status).toBe(200);
    const refused = await call(`suggestions/${id}/apply`, { digest });
    expect(refused.status).toBe(422);
    expect(JSON.stringify(refused.body)).toContain('run the commands by hand');
    expect((await call(`suggestions/${id}/reject`, { digest, reason: 'done by hand' })).status).toBe(200);
  });
});

/** Steps that were watched before: under some four dozen nothing is suggested. */
async function keepHistory(storeUrl: string): Promise<void> {
  const database = openDatabase(storeUrl);
  await migrate(database);
  const lastMs = Math.floor(Date.now() / stepMs) * stepMs;
  await saveSeriesPoints(
    database,
    Array.from({ length: 60 }, (_, i) =>
      (['operations', 'writes', 'latency-p95-ms'] as const).map((metric) => ({
        series: { collection: 'registers', bucket: -1, region: '', metric },
        stepMs,
        atMs: lastMs - (i + 1) * stepMs,
        value: 1 + (i % 5),
      })),
    ).flat(),
  );
  await database.close();
}
