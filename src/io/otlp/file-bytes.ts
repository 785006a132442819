import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Failure } from '../../base/failure.ts';
import { gunzipped } from './gunzipped.ts';

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
      const file = this.#read(path);
      // Read once and in order: what comes through a pipe has no second beginning.
      let begin = Buffer.alloc(0);
      while (begin.length < 2) {
        const step = await file.next();
        if (step.done === true) break;
        begin = begin.length === 0 ? step.value : Buffer.concat([begin, step.value]);
      }
      const whole = continued(begin, file);
      if (begin[0] !== 0x1f || begin[1] !== 0x8b) yield* whole;
      else {
        const isRegular = (await stat(path)).isFile();
        yield* gunzipped(whole, isRegular ? () => createReadStream(path, { highWaterMark: chunkBytes }) : undefined);
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

  async *#read(path: string): AsyncGenerator<Buffer<ArrayBuffer>> {
    for await (const chunk of createReadStream(path, { highWaterMark: chunkBytes }) as AsyncIterable<Buffer<ArrayBuffer>>) {
      this.position += chunk.length;
      yield chunk;
    }
  }
}

/** What was read of it already, and the rest. */
async function* continued(begin: Buffer<ArrayBuffer>, rest: AsyncIterable<Buffer<ArrayBuffer>>): AsyncGenerator<Buffer> {
  if (begin.length > 0) yield begin;
  yield* rest;
}
