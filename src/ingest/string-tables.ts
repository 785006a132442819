/** What a {@link StringTables} sends so that its twin can read the batches of a table. */
export interface StringsAdded {
  readonly table: number;
  /** Number of the first of `strings`. */
  readonly from: number;
  readonly strings: readonly string[];
}

/**
 * Tables of strings that two threads hold alike. A decoder appends to its table until it starts a new one, so only what is new travels;
 * the twin lets go of a table once no batch of it waits and the sender has gone on to others.
 */
export class StringTables {
  readonly #sent = new Map<readonly string[], { readonly table: number; count: number }>();
  #next = 1;

  /** What is new in the table of `strings` since the last call for it. */
  added(strings: readonly string[]): StringsAdded {
    let known = this.#sent.get(strings);
    if (known === undefined) {
      known = { table: this.#next, count: 0 };
      this.#next += 1;
      // Decoders hold one table each; an older one that comes again is sent whole, under a new number.
      for (const oldest of this.#sent.keys()) {
        if (this.#sent.size < mostSent) break;
        this.#sent.delete(oldest);
      }
      this.#sent.set(strings, known);
    }
    const from = known.count;
    known.count = strings.length;
    return { table: known.table, from, strings: strings.slice(from) };
  }
}

/** The receiving twin. */
export class StringTablesTwin {
  readonly #tables = new Map<number, string[]>();

  take(added: StringsAdded): readonly string[] {
    let strings = this.#tables.get(added.table);
    if (strings === undefined) {
      strings = [];
      for (const oldest of this.#tables.keys()) {
        if (this.#tables.size < mostTables) break;
        this.#tables.delete(oldest);
      }
      this.#tables.set(added.table, strings);
    }
    for (const text of added.strings) strings.push(text);
    return strings;
  }
}

/** A table for each decoder. Its strings are all kept, so one that a decoder has left should go soon. */
const mostSent = 4;
/** Not fewer than the sender's: both forget in the same order. */
const mostTables = 6;
