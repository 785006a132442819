import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Divergence } from '../../src/domain/divergence.ts';
import type { Sighting } from '../../src/domain/sighting.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { packBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { listAnomalies, listToldFindings } from '../../src/io/store/anomalies.ts';
import { openDatabase } from '../../src/io/store/database.ts';
import { listDivergences } from '../../src/io/store/divergences.ts';
import { listSightings, saveSightings } from '../../src/io/store/sightings.ts';
import { ChangeCheck } from '../../src/runtime/check-changes.ts';
import { startDetectLoop } from '../../src/runtime/detect-loop.ts';
import { explainCase } from '../../src/runtime/explain-case.ts';
import { traceBack } from '../../src/runtime/trace-back.ts';
import { encodeTraces } from '../ingest/otlp-proto.ts';
import { type Estate, startEstate, until } from './estate.ts';

// Real servers and processes, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const count = 50;
const apartMs = 4_000;
const startMs = Date.now() - (count + 20) * apartMs;
const traceOf = (id: number): string => (0xabc000 + id).toString(16).padStart(32, '0');
/** Half of the writes name their row. */
const isNamed = (id: number): boolean => id % 2 === 0;
/** Of some the span says that the publish failed; the others were lost on their way, of which no span tells. */
const isSent = (id: number): boolean => id % 5 < 2;
const writtenMs = (id: number): number => startMs + id * apartMs;

/** A request that writes a profile and publishes it; the message is lost. */
function request(id: number): object[] {
  const text = (key: string, stringValue: string): object => ({ key, value: { stringValue } });
  const span = (
    number: number,
    name: string,
    kind: number,
    fromMs: number,
    toMs: number,
    attributes: object[],
    more: object = {},
  ): object => ({
    traceId: Buffer.from(traceOf(id), 'hex'),
    spanId: Buffer.from((id * 16 + number).toString(16).padStart(16, '0'), 'hex'),
    ...(number === 1 ? {} : { parentSpanId: Buffer.from((id * 16 + 1).toString(16).padStart(16, '0'), 'hex') }),
    name,
    kind,
    startTimeUnixNano: `${writtenMs(id) + fromMs}000000`,
    endTimeUnixNano: `${writtenMs(id) + toMs}000000`,
    attributes,
    ...more,
  });
  return [
    span(1, 'POST /profiles', 2, -5, 30, [text('http.request.method', 'POST'), text('http.route', '/profiles')]),
    span(2, 'INSERT profiles', 3, 0, 3, [
      text('db.system.name', 'postgresql'),
      text('db.query.text', 'INSERT INTO profiles (id, name) VALUES ($1, $2)'),
      ...(isNamed(id) ? [text('consistency.object.key', String(id)), text('consistency.object.type', 'profiles')] : []),
    ]),
    span(
      3,
      'send profile-events',
      4,
      10,
      20,
      [text('messaging.system', 'kafka'), text('messaging.operation.type', 'send'), text('messaging.destination.name', 'profile-events')],
      isSent(id) ? {} : { status: { code: 2 } },
    ),
  ];
}

const batchOf = (): SpanBatch => {
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'profiles' } }] };
  // The last one is there to move time on.
  const spans = [...Array.from({ length: count }, (_, id) => request(id)).flat(), ...request(count + 15).slice(0, 1)];
  const batch = new SpanBatch();
  new ProtobufDecoder().decode(encodeTraces({ resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }), batch);
  return batch;
};

let estate: Estate;
beforeAll(async () => {
  estate = await startEstate({ regions: ['eu', 'us'] });
});
afterAll(() => estate.close());

/** One process: the detectors see the spans, and what they say of them is stored. */
async function detect(): Promise<void> {
  const { database, context } = estate;
  const told = await listToldFindings(database);
  const loop = startDetectLoop(context, {
    detection: { latenessMs: 200, told },
    domains: Object.values(context.domains),
    collections: Object.values(context.collections),
    latenessMs: 200,
    graceMs: 0,
  });
  const batch = batchOf();
  const packed = packBatch(batch);
  loop.consumer.take(1, packed, batch.strings);
  await until(async () => (loop.counts()?.stats.watermarkUs ?? 0) > (writtenMs(count) + 3_000) * 1000, 'time has come');
  await until(async () => loop.consumer.settled >= 2, 'it is stored');
  await loop.close();
}

describe('50 messages lost at one place, 50 rows that differ', () => {
  it('each row names its own trace, by its key or by its time, and after a restart too', async () => {
    const { database, context } = estate;
    await detect();
    const collection = estate.collections['profiles'];
    if (collection === undefined) throw new Error('no collection');
    const check = new ChangeCheck(context, collection);
    for (let id = 0; id < count; id += 1) {
      await estate.sql('eu', `insert into profiles values ($1, 'n', 'm', $2)`, [id, new Date(writtenMs(id) + 2)]);
      check.mark({ id: String(id) });
    }
    const signal = AbortSignal.timeout(120_000);
    let confirmed = 0;
    await until(async () => (confirmed += (await check.round(signal)).confirmed) >= count, 'the differences are confirmed');
    const members = (await listDivergences(database, { status: 'confirmed' }, { limit: 200 })).items;
    expect(members).toHaveLength(count);

    // The place itself shows a few of its traces only.
    const place = (await listAnomalies(database, { kind: 'dual-write', grade: 'structural' }, {})).items;
    expect(place).toMatchObject([{ count, realised: (count * 3) / 5 }]);
    expect(new Set(place[0]?.spans.map((span) => span.traceId)).size).toBeLessThanOrEqual(5);

    // Whoever explains it has seen none of the spans: another process, after a restart.
    const other = openDatabase(estate.storeUrl);
    const explain = async (some: readonly Pick<Divergence, 'key' | 'is' | 'replicas'>[]) =>
      traceBack(some, await explainCase(other, collection, some, Date.now()));
    const { rows, says } = await explain(members);
    const named = (row: (typeof rows)[number]) => ({ id: Number(row.key['id']), trace: row.write.span.traceId, by: row.by });
    expect(rows.map(named).toSorted((a, b) => a.id - b.id)).toEqual(
      Array.from({ length: count }, (_, id) => ({ id, trace: traceOf(id), by: isNamed(id) ? 'key' : 'time' })),
    );
    expect(rows.every((row) => row.finding?.kind === 'dual-write' && row.without.join() === 'us')).toBe(true);
    const lostLater = rows.filter((row) => isSent(Number(row.key['id'])));
    expect(lostLater.map((row) => row.finding?.fingerprint)).toEqual(lostLater.map(() => place[0]?.fingerprint));
    expect(says).toContain('50 rows differ because us never got what profiles wrote');

    // Also once the evidence of the writes themselves is gone.
    await database.query('delete from write_evidence');
    expect((await explain(members)).rows.map((row) => row.write.span.traceId).toSorted()).toEqual(
      Array.from({ length: count }, (_, id) => traceOf(id)),
    );

    // Two writes without a key at one time: no guess.
    const twice = members.filter(({ key }) => key['id'] === '7');
    const near: Sighting = {
      fingerprint: place[0]?.fingerprint ?? '',
      nth: 99,
      write: 0,
      collection: 'profiles',
      objectKey: '',
      version: '',
      service: 'profiles',
      span: { traceId: 'other', spanId: '1' },
      atUs: (writtenMs(7) + 400) * 1000,
    };
    await saveSightings(database, [near]);
    expect((await explain(twice)).rows).toEqual([]);
    await other.close();
  });

  it('a replay of the same spans changes nothing', async () => {
    const stored = async (): Promise<unknown> => (await estate.database.query('select * from sightings order by fingerprint, slot')).rows;
    const before = await stored();
    await detect();
    expect(await stored()).toEqual(before);
  });

  it('takes no more room however often a finding is seen, and keeps the latest, and the latest of each key', async () => {
    const { database } = estate;
    const seen = (nth: number, objectKey: string): Sighting => ({
      fingerprint: 'busy',
      nth,
      write: 0,
      collection: 'profiles',
      objectKey,
      version: String(nth),
      service: 's',
      span: { traceId: `t${nth}`, spanId: '1' },
      atUs: nth,
    });
    await saveSightings(database, [seen(0, 'rare'), ...Array.from({ length: 9_000 }, (_, i) => seen(i + 1, ''))]);
    const { rows } = await database.query<{ n: number }>(`select count(*)::integer as n from sightings where fingerprint = 'busy'`);
    expect(rows[0]?.n).toBe(4_096 + 1);
    const traces = ['t1', 't4905', 't9000'];
    const found = (await listSightings(database, 'profiles', ['rare'], traces, 10)).map(({ span }) => span.traceId);
    expect(found).toEqual(['t9000', 't4905', 't0']);
    await saveSightings(database, [seen(8_999 - 4_096, ''), seen(0, 'rare')]);
    expect((await listSightings(database, 'profiles', [], ['t8999'], 10)).map(({ version }) => version)).toEqual(['8999']);
  });
});
