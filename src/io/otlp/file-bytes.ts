import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createGunzip } from 'node:zlib';
import { Failure } from '../../base/failure.ts';

export const badInput = (message: string, cause?: unknown): Failure => new Failure('bad-input', message, 'never', cause);

const chunkBytes = 1024 * 1024;

/** The bytes of a file, gunzipped where they begin like gzip, with the next chunk at hand. Throws `Failure('bad-input')` in one sentence. */
export class FileBytes {
  /** Bytes read of the file itself, for progress. */
  position = 0;
  readonly #source: AsyncIterator<Buffer>;
  #held: Buffer | undefined;

  constructor(path: string) {
    this.#source = this.#chunks(path);
  }

  /** Byte `index` of the next chunk. */
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

  async *#chunks(path: string): AsyncGenerator<Buffer> {
    try {
      const isGzip = await beginsLikeGzip(path);
      const file = createReadStream(path, { highWaterMark: chunkBytes });
      try {
        if (!isGzip) {
          for await (const chunk of file as AsyncIterable<Buffer>) {
            this.position += chunk.length;
            yield chunk;
          }
          return;
        }
        const gunzip = createGunzip({ chunkSize: chunkBytes });
        file.on('data', (chunk) => (this.position += chunk.length));
        file.on('error', (error) => gunzip.destroy(error));
        file.pipe(gunzip);
        yield* gunzip as AsyncIterable<Buffer>;
      } finally {
        file.destroy();
      }
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      if (code === 'ENOENT') throw badInput(`${path}: no such file`, error);
      if (code === 'EISDIR') throw badInput(`${path} is a directory; name the files in it`, error);
      if (code === 'EACCES') throw badInput(`${path}: permission denied`, error);
      if (code.startsWith('Z_')) throw badInput(`${path}: the gzip data is damaged or cut off (${code})`, error);
      throw error;
    }
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
