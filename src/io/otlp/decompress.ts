import { gunzip } from 'node:zlib';

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
 * Gunzips off the event loop, never to more than `most` bytes. The trailer's claim of the size picks the output buffer, so that an
 * honest payload is one trip to the thread pool and an honest bomb is refused unopened. Output beyond the claim is a second member (which
 * gzip allows) or a lie (which its check finds): only then is the whole bound given, and only to one body at a time.
 */
export async function decompress(bytes: Buffer, most: number): Promise<Decompressed> {
  if (bytes.length < 18 || bytes[0] !== 0x1f || bytes[1] !== 0x8b) return { is: 'damaged', what: 'the body is not gzip' };
  const claimed = claimedBytes(bytes);
  if (claimed > most) return { is: 'too-large' };
  const wanted = Math.min(claimed + 64, most);
  const first = await output.with(wanted, () => unzip(bytes, wanted));
  return first.is === 'too-large' && wanted < most ? output.with(most, () => unzip(bytes, most)) : first;
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

function unzip(bytes: Buffer, most: number): Promise<Decompressed> {
  return new Promise((resolve) => {
    gunzip(bytes, { chunkSize: Math.max(1024, Math.min(most, largestChunkBytes)), maxOutputLength: most }, (error, body) => {
      if (error === null) resolve({ is: 'whole', body });
      else if ('code' in error && error.code === 'ERR_BUFFER_TOO_LARGE') resolve({ is: 'too-large' });
      else resolve({ is: 'damaged', what: `the gzip body is damaged: ${error.message}` });
    });
  });
}

const largestChunkBytes = 4 * 1024 * 1024;
