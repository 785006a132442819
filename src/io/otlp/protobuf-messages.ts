import { badInput, type FileBytes } from './file-bytes.ts';
import { largestMessageBytes } from './json-documents.ts';

export interface FileMessage {
  readonly bytes: Buffer;
  readonly at: number;
}

/**
 * One `ResourceSpans` at a time as a request of its own; or one framed request at a time. Throws `Failure('bad-input')` where no next message
 * can be told: unlike lines, nothing says where the one after it begins.
 */
export async function* protobufMessages(bytes: FileBytes): AsyncGenerator<FileMessage> {
  const first = await bytes.peek();
  const window = new ByteWindow(bytes);
  // A frame begins with the length in four bytes, high byte first; below 16 MiB that byte is 0, which no protobuf field begins with.
  const isFramed = first !== 0x0a;
  for (;;) {
    if (!(await window.fill(1))) return;
    const at = window.offset;
    if (isFramed) {
      const notOtlp = `byte ${at}: not OTLP: neither JSON, nor a protobuf trace request, nor a frame of one`;
      if (!(await window.fill(4))) throw badInput(notOtlp);
      const length = window.bytes.readUInt32BE(0);
      if (length > largestMessageBytes) throw badInput(notOtlp);
      if (!(await window.fill(4 + length))) throw badInput(`byte ${at}: the file ends inside a frame of ${length} bytes`);
      yield { bytes: window.take(4 + length).subarray(4), at };
      continue;
    }
    await window.fill(11);
    const header = readHeader(window.bytes);
    if (header === undefined) throw badInput(`byte ${at}: not an OTLP trace request`);
    const size = header.size;
    if (size > largestMessageBytes || !(await window.fill(size)))
      throw badInput(`byte ${at}: the file ends inside a field of ${size} bytes, or it is no OTLP trace request`);
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
  readonly #chunks: FileBytes;

  constructor(chunks: FileBytes) {
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
