import { afterAll, describe, expect, test } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import { createRng } from '../../src/base/rng.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import { JsonDecoder } from '../../src/ingest/decode-otlp-json.ts';
import { packBatch } from '../../src/ingest/packed-batch.ts';
import { SpanBatch } from '../../src/ingest/span-batch.ts';
import { StringTables } from '../../src/ingest/string-tables.ts';
import { openMemoryJournal } from '../../src/io/journal/memory.ts';
import { DetectStage } from '../../src/runtime/detect-stage.ts';
import { Retention } from '../../src/runtime/retention.ts';

/*
 * Everything between an exporter and the store, but for the network: journal, detectors and checkpoint as the service puts them together,
 * on a clock that is held. The process is killed before each step in turn: what memory held is gone, what exporters were not told of they
 * send again, later than what is fresh. What was found without a kill must be found with one.
 */

const latenessMs = 10_000;
const startMs = Date.UTC(2026, 0, 1);

interface Payload {
  readonly atMs: number;
  readonly text: string;
}

const hex = (value: number, length: number): string => value.toString(16).padStart(length, '0');

/**
 * A request that writes a row and publishes a message without an outbox, its consumer in another service, and pairs of writes from one base
 * version; spans of one trace leave with different exporters, seconds apart.
 */
function payloads(count: number): readonly Payload[] {
  const rng = createRng(77);
  const all: Payload[] = [];
  const attribute = (key: string, value: string | number): object =>
    typeof value === 'number' ? { key, value: { intValue: String(value) } } : { key, value: { stringValue: value } };
  const send = (atMs: number, service: string, spans: object[]): void => {
    const resourceSpans = [{ resource: { attributes: [attribute('service.name', service)] }, scopeSpans: [{ spans }] }];
    all.push({ atMs, text: JSON.stringify({ resourceSpans }) });
  };
  for (let i = 0; i < count; i += 1) {
    const atMs = i * 1_500;
    const traceId = hex(i + 1, 32);
    const id = (n: number): string => hex(i * 16 + n, 16);
    const span = (n: number, parent: number, name: string, kind: number, fromMs: number, attributes: object[], failed = false): object => ({
      traceId,
      spanId: id(n),
      ...(parent === 0 ? {} : { parentSpanId: id(parent) }),
      name,
      kind,
      startTimeUnixNano: String(BigInt(startMs + atMs + fromMs) * 1_000_000n),
      endTimeUnixNano: String(BigInt(startMs + atMs + fromMs + (parent === 0 ? 60 : 5)) * 1_000_000n),
      attributes,
      status: failed ? { code: 2 } : {},
    });
    const db = (query: string): object[] => [attribute('db.system.name', 'postgresql'), attribute('db.query.text', query)];
    send(atMs + 100, `shop-${i % 4}`, [
      span(1, 0, `POST /orders/${i % 4}`, 2, 0, [attribute('http.request.method', 'POST'), attribute('http.route', `/orders/${i % 4}`)]),
      span(2, 1, 'INSERT', 3, 10, db('INSERT INTO orders (id) VALUES ($1)')),
      span(3, 1, 'send', 4, 20, [
        attribute('messaging.system', 'kafka'),
        attribute('messaging.operation.type', 'send'),
        attribute('messaging.destination.name', `orders-${i % 4}`),
      ]),
    ]);
    // Two services write the same object from the same base, seconds apart on the wire.
    for (const [n, delayMs] of [
      [4, 200],
      [5, 3_000 + rng.int(4_000)],
    ] as const) {
      send(atMs + delayMs, `writer-${n}`, [
        span(n, 0, 'UPDATE', 3, 30 + n, [
          ...db('UPDATE stock SET n = $1 WHERE id = $2'),
          attribute('consistency.object.type', 'stock'),
          attribute('consistency.object.key', `item-${i}`),
          attribute('consistency.operation', 'write'),
          attribute('consistency.version', `v${i}-${n}`),
          attribute('consistency.version.base', `v${i}-0`),
        ]),
      ]);
    }
  }
  return all.toSorted((a, b) => a.atMs - b.atMs);
}

class Killed extends Error {}

/** Runs it all; `killAt`: the steps before which the process dies. */
async function run(sent: readonly Payload[], killAt: readonly number[]): Promise<{ found: ReadonlyMap<string, Anomaly>; steps: number }> {
  let nowMs = 0;
  const clock: Clock = { nowMs: () => startMs + nowMs, monotonicMs: () => nowMs };
  const disk = openMemoryJournal({ maxBytes: 64 * 1024 * 1024 });
  const found = new Map<string, Anomaly>();
  let steps = 0;
  const step = (): void => {
    steps += 1;
    if (killAt.includes(steps)) throw new Killed();
  };

  const open = () => {
    const stage = new DetectStage({ detection: { latenessMs }, domains: [], collections: [], latenessMs, graceMs: latenessMs }, clock);
    const decoder = new JsonDecoder();
    const tables = new StringTables();
    const retention = new Retention({ first: disk.first, windowMs: 120_000, mostBytes: disk.maxBytes });
    const give = (sequence: number): void => {
      const batch = new SpanBatch();
      decoder.decodeText(disk.read(sequence)?.bytes.toString() ?? '{}', batch, 'traces');
      const packed = packBatch(batch);
      if (packed !== undefined) stage.take({ sequence, packed, strings: tables.added(batch.strings) });
    };
    for (let sequence = disk.first; sequence < disk.next; sequence += 1) give(sequence);
    const goOn = async (): Promise<void> => {
      step();
      while (stage.work(1_000));
      step();
      const report = stage.report();
      step();
      for (const finding of report.findings) found.set(finding.fingerprint, finding);
      step();
      retention.settle(report.settled, nowMs, (from, to) => disk.bytesBetween(from, to));
      step();
      const upTo = retention.due(nowMs);
      if (upTo !== undefined) {
        await disk.release(upTo);
        retention.released(upTo);
      }
      step();
    };
    return { give, goOn };
  };

  let running = open();
  // Payloads that their exporters still hold: refused, or sent while nobody was there.
  let held: Payload[] = [];
  let at = 0;
  const end = (sent.at(-1)?.atMs ?? 0) + 60_000;
  const receive = async (payload: Payload): Promise<void> => {
    held.push(payload);
    step();
    const appended = await disk.append({
      signal: 'traces',
      encoding: 'json',
      compression: 'none',
      receivedAtMs: clock.nowMs(),
      bytes: Buffer.from(payload.text),
    });
    if (appended.is !== 'durable') throw new Error('the journal has room');
    step();
    held = held.filter((one) => one !== payload);
    step();
    running.give(appended.sequence);
  };
  let retryAtMs = Number.POSITIVE_INFINITY;
  while (nowMs < end) {
    try {
      while (at < sent.length && (sent[at]?.atMs ?? 0) <= nowMs) {
        const payload = sent[at] as Payload;
        at += 1;
        await receive(payload);
      }
      if (nowMs >= retryAtMs) {
        retryAtMs = Number.POSITIVE_INFINITY;
        for (const payload of held.toReversed()) await receive(payload);
      }
      await running.goOn();
      nowMs += 250;
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
      // Down for longer than the lateness bound; what falls due meanwhile waits at its exporters, which come back seconds after.
      nowMs += 14_000;
      while (at < sent.length && (sent[at]?.atMs ?? 0) <= nowMs) held.push(sent[at++] as Payload);
      retryAtMs = nowMs + 5_000;
      running = open();
    }
  }
  return { found, steps };
}

const placesOf = (found: ReadonlyMap<string, Anomaly>): readonly string[] =>
  [...found.values()].map((one) => `${one.kind} ${one.service ?? ''} ${one.objectKey ?? ''}`).toSorted();

describe('a kill at any step', () => {
  const sent = payloads(12);
  let everyStep = 0;

  test('without one, both kinds are found', async () => {
    const { found, steps } = await run(sent, []);
    everyStep = steps;
    const kinds = [...found.values()].map((one) => one.kind);
    expect(kinds.filter((kind) => kind === 'dual-write')).toHaveLength(4);
    expect(kinds.filter((kind) => kind === 'lost-update')).toHaveLength(12);
  });

  test('I4: findings are the same as without it', async () => {
    const expected = placesOf((await run(sent, [])).found);
    // Every step of some seconds in the middle, and steps all over.
    const middle = Math.floor(everyStep / 3);
    const kills = [
      ...Array.from({ length: 60 }, (_, i) => [middle + i]),
      ...Array.from({ length: 40 }, (_, i) => [1 + Math.floor((i * everyStep) / 40)]),
      ...Array.from({ length: 10 }, (_, i) => [20 + i * 17, 120 + i * 31]),
    ];
    for (const kill of kills) {
      const { found } = await run(sent, kill);
      expect({ kill, found: placesOf(found) }).toEqual({ kill, found: expected });
    }
  });

  afterAll(() => expect(everyStep).toBeGreaterThan(100));
});
