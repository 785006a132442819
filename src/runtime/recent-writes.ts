/**
 * Which keys feeds have told as written lately: what a comparison asks before it takes a row without its store's mark for one that
 * stayed. Kept in memory, in two generations, so that it is bounded and still remembers the last while; what has been forgotten, or
 * was told to another process, is left to looks.
 */

/** About 100 bytes each, twice. */
const MAX_KEYS = 100_000;

export class RecentWrites {
  readonly #limit: number;
  #current = new Map<string, number>();
  #previous: ReadonlyMap<string, number> = new Map();

  constructor(limit = MAX_KEYS) {
    this.#limit = limit;
  }

  /** `text`: the key's text; `nowMs`: monotonic. */
  note(collection: string, text: string, nowMs: number): void {
    this.#current.set(nameOf(collection, text), nowMs);
    if (this.#current.size < this.#limit) return;
    this.#previous = this.#current;
    this.#current = new Map();
  }

  wasToldSince(collection: string, text: string, sinceMs: number): boolean {
    const name = nameOf(collection, text);
    const toldMs = this.#current.get(name) ?? this.#previous.get(name);
    return toldMs !== undefined && toldMs >= sinceMs;
  }
}

function nameOf(collection: string, text: string): string {
  return `${collection}\n${text}`;
}
