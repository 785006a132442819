/**
 * Remembers the last spans by (trace id, span id), so that a span that was exported twice counts once. Exact: all 24 bytes are compared.
 * Bounded: two generations of `capacity` spans; when the younger is full the older is forgotten, so at least the last `capacity` spans
 * are known. 28 bytes and two slots a span: 72 MB at the default million.
 */
export class SpanDedupe {
  /** Duplicates seen so far. */
  dropped = 0;
  readonly #capacity: number;
  #young: Generation;
  #old: Generation;
  readonly #scratch = new Uint8Array(24);
  readonly #words = new Int32Array(6);

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#young = new Generation(capacity);
    this.#old = new Generation(0);
  }

  /** True the first time; counts and says false afterwards. The 24 bytes at `offset` are trace id and span id. */
  isNew(ids: Uint8Array, offset: number): boolean {
    const words = this.#words;
    for (let i = 0; i < 6; i += 1) {
      const at = offset + i * 4;
      words[i] = (ids[at] as number) | ((ids[at + 1] as number) << 8) | ((ids[at + 2] as number) << 16) | ((ids[at + 3] as number) << 24);
    }
    // Trace and span ids are random already; mixing guards against ids that differ in few bits.
    let hash =
      Math.imul((words[4] as number) ^ (words[0] as number), 0x9e3779b1) ^
      Math.imul((words[5] as number) ^ (words[3] as number), 0x85ebca6b);
    hash ^= hash >>> 15;
    hash = Math.imul(hash, 0x2c1b3c6d);
    hash ^= hash >>> 13;
    if (this.#young.has(words, hash) || this.#old.has(words, hash)) {
      this.dropped += 1;
      return false;
    }
    if (this.#young.size === this.#capacity) {
      this.#old = this.#young;
      this.#young = new Generation(this.#capacity);
    }
    this.#young.add(words, hash);
    return true;
  }

  /** The same for ids in hexadecimal. */
  isNewSpan(traceId: string, spanId: string): boolean {
    this.#scratch.fill(0);
    this.#scratch.set(Buffer.from(traceId, 'hex').subarray(0, 16));
    this.#scratch.set(Buffer.from(spanId, 'hex').subarray(0, 8), 16);
    return this.isNew(this.#scratch, 0);
  }
}

export function createSpanDedupe(options: { readonly capacity?: number } = {}): SpanDedupe {
  return new SpanDedupe(options.capacity ?? 1 << 20);
}

/** Open addressing; grows by doubling up to its capacity, so that a small service holds little. */
class Generation {
  size = 0;
  readonly #capacity: number;
  #entries: Int32Array;
  #hashes: Int32Array;
  #slots: Int32Array;
  #mask: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
    const room = Math.min(capacity, 4096);
    this.#entries = new Int32Array(room * 6);
    this.#hashes = new Int32Array(room);
    this.#slots = new Int32Array(slotsFor(room));
    this.#mask = this.#slots.length - 1;
  }

  has(words: Int32Array, hash: number): boolean {
    if (this.size === 0) return false;
    let slot = hash & this.#mask;
    for (let probe = 0; probe < mostProbes; probe += 1) {
      const entry = this.#slots[slot] as number;
      if (entry === 0) return false;
      const at = (entry - 1) * 6;
      const entries = this.#entries;
      if (
        entries[at + 4] === words[4] &&
        entries[at + 5] === words[5] &&
        entries[at] === words[0] &&
        entries[at + 1] === words[1] &&
        entries[at + 2] === words[2] &&
        entries[at + 3] === words[3]
      ) {
        return true;
      }
      slot = (slot + 1) & this.#mask;
    }
    return false;
  }

  add(words: Int32Array, hash: number): void {
    if ((this.size + 1) * 6 > this.#entries.length) this.#grow();
    this.#entries.set(words, this.size * 6);
    this.#hashes[this.size] = hash;
    this.size += 1;
    this.#place(hash, this.size);
  }

  /** A run longer than the bound is somebody's crafted ids: such a span is not remembered. */
  #place(hash: number, entry: number): void {
    let slot = hash & this.#mask;
    for (let probe = 0; probe < mostProbes; probe += 1) {
      if (this.#slots[slot] === 0) {
        this.#slots[slot] = entry;
        return;
      }
      slot = (slot + 1) & this.#mask;
    }
  }

  #grow(): void {
    const room = Math.min(this.#capacity, this.#hashes.length * 2);
    const entries = new Int32Array(room * 6);
    entries.set(this.#entries);
    this.#entries = entries;
    const hashes = new Int32Array(room);
    hashes.set(this.#hashes);
    this.#hashes = hashes;
    this.#slots = new Int32Array(slotsFor(room));
    this.#mask = this.#slots.length - 1;
    for (let i = 0; i < this.size; i += 1) this.#place(hashes[i] as number, i + 1);
  }
}

const mostProbes = 64;

/** A power of two, at least twice the entries. */
function slotsFor(entries: number): number {
  let slots = 16;
  while (slots < entries * 2) slots *= 2;
  return slots;
}
