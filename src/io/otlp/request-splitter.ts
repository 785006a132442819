import { badInput } from './file-bytes.ts';

/** Spans of a document are given out when they have come to this. */
const defaultPartBytes = 1024 * 1024;
/** A span, or what stands before the spans of a scope, that is larger than this would be held whole. */
const heldBytesMax = 64 * 1024 * 1024;

/** The lists on the way to what is many: their fields stand at depths 1, 3 and 5, and an item of the last at depth 7. */
const paths: readonly (readonly [string, string, string])[] = [
  ['resourceSpans', 'scopeSpans', 'spans'],
  ['resourceLogs', 'scopeLogs', 'logRecords'],
];
const longestName = 24;

const quote = 0x22;
const backslash = 0x5c;
const isStructure: Uint8Array = new Uint8Array(256);
for (const byte of Buffer.from('"{}[],:\n')) isStructure[byte] = 1;

/**
 * Cuts one JSON request of any size into requests of some 1 MB, while its bytes come: each has the resource and the scope of its spans, and
 * some of these. What follows the spans in their scope or resource is left out: nothing there is read. Only the brackets are looked at; whether
 * a part is JSON its reader says.
 */
export class RequestSplitter {
  /** The document has ended; `endedAt` in the last bytes given. */
  isDone = false;
  endedAt = 0;
  /** Line ends passed. */
  lines = 0;
  parts = 0;
  /** Something that cannot be told any more: spans went out without their resource. */
  complaint = '';
  #depth = 0;
  #isInString = false;
  #isEscaped = false;
  /** The name of the field at hand at each depth where one matters, and the bytes of the last string. */
  readonly #names: string[] = ['', '', '', '', '', '', ''];
  readonly #name: Buffer = Buffer.alloc(longestName);
  #nameLength = 0;
  #resourceHead: Buffer | undefined;
  #scopeHead: Buffer | undefined;
  #hasGivenOfResource = false;
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** Where in the bytes at hand that begins which is kept; -1: nothing is kept. */
  #from = -1;
  readonly #partBytes: number;

  constructor(partBytes: number = defaultPartBytes) {
    this.#partBytes = partBytes;
  }

  /** The requests that end in `bytes`, which follow those before. */
  *feed(bytes: Buffer): Generator<Buffer> {
    if (this.#from >= 0) this.#from = 0;
    let at = this.#isInString ? this.#endOfString(bytes, 0) : 0;
    while (at < bytes.length) {
      if (this.#depth >= 7) at = this.#endOfItem(bytes, at);
      if (at === bytes.length) break;
      const byte = bytes[at] as number;
      at += 1;
      if (isStructure[byte] === 0) continue;
      if (byte === quote) {
        this.#isInString = true;
        this.#nameLength = 0;
        at = this.#endOfString(bytes, at);
      } else if (byte === 0x3a) {
        if (this.#depth < 6) this.#nameAt(this.#depth);
      } else if (byte === 0x7b || byte === 0x5b) this.#opens(bytes, at - 1, byte === 0x7b);
      else if (byte === 0x7d || byte === 0x5d) {
        const part = this.#closes(bytes, at - 1);
        if (part !== undefined) {
          this.parts += 1;
          yield part;
        }
        if (this.#depth === 0) {
          this.isDone = true;
          this.endedAt = at;
          return;
        }
      } else if (byte === 0x0a) this.lines += 1;
    }
    if (this.#from < 0) return;
    this.#held.push(bytes.subarray(this.#from));
    this.#heldBytes += bytes.length - this.#from;
    if (this.#heldBytes > heldBytesMax)
      throw badInput(`a span, or what stands before spans, is larger than ${heldBytesMax / 1024 / 1024} MiB`);
  }

  /** Within a span, or a log record, nothing matters but its end: the bracket that closes it, or the end of the bytes. */
  #endOfItem(bytes: Buffer, from: number): number {
    const length = bytes.length;
    let depth = this.#depth;
    let lines = 0;
    let at = from;
    scan: while (at < length) {
      switch (bytes[at] as number) {
        case quote:
          at += 1;
          while (at < length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1;
          if (at >= length) {
            this.#isInString = true;
            this.#isEscaped = at > length;
            at = length;
            break scan;
          }
          break;
        case 0x7b:
        case 0x5b:
          depth += 1;
          break;
        case 0x7d:
        case 0x5d:
          if (depth === 7) break scan;
          depth -= 1;
          break;
        case 0x0a:
          lines += 1;
          break;
      }
      at += 1;
    }
    this.#depth = depth;
    this.lines += lines;
    return at;
  }

  /** Behind the quote that ends the string at hand, or at the end of the bytes where it goes on. */
  #endOfString(bytes: Buffer, from: number): number {
    const isName = this.#depth < 6;
    let isEscaped = this.#isEscaped;
    let at = from;
    for (; at < bytes.length; at += 1) {
      const byte = bytes[at] as number;
      if (isEscaped) isEscaped = false;
      else if (byte === backslash) isEscaped = true;
      else if (byte === quote) {
        this.#isInString = false;
        this.#isEscaped = false;
        return at + 1;
      }
      if (isName && this.#nameLength < longestName) this.#name[this.#nameLength++] = byte;
    }
    this.#isEscaped = isEscaped;
    return at;
  }

  #nameAt(depth: number): void {
    const name = this.#name.toString('latin1', 0, this.#nameLength);
    this.#names[depth] = name;
    if (depth === 3 && name === 'resource' && this.#hasGivenOfResource)
      this.complaint = 'its resource comes after its spans, too far behind to be held: these were read without it';
  }

  #path(): readonly [string, string, string] | undefined {
    return paths.find(([resources]) => resources === this.#names[1]);
  }

  #opens(bytes: Buffer, at: number, isObject: boolean): void {
    this.#depth += 1;
    const path = this.#path();
    if (path === undefined) return;
    if (this.#depth === 3 && isObject) {
      this.#resourceHead = undefined;
      this.#hasGivenOfResource = false;
      this.#keepFrom(at);
    } else if (this.#depth === 4 && !isObject && this.#names[3] === path[1]) {
      this.#resourceHead = this.#take(bytes, at + 1);
    } else if (this.#depth === 5 && isObject && this.#resourceHead !== undefined && this.#names[3] === path[1]) {
      this.#scopeHead = undefined;
      this.#keepFrom(at);
    } else if (this.#depth === 6 && !isObject && this.#resourceHead !== undefined && this.#names[3] === path[1]) {
      if (this.#names[5] !== path[2]) return;
      this.#scopeHead = this.#take(bytes, at + 1);
    } else if (this.#depth === 7 && this.#scopeHead !== undefined && this.#from < 0) this.#keepFrom(at);
  }

  #closes(bytes: Buffer, at: number): Buffer | undefined {
    this.#depth -= 1;
    if (this.#depth > 6) return undefined;
    const size = this.#heldBytes + at + 1 - Math.max(0, this.#from);
    if (this.#depth === 6 && this.#scopeHead !== undefined)
      return size < this.#partBytes ? undefined : this.#part(this.#take(bytes, at + 1));
    if (this.#depth === 5 && this.#scopeHead !== undefined) {
      const part = this.#from < 0 ? undefined : this.#part(this.#take(bytes, at));
      this.#scopeHead = undefined;
      return part;
    }
    // What was kept of a scope or a resource without spans.
    if (this.#depth === 2 || (this.#depth === 4 && this.#names[3] === this.#path()?.[1])) this.#drop();
    return undefined;
  }

  #part(items: Buffer): Buffer {
    this.#hasGivenOfResource = true;
    const head = Buffer.from(`{"${this.#names[1]}":[`);
    return Buffer.concat([head, this.#resourceHead ?? nothing, this.#scopeHead ?? nothing, items, Buffer.from(']}]}]}')]);
  }

  #keepFrom(at: number): void {
    this.#drop();
    this.#from = at;
  }

  #take(bytes: Buffer, end: number): Buffer {
    const taken = this.#from < 0 ? nothing : Buffer.concat([...this.#held, bytes.subarray(this.#from, end)]);
    this.#drop();
    return taken;
  }

  #drop(): void {
    this.#held = [];
    this.#heldBytes = 0;
    this.#from = -1;
  }
}

const nothing: Buffer = Buffer.alloc(0);
