/**
 * Keys of one collection that were written and have not been compared since: each once, however often it was written, and no more than
 * a bound; beyond it they become ranges, where keys are whole numbers, else the whole collection. Nothing of this is kept in the store: a feed is not let go of before what it told was compared, so that what is lost here
 * with the process is told again.
 */
import { type Key, keyText } from '../domain/row.ts';
import { coverRanges, type DirtyRange, isIn } from './dirty-ranges.ts';

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
  /** Ranges of single whole keys that wait as such. */
  #ranges: readonly DirtyRange[] = [];
  #everything: { readonly because: string; readonly sinceMs: number } | undefined;

  constructor(keyColumns: readonly string[], limit = maxChangedKeys) {
    this.#keyColumns = keyColumns;
    this.#limit = limit;
  }

  /** Keys that wait one by one. */
  get size(): number {
    return this.#keys.size;
  }

  get hasRanges(): boolean {
    return this.#ranges.length > 0;
  }

  mark(key: Key, nowMs: number): void {
    // Whatever is written until the whole collection is taken, the scan sees.
    if (this.#everything !== undefined) return;
    const text = keyText(this.#keyColumns, key);
    if (this.#keys.has(text)) return;
    // What waits as part of a range is compared with it.
    const whole = this.#ranges.length === 0 ? undefined : this.#wholeKey(key);
    if (whole !== undefined && isIn(this.#ranges, whole)) return;
    this.#keys.set(text, { key, sinceMs: nowMs });
    if (this.#keys.size > this.#limit) this.#collapse(nowMs);
  }

  #collapse(nowMs: number): void {
    const parts: DirtyRange[] = [...this.#ranges];
    for (const { key, sinceMs } of this.#keys.values()) {
      const whole = this.#wholeKey(key);
      if (whole === undefined)
        return this.markEverything(`more than ${this.#limit} keys were written faster than they were compared`, nowMs);
      parts.push({ low: whole, high: whole, sinceMs });
    }
    this.#ranges = coverRanges(parts);
    this.#keys = new Map();
  }

  /** By its text alone: whether the column is one of whole numbers, the caller of {@link takeRanges} knows. */
  #wholeKey(key: Key): bigint | undefined {
    const [column, another] = this.#keyColumns;
    const text = column === undefined || another !== undefined ? undefined : key[column];
    return text !== undefined && /^-?\d{1,19}$/.test(text) ? BigInt(text) : undefined;
  }

  /** Takes the ranges, if their oldest write is from `beforeMs` or earlier. The caller answers for them from then on. */
  takeRanges(beforeMs: number): readonly DirtyRange[] {
    const ranges = this.#ranges;
    if (!ranges.some(({ sinceMs }) => sinceMs <= beforeMs)) return [];
    this.#ranges = [];
    return ranges;
  }

  putBackRanges(ranges: readonly DirtyRange[]): void {
    if (this.#everything === undefined) this.#ranges = coverRanges([...this.#ranges, ...ranges]);
  }

  /** Single keys no longer help: the whole collection has to be compared. */
  markEverything(because: string, nowMs: number): void {
    this.#everything ??= { because, sinceMs: Math.min(nowMs, this.oldestMs() ?? nowMs) };
    this.#keys = new Map();
    this.#ranges = [];
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
    if (this.#keys.size > this.#limit) this.#collapse(nowMs);
  }

  /** Monotonic time of the oldest mark; undefined where there is none. */
  oldestMs(): number | undefined {
    if (this.#everything !== undefined) return this.#everything.sinceMs;
    const [oldest] = this.#keys.values();
    const times = [...(oldest === undefined ? [] : [oldest.sinceMs]), ...this.#ranges.map(({ sinceMs }) => sinceMs)];
    return times.length === 0 ? undefined : Math.min(...times);
  }
}
