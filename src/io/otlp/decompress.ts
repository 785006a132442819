import { createGunzip, gunzip } from 'node:zlib';

export type Decompressed =
  | { readonly is: 'whole'; readonly body: Buffer }
  | { readonly is: 'too-large' }
  | { readonly is: 'damaged'; readonly what: string };

/** Bytes that a gzip body says it becomes; 0 where it says nothing that can be. */
export function claimedBytes(bytes: Buffer): number {
  if (bytes.length < 18) return 0;
  const claimed = bytes.readUInt32LE(bytes.length - 4);
  // Deflate reaches 1032:1 at most; a larger claim is not of this body.
  return claimed <= bytes.length * 1032 ? claimed : 0;
}

/**
 * Gunzips off the event loop, never to more than `most` bytes. The trailer's claim of the size is the output buffer's, so that an honest
 * payload is one trip to the thread pool and one allocation, and an honest bomb is refused unopened. Output beyond the claim is a second
 * member (which gzip allows) or a lie: then the output is counted first, and thrown away, before a buffer is given to it.
 */
export async function decompress(bytes: Buffer, most: number): Promise<Decompressed> {
  if (bytes.length < 18 || bytes[0] !== 0x1f || bytes[1] !== 0x8b) return { is: 'damaged', what: 'the body is not gzip' };
  const claimed = claimedBytes(bytes);
  if (claimed > most) return { is: 'too-large' };
  const first = await output.with(claimed, () => unzip(bytes, claimed));
  if (first.is !== 'too-large') return first;
  const counted = await output.with(most, () => countOutput(bytes, most));
  return counted.is === 'counted' ? output.with(counted.bytes, () => unzip(bytes, counted.bytes)) : counted;
}

/** Bytes that decompression may write at once in this process. Who does not fit waits, in order, or large bodies would wait for ever. */
class OutputBudget {
  readonly #bytes: number;
  readonly #waiting: { readonly bytes: number; readonly start: () => void }[] = [];
  #taken = 0;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  async with<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    const turn = new Promise<void>((start) => this.#waiting.push({ bytes, start }));
    this.#startWhatFits();
    await turn;
    try {
      return await work();
    } finally {
      this.#taken -= bytes;
      this.#startWhatFits();
    }
  }

  #startWhatFits(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      // Alone, anything fits.
      if (this.#taken > 0 && this.#taken + next.bytes > this.#bytes) return;
      this.#taken += next.bytes;
      this.#waiting.shift();
      next.start();
    }
  }
}

const output = new OutputBudget(64 * 1024 * 1024);

/** Output that fits into `most` bytes. */
function unzip(bytes: Buffer, most: number): Promise<Decompressed> {
  return new Promise((resolve) => {
    // One byte over, or zlib asks for another chunk to find that nothing is left.
    gunzip(bytes, { chunkSize: Math.max(1024, most + 1), maxOutputLength: Math.max(1, most) }, (error, body) => {
      if (error === null) resolve({ is: 'whole', body });
      else if ('code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') resolve({ is: 'too-large' });
      else resolve(damaged(error));
    });
  });
}

const countingChunkBytes = 64 * 1024;

function countOutput(
  bytes: Buffer,
  most: number,
): Promise<{ readonly is: 'counted'; readonly bytes: number } | Exclude<Decompressed, { is: 'whole' }>> {
  return new Promise((resolve) => {
    const stream = createGunzip({ chunkSize: countingChunkBytes });
    let count = 0;
    stream.on('data', (chunk: Buffer) => {
      count += chunk.length;
      if (count <= most) return;
      stream.destroy();
      resolve({ is: 'too-large' });
    });
    stream.on('end', () => resolve({ is: 'counted', bytes: count }));
    stream.on('error', (error) => resolve(damaged(error)));
    stream.end(bytes);
  });
}

const damaged = (error: Error): { readonly is: 'damaged'; readonly what: string } => ({
  is: 'damaged',
  what: `the gzip body is damaged: ${error.message}`,
});
