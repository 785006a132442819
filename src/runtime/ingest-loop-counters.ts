import type { RejectReason } from '../ingest/span-batch.ts';
import type { Payload, RefusedReason } from '../io/otlp/payload.ts';

/** Names as in `/metrics`, without the prefix; monotonic unless the name ends in `_now`. */
export interface IngestCounters {
  readonly payloads_accepted: number;
  readonly bytes_received: number;
  readonly spans_received: number;
  readonly spans_accepted: number;
  readonly spans_duplicate: number;
  readonly spans_processed: number;
  /** Numbers of stores' own metrics that bear on consistency; all others are passed over. */
  readonly measurements: number;
  readonly spans_decoded_again: number;
  readonly operations: number;
  readonly journal_bytes_now: number;
  readonly journal_max_bytes_now: number;
  readonly backlog_payloads_now: number;
  /** Age of the oldest payload whose operations are not all through the detectors, milliseconds; 0 where there is none. */
  readonly lag_ms_now: number;
  /** Requests refused, by reason. */
  readonly refused: Readonly<Record<string, number>>;
  /** Spans rejected out of requests that were taken, by reason. */
  readonly spans_rejected: Readonly<Record<string, number>>;
  /** Requests taken, by signal, encoding and compression: `traces protobuf gzip`. */
  readonly payloads_by_kind: Readonly<Record<string, number>>;
}

export interface IngestCounting {
  received(payload: Payload, spans: number): void;
  accept(payload: Payload, spans: number): void;
  readonly refuse: (reason: RefusedReason) => void;
  rejectSpans(reason: RejectReason, count: number): void;
  measured(count: number): void;
  processed(spans: number): void;
  redecoded(spans: number): void;
  read(now: {
    readonly journalBytes: number;
    readonly journalMaxBytes: number;
    readonly backlogPayloads: number;
    readonly lagMs: number;
    readonly duplicateSpans: number;
    readonly operations: number;
  }): IngestCounters;
}

export function createIngestCounters(): IngestCounting {
  let payloads = 0;
  let bytes = 0;
  let received = 0;
  let accepted = 0;
  let processed = 0;
  let redecoded = 0;
  let measured = 0;
  const refused: Record<string, number> = {};
  const rejected: Record<string, number> = {};
  const kinds: Record<string, number> = {};
  return {
    received: (payload, spans) => {
      bytes += payload.bytes.length;
      received += spans;
      const kind = `${payload.signal} ${payload.encoding} ${payload.compression}`;
      kinds[kind] = (kinds[kind] ?? 0) + 1;
    },
    accept: (_payload, spans) => {
      payloads += 1;
      accepted += spans;
    },
    refuse: (reason) => {
      refused[reason] = (refused[reason] ?? 0) + 1;
    },
    rejectSpans: (reason, count) => {
      rejected[reason] = (rejected[reason] ?? 0) + count;
    },
    measured: (count) => {
      measured += count;
    },
    processed: (spans) => {
      processed += spans;
    },
    redecoded: (spans) => {
      redecoded += spans;
    },
    read: (now) => ({
      payloads_accepted: payloads,
      bytes_received: bytes,
      spans_received: received,
      spans_accepted: accepted,
      spans_duplicate: now.duplicateSpans,
      spans_processed: processed,
      measurements: measured,
      spans_decoded_again: redecoded,
      operations: now.operations,
      journal_bytes_now: now.journalBytes,
      journal_max_bytes_now: now.journalMaxBytes,
      backlog_payloads_now: now.backlogPayloads,
      lag_ms_now: now.lagMs,
      refused: { ...refused },
      spans_rejected: { ...rejected },
      payloads_by_kind: { ...kinds },
    }),
  };
}
