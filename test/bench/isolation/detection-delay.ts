import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { ProtobufDecoder } from '../../../src/ingest/decode-otlp-protobuf.ts';
import { BatchPacker } from '../../../src/ingest/batch-packer.ts';
import { SpanBatch } from '../../../src/ingest/span-batch.ts';
import { StringTables } from '../../../src/ingest/string-tables.ts';
import type { DetectStageOptions } from '../../../src/runtime/detect-stage.ts';
import type { DetectAnswer, DetectRequest } from '../../../src/runtime/detect-worker.ts';
import { traceRequestType } from '../../ingest/otlp-proto.ts';

/** Lateness bound of the run: the delay beyond it is what is measured, and does not depend on it. */
const latenessMs = 2_000;
const everyMs = 20;

/**
 * How long after a lost update can be known (its last span has ended and the lateness bound has passed) its finding leaves the detectors' own
 * thread: real spans in real time through the worker that the service runs. Milliseconds, of some hundred of them.
 */
export async function measureDetectionDelay(
  seconds: number,
): Promise<{ readonly p50Ms: number; readonly p95Ms: number; readonly found: number }> {
  const workerData: DetectStageOptions = { detection: { latenessMs }, domains: [], collections: [], latenessMs, graceMs: 0 };
  const worker = new Worker(new URL('../../../src/runtime/detect-worker.ts', import.meta.url), { workerData });
  const endedMs = new Map<string, number>();
  const delaysMs: number[] = [];
  worker.on('message', (answer: DetectAnswer) => {
    if (answer.is !== 'report') return;
    const nowMs = Date.now();
    for (const finding of answer.report.findings) {
      const ended = endedMs.get(finding.objectKey ?? '');
      if (finding.kind === 'lost-update' && ended !== undefined) delaysMs.push(nowMs - ended - latenessMs);
    }
  });
  const decoder = new ProtobufDecoder();
  const batch = new SpanBatch();
  const tables = new StringTables();
  const packer = new BatchPacker();
  const untilMs = Date.now() + seconds * 1000;
  for (let sequence = 0; Date.now() < untilMs; sequence += 1) {
    const key = `account ${sequence}`;
    const nowMs = Date.now();
    endedMs.set(key, nowMs);
    decoder.decode(twoWrites(key, nowMs), batch);
    const packed = packer.pack(batch);
    if (packed !== undefined) {
      const request: DetectRequest = { is: 'batches', batches: [{ sequence, packed, strings: tables.added(batch.strings) }] };
      worker.postMessage(request);
    }
    await delay(everyMs);
  }
  await delay(latenessMs + 1_500);
  await worker.terminate();
  const sorted = delaysMs.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { p50Ms: at(0.5), p95Ms: at(0.95), found: sorted.length / endedMs.size };
}

/** Two committed writes from one version, in two traces; the second ends now. */
function twoWrites(key: string, nowMs: number): Buffer {
  const text = (name: string, value: string): object => ({ key: name, value: { stringValue: value } });
  const whole = (name: string, value: number): object => ({ key: name, value: { intValue: value } });
  const write = (version: number, endMs: number): object => ({
    traceId: randomBytes(16),
    spanId: randomBytes(8),
    name: 'UPDATE account',
    kind: 3,
    startTimeUnixNano: `${endMs - 5}000000`,
    endTimeUnixNano: `${endMs}000000`,
    attributes: [
      text('consistency.operation', 'write'),
      text('consistency.object.type', 'account'),
      text('consistency.object.key', key),
      whole('consistency.version', version),
      whole('consistency.version.base', 4),
    ],
  });
  const resourceSpans = [
    { resource: { attributes: [text('service.name', 'bank')] }, scopeSpans: [{ spans: [write(5, nowMs - 10), write(6, nowMs)] }] },
  ];
  return Buffer.from(traceRequestType.encode(traceRequestType.fromObject({ resourceSpans })).finish());
}
