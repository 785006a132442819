/**
 * Keys of one collection that were written and have not been compared since: each once, however often it was written, and no more than
 * a bound. Nothing of this is kept in the store: a feed is not let go of before what it told was compared, so that what is lost here
 * with the process is told again.
 */
import { type Key, keyText } from '../domain/row.ts';

export interface ChangedKey {
  readonly key: Key;
  /** Monotonic time of the first mark since it was last taken. */
  readonly sinceMs: number;
}

export type ChangedBatch = ReadonlyMap<string, ChangedKey>;

/** About 300 bytes each. More are compared no faster one by one than by a scan. */
export const maxChangedKeys = 100_000;

export class ChangedKeys {
  readonly #keyColumns: readonly string[];
  readonly #limit: number;
  /** In order of the first mark: a map keeps it. */
  #keys = new Map<string, ChangedKey>();
  #everything: { readonly because: string; readonly sinceMs: number } | undefined;

  constructor(keyColumns: readonly string[], limit = maxChangedKeys) {
    this.#keyColumns = keyColumns;
    this.#limit = limit;
  }

  get size(): number {
    return this.#keys.size;
  }

  mark(key: Key, nowMs: number): void {
    // Whatever is written until the whole collection is taken, the scan sees.
    if (this.#everything !== undefined) return;
    const text = keyText(this.#keyColumns, key);
    if (this.#keys.has(text)) return;
    this.#keys.set(text, { key, sinceMs: nowMs });
    if (this.#keys.size > this.#limit)
      this.markEverything(`more than ${this.#limit} keys were written faster than they were compared`, nowMs);
  }

  /** Single keys no longer help: the whole collection has to be compared. */
  markEverything(because: string, nowMs: number): void {
    const [oldest] = this.#keys.values();
    this.#everything ??= { because, sinceMs: Math.min(nowMs, oldest?.sinceMs ?? nowMs) };
    this.#keys = new Map();
  }

  /** Why the whole collection has to be compared, where it has. Stays until {@link clearEverything}. */
  get everything(): string | undefined {
    return this.#everything?.because;
  }

  /** A comparison that begins after this call has been asked for. */
  clearEverything(): void {
    this.#everything = undefined;
  }

  /** Takes keys that were first marked at `beforeMs` or earlier, the oldest first. The caller answers for them from then on. */
  take(beforeMs: number, limit: number): ChangedBatch {
    const taken = new Map<string, ChangedKey>();
    for (const [text, changed] of this.#keys) {
      if (changed.sinceMs > beforeMs || taken.size >= limit) break;
      taken.set(text, changed);
    }
    for (const text of taken.keys()) this.#keys.delete(text);
    return taken;
  }

  /** What was taken could not be compared. */
  putBack(batch: ChangedBatch, nowMs: number): void {
    if (this.#everything !== undefined) return;
    this.#keys = new Map([...batch, ...[...this.#keys].filter(([text]) => !batch.has(text))]);
    if (this.#keys.size > this.#limit) this.markEverything('the replicas could not be compared for too long', nowMs);
  }

  /** Monotonic time of the oldest mark; undefined where there is none. */
  oldestMs(): number | undefined {
    const [oldest] = this.#keys.values();
    return this.#everything?.sinceMs ?? oldest?.sinceMs;
  }
}
