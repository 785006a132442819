/**
 * Gunzips what comes in pieces, up to the very byte where it is damaged or cut off: a collector that was killed leaves such a file, and all
 * before that is good. Node's stream drops with an error whatever it had made of the same piece, so the piece that fails is fed again byte
 * by byte, after what was before it, where that can be read a second time.
 */
import { createGunzip, type Gunzip } from 'node:zlib';

/** Gzip makes a thousand times as much of this at most, which is held at once. */
const pieceBytes = 16 * 1024;
const chunkBytes = 1024 * 1024;

/** `again`: the same bytes from the beginning; undefined where they come once. Throws what zlib says, after all that came before it. */
export async function* gunzipped(chunks: AsyncIterable<Buffer>, again: (() => AsyncIterable<Buffer>) | undefined): AsyncGenerator<Buffer> {
  const feed = new Feed();
  let fedBytes = 0;
  try {
    for await (const chunk of chunks)
      for (let at = 0; at < chunk.length; at += pieceBytes) {
        const piece = chunk.subarray(at, at + pieceBytes);
        yield* await feed.take(piece);
        fedBytes += piece.length;
      }
    yield* await feed.end();
  } catch (error) {
    if (!feed.isBroken || again === undefined) throw error;
    yield* untilBroken(again(), fedBytes);
    throw error;
  } finally {
    feed.close();
  }
}

/** What comes of the bytes after the first `skipped`, up to where they are broken. */
async function* untilBroken(chunks: AsyncIterable<Buffer>, skipped: number): AsyncGenerator<Buffer> {
  const feed = new Feed();
  let at = 0;
  try {
    for await (const chunk of chunks) {
      const known = chunk.subarray(0, Math.max(0, skipped - at));
      for (let from = 0; from < known.length; from += pieceBytes) await feed.take(known.subarray(from, from + pieceBytes));
      for (const byte of chunk.subarray(known.length)) yield* await feed.take(Buffer.of(byte));
      at += chunk.length;
    }
  } catch (error) {
    if (!feed.isBroken) throw error;
  } finally {
    feed.close();
  }
}

/** A stream of zlib's, a piece at a time. */
class Feed {
  readonly #gunzip: Gunzip = createGunzip({ chunkSize: chunkBytes });
  #made: Buffer[] = [];
  readonly #broken: Promise<never>;
  readonly #over: Promise<void>;
  #isOver = false;
  isBroken = false;

  constructor() {
    this.#gunzip.on('data', (chunk: Buffer) => this.#made.push(chunk));
    this.#broken = new Promise((_resolve, reject) =>
      this.#gunzip.on('error', (error) => {
        this.isBroken = true;
        reject(error);
      }),
    );
    this.#broken.catch(() => undefined);
    // Also where padding follows, which is never taken.
    this.#over = new Promise((resolve) =>
      this.#gunzip.on('end', () => {
        this.#isOver = true;
        resolve();
      }),
    );
  }

  /** What is made of it, complete as far as it goes. */
  async take(piece: Buffer): Promise<readonly Buffer[]> {
    if (this.#isOver) return [];
    const taken = new Promise<void>((resolve) =>
      this.#gunzip.write(piece, (error) => {
        // What zlib says comes as an event.
        if (error === undefined || error === null) resolve();
      }),
    );
    return this.#whenDone(taken);
  }

  async end(): Promise<readonly Buffer[]> {
    if (!this.#isOver) this.#gunzip.end();
    return this.#whenDone(this.#over);
  }

  async #whenDone(done: Promise<void>): Promise<readonly Buffer[]> {
    await Promise.race([done, this.#over, this.#broken]);
    const made = this.#made;
    this.#made = [];
    return made;
  }

  close(): void {
    this.#gunzip.destroy();
  }
}
