import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Measurement } from '../../src/domain/measurement.ts';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { MetricsDecoder } from '../../src/ingest/decode-otlp-metrics.ts';
import { knownMetricNames } from '../../src/ingest/known-metrics.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { metricsRequestType } from './otlp-proto.ts';

const encode = (request: object): Buffer => Buffer.from(metricsRequestType.encode(metricsRequestType.fromObject(request)).finish());
const attributes = (of: Record<string, string | number>): object[] =>
  Object.entries(of).map(([key, value]) => ({ key, value: typeof value === 'string' ? { stringValue: value } : { intValue: value } }));
const request = (resource: Record<string, string | number>, ...metrics: object[]): object => ({
  resourceMetrics: [{ resource: { attributes: attributes(resource) }, scopeMetrics: [{ metrics }] }],
});
const timeUnixNano = '1700000000123456789';
const point = (value: number, of: Record<string, string | number> = {}, more: object = {}): object => ({
  timeUnixNano,
  ...(Number.isInteger(value) ? { asInt: value } : { asDouble: value }),
  attributes: attributes(of),
  ...more,
});
const gauge = (name: string, unit: string, ...dataPoints: object[]): object => ({ name, unit, gauge: { dataPoints } });
const sum = (name: string, unit: string, aggregationTemporality: number, ...dataPoints: object[]): object => ({
  name,
  unit,
  sum: { dataPoints, aggregationTemporality, isMonotonic: true },
});

function fromProtobuf(bytes: Buffer): readonly Measurement[] {
  const batch = new SpanBatch();
  expect(new MetricsDecoder().decode(bytes, batch)).toEqual({ is: 'decoded' });
  return batch.measurements;
}

function fromJson(document: object): readonly Measurement[] {
  const batch = new SpanBatch();
  expect(new JsonDecoder().decodeText(JSON.stringify(document), batch, 'metrics')).toEqual({ is: 'decoded' });
  return batch.measurements;
}

/** What receivers and exporters really send, and what it says. */
const examples: readonly (readonly [string, object, Partial<Measurement>[]])[] = [
  [
    'the PostgreSQL receiver, replay lag of a standby',
    request(
      { 'server.address': 'db-eu', 'server.port': 5432 },
      gauge(
        'postgresql.wal.lag',
        's',
        point(3, { operation: 'replay', replication_client: '10.0.0.7' }),
        point(1, { operation: 'flush', replication_client: '10.0.0.7' }),
      ),
    ),
    [{ kind: 'replication-lag-ms', system: 'postgresql', instance: 'db-eu:5432', subject: '10.0.0.7', value: 3000, isCumulative: false }],
  ],
  [
    'the PostgreSQL receiver, bytes not yet replicated',
    request({}, gauge('postgresql.replication.data_delay', 'By', point(1024, { replication_client: 'unix' }))),
    [{ kind: 'replication-lag-bytes', subject: 'unix', value: 1024 }],
  ],
  [
    'the PostgreSQL receiver, deadlocks of a database',
    request({ 'postgresql.database.name': 'bank' }, sum('postgresql.deadlocks', '{deadlock}', 2, point(4))),
    [{ kind: 'deadlocks', subject: 'bank', value: 4, isCumulative: true }],
  ],
  [
    'the MySQL receiver, a replica behind its source',
    request({ 'mysql.instance.endpoint': 'db-us:3306' }, sum('mysql.replica.time_behind_source', 's', 2, point(12))),
    [{ kind: 'replication-lag-ms', system: 'mysql', instance: 'db-us:3306', value: 12_000, isCumulative: false }],
  ],
  [
    'the MySQL receiver, waits for row locks and their time',
    request({}, sum('mysql.row_locks', '1', 2, point(7, { kind: 'waits' }), point(900, { kind: 'time' }))),
    [
      { kind: 'lock-waits', value: 7, isCumulative: true },
      { kind: 'lock-wait-ms', value: 900 },
    ],
  ],
  [
    'the MySQL receiver, waits of one table in nanoseconds',
    request({}, sum('mysql.table.lock_wait.write.time', 'ns', 2, point(5_000_000, { schema: 'shop', table: 'orders', kind: 'normal' }))),
    [{ kind: 'lock-wait-ms', subject: 'shop orders normal', value: 5 }],
  ],
  [
    'the Kafka receiver, lag of a consumer group',
    request({}, gauge('kafka.consumer_group.lag', '1', point(81, { group: 'billing', topic: 'orders', partition: 3 }))),
    [{ kind: 'consumer-lag', system: 'kafka', subject: 'billing orders 3', value: 81 }],
  ],
  [
    'the Prometheus exporter of PostgreSQL, which sends seconds without a unit',
    request({ 'service.instance.id': 'db-ap:9187' }, gauge('pg_replication_lag_seconds', '', point(0.25))),
    [{ kind: 'replication-lag-ms', instance: 'db-ap:9187', value: 250 }],
  ],
  [
    'differences, which do not count from the start',
    request({}, sum('postgresql.deadlocks', '1', 1, point(2))),
    [{ kind: 'deadlocks', value: 2, isCumulative: false }],
  ],
  ['a point without a value', request({}, gauge('pg_replication_lag', '', point(1, {}, { flags: 1 }))), []],
  ['a metric that says nothing of consistency', request({}, gauge('system.cpu.load', '1', point(1))), []],
];

describe('metrics of stores', () => {
  test.each(examples)('%s', (_, document, says) => {
    const found = fromProtobuf(encode(document));
    expect(found).toMatchObject(says);
    expect(found).toHaveLength(says.length);
    for (const { atUs } of found) expect(atUs).toBe(1_700_000_000_123_456);
    expect(fromJson(document)).toEqual(found);
  });

  test('every known name has a row that is read', () => {
    for (const name of knownMetricNames) {
      const attributesThatCount = { operation: 'replay', kind: name === 'mysql.locks' ? 'waited' : 'waits', state: 'ready' };
      expect(fromProtobuf(encode(request({}, gauge(name, '', point(1, attributesThatCount))))), name).toHaveLength(1);
    }
  });

  const text = fc.constantFrom('', 'a', 'db-eu', 'größe', 'x'.repeat(200));
  const key = fc.constantFrom(
    'replication_client',
    'operation',
    'kind',
    'server.address',
    'server.port',
    'topic',
    'consistency.replica.id',
    'other',
  );
  const value = fc.oneof(
    text.map((stringValue) => ({ stringValue })),
    fc.constantFrom('replay', 'waits', 'time').map((stringValue) => ({ stringValue })),
    fc.integer().map((intValue) => ({ intValue })),
    fc.boolean().map((boolValue) => ({ boolValue })),
    fc.constant({ arrayValue: { values: [{ stringValue: 'x' }] } }),
  );
  const attributeList = fc.uniqueArray(fc.record({ key, value }), { selector: (one) => one.key, maxLength: 5 });
  const dataPoint = fc
    .record({
      attributes: attributeList,
      number: fc.oneof(
        fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e15, max: 1e15 }).map((asDouble) => ({ asDouble })),
        fc.integer().map((asInt) => ({ asInt })),
        fc.constant({}),
      ),
      timeUnixNano: fc.bigInt({ min: 0n, max: 2n ** 62n }).map(String),
      flags: fc.constantFrom(0, 1),
    })
    .map(({ number, ...rest }) => ({ ...rest, ...number }));
  const metric = fc
    .record({
      name: fc.oneof(fc.constantFrom(...knownMetricNames), fc.constantFrom('', 'system.cpu.time', 'postgresql.wal.la')),
      unit: fc.constantFrom('', 's', 'ms', 'ns', 'By', '1'),
      dataPoints: fc.array(dataPoint, { maxLength: 4 }),
      aggregationTemporality: fc.constantFrom(0, 1, 2),
      isSum: fc.boolean(),
    })
    .map(({ name, unit, dataPoints, aggregationTemporality, isSum }) => ({
      name,
      unit,
      ...(isSum ? { sum: { dataPoints, aggregationTemporality } } : { gauge: { dataPoints } }),
    }));
  const anyRequest = fc.record({
    resourceMetrics: fc.array(
      fc.record({
        resource: fc.record({ attributes: attributeList }),
        scopeMetrics: fc.array(fc.record({ metrics: fc.array(metric, { maxLength: 4 }) }), { maxLength: 2 }),
      }),
      { maxLength: 3 },
    ),
  });

  test('agrees with protobufjs, which hands the same bytes to the JSON reader', () => {
    const decoder = new MetricsDecoder();
    const batch = new SpanBatch();
    fc.assert(
      fc.property(anyRequest, (document) => {
        const bytes = encode(document);
        const byOracle = metricsRequestType.toObject(metricsRequestType.decode(bytes), { longs: String, defaults: false }) as object;
        expect(decoder.decode(bytes, batch)).toEqual({ is: 'decoded' });
        // JSON.stringify writes -0 as 0.
        const unsigned = (of: readonly Measurement[]): readonly Measurement[] => of.map((one) => ({ ...one, value: one.value + 0 }));
        expect(unsigned(batch.measurements)).toEqual(unsigned(fromJson(byOracle)));
      }),
      { numRuns: 500 },
    );
  });

  test('I7: any bytes at all are decoded or refused, never a crash', () => {
    const decoder = new MetricsDecoder();
    const batch = new SpanBatch();
    const whole = encode(examples[0]?.[1] ?? {});
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.tuple(fc.nat(whole.length - 1), fc.nat(255)).map(([at, byte]) => {
            const bytes = Uint8Array.from(whole);
            bytes[at] = byte;
            return bytes;
          }),
          fc.nat(whole.length).map((length) => Uint8Array.from(whole.subarray(0, length))),
        ),
        (bytes) => {
          expect(['decoded', 'malformed']).toContain(decoder.decode(bytes, batch).is);
        },
      ),
      { numRuns: 3000 },
    );
  });
});
