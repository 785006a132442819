import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { Failure } from '../../base/failure.ts';
import type { Operation } from '../../domain/operation.ts';
import { JsonDecoder } from '../../ingest/decode-otlp-json.ts';
import { ProtobufDecoder } from '../../ingest/decode-otlp-protobuf.ts';
import type { SpanDedupe } from '../../ingest/dedupe.ts';
import { type LogKey, LogKeys } from '../../ingest/log-keys.ts';
import { OperationReader } from '../../ingest/operation-from-span.ts';
import { SpanBatch } from '../../ingest/span-batch.ts';

export interface ReadOtlpFileOptions {
  /** Drops spans that were seen before, across all files that share it. */
  readonly dedupe?: SpanDedupe;
  /** Patterns by which texts of log records become operations. */
  readonly logKeys?: readonly LogKey[];
}

/**
 * Operations of an OTLP file in constant memory: JSON (one document, or JSON lines as the Collector's file exporter writes), or protobuf
 * (`.pb`: one request, or the Collector's frames with a four-byte length), each also gzipped. What it is is told by its first bytes,
 * not by its name. Throws `Failure('bad-input')` with file and line (or byte) where it is not.
 */
export async function* readOtlpFile(path: string, options: ReadOtlpFileOptions = {}): AsyncIterable<readonly Operation[]> {
  const chunks = new ChunkReader(openBytes(path));
  const batch = new SpanBatch();
  const reader = new OperationReader();
  const first = await chunks.peek();
  if (first === undefined) throw bad(`${path} is empty`);
  const isJson =
    first === 0x7b ||
    first === 0x5b ||
    first === 0x20 ||
    first === 0x0d ||
    first === 0x09 ||
    first === 0xef ||
    (first === 0x0a && (await chunks.peek(1)) !== undefined && isJsonText(await chunks.peek(1)));
  if (isJson) {
    const decoder = new JsonDecoder(new LogKeys(options.logKeys));
    for await (const { document, line } of jsonDocuments(chunks, path)) {
      const decoded = decoder.decode(document, batch, isLogs(document) ? 'logs' : 'traces');
      if (decoded.is === 'malformed') throw bad(`${path}:${line}: ${decoded.what}`);
      if (batch.count === 0 && decoder.unknownField !== '' && !isOtherSignal(document)) {
        throw bad(`${path}:${line}: not OTLP/JSON: unknown field "${decoder.unknownField}"; expected {"resourceSpans": [...]}`);
      }
      const operations = reader.read(batch, options.dedupe);
      if (operations.length > 0) yield operations;
    }
    return;
  }
  const decoder = new ProtobufDecoder();
  for await (const { bytes, at } of protobufMessages(chunks, path)) {
    const decoded = decoder.decode(bytes, batch);
    if (decoded.is === 'malformed') throw bad(`${path}: byte ${at}: not an OTLP trace request: ${decoded.what}`);
    const operations = reader.read(batch, options.dedupe);
    if (operations.length > 0) yield operations;
  }
}

const bad = (message: string, cause?: unknown): Failure => new Failure('bad-input', message, 'never', cause);

const isLogs = (document: unknown): boolean => typeof document === 'object' && document !== null && 'resourceLogs' in document;

/** Metrics in the same file are not traces, but not wrong either. */
const isOtherSignal = (document: unknown): boolean =>
  typeof document === 'object' &&
  document !== null &&
  ('resourceLogs' in document || 'resourceMetrics' in document || 'resourceProfiles' in document);

const isJsonText = (byte: number | undefined): boolean => byte === 0x7b || byte === 0x5b || byte === 0x20 || byte === 0x0a || byte === 0x0d;

/** Bytes of the file, gunzipped where they begin like gzip. */
async function* openBytes(path: string): AsyncGenerator<Buffer> {
  try {
    const isGzip = await beginsLikeGzip(path);
    const file = createReadStream(path, { highWaterMark: 256 * 1024 });
    try {
      if (!isGzip) {
        yield* file as AsyncIterable<Buffer>;
        return;
      }
      const gunzip = createGunzip({ chunkSize: 256 * 1024 });
      file.on('error', (error) => gunzip.destroy(error));
      file.pipe(gunzip);
      yield* gunzip as AsyncIterable<Buffer>;
    } finally {
      file.destroy();
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'ENOENT') throw bad(`${path}: no such file`, error);
    if (code === 'EISDIR') throw bad(`${path} is a directory; name the files in it`, error);
    if (code === 'EACCES') throw bad(`${path}: permission denied`, error);
    if (code.startsWith('Z_')) throw bad(`${path}: the gzip data is damaged or cut off (${code})`, error);
    throw error;
  }
}

async function beginsLikeGzip(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(2), 0, 2, 0);
    return bytesRead === 2 && buffer[0] === 0x1f && buffer[1] === 0x8b;
  } finally {
    await file.close();
  }
}

/** Chunks with the first one at hand. */
class ChunkReader {
  readonly #source: AsyncIterator<Buffer>;
  #held: Buffer | undefined;

  constructor(source: AsyncGenerator<Buffer>) {
    this.#source = source;
  }

  /** Byte `index` of the first chunk. */
  async peek(index = 0): Promise<number | undefined> {
    this.#held ??= await this.next();
    return this.#held?.[index];
  }

  async next(): Promise<Buffer | undefined> {
    if (this.#held !== undefined) {
      const held = this.#held;
      this.#held = undefined;
      return held;
    }
    const step = await this.#source.next();
    return step.done === true ? undefined : step.value;
  }
}

/** A document larger than this would have to be held whole. The Collector's own lines are far below. */
const largestDocumentBytes = 256 * 1024 * 1024;

interface LineDocument {
  readonly document: unknown;
  readonly line: number;
}

/** JSON documents one after another, each on its line or spread over many; told apart line by line. */
async function* jsonDocuments(chunks: ChunkReader, path: string): AsyncGenerator<LineDocument> {
  let line = 0;
  let open: { parts: Buffer[]; line: number; bytes: number; scan: BraceScan } | undefined;
  for await (const raw of lines(chunks, path)) {
    line += 1;
    let text: Buffer = raw;
    if (line === 1 && text[0] === 0xef && text[1] === 0xbb && text[2] === 0xbf) text = text.subarray(3);
    if (open === undefined) {
      if (isBlank(text)) continue;
      const document = tryParse(text);
      if (document !== undefined) {
        yield { document: document.value, line };
        continue;
      }
      const scan = new BraceScan();
      if (scan.feed(text) <= 0) throw bad(`${path}:${line}: not JSON: ${whyNot(text)}`);
      open = { parts: [text], line, bytes: text.length, scan };
      continue;
    }
    open.parts.push(newline, text);
    open.bytes += text.length + 1;
    if (open.bytes > largestDocumentBytes) {
      throw bad(
        `${path}:${open.line}: the JSON value that begins here does not end within ${largestDocumentBytes / 1024 / 1024} MiB; write one request a line`,
      );
    }
    if (open.scan.feed(text) > 0) continue;
    const whole = Buffer.concat(open.parts);
    const document = tryParse(whole);
    if (document === undefined) throw bad(`${path}:${open.line}: not JSON: ${whyNot(whole)}`);
    yield { document: document.value, line: open.line };
    open = undefined;
  }
  if (open !== undefined) throw bad(`${path}:${open.line}: the file ends inside the JSON value that begins on this line`);
}

const newline: Buffer = Buffer.from('\n');

async function* lines(chunks: ChunkReader, path: string): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for (;;) {
    const chunk = await chunks.next();
    if (chunk === undefined) break;
    let from = 0;
    for (;;) {
      const at = chunk.indexOf(10, from);
      if (at < 0) break;
      const tail = chunk.subarray(from, at);
      yield rest.length === 0 ? tail : Buffer.concat([...rest, tail]);
      rest = [];
      restBytes = 0;
      from = at + 1;
    }
    if (from < chunk.length) {
      rest.push(chunk.subarray(from));
      restBytes += chunk.length - from;
      if (restBytes > largestDocumentBytes)
        throw bad(`${path}: a line is longer than ${largestDocumentBytes / 1024 / 1024} MiB; write one request a line`);
    }
  }
  if (rest.length > 0) yield Buffer.concat(rest);
}

function isBlank(text: Buffer): boolean {
  for (const byte of text) if (byte !== 0x20 && byte !== 0x0d && byte !== 0x09) return false;
  return true;
}

function tryParse(text: Buffer): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text.toString('utf8')) };
  } catch {
    return undefined;
  }
}

function whyNot(text: Buffer): string {
  try {
    JSON.parse(text.toString('utf8'));
    return 'it is';
  } catch (error) {
    return error instanceof Error ? error.message.slice(0, 200) : 'unreadable';
  }
}

/** Depth of braces and brackets outside strings, over several lines. */
class BraceScan {
  #depth = 0;
  #isInString = false;
  #isEscaped = false;

  /** Depth after `text`: 0 or less where a value has ended. */
  feed(text: Buffer): number {
    for (const byte of text) {
      if (this.#isInString) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (byte === 0x5c) this.#isEscaped = true;
        else if (byte === 0x22) this.#isInString = false;
      } else if (byte === 0x22) this.#isInString = true;
      else if (byte === 0x7b || byte === 0x5b) this.#depth += 1;
      else if (byte === 0x7d || byte === 0x5d) this.#depth -= 1;
    }
    return this.#depth;
  }
}

interface FileMessage {
  readonly bytes: Buffer;
  readonly at: number;
}

/** One `ResourceSpans` at a time as a request of its own; or one framed request at a time. */
async function* protobufMessages(chunks: ChunkReader, path: string): AsyncGenerator<FileMessage> {
  const first = await chunks.peek();
  const window = new ByteWindow(chunks);
  // A frame begins with the length in four bytes, high byte first; below 16 MiB that byte is 0, which no protobuf field begins with.
  const isFramed = first !== 0x0a;
  for (;;) {
    if (!(await window.fill(1))) return;
    const at = window.offset;
    if (isFramed) {
      if (!(await window.fill(4)))
        throw bad(`${path}: byte ${at}: not OTLP: neither JSON, nor a protobuf trace request, nor a frame of one`);
      const length = window.bytes.readUInt32BE(0);
      if (length > largestDocumentBytes)
        throw bad(`${path}: byte ${at}: not OTLP: neither JSON, nor a protobuf trace request, nor a frame of one`);
      if (!(await window.fill(4 + length))) throw bad(`${path}: byte ${at}: the file ends inside a frame of ${length} bytes`);
      yield { bytes: window.take(4 + length).subarray(4), at };
      continue;
    }
    await window.fill(11);
    const header = readHeader(window.bytes);
    if (header === undefined) throw bad(`${path}: byte ${at}: not an OTLP trace request`);
    const size = header.size;
    if (size > largestDocumentBytes || !(await window.fill(size)))
      throw bad(`${path}: byte ${at}: the file ends inside a field of ${size} bytes, or it is no OTLP trace request`);
    yield { bytes: window.take(size), at };
  }
}

/** Size of the length-delimited field that `bytes` begins with, header included. */
function readHeader(bytes: Buffer): { readonly size: number } | undefined {
  if (((bytes[0] ?? 0) & 7) !== 2) return undefined;
  let length = 0;
  for (let i = 0; i < 5; i += 1) {
    const byte = bytes[1 + i];
    if (byte === undefined) return undefined;
    length += (byte & 127) * 2 ** (7 * i);
    if (byte < 128) return { size: 2 + i + length };
  }
  return undefined;
}

/** The bytes at hand, refilled from chunks. */
class ByteWindow {
  bytes: Buffer = Buffer.alloc(0);
  offset = 0;
  readonly #chunks: ChunkReader;

  constructor(chunks: ChunkReader) {
    this.#chunks = chunks;
  }

  /** True where at least `count` bytes are at hand. */
  async fill(count: number): Promise<boolean> {
    if (this.bytes.length >= count) return true;
    const parts = [this.bytes];
    let have = this.bytes.length;
    while (have < count) {
      const chunk = await this.#chunks.next();
      if (chunk === undefined) break;
      parts.push(chunk);
      have += chunk.length;
    }
    this.bytes = Buffer.concat(parts);
    return have >= count;
  }

  take(count: number): Buffer {
    const taken = this.bytes.subarray(0, count);
    this.bytes = this.bytes.subarray(count);
    this.offset += count;
    return taken;
  }
}
