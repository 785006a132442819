const chunkBytes = 1 << 20;
/** Bytes before a text: its length, and whether a character takes two bytes. */
const headerBytes = 4;

interface Chunk {
  bytes: Buffer<ArrayBuffer>;
  live: number;
}

/**
 * Texts that are kept for a while by the hundred thousand, and rarely read: outside of V8's heap, where each would take 24 bytes more, be
 * copied as it ages and marked at each collection. A text is known by a number below 2^32, 0 for the empty one. They lie one behind the
 * other in chunks of a megabyte; a chunk is used again once none of its texts is wanted, so texts of one time should go at one time.
 */
export class Texts {
  readonly #chunks: Chunk[] = [];
  readonly #free: number[] = [];
  #current = -1;
  #at = chunkBytes;

  /** Bytes held. */
  get bytes(): number {
    return this.#chunks.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  add(text: string): number {
    if (text === '') return 0;
    const wide = isWide(text) ? 1 : 0;
    const bytes = headerBytes + (text.length << wide);
    if (bytes > chunkBytes - headerBytes) return this.#write(text, wide, this.#open(headerBytes + bytes), headerBytes);
    if (this.#at + bytes > chunkBytes) {
      this.#letGo(this.#current);
      this.#current = this.#open(chunkBytes);
      // No text has the number 0.
      this.#at = headerBytes;
    }
    const at = this.#at;
    this.#at += bytes;
    return this.#write(text, wide, this.#current, at);
  }

  read(number: number): string {
    if (number === 0) return '';
    const { bytes } = this.#chunks[Math.floor(number / chunkBytes)] as Chunk;
    const at = number % chunkBytes;
    const header = bytes.readUInt32LE(at);
    const from = at + headerBytes;
    const length = header >>> 1;
    return (header & 1) === 0 ? bytes.toString('latin1', from, from + length) : bytes.toString('utf16le', from, from + length * 2);
  }

  /** The number is not to be used any more. */
  remove(number: number): void {
    if (number === 0) return;
    const nth = Math.floor(number / chunkBytes);
    (this.#chunks[nth] as Chunk).live -= 1;
    if (nth !== this.#current) this.#letGo(nth);
  }

  #write(text: string, wide: number, nth: number, at: number): number {
    const chunk = this.#chunks[nth] as Chunk;
    const { bytes } = chunk;
    chunk.live += 1;
    bytes.writeUInt32LE(text.length * 2 + wide, at);
    const from = at + headerBytes;
    if (wide === 1) bytes.write(text, from, 'utf16le');
    // Most are too short for a call out of JavaScript to pay.
    else for (let i = 0; i < text.length; i += 1) bytes[from + i] = text.charCodeAt(i);
    return nth * chunkBytes + at;
  }

  #open(bytes: number): number {
    const nth = this.#free.pop() ?? this.#chunks.length;
    this.#chunks[nth] = { bytes: Buffer.from(new ArrayBuffer(bytes)), live: 0 };
    return nth;
  }

  /** Frees a chunk that nobody writes to, if nothing in it is wanted. */
  #letGo(nth: number): void {
    const chunk = this.#chunks[nth];
    if (chunk === undefined || chunk.live > 0) return;
    // At once, instead of when everything is collected next.
    chunk.bytes.buffer.transfer(0);
    chunk.bytes = Buffer.from(new ArrayBuffer(0));
    this.#free.push(nth);
  }
}

function isWide(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) if (text.charCodeAt(i) > 0xff) return true;
  return false;
}
