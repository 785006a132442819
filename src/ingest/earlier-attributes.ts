/**
 * Attributes of a message's spans by where they stood: spans of one name mostly have the same attributes in the same order, many with the
 * same values. So most are known by comparing their bytes with those of a span shortly before, which lie near and are compared once, where
 * reading them is two look-ups and several decisions. Only attributes of the usual form are noted: a key, then a value to the end.
 *
 * A slot is a place of the spans of a name. Names that share slots tell each other nothing, and nothing wrong.
 */
export class EarlierAttributes {
  /** Where the attribute lies in the message, -1 for none; its bytes; how many of them come before the length of its value. */
  readonly #start: Int32Array = new Int32Array(slots).fill(-1);
  readonly #length: Int32Array = new Int32Array(slots);
  readonly #keyLength: Uint8Array = new Uint8Array(slots);
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

  /** Where the length of the value stands in the attribute at `[start, end)`, if it begins as that of the slot does: else -1. */
  valueAt(slot: number, view: DataView, start: number, end: number): number {
    const from = this.#start[slot] as number;
    const length = this.#keyLength[slot] as number;
    return from >= 0 && start + length < end && isSame(view, from, start, 0, length) ? start + length : -1;
  }

  /** Whether the attribute has the value of the slot's too, where it begins as that does. */
  isSameValue(slot: number, view: DataView, start: number, end: number): boolean {
    const length = this.#length[slot] as number;
    return end - start === length && isSame(view, this.#start[slot] as number, start, this.#keyLength[slot] as number, length);
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

  /** Notes the attribute at `[start, end)`, of which `keyLength` bytes come before the length of its value. */
  note(slot: number, start: number, end: number, keyLength: number, code: number, kind: number, value: number): void {
    this.#start[slot] = keyLength < 8 ? -1 : start;
    this.#length[slot] = end - start;
    this.#keyLength[slot] = keyLength;
    this.#code[slot] = code;
    this.#kind[slot] = kind;
    this.#value[slot] = value;
  }

  forget(slot: number): void {
    this.#start[slot] = -1;
  }
}

/**
 * Whether bytes `[at, length)` of two attributes are the same, of which there are at least eight from the first on. Compiled code compares 64
 * bits in a register and makes no bigint of them; 32 at a time took half as long again.
 */
function isSame(view: DataView, one: number, other: number, at: number, length: number): boolean {
  const last = length - 8;
  for (let i = at; i < last; i += 8) if (view.getBigInt64(one + i, true) !== view.getBigInt64(other + i, true)) return false;
  return view.getBigInt64(one + last, true) === view.getBigInt64(other + last, true);
}

/** A power of two: some hundred names with as many attributes as instrumentations give. */
const slots = 2048;
const slotsPerName = 19;
