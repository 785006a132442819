import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { defaultConfig } from '../../src/config.ts';
import type { Collection } from '../../src/domain/collection.ts';
import type { PlacementTarget } from '../../src/domain/placement-target.ts';
import type { FeaturePoint } from '../../src/forecast/features.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { packBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { pgHooks } from '../../src/instrument/instrument.mjs';
import { loadSeriesBlock, packSeries, saveSeriesPoints } from '../../src/io/store/series.ts';
import { saveForecasts } from '../../src/io/store/forecasts.ts';
import { listSuggestions, saveSuggestions } from '../../src/io/store/suggestions.ts';
import { openTarget } from '../../src/io/targets/registry.ts';
import type { Target } from '../../src/io/targets/target.ts';
import { detectStageOptions } from '../../src/runtime/detect-options.ts';
import { startDetectLoop } from '../../src/runtime/detect-loop.ts';
import { startForecastLoop } from '../../src/runtime/forecast-loop.ts';
import { openSuggestionPlaces } from '../../src/runtime/suggestion-places.ts';
import { encodeTraces } from '../ingest/otlp-proto.ts';
import { startReplication, type TestReplication } from '../servers/postgres-standbys.ts';
import { domainOf, type Estate, startEstate, until } from './estate.ts';

/**
 * A service writes to a primary and reads at standbys, one of them late; its spans are as the helper leaves them. What it is told of its
 * quorum is what its own reads saw.
 */
let replication: TestReplication;
let estate: Estate;
let target: Target;
let declared: PlacementTarget;
const names = ['near', 'late'] as const;
const clients: pg.Client[] = [];

beforeAll(async () => {
  [replication, estate] = await Promise.all([startReplication([...names]), startEstate({ regions: ['eu'], domain: domainOf('shop') })]);
  await replication.slowDown('late', 60);
  declared = {
    kind: 'postgres-quorum',
    name: 'primary',
    url: replication.url,
    collections: ['registers'],
    standbys: [...names],
    commitP99Ms: 500,
    observeMs: 500,
    freshShare: 0.99,
    faults: 0,
  };
  target = openTarget(declared);
}, 120_000);
afterAll(async () => {
  for (const client of clients) await client.end();
  await target.close();
  await Promise.all([estate.close(), replication.close()]);
});

async function open(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  clients.push(client);
  return client;
}

const hooks = pgHooks({ registers: { type: 'register', key: 'id', version: 'version' } });
type Attributes = { key: string; value: object }[];
const valueOf = (value: unknown): object => (typeof value === 'number' ? { intValue: value } : { stringValue: String(value) });

/** Runs a statement and answers its span, with what the helper's hooks say of it. */
async function spanned(traceId: Buffer, client: pg.Client, at: string, text: string, values: readonly unknown[]) {
  const url = new URL(at);
  const attributes: Attributes = [];
  const setAttribute = (key: string, value: unknown): void => void attributes.push({ key, value: valueOf(value) });
  const setAttributes = (more: object): void => Object.entries(more).forEach(([key, value]) => setAttribute(key, value));
  setAttributes({ 'db.system.name': 'postgresql', 'db.query.text': text, 'server.address': url.hostname, 'server.port': Number(url.port) });
  const span = { setAttribute, setAttributes } as unknown as Parameters<typeof hooks.requestHook>[0];
  const nano = (): string => String(BigInt(Math.round((performance.timeOrigin + performance.now()) * 1_000)) * 1_000n);
  hooks.requestHook(span, { query: { text, values: [...values] } });
  const startTimeUnixNano = nano();
  const data = await client.query<{ version: number }>(text, [...values]);
  const endTimeUnixNano = nano();
  hooks.responseHook(span, { data });
  return {
    data,
    span: { traceId, spanId: randomBytes(8), name: 'registers', kind: 3, startTimeUnixNano, endTimeUnixNano, attributes, status: {} },
  };
}

test('a quorum is suggested that is no more hopeful than what the reads of an instrumented service saw on real standbys', async () => {
  const primary = await open(replication.url);
  await primary.query('create table registers (id text primary key, version int not null)');
  await primary.query(`insert into registers values ('r', 0)`);
  const standbys = await Promise.all(names.map(async (name) => ({ client: await open(replication.standbys[name] ?? ''), name })));
  for (const { client } of standbys)
    await until(
      () =>
        client.query('select from registers').then(
          ({ rowCount }) => rowCount === 1,
          () => false,
        ),
      'the standby shows the register',
    );
  const collection: Collection = {
    ...(Object.values(estate.collections)[0] as Collection),
    name: 'registers',
    replicas: names.map((name) => ({
      id: name,
      engine: 'postgres',
      url: replication.standbys[name] ?? '',
      region: 'eu',
      role: 'follower',
      table: 'registers',
      columnNames: {},
    })),
  };
  const places = openSuggestionPlaces(
    [declared],
    { primary: target },
    estate.database,
    (error) => {
      throw error;
    },
    5,
  );
  const config = { ...defaultConfig(), collections: { registers: collection }, domains: { shop: domainOf('shop') } };
  const detect = startDetectLoop(estate.context, detectStageOptions(config));
  const stepMs = 300_000;
  const startMs = Math.floor(Date.now() / stepMs) * stepMs - 62 * stepMs;
  const points: FeaturePoint[] = Array.from({ length: 62 }, (_, step) =>
    (['operations', 'writes', 'latency-p95-ms'] as const).map((metric) => ({
      series: { collection: 'registers', bucket: -1, region: 'eu', metric },
      atMs: startMs + step * stepMs,
      value: 1 + (step % 5),
    })),
  ).flat();
  const loop = startForecastLoop({
    store: {
      saveSeriesPoints: (made) => saveSeriesPoints(estate.database, made),
      loadSeriesBlock: (width, fromMs) => loadSeriesBlock(estate.database, width, fromMs),
      packSeries: (width, beforeMs) => estate.database.transaction((tx) => packSeries(tx, width, beforeMs)),
      saveForecasts: (made) => saveForecasts(estate.database, made),
      saveSuggestions: (made, of) => estate.database.transaction((tx) => saveSuggestions(tx, made, of, Date.now())),
    },
    drain: () => Promise.resolve(points),
    drainLooks: () => detect.drainLooks(),
    clock: estate.context.clock,
    collections: [collection],
    domains: { shop: domainOf('shop') },
    stepMs,
    everyMs: 3_600_000,
    modelDir: fileURLToPath(new URL('../../models/contention/v2', import.meta.url)),
    retrain: false,
    places,
  });
  try {
    // So many moments of lags are needed, and they are told only while something is written.
    let momentsKnown = 0;
    let [stale, reads] = [0, 0];
    const spans: object[] = [];
    while (momentsKnown < 320 || reads < 1_200) {
      const traceId = randomBytes(16);
      const write = 'update registers set version = version + 1 where id = $1 returning version';
      const written = await spanned(traceId, primary, replication.url, write, ['r']);
      const looked = await Promise.all(
        standbys.map(({ client, name }) =>
          spanned(traceId, client, replication.standbys[name] ?? '', 'select version from registers where id = $1', ['r']),
        ),
      );
      for (const { data } of looked) {
        reads += 1;
        if ((data.rows[0]?.version ?? 0) < (written.data.rows[0]?.version ?? 0)) stale += 1;
      }
      spans.push(written.span, ...looked.map(({ span }) => span));
      await delay(2);
      const { standbys: known } = (await places.look(0, new AbortController().signal)).get('registers')?.of ?? {};
      momentsKnown = known?.lags[0]?.replayMs.length ?? 0;
    }
    const batch = new SpanBatch();
    const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] };
    new ProtobufDecoder().decode(encodeTraces({ resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }), batch);
    detect.consumer.take(0, packBatch(batch), batch.strings);
    await detect.consumer.idle();

    const [suggestion] = await until(async () => {
      await loop.runOnce(new AbortController().signal);
      const { items } = await listSuggestions(estate.database, { kind: 'quorum', state: 'open' }, {});
      return items.length > 0 && items;
    }, 'a quorum is suggested');
    // By the reads where they are surer than the lags, or by the lags where both agree: that hangs on how fast the machine is today.
    // Right after a commit is the worst moment to read: of all reads, which come a little later, no more are stale than is told.
    expect(suggestion?.stale?.predicted ?? 0).toBeGreaterThan(stale / reads - 0.1);
    expect(suggestion?.stale?.predictedWith).toBe(0);
    expect(suggestion?.action.parameters).toMatchObject({ standbys: 2 });

    // Once commits wait for another number, what reads saw before says nothing of now.
    const known = async () => (await places.look(Date.now(), new AbortController().signal)).get('registers')?.of.standbys;
    expect((await known())?.looks?.length).toBeGreaterThan(1_000);
    await primary.query(`alter system set synchronous_standby_names = 'ANY 1 (near, late)'`);
    await primary.query('select pg_reload_conf()');
    await until(async () => {
      await primary.query('update registers set version = version + 1');
      return (await known())?.waitsFor === 1;
    }, 'the change is seen');
    expect((await known())?.looks).toEqual([]);
  } finally {
    await loop.close();
    await detect.close();
  }
}, 180_000);
