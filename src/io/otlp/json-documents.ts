import { parseOtlpJson } from '../../ingest/parse-json.ts';
import type { FileBytes } from './file-bytes.ts';
import { RequestSplitter } from './request-splitter.ts';

/** What of a protobuf file must be held whole. */
export const largestMessageBytes: number = 256 * 1024 * 1024;

/** A document larger than this is cut into requests of a part of its spans each, while it is read. The Collector's own lines are far below. */
const largestWholeBytes = 8 * 1024 * 1024;

/** A document with the line it begins on (`taken`: by who was asked first), or what is wrong with what begins there. */
export type LineDocument =
  | { readonly is: 'taken'; readonly line: number }
  | { readonly is: 'document'; readonly document: unknown; readonly line: number }
  | { readonly is: 'malformed'; readonly what: string; readonly line: number };

/**
 * JSON documents one after another, each on its line or spread over many; told apart line by line. A line that is no JSON is told as
 * malformed, and reading goes on with the next one; where a document is cut off, it goes on with the next line that is a request by itself.
 * Each whole text is first offered to `take`, which may read it faster than `JSON.parse`; what it refuses is parsed.
 */
export async function* jsonDocuments(bytes: FileBytes, take: (text: Buffer) => boolean): AsyncGenerator<LineDocument> {
  const lines = new LineReader(bytes);
  const read = (text: Buffer, line: number): LineDocument => {
    if (take(text)) return { is: 'taken', line };
    const parsed = parse(text);
    return parsed.is === 'value'
      ? { is: 'document', document: parsed.value, line }
      : { is: 'malformed', what: `not JSON: ${parsed.why}`, line };
  };
  let open: { parts: Buffer[]; line: number; bytes: number; scan: BraceScan } | undefined;
  for (;;) {
    const found = await lines.next();
    if (found === undefined) break;
    const { line } = lines;
    let { text } = found;
    if (line === 1 && text[0] === 0xef && text[1] === 0xbb && text[2] === 0xbf) text = text.subarray(3);
    if (open !== undefined) {
      const request: LineDocument | undefined = text[0] === 0x7b && found.isWhole ? wholeRequest(text, line, take) : undefined;
      if (request === undefined) {
        open.parts.push(newline, text);
        open.bytes += text.length + 1;
        if (!found.isWhole || open.bytes > largestWholeBytes) {
          yield* cutUp(found.isWhole ? [...open.parts, newline] : open.parts, open.line, lines, read);
          open = undefined;
        } else if (open.scan.feed(text) <= 0) {
          yield read(Buffer.concat(open.parts), open.line);
          open = undefined;
        }
        continue;
      }
      yield { is: 'malformed', what: `the JSON value that begins here is cut off before line ${line}`, line: open.line };
      open = undefined;
      yield request;
      continue;
    }
    if (!found.isWhole) {
      yield* cutUp([text], line, lines, read);
      continue;
    }
    if (isBlank(text)) continue;
    const document = read(text, line);
    if (document.is !== 'malformed') {
      yield document;
      continue;
    }
    const scan = new BraceScan();
    if (scan.feed(text) <= 0) yield document;
    else open = { parts: [text], line, bytes: text.length, scan };
  }
  if (open !== undefined) yield { is: 'malformed', what: 'the file ends inside the JSON value that begins on this line', line: open.line };
}

const newline: Buffer = Buffer.from('\n');

/** The parts of the large document that begins with `begun`, of which the rest is still in `lines`. */
async function* cutUp(
  begun: readonly Buffer[],
  line: number,
  lines: LineReader,
  read: (text: Buffer, line: number) => LineDocument,
): AsyncGenerator<LineDocument> {
  const splitter = new RequestSplitter();
  const waiting = [...begun];
  while (!splitter.isDone) {
    const text = waiting.shift() ?? (await lines.nextBytes());
    if (text === undefined) {
      yield { is: 'malformed', what: 'the file ends inside the JSON value that begins on this line', line };
      break;
    }
    for (const part of splitter.feed(text)) yield read(part, line);
    if (splitter.isDone) lines.putBack(Buffer.concat([text.subarray(splitter.endedAt), ...waiting]));
  }
  lines.line = line + splitter.lines;
  if (splitter.complaint !== '') yield { is: 'malformed', what: splitter.complaint, line };
  if (splitter.parts === 0 && splitter.isDone)
    yield { is: 'malformed', what: 'the JSON value that begins here is larger than 8 MiB and holds no resourceSpans', line };
}

/** Lines of a file, their numbers counted. */
class LineReader {
  /** Number of the line given last. */
  line = 0;
  readonly #bytes: FileBytes;
  #chunk: Buffer = Buffer.alloc(0);
  #isInLine = false;

  constructor(bytes: FileBytes) {
    this.#bytes = bytes;
  }

  /** The next line; or what has come of one that is too large to be held whole (`isWhole` false), whose rest `nextBytes` gives. */
  async next(): Promise<{ readonly text: Buffer; readonly isWhole: boolean } | undefined> {
    const parts: Buffer[] = [];
    let held = 0;
    if (!this.#isInLine) this.line += 1;
    this.#isInLine = false;
    for (;;) {
      const at = this.#chunk.indexOf(10);
      if (at >= 0) {
        const tail = this.#chunk.subarray(0, at);
        this.#chunk = this.#chunk.subarray(at + 1);
        return { text: parts.length === 0 ? tail : Buffer.concat([...parts, tail]), isWhole: true };
      }
      if (this.#chunk.length > 0) parts.push(this.#chunk);
      held += this.#chunk.length;
      this.#chunk = Buffer.alloc(0);
      if (held > largestWholeBytes) return { text: Buffer.concat(parts), isWhole: false };
      const chunk = await this.#bytes.next();
      if (chunk === undefined) return held === 0 ? undefined : { text: Buffer.concat(parts), isWhole: true };
      this.#chunk = chunk;
    }
  }

  /** What follows, as it comes. */
  async nextBytes(): Promise<Buffer | undefined> {
    const chunk = this.#chunk.length > 0 ? this.#chunk : await this.#bytes.next();
    this.#chunk = Buffer.alloc(0);
    return chunk;
  }

  /** Bytes that were taken and not needed: they are the rest of the line at hand. */
  putBack(bytes: Buffer): void {
    this.#chunk = Buffer.concat([bytes, this.#chunk]);
    this.#isInLine = true;
  }
}

function isBlank(text: Buffer): boolean {
  for (const byte of text) if (byte !== 0x20 && byte !== 0x0d && byte !== 0x09) return false;
  return true;
}

function parse(text: Buffer): { readonly is: 'value'; readonly value: unknown } | { readonly is: 'error'; readonly why: string } {
  try {
    return { is: 'value', value: parseOtlpJson(text.toString('utf8')) };
  } catch (error) {
    return { is: 'error', why: error instanceof Error ? error.message.slice(0, 200) : 'unreadable' };
  }
}

/** A line that is a request by itself: a part of a larger document is not. */
function wholeRequest(text: Buffer, line: number, take: (text: Buffer) => boolean): LineDocument | undefined {
  if (new BraceScan().feed(text) !== 0) return undefined;
  const parsed = parse(text);
  if (parsed.is === 'error' || typeof parsed.value !== 'object' || parsed.value === null) return undefined;
  if (!('resourceSpans' in parsed.value || 'resourceLogs' in parsed.value || 'resourceMetrics' in parsed.value)) return undefined;
  return take(text) ? { is: 'taken', line } : { is: 'document', document: parsed.value, line };
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
