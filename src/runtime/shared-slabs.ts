import type { Place } from '../ingest/packed-regions.ts';

/**
 * Memory in which packed batches change threads: a few shared slabs that are filled one after the other and used again once everything in
 * them has been given back. A buffer for each batch, transferred and left to the garbage collector of the other thread, cost three times
 * what it held (freed memory that the allocator kept) and, because V8 counts such buffers towards its limits, a collection of the whole
 * heap every few hundred milliseconds on either side.
 *
 * A slab begins with how many of its places are in use, counted by both threads; only the sender takes, anyone gives back.
 */
export class SharedSlabs {
  readonly #mostBytes: number;
  #slabs: SharedArrayBuffer[] = [];
  #bytes = 0;
  #current: SharedArrayBuffer | undefined;
  #used = headerBytes;

  /** `mostBytes`: of all slabs. */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** Undefined where there is no room. */
  take(bytes: number): Place | undefined {
    if (bytes > slabBytes - headerBytes) return this.#takeAlone(bytes);
    if (this.#current === undefined || this.#used + bytes > slabBytes) {
      const next = this.#current !== undefined && inUse(this.#current) === 0 ? this.#current : this.#emptySlab();
      if (next === undefined) return undefined;
      this.#current = next;
      this.#used = headerBytes;
    }
    const offset = this.#used;
    this.#used += roundedUp(bytes);
    Atomics.add(new Int32Array(this.#current, 0, 1), 0, 1);
    return { buffer: this.#current, offset };
  }

  /** Forgets all slabs: whoever should give back has died. What is still held stays valid. */
  abandon(): void {
    this.#slabs = [];
    this.#bytes = 0;
    this.#current = undefined;
  }

  #emptySlab(): SharedArrayBuffer | undefined {
    let empty = 0;
    // What a stall made necessary is not kept for ever.
    this.#slabs = this.#slabs.filter((slab) => inUse(slab) > 0 || (slab.byteLength === slabBytes && (empty += 1) <= mostEmpty));
    for (const slab of this.#slabs) if (slab !== this.#current && inUse(slab) === 0) return slab;
    return this.#newSlab(slabBytes);
  }

  /** A batch that is larger than a slab has one to itself, which is not kept. */
  #takeAlone(bytes: number): Place | undefined {
    const slab = this.#newSlab(headerBytes + roundedUp(bytes));
    if (slab === undefined) return undefined;
    Atomics.store(new Int32Array(slab, 0, 1), 0, 1);
    return { buffer: slab, offset: headerBytes };
  }

  #newSlab(bytes: number): SharedArrayBuffer | undefined {
    this.#slabs = this.#slabs.filter((slab) => slab.byteLength === slabBytes || inUse(slab) > 0);
    this.#bytes = this.#slabs.reduce((sum, slab) => sum + slab.byteLength, 0);
    // Alone, any batch fits.
    if (this.#bytes + bytes > this.#mostBytes && this.#slabs.some((slab) => inUse(slab) > 0)) return undefined;
    const slab = new SharedArrayBuffer(bytes);
    this.#slabs.push(slab);
    return slab;
  }
}

/** Nobody reads what is at this place any more; says nothing of places that are not in a slab. */
export function giveBack(place: Place): void {
  if (place.buffer instanceof SharedArrayBuffer) Atomics.sub(new Int32Array(place.buffer, 0, 1), 0, 1);
}

export const isInSlab = ({ buffer }: Place): boolean => buffer instanceof SharedArrayBuffer;

const inUse = (slab: SharedArrayBuffer): number => Atomics.load(new Int32Array(slab, 0, 1), 0);
const roundedUp = (bytes: number): number => (bytes + 7) & ~7;

/** Room for the count, and places stay at multiples of eight. */
const headerBytes = 8;
const slabBytes = 1024 * 1024;
/** Slabs that are kept for the next burst. */
const mostEmpty = 3;
