import { describe, expect, test } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { packBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { StringTables } from '../../src/ingest/string-tables.ts';
import { DetectStage } from '../../src/runtime/detect-stage.ts';
import { encodeTraces } from '../ingest/otlp-proto.ts';

const latenessMs = 10_000;
const startMs = Date.UTC(2026, 0, 1);
const everyMs = 100;
const relayMs = 500;

interface Sent {
  readonly atMs: number;
  readonly service: 'orders' | 'relay';
  readonly span: object;
}

const text = (key: string, stringValue: string): object => ({ key, value: { stringValue } });
const span = (number: number, endMs: number, kind: number, attributes: readonly object[]): object => {
  const traceId = Buffer.alloc(16, 1);
  traceId.writeUInt32LE(number, 0);
  return {
    traceId,
    spanId: traceId.subarray(0, 8),
    name: 'step',
    kind,
    startTimeUnixNano: String(BigInt(startMs + endMs - 5) * 1_000_000n),
    endTimeUnixNano: String(BigInt(startMs + endMs) * 1_000_000n),
    attributes,
  };
};

const ordinaryMs = (row: number): number => row * everyMs + relayMs;

/** Row after row of an outbox, and what publishes each at `publishedMs`, if at all. */
function outbox(untilMs: number, publishedMs: (row: number) => number | undefined = ordinaryMs): readonly Sent[] {
  const sent: Sent[] = [];
  for (let row = 1; row * everyMs < untilMs; row += 1) {
    const [id, endMs] = [text('consistency.outbox.id', `m${row}`), row * everyMs];
    const sql = text('db.query.text', 'INSERT INTO outbox (id) VALUES ($1)');
    sent.push({ atMs: endMs, service: 'orders', span: span(row * 2, endMs, 3, [text('db.system.name', 'postgresql'), sql, id]) });
    const atMs = publishedMs(row);
    if (atMs === undefined) continue;
    const message = [
      text('messaging.system', 'kafka'),
      text('messaging.operation.type', 'send'),
      text('messaging.destination.name', 'placed'),
    ];
    sent.push({ atMs, service: 'relay', span: span(row * 2 + 1, atMs, 4, [...message, id]) });
  }
  return sent;
}

const allBut =
  (lost: number) =>
  (row: number): number | undefined =>
    row === lost ? undefined : ordinaryMs(row);

/** Through a stage of a running service; when each row was found not to be published, by the stage's clock. */
function through(sent: readonly Sent[], untilMs: number) {
  // The service has been up for long when the first span comes.
  let nowMs = 500_000;
  const epochMs = nowMs;
  const clock: Clock = { nowMs: () => startMs + nowMs - epochMs, monotonicMs: () => nowMs };
  const stage = new DetectStage({ detection: { latenessMs }, domains: [], collections: [], latenessMs, graceMs: latenessMs }, clock);
  const decoder = new ProtobufDecoder();
  const tables = new StringTables();
  const found: { readonly atMs: number; readonly anomaly: Anomaly }[] = [];
  const waiting = sent.toSorted((a, b) => a.atMs - b.atMs);
  let late = 0;
  for (let sequence = 1; nowMs - epochMs < untilMs; nowMs += 250) {
    const due = waiting.findIndex(({ atMs }) => atMs > nowMs - epochMs);
    const batch = new SpanBatch();
    const resourceSpans = waiting.splice(0, due < 0 ? waiting.length : due).map((one) => ({
      resource: { attributes: [text('service.name', one.service)] },
      scopeSpans: [{ spans: [one.span] }],
    }));
    decoder.decode(encodeTraces({ resourceSpans }), batch);
    const packed = packBatch(batch);
    if (packed !== undefined) stage.take({ sequence: sequence++, packed, strings: structuredClone(tables.added(batch.strings)) });
    while (stage.work(1_000));
    const report = stage.report();
    for (const anomaly of report.findings) found.push({ atMs: nowMs - epochMs, anomaly });
    late = report.counts.lateSpans;
  }
  return { found, late };
}

describe('a stream of spans that falls silent', () => {
  test('is waited for where it never paused: what a Collector held back is not late, and nothing is said to be missing', () => {
    const [fromMs, toMs] = [180_000, 210_000];
    const sent = outbox(300_000).map((one) =>
      one.atMs < fromMs || one.atMs >= toMs ? one : { ...one, atMs: toMs + (one.service === 'relay' ? 6_000 : 500) },
    );
    expect(through(sent, 400_000)).toEqual({ found: [], late: 0 });
  });

  test('and does not come back is at its end after a third of the time for which it came', () => {
    const lost = 1750;
    const { found } = through(outbox(180_000, allBut(lost)), 400_000);
    expect(found.map(({ anomaly: { kind, objectKey } }) => `${kind} ${objectKey}`)).toEqual([`outbox-lag m${lost}`]);
    expect(found[0]?.atMs).toBeGreaterThan(lost * everyMs + 60_000);
    expect(found[0]?.atMs).toBeLessThan(lost * everyMs + 90_000);
  });

  test('and had only begun is at its end at once', () => {
    const lost = 250;
    const { found } = through(outbox(30_000, allBut(lost)), 100_000);
    expect(found.map(({ anomaly: { kind, objectKey } }) => `${kind} ${objectKey}`)).toEqual([`outbox-lag m${lost}`]);
    expect(found[0]?.atMs).toBeLessThan(lost * everyMs + 30_000);
  });
});

describe('one service of a stream that falls silent', () => {
  const [fromMs, toMs] = [180_000, 205_000];
  const relayAway = (one: Sent): boolean => one.service === 'relay' && one.atMs >= fromMs && one.atMs < toMs;
  const kinds = (found: readonly { readonly anomaly: Anomaly }[]): readonly string[] =>
    found.map(({ anomaly: { kind, grade, service } }) => `${kind} ${grade} ${service}`);

  test('proves nothing by what it does not show: one finding says that it was silent', () => {
    const { found } = through(
      outbox(300_000).filter((one) => !relayAway(one)),
      400_000,
    );
    expect(new Set(kinds(found))).toEqual(new Set(['outbox-lag risk relay']));
    expect(new Set(found.map(({ anomaly }) => anomaly.fingerprint)).size).toBe(1);
  });

  test('and sends afterwards what was held up proves nothing either', () => {
    const held = outbox(300_000).map((one, nth) => (relayAway(one) ? { ...one, atMs: toMs + ((nth * 37) % 50) * 100 } : one));
    expect(new Set(kinds(through(held, 400_000).found))).toEqual(new Set(['outbox-lag risk relay']));
  });

  test('because it stood still is told of with every row that it then publishes too late', () => {
    const publishedMs = (row: number): number => {
      const usualMs = ordinaryMs(row);
      return usualMs < fromMs || usualMs >= toMs ? usualMs : toMs + (usualMs - fromMs) / 50;
    };
    const { found } = through(outbox(300_000, publishedMs), 400_000);
    const tooLate = Array.from({ length: 3_000 }, (_, row) => row).filter((row) => publishedMs(row) - row * everyMs > 10_000);
    expect(tooLate.length).toBeGreaterThan(100);
    const proven = new Set(found.filter(({ anomaly }) => anomaly.grade === 'proven').map(({ anomaly }) => anomaly.objectKey));
    expect(proven).toEqual(new Set(tooLate.map((row) => `m${row}`)));
  });

  test('does not hide a row that was left while it was heard', () => {
    const lost = 1_500;
    const { found } = through(
      outbox(300_000, allBut(lost)).filter((one) => !relayAway(one)),
      400_000,
    );
    expect(found.filter(({ anomaly }) => anomaly.grade === 'proven').map(({ anomaly }) => anomaly.objectKey)).toEqual([`m${lost}`]);
  });
});
