import { badInput, type FileBytes } from './file-bytes.ts';

/** A document larger than this would have to be held whole. The Collector's own lines are far below. */
export const largestDocumentBytes: number = 256 * 1024 * 1024;

/** A document with the line it begins on, or what is wrong with what begins there. */
export type LineDocument =
  | { readonly is: 'document'; readonly document: unknown; readonly line: number }
  | { readonly is: 'malformed'; readonly what: string; readonly line: number };

/**
 * JSON documents one after another, each on its line or spread over many; told apart line by line. A line that is no JSON is told as
 * malformed, and reading goes on with the next one; where a document is cut off, it goes on with the next line that is a request by itself.
 */
export async function* jsonDocuments(bytes: FileBytes): AsyncGenerator<LineDocument> {
  let line = 0;
  let open: { parts: Buffer[]; line: number; bytes: number; scan: BraceScan } | undefined;
  for await (const raw of lines(bytes)) {
    line += 1;
    let text: Buffer = raw;
    if (line === 1 && text[0] === 0xef && text[1] === 0xbb && text[2] === 0xbf) text = text.subarray(3);
    if (open !== undefined) {
      const request = text[0] === 0x7b ? wholeRequest(text) : undefined;
      if (request === undefined) {
        open.parts.push(newline, text);
        open.bytes += text.length + 1;
        if (open.bytes > largestDocumentBytes) {
          yield { is: 'malformed', what: `the JSON value that begins here does not end within ${tooLong}`, line: open.line };
          open = undefined;
        } else if (open.scan.feed(text) <= 0) {
          const whole = Buffer.concat(open.parts);
          const parsed = parse(whole);
          if (parsed.is === 'value') yield { is: 'document', document: parsed.value, line: open.line };
          else yield { is: 'malformed', what: `not JSON: ${parsed.why}`, line: open.line };
          open = undefined;
        }
        continue;
      }
      yield { is: 'malformed', what: `the JSON value that begins here is cut off before line ${line}`, line: open.line };
      open = undefined;
      yield { is: 'document', document: request, line };
      continue;
    }
    if (isBlank(text)) continue;
    const parsed = parse(text);
    if (parsed.is === 'value') {
      yield { is: 'document', document: parsed.value, line };
      continue;
    }
    const scan = new BraceScan();
    if (scan.feed(text) <= 0) yield { is: 'malformed', what: `not JSON: ${parsed.why}`, line };
    else open = { parts: [text], line, bytes: text.length, scan };
  }
  if (open !== undefined) yield { is: 'malformed', what: 'the file ends inside the JSON value that begins on this line', line: open.line };
}

const newline: Buffer = Buffer.from('\n');
const tooLong = `${largestDocumentBytes / 1024 / 1024} MiB; write one request a line`;

async function* lines(bytes: FileBytes): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for (;;) {
    const chunk = await bytes.next();
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
      if (restBytes > largestDocumentBytes) throw badInput(`a line is longer than ${tooLong}`);
    }
  }
  if (rest.length > 0) yield Buffer.concat(rest);
}

function isBlank(text: Buffer): boolean {
  for (const byte of text) if (byte !== 0x20 && byte !== 0x0d && byte !== 0x09) return false;
  return true;
}

function parse(text: Buffer): { readonly is: 'value'; readonly value: unknown } | { readonly is: 'error'; readonly why: string } {
  try {
    return { is: 'value', value: JSON.parse(text.toString('utf8')) };
  } catch (error) {
    return { is: 'error', why: error instanceof Error ? error.message.slice(0, 200) : 'unreadable' };
  }
}

/** A line that is a request by itself: a part of a larger document is not. */
function wholeRequest(text: Buffer): unknown {
  if (new BraceScan().feed(text) !== 0) return undefined;
  const parsed = parse(text);
  if (parsed.is === 'error' || typeof parsed.value !== 'object' || parsed.value === null) return undefined;
  return 'resourceSpans' in parsed.value || 'resourceLogs' in parsed.value || 'resourceMetrics' in parsed.value ? parsed.value : undefined;
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
