import type { Place } from './packed-regions.ts';

/**
 * Memory for what leaves at about the same time: things of one slot of time lie side by side in chunks, so that a chunk is empty as a whole
 * once its time has come, and serves the next slot. A buffer for each thing, of whatever size, left the allocator with as much memory
 * between them as in them after a few minutes.
 */
export class DueMemory {
  readonly #slotUs: number;
  /** The chunk that is being filled, of each slot. */
  readonly #open = new Map<number, Chunk>();
  readonly #free: Chunk[] = [];

  constructor(slotUs: number) {
    this.#slotUs = slotUs;
  }

  /** Room for something that leaves at `dueUs`. */
  take(dueUs: number, bytes: number): Held {
    const slot = Math.floor(dueUs / this.#slotUs);
    let chunk = this.#open.get(slot);
    if (chunk === undefined || chunk.used + bytes > chunk.buffer.byteLength) {
      // What is left of the former chunk stays unused; it goes with the slot.
      if (chunk !== undefined) chunk.slot = closed;
      chunk = bytes > chunkBytes ? newChunk(bytes) : (this.#free.pop() ?? newChunk(chunkBytes));
      chunk.used = 0;
      chunk.slot = slot;
      this.#open.set(slot, chunk);
    }
    const offset = chunk.used;
    chunk.used += (bytes + 7) & ~7;
    chunk.held += 1;
    return { buffer: chunk.buffer, offset, chunk };
  }

  giveBack(held: Held): void {
    const { chunk } = held;
    chunk.held -= 1;
    if (chunk.held > 0) return;
    if (!Number.isNaN(chunk.slot)) this.#open.delete(chunk.slot);
    chunk.slot = closed;
    if (chunk.buffer.byteLength === chunkBytes && this.#free.length < mostFree) this.#free.push(chunk);
  }
}

export interface Held extends Place {
  readonly chunk: Chunk;
}

interface Chunk {
  readonly buffer: ArrayBuffer;
  used: number;
  held: number;
  slot: number;
}

const newChunk = (bytes: number): Chunk => ({ buffer: new ArrayBuffer(bytes), used: 0, held: 0, slot: closed });
const closed = Number.NaN;
const chunkBytes = 256 * 1024;
/** What a burst left behind is not kept for ever. */
const mostFree = 8;
