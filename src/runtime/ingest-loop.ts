import { gunzipSync } from 'node:zlib';
import type { Clock } from '../base/clock.ts';
import type { Measurement } from '../domain/measurement.ts';
import type { Operation } from '../domain/operation.ts';
import { JsonDecoder } from '../ingest/decode-otlp-json.ts';
import { LogsDecoder } from '../ingest/decode-otlp-logs.ts';
import { MetricsDecoder } from '../ingest/decode-otlp-metrics.ts';
import { type Decoded, ProtobufDecoder } from '../ingest/decode-otlp-protobuf.ts';
import { createSpanDedupe } from '../ingest/dedupe.ts';
import { type LogKey, LogKeys } from '../ingest/log-keys.ts';
import { OperationReader } from '../ingest/operation-from-span.ts';
import { SpanBatch } from '../ingest/span-batch.ts';
import type { Journal, JournalRecord } from '../io/journal/journal.ts';
import { openOtlpGrpc } from '../io/otlp/grpc.ts';
import { openOtlpHttp } from '../io/otlp/http.ts';
import { largestBodyBytes, type Payload, type Receipt, type Receiver } from '../io/otlp/payload.ts';
import { createIngestCounters, type IngestCounters } from './ingest-loop-counters.ts';

export interface IngestOptions {
  readonly host: string;
  /** null: not opened; 0: any free port. */
  readonly httpPort: number | null;
  readonly grpcPort: number | null;
  readonly journal: Journal;
  readonly clock: Clock;
  /**
   * Takes operations in the order in which their payloads were acknowledged; awaited, never called concurrently. The journal keeps a
   * payload until this has returned for it and `replayWindowMs` more have passed, so what it throws away at a crash comes again.
   */
  readonly onOperations: (operations: readonly Operation[]) => void | Promise<void>;
  /** Takes what stores' own metrics say; in the same order, after it was acknowledged. */
  readonly onMeasurements?: (measurements: readonly Measurement[]) => void;
  /** A failure of `onOperations`, or of the journal at its checkpoint: ingestion goes on, the loop tries again. */
  readonly onFailure: (error: unknown) => void;
  /** How much of the past the detectors should see again after a restart: their window. */
  readonly replayWindowMs?: number;
  /**
   * Bytes of processed payloads kept for that at most. Under heavy load the window becomes shorter: what is processed must not push out
   * what is not.
   */
  readonly replayBytes?: number;
  /** Spans remembered to drop duplicates. */
  readonly dedupeCapacity?: number;
  /** Patterns by which texts of log records become operations. */
  readonly logKeys?: readonly LogKey[];
  readonly corsOrigins?: readonly string[];
  /** Largest request after decompression, bytes. */
  readonly largestBodyBytes?: number;
  readonly token?: string;
  readonly tls?: { readonly key: string; readonly cert: string };
}

export interface Ingest {
  readonly httpPort: number | null;
  readonly grpcPort: number | null;
  readonly counters: () => IngestCounters;
  /** Resolves once everything that was acknowledged before the call has been through `onOperations`. */
  idle(): Promise<void>;
  /** Refuses new payloads, answers what is in flight, processes what is acknowledged, checkpoints. Does not close the journal. */
  close(): Promise<void>;
}

/**
 * receiver -> decode -> journal -> acknowledge, and behind it -> operations -> dedupe -> `onOperations` -> checkpoint.
 *
 * A payload is decoded before it is acknowledged, because what is malformed must be refused; the columns wait in memory for their turn,
 * within a bound. Past the bound only the journal has the payload, and it is decoded again when its turn comes: a slow consumer costs
 * time, not memory. A journal that is full answers 503.
 */
export async function startIngest(options: IngestOptions): Promise<Ingest> {
  const { journal, clock } = options;
  const largest = options.largestBodyBytes ?? largestBodyBytes;
  const replayWindowMs = options.replayWindowMs ?? 60_000;
  const replayBytes = options.replayBytes ?? 64 * 1024 * 1024;
  const counters = createIngestCounters();
  const dedupe = createSpanDedupe(options.dedupeCapacity === undefined ? {} : { capacity: options.dedupeCapacity });
  const logKeys = new LogKeys(options.logKeys);
  const decoders = {
    protobuf: new ProtobufDecoder(),
    json: new JsonDecoder(logKeys),
    logs: new LogsDecoder(logKeys),
    metrics: new MetricsDecoder(),
  };
  const reader = new OperationReader();
  const spare: SpanBatch[] = [];
  const waiting = new Map<number, SpanBatch>();
  /** Payload sizes of the sequences that are not processed yet. */
  const sizes = new Map<number, number>();
  let waitingBytes = 0;
  let turn = journal.first;
  let durable = journal.next;
  /** Sequences of processed payloads that are still within the replay window, with the time of their processing. */
  const processed: { readonly sequence: number; readonly atMs: number; readonly bytes: number }[] = [];
  let processedBytes = 0;
  let breathedMs = clock.monotonicMs();
  let isClosing = false;
  let wake: (() => void) | undefined;
  let idlers: { readonly until: number; readonly done: () => void }[] = [];

  const decode = (signal: JournalRecord['signal'], encoding: JournalRecord['encoding'], body: Buffer, batch: SpanBatch): Decoded => {
    if (encoding === 'json') return decoders.json.decodeText(body.toString('utf8'), batch, signal);
    switch (signal) {
      case 'traces':
        return decoders.protobuf.decode(body, batch);
      case 'logs':
        return decoders.logs.decode(body, batch);
      case 'metrics':
        return decoders.metrics.decode(body, batch);
    }
  };

  const giveBack = (batch: SpanBatch): void => {
    if (spare.length < mostSpareBatches && batch.heldBytes < largestSpareBytes) spare.push(batch);
  };

  const onPayload = async (payload: Payload): Promise<Receipt> => {
    if (isClosing) return { is: 'busy', message: 'shutting down', retryAfterS: 5 };
    const batch = spare.pop() ?? new SpanBatch();
    const decoded = decode(payload.signal, payload.encoding, payload.body, batch);
    if (decoded.is === 'malformed') {
      giveBack(batch);
      return { is: 'malformed', message: decoded.what };
    }
    counters.received(payload, batch.count);
    const { rejected, message } = complaintsOf(batch, payload, decoders.json);
    for (const [reason, count] of batch.rejected) counters.rejectSpans(reason, count);
    if (batch.count === 0 && batch.measurements.length === 0) {
      // Nothing to keep: an empty request, one of which everything was rejected, or one that says nothing about state.
      giveBack(batch);
      return { is: 'accepted', rejected, message };
    }
    counters.measured(batch.measurements.length);
    const appended = await journal.append({
      signal: payload.signal,
      encoding: payload.encoding,
      compression: payload.compression,
      receivedAtMs: clock.nowMs(),
      bytes: payload.bytes,
    });
    if (appended.is === 'full') {
      giveBack(batch);
      return { is: 'busy', message: `the journal is full (${journal.maxBytes} bytes wait to be processed)`, retryAfterS: 5 };
    }
    counters.accept(payload, batch.count);
    sizes.set(appended.sequence, payload.bytes.length);
    if (waitingBytes < mostWaitingBytes) {
      waiting.set(appended.sequence, batch);
      waitingBytes += batch.heldBytes;
    } else giveBack(batch);
    durable = Math.max(durable, appended.sequence + 1);
    wake?.();
    return { is: 'accepted', rejected, message };
  };

  const decodeAgain = (sequence: number): SpanBatch | undefined => {
    const batch = spare.pop() ?? new SpanBatch();
    try {
      const record = journal.read(sequence);
      if (record === undefined) return undefined;
      const body = record.compression === 'gzip' ? gunzipSync(record.bytes, { maxOutputLength: largest }) : record.bytes;
      const decoded = decode(record.signal, record.encoding, body, batch);
      if (decoded.is === 'malformed') throw new Error(decoded.what);
      counters.redecoded(batch.count);
      return batch;
    } catch (error) {
      // It was decoded once before it was acknowledged, so only a damaged disk comes here; the rest of the journal is still good.
      options.onFailure(new Error(`journal record ${sequence} cannot be read and is skipped`, { cause: error }));
      return undefined;
    }
  };

  const processNext = async (): Promise<void> => {
    const held = waiting.get(turn);
    if (held !== undefined) {
      waiting.delete(turn);
      waitingBytes -= held.heldBytes;
    }
    const batch = held ?? decodeAgain(turn);
    if (batch !== undefined) {
      for (let from = 0; from < batch.count; from += rowsAtOnce) {
        const operations = reader.read(batch, dedupe, from, Math.min(batch.count, from + rowsAtOnce));
        if (operations.length > 0) await deliver(operations);
        counters.operations(operations.length);
        await breathe();
      }
      if (batch.measurements.length > 0) options.onMeasurements?.(batch.measurements);
      counters.processed(batch.count);
      giveBack(batch);
    }
    // Payloads of an earlier run are not in `sizes`; their window has passed for the most part, so they count as nothing.
    const bytes = sizes.get(turn) ?? 0;
    sizes.delete(turn);
    processed.push({ sequence: turn, atMs: clock.monotonicMs(), bytes });
    processedBytes += bytes;
    turn += 1;
  };

  /** Until the consumer takes it: an operation that was acknowledged is not dropped because a database was away. */
  const deliver = async (operations: readonly Operation[]): Promise<void> => {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await options.onOperations(operations);
        return;
      } catch (error) {
        options.onFailure(error);
        if (isClosing) throw error;
        await sleep(Math.min(100 * 2 ** Math.min(attempt, 6), 5_000));
      }
    }
  };

  const checkpoint = async (): Promise<void> => {
    const before = clock.monotonicMs() - replayWindowMs;
    let upTo = 0;
    let count = 0;
    for (const { sequence, atMs, bytes } of processed) {
      if (atMs > before && processedBytes <= replayBytes) break;
      upTo = sequence + 1;
      processedBytes -= bytes;
      count += 1;
    }
    if (count === 0) return;
    processed.splice(0, count);
    await journal.release(upTo);
  };

  /**
   * Acknowledgements must not wait for the consumer: a request comes in over several turns of the event loop, so every turn that is
   * spent on a slice of operations is kept short.
   */
  const breathe = async (): Promise<void> => {
    if (clock.monotonicMs() - breathedMs < longestTurnMs) return;
    await new Promise<void>((resolve) => setImmediate(resolve));
    breathedMs = clock.monotonicMs();
  };

  const run = async (): Promise<void> => {
    let checkpointMs = breathedMs;
    for (;;) {
      if (turn >= durable) {
        for (const idler of idlers) if (idler.until <= turn) idler.done();
        idlers = idlers.filter((idler) => idler.until > turn);
        if (isClosing) return;
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 1_000);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
        wake = undefined;
      }
      try {
        if (turn < durable) await processNext();
        const nowMs = clock.monotonicMs();
        if (nowMs - checkpointMs > 1_000 || processedBytes > replayBytes * 1.25) {
          checkpointMs = nowMs;
          await checkpoint();
        }
      } catch (error) {
        options.onFailure(error);
        if (isClosing) return;
        await sleep(1_000);
      }
      await breathe();
    }
  };

  const shared = {
    host: options.host,
    onPayload,
    onRefused: counters.refuse,
    largestBodyBytes: largest,
    ...(options.token === undefined ? {} : { token: options.token }),
    ...(options.tls === undefined ? {} : { tls: options.tls }),
  };
  const http: Receiver | undefined =
    options.httpPort === null
      ? undefined
      : await openOtlpHttp({ ...shared, corsOrigins: options.corsOrigins ?? [], port: options.httpPort });
  const grpc: Receiver | undefined =
    options.grpcPort === null
      ? undefined
      : await openOtlpGrpc({ ...shared, port: options.grpcPort }).catch(async (error: unknown) => {
          await http?.close();
          throw error;
        });
  const loop = run();

  return {
    httpPort: http?.port ?? null,
    grpcPort: grpc?.port ?? null,
    counters: () =>
      counters.read({
        journalBytes: journal.bytes,
        journalMaxBytes: journal.maxBytes,
        backlogPayloads: durable - turn,
        duplicateSpans: dedupe.dropped,
      }),
    idle: () => {
      const until = durable;
      if (turn >= until) return Promise.resolve();
      return new Promise((resolve) => {
        idlers.push({ until, done: resolve });
        wake?.();
      });
    },
    close: async () => {
      isClosing = true;
      await Promise.all([http?.close(), grpc?.close()]);
      wake?.();
      await loop;
      await checkpoint();
    },
  };
}

/** Rows turned into operations at a time: about a millisecond of work with all detectors on. */
const rowsAtOnce = 256;
const longestTurnMs = 1.5;
/** Decoded payloads that wait for their turn; past it they are decoded again from the journal. */
const mostWaitingBytes = 64 * 1024 * 1024;
const mostSpareBatches = 64;
const largestSpareBytes = 4 * 1024 * 1024;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What a partial success says: spans that could not be taken, or a shape that nobody reads. */
function complaintsOf(batch: SpanBatch, payload: Payload, json: JsonDecoder): { readonly rejected: number; readonly message: string } {
  let rejected = 0;
  const reasons: string[] = [];
  for (const [reason, count] of batch.rejected) {
    rejected += count;
    reasons.push(
      `${count} with ${reason === 'bad-trace-id' ? 'a trace id that is not 16 bytes or is zero' : 'a span id that is not 8 bytes or is zero'}`,
    );
  }
  if (reasons.length > 0) {
    const hint = payload.encoding === 'json' ? '; OTLP/JSON writes ids in hexadecimal' : '';
    return { rejected, message: `rejected spans: ${reasons.join(', ')}${hint}` };
  }
  if (payload.encoding === 'json' && json.unknownField !== '') {
    return {
      rejected: 0,
      message: `unknown field "${json.unknownField}" was ignored; OTLP/JSON uses lowerCamelCase names of the OTLP protocol`,
    };
  }
  return { rejected: 0, message: '' };
}
