import { describe, expect, test } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import { createRng, type Rng } from '../../src/base/rng.ts';
import { detectors } from '../../src/detect/registry.ts';
import { createDetection } from '../../src/detect/run.ts';
import { isSampled } from '../../src/detect/sample.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import { ProtobufDecoder } from '../../src/ingest/decode-otlp-protobuf.ts';
import { OperationReader } from '../../src/ingest/operation-from-span.ts';
import { packBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { StringTables } from '../../src/ingest/string-tables.ts';
import { DetectStage } from '../../src/runtime/detect-stage.ts';
import { DueRows } from '../../src/runtime/due-rows.ts';
import { encodeTraces } from '../ingest/otlp-proto.ts';

const latenessMs = 10_000;
const startMs = Date.UTC(2026, 0, 1);
const seed = process.env['SEED'] ?? String(Date.now());

interface Sent {
  readonly atMs: number;
  readonly service: string;
  readonly traceId: Buffer;
  readonly span: object;
  /** Beyond the span itself. */
  readonly operations: number;
}

/** Traces that are short, long, broken off, slow and mixed, of services that do what detectors look for. */
function traces(rng: Rng, count: number): readonly Sent[] {
  const sent: Sent[] = [];
  const text = (key: string, stringValue: string): object => ({ key, value: { stringValue } });
  for (let trace = 0; trace < count; trace += 1) {
    const traceId = Buffer.alloc(16);
    traceId.writeUInt32LE(rng.int(0x1_0000_0000), 0);
    traceId.writeUInt32LE(trace + 1, 12);
    let endMs = rng.int(40_000);
    const spans = 1 + rng.int(rng.int(5) === 0 ? 30 : 6);
    const isBroken = rng.int(4) === 0;
    for (let n = 0; n < spans; n += 1) {
      const isRoot = n === spans - 1;
      const id = (number: number): Buffer => {
        const bytes = Buffer.alloc(8, 1);
        bytes.writeUInt32LE(trace * 64 + number + 1, 0);
        return bytes;
      };
      endMs += rng.pick([1, 5, 20, 300, 900, isBroken ? rng.pick([4_000, 9_400, 9_950]) : 5, rng.int(10) === 0 ? 1_001 : 3]);
      const service = `service-${isRoot ? 0 : rng.int(2)}`;
      const object = `item-${rng.int(12)}`;
      const isSeveral = rng.int(12) === 0;
      const attributes = rng.pick([
        () => [text('db.system.name', 'postgresql'), text('db.query.text', 'INSERT INTO orders (id) VALUES ($1)')],
        () => [
          text('db.system.name', 'postgresql'),
          text('db.query.text', 'UPDATE stock SET n = $1 WHERE id = $2'),
          text('consistency.object.type', 'stock'),
          text('consistency.object.key', object),
          text('consistency.operation', 'write'),
          text('consistency.version', `${object}-v${trace}-${n}`),
          text('consistency.version.base', `${object}-v${rng.int(3)}`),
        ],
        () => [text('messaging.system', 'kafka'), text('messaging.operation.type', 'send'), text('messaging.destination.name', 'orders')],
        () => [text('http.request.method', 'GET'), text('http.route', '/x')],
      ])();
      sent.push({
        atMs: endMs + rng.int(latenessMs - 1_000),
        service,
        traceId,
        operations: isSeveral ? 2 : 0,
        span: {
          traceId,
          spanId: id(n),
          // The last span is the root: children end, and so arrive, before their parents. In a broken trace it never comes.
          ...(isRoot ? {} : { parentSpanId: isBroken ? Buffer.alloc(8, 9) : id(spans - 1) }),
          name: isRoot ? 'POST /orders' : 'step',
          kind: isRoot ? 2 : rng.pick([1, 3, 4]),
          startTimeUnixNano: String(BigInt(startMs + endMs - 3) * 1_000_000n),
          endTimeUnixNano: String(BigInt(startMs + endMs) * 1_000_000n),
          attributes,
          // A span that is several operations goes another way than one that is one.
          events: !isSeveral
            ? []
            : [0, 1].map((nth) => ({
                name: 'consistency.operation',
                timeUnixNano: String(BigInt(startMs + endMs - 2 + nth) * 1_000_000n),
                attributes: [
                  text('consistency.object.type', 'stock'),
                  text('consistency.object.key', object),
                  text('consistency.operation', 'write'),
                  text('consistency.version', `${object}-v${trace}-${n}-${nth}`),
                  text('consistency.version.base', `${object}-v${rng.int(3)}`),
                ],
              })),
          status: rng.int(12) === 0 ? { code: 2 } : {},
        },
      });
    }
  }
  return sent.toSorted((a, b) => a.atMs - b.atMs);
}

const requestOf = (sent: readonly Sent[]): Buffer =>
  encodeTraces({
    resourceSpans: sent.map((one) => ({
      resource: { attributes: [{ key: 'service.name', value: { stringValue: one.service } }] },
      scopeSpans: [{ spans: [one.span] }],
    })),
  });

const operationsOf = (sent: readonly Sent[]): number => sent.reduce((sum, one) => sum + 1 + one.operations, 0);

/** Long after the last trace is over. */
const endMs = 290_000;

/** As exporters send them: payloads by time of arrival, on a clock that is held. */
function throughStage(sent: readonly Sent[], stepMs: number, waitingBytes: number): { found: Map<string, Anomaly>; stage: DetectStage } {
  let nowMs = 0;
  const clock: Clock = { nowMs: () => startMs + nowMs, monotonicMs: () => nowMs };
  const options = { detection: { latenessMs }, domains: [], collections: [], latenessMs, graceMs: 0, waitingBytes };
  const stage = new DetectStage(options, clock);
  const decoder = new ProtobufDecoder();
  const tables = new StringTables();
  const found = new Map<string, Anomaly>();
  let at = 0;
  for (let sequence = 1; nowMs < endMs; nowMs += stepMs) {
    const from = at;
    while ((sent[at]?.atMs ?? Number.POSITIVE_INFINITY) <= nowMs) at += 1;
    const batch = new SpanBatch();
    decoder.decode(requestOf(sent.slice(from, at)), batch);
    const packed = packBatch(batch);
    if (packed !== undefined) stage.take({ sequence: sequence++, packed, strings: structuredClone(tables.added(batch.strings)) });
    while (stage.work(1_000));
    for (const finding of stage.report().findings) found.set(finding.fingerprint, finding);
  }
  return { found, stage };
}

/** The engine alone, given everything at once. */
function atOnce(sent: readonly Sent[]): Map<string, Anomaly> {
  const detection = createDetection({ latenessMs });
  const batch = new SpanBatch();
  new ProtobufDecoder().decode(requestOf(sent), batch);
  detection.add(new OperationReader().read(batch));
  const found = new Map<string, Anomaly>();
  for (const finding of detection.advance((startMs + endMs - latenessMs) * 1000)) found.set(finding.fingerprint, finding);
  return found;
}

const plain = (found: ReadonlyMap<string, Anomaly>): readonly object[] =>
  [...found.values()]
    .map(({ kind, fingerprint, count, complete, firstSeenUs, lastSeenUs }) => ({
      kind,
      fingerprint,
      count,
      complete,
      firstSeenUs,
      lastSeenUs,
    }))
    .toSorted((a, b) => (a.fingerprint < b.fingerprint ? -1 : 1));

describe('DetectStage', () => {
  test(`waiting as columns and being judged trace by trace changes no finding (SEED=${seed})`, { timeout: 60_000 }, () => {
    const rng = createRng(seed);
    const kinds = new Set<string>();
    for (let round = 0; round < 4; round += 1) {
      const sent = traces(rng.fork(`round ${round}`), 250);
      const expected = atOnce(sent);
      for (const finding of expected.values()) kinds.add(finding.kind);
      for (const stepMs of [130, 1_100]) {
        const { found, stage } = throughStage(sent, stepMs, Number.POSITIVE_INFINITY);
        expect({ round, stepMs, found: plain(found) }).toEqual({ round, stepMs, found: plain(expected) });
        const operations = operationsOf(sent);
        expect(stage.report().counts).toMatchObject({ operations, lateSpans: 0, waiting_spans_now: 0 });
      }
    }
    expect([...kinds]).toEqual(expect.arrayContaining(['dual-write', 'lost-update']));
  });

  test('of traces of which too many rows wait a share is looked at, as if there had been no others; of objects nothing is missed', () => {
    const sent = traces(createRng('dense'), 250);
    const detection = createDetection({ latenessMs });
    const due = new DueRows(detection, { maxOperations: 100 });
    const found = new Map<string, Anomaly>();
    for (let at = 0; at < sent.length; at += 100) {
      const batch = due.spare();
      new ProtobufDecoder().decode(requestOf(sent.slice(at, at + 100)), batch);
      due.hold(
        batch,
        Int32Array.from({ length: batch.count }, (_, row) => row),
        batch.count,
      );
    }
    for (const finding of due.advance((startMs + endMs - latenessMs) * 1000)) found.set(finding.fingerprint, finding);
    const { traceShare } = detection.stats;
    expect(traceShare).toBeLessThan(1);
    const isLookedAt = ({ traceId }: Sent): boolean => isSampled(traceId.toString('hex'), traceShare);
    const isOfTraces = (kind: string): boolean =>
      detectors.some(({ id, scope }) => id === kind && (scope === 'trace' || scope === 'message'));
    const ofTraces = (one: ReadonlyMap<string, Anomaly>): readonly object[] =>
      plain(new Map([...one].filter(([, { kind }]) => isOfTraces(kind))));
    const ofObjects = (one: ReadonlyMap<string, Anomaly>): readonly object[] =>
      plain(new Map([...one].filter(([, { kind }]) => !isOfTraces(kind))));
    const looked = sent.filter(isLookedAt);
    expect(ofTraces(atOnce(looked))).not.toEqual([]);
    expect(ofTraces(found)).toEqual(ofTraces(atOnce(looked)));
    expect(ofObjects(atOnce(looked))).not.toEqual(ofObjects(atOnce(sent)));
    expect(ofObjects(found)).toEqual(ofObjects(atOnce(sent)));
    expect(due.operations).toBeGreaterThanOrEqual(operationsOf(looked));
    expect(due.operations).toBeLessThan(operationsOf(sent));
  });

  test('what does not fit goes to the detectors early: nothing is dropped, and it is counted', () => {
    const sent = traces(createRng('tight'), 400);
    const { stage } = throughStage(sent, 300, 60_000);
    const { counts } = stage.report();
    expect(counts.operations).toBe(operationsOf(sent));
    expect(counts.shortenedWaits).toBeGreaterThan(0);
  });

  test.each([3_000, 20_000])('after a gap of %d ms what an exporter sends on its next try is not late', (gapMs) => {
    let nowMs = 0;
    const clock: Clock = { nowMs: () => startMs + nowMs, monotonicMs: () => nowMs };
    const stage = new DetectStage({ detection: { latenessMs }, domains: [], collections: [], latenessMs, graceMs: 4_000 }, clock);
    const decoder = new ProtobufDecoder();
    const tables = new StringTables();
    let sequence = 1;
    const take = (endMs: number): void => {
      const batch = new SpanBatch();
      const span = {
        traceId: Buffer.alloc(16, sequence),
        spanId: Buffer.alloc(8, sequence),
        startTimeUnixNano: String(BigInt(startMs + endMs - 5) * 1_000_000n),
        endTimeUnixNano: String(BigInt(startMs + endMs) * 1_000_000n),
      };
      decoder.decode(requestOf([{ atMs: 0, service: 'shop', traceId: span.traceId, span, operations: 0 }]), batch);
      const packed = packBatch(batch);
      if (packed !== undefined) stage.take({ sequence: sequence++, packed, strings: structuredClone(tables.added(batch.strings)) });
      while (stage.work(1_000));
    };
    // From the journal, at once; then one exporter all that it has, from the gap to now; another what it held back, a little later.
    for (let endMs = -gapMs - 2_000; endMs <= -gapMs; endMs += 100) take(endMs);
    nowMs = 5_000;
    for (let endMs = -gapMs; endMs <= nowMs; endMs += 250) take(endMs);
    for (let waited = 0; waited < (gapMs + 5_000) / 2; waited += 100) {
      nowMs += 100;
      take(nowMs);
    }
    for (let endMs = -gapMs + 100; endMs < nowMs; endMs += 250) take(endMs);
    // Time goes on after that.
    nowMs += 60_000;
    while (stage.work(1_000));
    expect(stage.report()).toMatchObject({ settled: sequence, counts: { lateSpans: 0, operations: sequence - 1 } });
  });

  test('a span sent twice is one, and a span from far ahead moves no time', () => {
    let nowMs = 0;
    const clock: Clock = { nowMs: () => startMs + nowMs, monotonicMs: () => nowMs };
    const stage = new DetectStage({ detection: { latenessMs }, domains: [], collections: [], latenessMs, graceMs: 0 }, clock);
    const decoder = new ProtobufDecoder();
    const tables = new StringTables();
    const take = (sequence: number, sent: readonly Sent[]): void => {
      const batch = new SpanBatch();
      decoder.decode(requestOf(sent), batch);
      const packed = packBatch(batch);
      if (packed !== undefined) stage.take({ sequence, packed, strings: tables.added(batch.strings) });
    };
    const some = traces(createRng('twice'), 20).filter((one) => one.atMs < 30_000);
    take(1, some);
    take(2, some);
    const ahead = {
      traceId: Buffer.alloc(16, 5),
      spanId: Buffer.alloc(8, 5),
      endTimeUnixNano: String(BigInt(startMs + 400_000) * 1_000_000n),
    };
    take(3, [{ atMs: 0, service: 'wrong clock', traceId: ahead.traceId, span: ahead, operations: 0 }]);
    expect(stage.report()).toMatchObject({ taken: 4, settled: 1, counts: { duplicateSpans: some.length, futureSpans: 1 } });
    nowMs = 60_000;
    while (stage.work(1_000));
    expect(stage.report()).toMatchObject({ settled: 4, counts: { operations: operationsOf(some) } });
  });
});
