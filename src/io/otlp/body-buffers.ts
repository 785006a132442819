/**
 * Memory for bodies that came in several chunks, and for what is made of them. Half a megabyte for each request would make V8 collect
 * everything every few requests, because it counts such memory towards its limits; so it is used again once a payload is answered and
 * nobody looks at it any more. The chunks are the same again: Node's HTTP parser copies what a socket brings into a new buffer of up to
 * 64 kB each time, and a receiver makes little else, so tens of megabytes of them waited for the whole heap to be marked, twice a second
 * under load. They are freed when they have been copied.
 */
export class BodyBuffers {
  readonly #free = new Map<number, Buffer[]>();
  readonly #own = new WeakSet<ArrayBufferLike>();
  #freeBytes = 0;

  /** The chunks as one buffer; they are empty afterwards, unless there is only one, which is the answer. */
  gather(chunks: readonly Buffer<ArrayBuffer>[], length: number): Buffer {
    if (chunks.length === 1) return chunks[0] as Buffer;
    const bytes = this.take(length);
    let at = 0;
    for (const chunk of chunks) at += this.move(chunk, bytes, at);
    return bytes;
  }

  /** Copies the chunk to `at`, which says how long it was; it is empty afterwards, unless it lies in a larger piece, as those of HTTP/2 do. */
  move(chunk: Buffer<ArrayBuffer>, bytes: Buffer, at: number): number {
    const length = chunk.copy(bytes, at);
    if (length === chunk.buffer.byteLength) chunk.buffer.transfer(0);
    return length;
  }

  /** A buffer whose memory begins at a multiple of eight bytes; what it holds is anything. */
  take(length: number): Buffer {
    if (length < smallestBytes || length > largestBytes) return Buffer.allocUnsafeSlow(length);
    return this.#take(2 ** Math.ceil(Math.log2(length))).subarray(0, length);
  }

  /** Nobody reads `bytes` any more. Says nothing of buffers that are not its own. */
  giveBack(bytes: Buffer): void {
    if (!this.#own.has(bytes.buffer)) return;
    const size = bytes.buffer.byteLength;
    if (this.#freeBytes + size > mostFreeBytes) return;
    this.#freeBytes += size;
    const list = this.#free.get(size);
    const whole = Buffer.from(bytes.buffer);
    if (list === undefined) this.#free.set(size, [whole]);
    else list.push(whole);
  }

  #take(size: number): Buffer {
    const free = this.#free.get(size)?.pop();
    if (free !== undefined) {
      this.#freeBytes -= size;
      return free;
    }
    const bytes = Buffer.allocUnsafeSlow(size);
    this.#own.add(bytes.buffer);
    return bytes;
  }
}

const smallestBytes = 16 * 1024;
const largestBytes = 4 * 1024 * 1024;
const mostFreeBytes = 4 * 1024 * 1024;
