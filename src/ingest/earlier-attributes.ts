/**
 * Attributes of a message's spans by where they stood: spans of one name mostly have the same attributes in the same order, many with the
 * same values. So most are known by comparing their bytes with those of a span shortly before, which lie near and are compared once, where
 * reading them is two look-ups and several decisions. Of an attribute that nobody wants only the key is compared.
 *
 * A slot is a place of the spans of a name. Names that share slots tell each other nothing, and nothing wrong.
 */
export class EarlierAttributes {
  /** Where the attribute lies in the message, -1 for none; how many of its bytes are compared. */
  readonly #start: Int32Array = new Int32Array(slots).fill(-1);
  readonly #compared: Int32Array = new Int32Array(slots);
  readonly #code: Uint8Array = new Uint8Array(slots);
  readonly #kind: Uint8Array = new Uint8Array(slots);
  readonly #value: Float64Array = new Float64Array(slots);

  /** Between messages: forgets all. */
  renew(): void {
    this.#start.fill(-1);
  }

  /** The slot of a name's first attribute; those of the others follow by {@link after}. */
  first(name: number): number {
    return Math.imul(name, slotsPerName) & (slots - 1);
  }

  after(slot: number): number {
    return (slot + 1) & (slots - 1);
  }

  /** Whether the attribute at `[start, end)` says what that of the slot says. `view` is of the same bytes. */
  isSame(slot: number, bytes: Uint8Array, view: DataView, start: number, end: number): boolean {
    const from = this.#start[slot] as number;
    if (from < 0) return false;
    const length = this.#compared[slot] as number;
    if (this.#code[slot] !== 0) {
      if (end - start !== length) return false;
    } else {
      // The key, then a value of the usual length to the end.
      const at = start + length;
      if (at >= end || (bytes[at] as number) > 127 || at + 1 + (bytes[at] as number) !== end) return false;
    }
    const last = length - 4;
    for (let i = 0; i < last; i += 4) if (view.getInt32(from + i, true) !== view.getInt32(start + i, true)) return false;
    return view.getInt32(from + last, true) === view.getInt32(start + last, true);
  }

  /** Code of the slot's attribute, 0 where nobody wants it. */
  codeOf(slot: number): number {
    return this.#code[slot] as number;
  }
  kindOf(slot: number): number {
    return this.#kind[slot] as number;
  }
  valueOf(slot: number): number {
    return this.#value[slot] as number;
  }

  /** `compared`: the whole length, or of an unwanted attribute, whose code is 0, what comes before the length of its value. */
  note(slot: number, start: number, compared: number, code: number, kind: number, value: number): void {
    this.#start[slot] = compared < 4 ? -1 : start;
    this.#compared[slot] = compared;
    this.#code[slot] = code;
    this.#kind[slot] = kind;
    this.#value[slot] = value;
  }

  forget(slot: number): void {
    this.#start[slot] = -1;
  }
}

/** A power of two: some hundred names with as many attributes as instrumentations give. */
const slots = 2048;
const slotsPerName = 19;
