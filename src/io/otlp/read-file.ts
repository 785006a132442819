import { Failure } from '../../base/failure.ts';
import type { Operation } from '../../domain/operation.ts';
import { JsonDecoder } from '../../ingest/decode-otlp-json.ts';
import { ProtobufDecoder } from '../../ingest/decode-otlp-protobuf.ts';
import type { SpanDedupe } from '../../ingest/dedupe.ts';
import { type LogKey, LogKeys } from '../../ingest/log-keys.ts';
import { OperationReader } from '../../ingest/operation-from-span.ts';
import { SpanBatch } from '../../ingest/span-batch.ts';
import { badInput, FileBytes } from './file-bytes.ts';
import { jsonDocuments } from './json-documents.ts';
import { protobufMessages } from './protobuf-messages.ts';

export interface ReadOtlpFileOptions {
  /** Patterns by which texts of log records become operations. */
  readonly logKeys?: readonly LogKey[];
  /**
   * Hears of what cannot be read, as `file:line: why`; reading goes on behind it where that can be told. Without it the first one is thrown as
   * `Failure('bad-input')`.
   */
  readonly onProblem?: (sentence: string) => void;
  /** Hears how many bytes of the file have been read. */
  readonly onPosition?: (bytes: number) => void;
}

/**
 * Spans of an OTLP file in constant memory: JSON (one document, or JSON lines as the Collector's file exporter writes), or protobuf
 * (`.pb`: one request, or the Collector's frames with a four-byte length), each also gzipped. What it is is told by its first bytes,
 * not by its name. The batch is the same one each time, filled anew.
 */
export async function* readOtlpBatches(path: string, options: ReadOtlpFileOptions = {}): AsyncIterable<SpanBatch> {
  const bytes = new FileBytes(path);
  const batch = new SpanBatch();
  const tell = (sentence: string, cause?: unknown): void => {
    if (options.onProblem === undefined) throw badInput(sentence, cause);
    options.onProblem(sentence);
  };
  try {
    const first = await bytes.peek();
    if (first === undefined) throw badInput('the file is empty');
    if (isJsonStart(first, await bytes.peek(1))) {
      const decoder = new JsonDecoder(new LogKeys(options.logKeys));
      for await (const found of jsonDocuments(bytes, (text) => decoder.takeBytes(text, batch))) {
        options.onPosition?.(bytes.position);
        if (found.is === 'taken') {
          tellRejected(batch, `${path}:${found.line}`, '; OTLP/JSON writes ids in hexadecimal', tell);
          if (batch.count > 0) yield batch;
          continue;
        }
        const where = `${path}:${found.line}`;
        if (found.is === 'malformed') {
          tell(`${where}: ${found.what}`);
          continue;
        }
        const { document } = found;
        const decoded = decoder.decode(document, batch, isLogs(document) ? 'logs' : 'traces');
        if (decoded.is === 'decoded') tellRejected(batch, where, '; OTLP/JSON writes ids in hexadecimal', tell);
        if (decoded.is === 'malformed') tell(`${where}: ${decoded.what}`);
        else if (batch.count > 0) yield batch;
        else if (decoder.unknownField !== '' && !isOtherSignal(document))
          tell(`${where}: not OTLP/JSON: unknown field "${decoder.unknownField}"; expected {"resourceSpans": [...]}`);
      }
      return;
    }
    const decoder = new ProtobufDecoder();
    for await (const message of protobufMessages(bytes)) {
      options.onPosition?.(bytes.position);
      const decoded = decoder.decode(message.bytes, batch);
      if (decoded.is === 'decoded') tellRejected(batch, `${path}: byte ${message.at}`, '', tell);
      if (decoded.is === 'malformed') tell(`${path}: byte ${message.at}: not an OTLP trace request: ${decoded.what}`);
      else if (batch.count > 0) yield batch;
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    // Nothing more can be read of this file; what was read before stays.
    tell(error.message.startsWith(path) ? error.message : `${path}: ${error.message}`, error.cause);
  }
}

/** Spans without an id that can be read are left out, which is no reason to be silent: nothing can be found in what is not there. */
function tellRejected(batch: SpanBatch, where: string, hint: string, tell: (sentence: string) => void): void {
  for (const [reason, count] of batch.rejected) {
    const what = reason === 'bad-trace-id' ? 'a trace id that is not 16 bytes or is zero' : 'a span id that is not 8 bytes or is zero';
    tell(`${where}: ${count} ${count === 1 ? 'span' : 'spans'} with ${what}${hint}`);
  }
}

/** The same as operations; `dedupe` drops spans that were seen before, across all files that share it. */
export async function* readOtlpFile(
  path: string,
  options: ReadOtlpFileOptions & { readonly dedupe?: SpanDedupe } = {},
): AsyncIterable<readonly Operation[]> {
  const reader = new OperationReader();
  for await (const batch of readOtlpBatches(path, options)) {
    const operations = reader.read(batch, options.dedupe);
    if (operations.length > 0) yield operations;
  }
}

const isLogs = (document: unknown): boolean => typeof document === 'object' && document !== null && 'resourceLogs' in document;

/** Metrics in the same file are not traces, but not wrong either. */
const isOtherSignal = (document: unknown): boolean =>
  typeof document === 'object' &&
  document !== null &&
  ('resourceLogs' in document || 'resourceMetrics' in document || 'resourceProfiles' in document);

/** A protobuf request begins with 0x0a, which is also a line end: what follows tells. */
function isJsonStart(first: number, second: number | undefined): boolean {
  if (first === 0x0a) return second === 0x7b || second === 0x5b || second === 0x20 || second === 0x0a || second === 0x0d;
  return first === 0x7b || first === 0x5b || first === 0x20 || first === 0x0d || first === 0x09 || first === 0xef;
}
