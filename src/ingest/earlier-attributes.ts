/**
 * Attributes of a message's spans by where they stood: spans of one name mostly have the same attributes in the same order, many with the
 * same values. So most are known by comparing their bytes with those of a span shortly before, which lie near and are compared once, where
 * reading them is two look-ups and several decisions. Only attributes of the usual form are noted: a key, then a value to the end.
 *
 * A slot is a place of the spans of a name. Names that share slots tell each other nothing, and nothing wrong.
 */
export class EarlierAttributes {
  /**
   * Of each slot, beside each other because all are looked at: where the attribute lies in the message, counted from the first message on;
   * how many bytes come before the length of its value, how many bytes it has, code, kind; and its value, a double, in the last two words.
   */
  readonly #entries: Int32Array = new Int32Array(slots * slotWords).fill(-1);
  readonly #values: Float64Array = new Float64Array(this.#entries.buffer);
  /** Where the message begins among all, and where it ends. */
  #base = 0;
  #end = 0;

  /** Before a message of so many bytes: what lies before it is not looked at any more. */
  renew(bytes: number): void {
    this.#base = this.#end;
    this.#end += bytes;
    if (this.#end <= furthest) return;
    this.#entries.fill(-1);
    this.#base = 0;
    this.#end = bytes;
  }

  /** The slot of a name's first attribute; those of the others follow by {@link after}. */
  first(name: number): number {
    return Math.imul(name, slotsPerName) & (slots - 1);
  }

  after(slot: number): number {
    return (slot + 1) & (slots - 1);
  }

  /**
   * What the attribute at `[start, end)` has in common with that of the slot: {@link nothing}, all that anybody wants of it
   * ({@link everything}), or else how many bytes come before the length of its value.
   */
  alike(slot: number, view: DataView, start: number, end: number): number {
    const entries = this.#entries;
    const entry = slot * slotWords;
    const from = (entries[entry] as number) - this.#base;
    const keyLength = entries[entry + 1] as number;
    if (from < 0 || start + keyLength >= end) return nothing;
    const shift = from - start;
    // Compiled code compares 64 bits in a register and makes no bigint of them; 32 at a time took half as long again.
    let last = start + keyLength - 8;
    for (let at = start; at < last; at += 8) if (view.getBigInt64(at, true) !== view.getBigInt64(at + shift, true)) return nothing;
    if (view.getBigInt64(last, true) !== view.getBigInt64(last + shift, true)) return nothing;
    // Of what nobody wants no value is looked at, only whether it is one to the end.
    if (entries[entry + 3] === 0) return view.getInt8(start + keyLength) === end - start - keyLength - 1 ? everything : keyLength;
    if (end - start !== (entries[entry + 2] as number)) return keyLength;
    last = end - 8;
    for (let at = start + keyLength; at < last; at += 8)
      if (view.getBigInt64(at, true) !== view.getBigInt64(at + shift, true)) return keyLength;
    return view.getBigInt64(last, true) === view.getBigInt64(last + shift, true) ? everything : keyLength;
  }

  /** Code of the slot's attribute, 0 where nobody wants it. */
  codeOf(slot: number): number {
    return this.#entries[slot * slotWords + 3] as number;
  }
  kindOf(slot: number): number {
    return this.#entries[slot * slotWords + 4] as number;
  }
  valueOf(slot: number): number {
    return this.#values[(slot * slotWords + valueWord) >> 1] as number;
  }

  /** Notes the attribute at `[start, end)`, of which `keyLength` bytes come before the length of its value. */
  note(slot: number, start: number, end: number, keyLength: number, code: number, kind: number, value: number): void {
    const entries = this.#entries;
    const entry = slot * slotWords;
    entries[entry] = keyLength < 8 ? -1 : this.#base + start;
    entries[entry + 1] = keyLength;
    entries[entry + 2] = end - start;
    entries[entry + 3] = code;
    entries[entry + 4] = kind;
    this.#values[(entry + valueWord) >> 1] = value;
  }

  forget(slot: number): void {
    this.#entries[slot * slotWords] = -1;
  }
}

export const nothing = -1;
export const everything = 0;

/** A power of two: some hundred names with as many attributes as instrumentations give. */
const slots = 2048;
const slotsPerName = 19;
const slotWords = 8;
const valueWord = 6;
/** Places of attributes are numbers of 31 bits, as compiled code likes them best. */
const furthest = 0x3fff_ffff;
