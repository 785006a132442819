import { gunzipSync } from 'node:zlib';
import type { Clock } from '../base/clock.ts';
import type { Measurement } from '../domain/measurement.ts';
import type { Operation } from '../domain/operation.ts';
import { BatchRecordReader, BatchRecordWriter } from '../ingest/batch-record.ts';
import { JsonDecoder } from '../ingest/decode-otlp-json.ts';
import { LogsDecoder } from '../ingest/decode-otlp-logs.ts';
import { MetricsDecoder } from '../ingest/decode-otlp-metrics.ts';
import { type Decoded, ProtobufDecoder } from '../ingest/decode-otlp-protobuf.ts';
import { type LogKey, LogKeys } from '../ingest/log-keys.ts';
import type { PackedBatch } from '../ingest/packed-batch.ts';
import type { Place } from '../ingest/packed-regions.ts';
import { SpanBatch } from '../ingest/span-batch.ts';
import type { Appended, Journal } from '../io/journal/journal.ts';
import { BodyBuffers } from '../io/otlp/body-buffers.ts';
import { openOtlpGrpc } from '../io/otlp/grpc.ts';
import { openOtlpHttp } from '../io/otlp/http.ts';
import { largestBodyBytes, type Payload, type Receipt, type Receiver } from '../io/otlp/payload.ts';
import type { BatchConsumer } from './batch-consumer.ts';
import { createIngestCounters, type IngestCounters } from './ingest-loop-counters.ts';
import { createInlineConsumer } from './inline-consumer.ts';
import { Retention } from './retention.ts';
import { giveBack, isInSlab, SharedSlabs } from './shared-slabs.ts';

export interface IngestOptions {
  readonly host: string;
  /** null: not opened; 0: any free port. */
  readonly httpPort: number | null;
  readonly grpcPort: number | null;
  readonly journal: Journal;
  readonly clock: Clock;
  /**
   * Takes decoded payloads in the order in which they were acknowledged. The journal keeps a payload until the consumer says that it is
   * settled and `replayWindowMs` more have passed, so what a crash takes from the consumer's memory comes again.
   */
  readonly consumer?: BatchConsumer;
  /** Without a consumer: takes operations on this thread, awaited, never called concurrently; settled once it returns. */
  readonly onOperations?: ((operations: readonly Operation[]) => void | Promise<void>) | undefined;
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
  /** What exporters have to bring. */
  readonly asks: { readonly tls: boolean; readonly token: boolean };
  readonly counters: () => IngestCounters;
  /** Resolves once everything that was acknowledged before the call has been through `onOperations`. */
  idle(): Promise<void>;
  /** Refuses new payloads, answers what is in flight, processes what is acknowledged, checkpoints. Does not close the journal. */
  close(): Promise<void>;
}

/**
 * receiver -> decode -> journal -> acknowledge, and behind it -> consumer -> checkpoint.
 *
 * A payload is decoded before it is acknowledged, because what is malformed must be refused; its columns wait in memory for their turn,
 * packed and within a bound. Past the bound only the journal has the payload, and it is read again when its turn comes: a slow consumer
 * costs time, not memory. A journal that is full answers 503. The journal gets the columns, a thirteenth of the bytes, or the bytes as
 * they came where those are fewer, as compressed ones may be.
 */
export async function startIngest(options: IngestOptions): Promise<Ingest> {
  const { journal, clock } = options;
  const largest = options.largestBodyBytes ?? largestBodyBytes;
  const retention = new Retention({
    first: journal.first,
    windowMs: options.replayWindowMs ?? defaultReplayWindowMs,
    mostBytes: options.replayBytes ?? journal.maxBytes / 4,
  });
  const counters = createIngestCounters();
  const inline = createInlineConsumer({ ...options, onOperations: options.onOperations ?? (() => undefined) });
  const consumer: BatchConsumer = options.consumer ?? inline;
  const logKeys = new LogKeys(options.logKeys);
  const decoders = {
    protobuf: new ProtobufDecoder(),
    json: new JsonDecoder(logKeys),
    logs: new LogsDecoder(logKeys),
    metrics: new MetricsDecoder(),
  };
  /** Filled and packed within one turn of the event loop, so one is enough. */
  const batch = new SpanBatch();
  const slabs = new SharedSlabs(mostSlabBytes);
  const records = { writer: new BatchRecordWriter(), reader: new BatchRecordReader(), buffers: new BodyBuffers() };
  const placeOf = (bytes: number): Place => slabs.take(bytes) ?? { buffer: new ArrayBuffer(bytes), offset: 0 };
  const waiting = new Map<number, Held>();
  /** The next sequence that the consumer gets. */
  let turn = journal.first;
  let durable = journal.next;
  let journalFailedMs = Number.NEGATIVE_INFINITY;
  let isClosing = false;
  let wake: (() => void) | undefined;
  let idlers: { readonly until: number; readonly done: () => void }[] = [];

  const decode = (signal: Payload['signal'], encoding: Payload['encoding'], body: Buffer): Decoded => {
    if (encoding === 'json') return decoders.json.decodeBytes(body, batch, signal);
    switch (signal) {
      case 'traces':
        return decoders.protobuf.read(body, batch);
      case 'logs':
        return decoders.logs.decode(body, batch);
      case 'metrics':
        return decoders.metrics.decode(body, batch);
    }
  };

  /** A disk that takes nothing is not asked for every request: the exporter is told to wait, whoever runs us is told once a while. */
  const append = async (payload: Payload, columns: Buffer | undefined): Promise<Appended | { readonly is: 'failed' }> => {
    if (clock.monotonicMs() - journalFailedMs < journalRestMs) return { is: 'failed' };
    const receivedAtMs = clock.nowMs();
    try {
      const { signal, encoding, compression, bytes } = payload;
      return columns === undefined
        ? await journal.append({ signal, encoding, compression, receivedAtMs, bytes })
        : await journal.append({ signal, encoding: 'columns', compression: 'none', receivedAtMs, bytes: columns });
    } catch (error) {
      if (clock.monotonicMs() - journalFailedMs > journalRestMs) options.onFailure(error);
      journalFailedMs = clock.monotonicMs();
      return { is: 'failed' };
    }
  };

  const onPayload = async (payload: Payload): Promise<Receipt> => {
    if (isClosing) return { is: 'busy', message: 'shutting down', retryAfterS: 5 };
    const decoded = decode(payload.signal, payload.encoding, payload.body);
    if (decoded.is === 'malformed') return { is: 'malformed', message: decoded.what };
    counters.received(payload, batch.count);
    const { rejected, message } = complaintsOf(batch, payload, decoders.json);
    for (const [reason, count] of batch.rejected) counters.rejectSpans(reason, count);
    // Nothing to keep: an empty request, one of which everything was rejected, or one that says nothing about state.
    if (batch.count === 0 && batch.measurements.length === 0) return { is: 'accepted', rejected, message };
    counters.measured(batch.measurements.length);
    const spans = batch.count;
    const { strings, measurements } = batch;
    const packed = records.writer.pack(batch, placeOf);
    const record = packed && records.writer.write(packed, strings, payload.bytes.length, (bytes) => records.buffers.take(bytes));
    const appended = await append(payload, record);
    // Refused, it may still be somewhere: then it is left to the collector.
    if (record !== undefined && appended.is === 'durable') records.buffers.giveBack(record);
    if (appended.is !== 'durable') {
      if (packed !== undefined) giveBack(packed);
      const why = appended.is === 'failed' ? 'cannot be written' : `is full (${journal.maxBytes} bytes wait to be processed)`;
      return { is: 'busy', message: `the journal ${why}`, retryAfterS: 5 };
    }
    counters.accept(payload, spans);
    // What found no room beside the others that wait is read again when its turn comes.
    if (packed === undefined || isInSlab(packed)) waiting.set(appended.sequence, { packed, strings, measurements });
    durable = Math.max(durable, appended.sequence + 1);
    wake?.();
    return { is: 'accepted', rejected, message };
  };

  const decodeAgain = (sequence: number): Held | undefined => {
    try {
      const record = journal.read(sequence);
      if (record === undefined) return undefined;
      if (record.encoding === 'columns') records.reader.read(record.bytes, batch);
      else {
        const body = record.compression === 'gzip' ? gunzipSync(record.bytes, { maxOutputLength: largest }) : record.bytes;
        const decoded = decode(record.signal, record.encoding, body);
        if (decoded.is === 'malformed') throw new Error(decoded.what);
      }
      counters.redecoded(batch.count);
      const { strings, measurements } = batch;
      return { packed: records.writer.pack(batch, placeOf), strings, measurements };
    } catch (error) {
      // It was decoded once before it was acknowledged, so only a damaged disk comes here; the rest of the journal is still good.
      options.onFailure(new Error(`journal record ${sequence} cannot be read and is skipped`, { cause: error }));
      return undefined;
    }
  };

  const handOver = (): void => {
    const held = waiting.get(turn);
    if (held !== undefined) waiting.delete(turn);
    const next = held ?? decodeAgain(turn);
    counters.processed(next?.packed?.rows ?? 0);
    consumer.take(turn, next?.packed, next?.strings ?? []);
    if (next !== undefined && next.measurements.length > 0) options.onMeasurements?.(next.measurements);
    turn += 1;
  };

  consumer.onLost(() => {
    // What the consumer held and remembered is gone with it, and is not given back; all that the journal has comes again, as after a start.
    slabs.abandon();
    turn = journal.first;
    wake?.();
  });

  const checkpoint = async (): Promise<void> => {
    retention.settle(Math.min(consumer.settled, turn), clock.monotonicMs(), (from, to) => journal.bytesBetween(from, to));
    const upTo = retention.due(clock.monotonicMs());
    if (upTo === undefined) return;
    await journal.release(upTo);
    retention.released(upTo);
  };

  const run = async (): Promise<void> => {
    let checkpointMs = clock.monotonicMs();
    for (;;) {
      if (turn >= durable) {
        for (const idler of idlers) if (idler.until <= turn) idler.done();
        idlers = idlers.filter((idler) => idler.until > turn);
        if (isClosing) return;
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, checkpointEveryMs);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
        wake = undefined;
      }
      try {
        if (turn < durable) {
          await consumer.room();
          const wasHeld = waiting.has(turn);
          handOver();
          // Decoding again is work of this thread: whoever is being received goes first.
          if (!wasHeld) await new Promise<void>((resolve) => setImmediate(resolve));
        }
        if (clock.monotonicMs() - checkpointMs > checkpointEveryMs) {
          checkpointMs = clock.monotonicMs();
          await checkpoint();
        }
      } catch (error) {
        options.onFailure(error);
        if (isClosing) return;
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
    }
  };

  const lagMs = (): number => {
    const oldestMs = consumer.settled < durable ? journal.receivedAtMs(consumer.settled) : 0;
    return oldestMs === 0 ? 0 : Math.max(0, clock.nowMs() - oldestMs);
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
    asks: { tls: options.tls !== undefined, token: options.token !== undefined },
    counters: () =>
      counters.read({
        journalBytes: journal.bytes,
        journalMaxBytes: journal.maxBytes,
        backlogPayloads: durable - turn,
        lagMs: lagMs(),
        duplicateSpans: consumer.duplicateSpans,
        operations: consumer.operations,
      }),
    idle: async () => {
      const until = durable;
      if (turn < until) {
        await new Promise<void>((resolve) => {
          idlers.push({ until, done: resolve });
          wake?.();
        });
      }
      await consumer.idle();
    },
    close: async () => {
      isClosing = true;
      await Promise.all([http?.close(), grpc?.close()]);
      wake?.();
      const inlineDone = inline.close();
      await loop;
      await inlineDone;
      await consumer.idle();
      await checkpoint();
    },
  };
}

/**
 * How much of the past detectors see again after a crash, beyond what was still waiting: their deadlines (30 s for an orphaned message or
 * an open saga, a minute for an object that a notification announced) with a margin. Findings about longer stretches start anew.
 */
const defaultReplayWindowMs = 120_000;
const checkpointEveryMs = 500;
const journalRestMs = 1_000;
/** Decoded payloads that wait for their turn or travel; past it they are decoded again from the journal. */
const mostSlabBytes = 48 * 1024 * 1024;

/** A decoded payload, as small as it can wait. */
interface Held {
  readonly packed: PackedBatch | undefined;
  readonly strings: readonly string[];
  readonly measurements: readonly Measurement[];
}

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
