/**
 * Memory for what leaves at about the same time: things of one slot of time lie side by side in chunks, so that a chunk is empty as a whole
 * once its time has come, and serves the next slot. A buffer for each thing, of whatever size, left the allocator with as much memory
 * between them as in them after a few minutes. What is more than `mostResident` bytes lies in `away` until its time has come.
 */
export class DueMemory {
  readonly #slotUs: number;
  readonly #away: Away | undefined;
  readonly #mostResident: number;
  /** The chunk that is being filled, of each slot. */
  readonly #open = new Map<number, Chunk>();
  readonly #free: ArrayBuffer[] = [];
  #resident = 0;

  constructor(slotUs: number, away?: Away, mostResident = Number.POSITIVE_INFINITY) {
    this.#slotUs = slotUs;
    this.#away = away;
    this.#mostResident = mostResident;
  }

  /** Bytes of the chunks that are in memory and hold something. */
  get residentBytes(): number {
    return this.#resident;
  }

  /** Room for something that leaves at `dueUs`, to be written before anything else is taken. */
  take(dueUs: number, bytes: number): Held {
    const slot = Math.floor(dueUs / this.#slotUs);
    let chunk = this.#open.get(slot);
    if (chunk === undefined || chunk.used + bytes > chunk.bytes) {
      // What is left of the former chunk stays unused; it goes with the slot.
      if (chunk !== undefined) this.#putAway(chunk);
      chunk = { buffer: this.#newBuffer(bytes), place: undefined, bytes: Math.max(bytes, chunkBytes), used: 0, held: 0, slot };
      this.#open.set(slot, chunk);
    }
    const offset = chunk.used;
    chunk.used += (bytes + 7) & ~7;
    chunk.held += 1;
    return { offset, chunk };
  }

  /** Where it lies now; brings it back first where it was put away. */
  bufferOf({ chunk }: Held): ArrayBuffer {
    if (chunk.buffer !== undefined) return chunk.buffer;
    const buffer = this.#newBuffer(chunk.bytes);
    this.#away?.bringBack(chunk.place as number, new Uint8Array(buffer, 0, chunk.used));
    chunk.buffer = buffer;
    return buffer;
  }

  giveBack({ chunk }: Held): void {
    chunk.held -= 1;
    if (chunk.held > 0) return;
    if (!Number.isNaN(chunk.slot)) this.#open.delete(chunk.slot);
    chunk.slot = closed;
    if (chunk.buffer !== undefined) this.#drop(chunk.buffer);
    else this.#away?.drop(chunk.place as number);
    chunk.buffer = undefined;
  }

  /** Nothing is added to the chunk any more. */
  #putAway(chunk: Chunk): void {
    chunk.slot = closed;
    if (chunk.bytes > chunkBytes || chunk.buffer === undefined || this.#resident <= this.#mostResident) return;
    chunk.place = this.#away?.putAway(new Uint8Array(chunk.buffer, 0, chunk.used));
    if (chunk.place === undefined) return;
    this.#drop(chunk.buffer);
    chunk.buffer = undefined;
  }

  #newBuffer(bytes: number): ArrayBuffer {
    const buffer = bytes > chunkBytes ? new ArrayBuffer(bytes) : (this.#free.pop() ?? new ArrayBuffer(chunkBytes));
    this.#resident += buffer.byteLength;
    return buffer;
  }

  #drop(buffer: ArrayBuffer): void {
    this.#resident -= buffer.byteLength;
    if (buffer.byteLength === chunkBytes && this.#free.length < mostFree) this.#free.push(buffer);
  }
}

/** Where bytes lie that are not wanted soon: not in memory. */
export interface Away {
  /** Keeps at most {@link chunkBytes} bytes; undefined where that cannot be done now. */
  putAway(bytes: Uint8Array): number | undefined;
  /** Fills `into` with what was put away there, and forgets it. */
  bringBack(place: number, into: Uint8Array): void;
  drop(place: number): void;
}

export interface Held {
  readonly offset: number;
  readonly chunk: Chunk;
}

interface Chunk {
  /** Absent while the chunk is away. */
  buffer: ArrayBuffer | undefined;
  place: number | undefined;
  readonly bytes: number;
  used: number;
  held: number;
  slot: number;
}

const closed = Number.NaN;
export const chunkBytes = 256 * 1024;
/** What a burst left behind is not kept for ever. */
const mostFree = 8;
