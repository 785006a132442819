import { ByteInterner } from './byte-interner.ts';
import { classifyKey } from './wanted-attributes.ts';

/** What a decoder wants of an attribute, by the bytes of its key: each distinct key is classified once. */
export class KeyCodes {
  readonly #keys = new ByteInterner(mostKeys, 64 * 1024);
  readonly #codes: Uint8Array = new Uint8Array(mostKeys + 1);
  #known = 1;
  /** The key that last came after each key, and the last key. */
  readonly #followers: Int32Array = new Int32Array(mostKeys + 1);
  #last = 0;

  /** Between requests: starts a new table of keys if somebody has spent this one. */
  renew(): void {
    if (!this.#keys.renew()) return;
    this.#known = 1;
    this.#followers.fill(0);
    this.#last = 0;
  }

  /** The code of the key at `[start, end)`, 0 where nobody wants it. `view` is of the same bytes. */
  of(bytes: Buffer, view: DataView, start: number, end: number): number {
    // Spans of one instrumentation have the same keys in the same order: the key that followed the last one is tried first.
    const guess = this.#followers[this.#last] as number;
    if (guess !== 0 && this.#keys.isSameAs(guess, bytes, view, start, end)) {
      this.#last = guess;
      return this.#codes[guess] as number;
    }
    const number = this.#keys.intern(bytes, view, start, end);
    if (number < this.#known) {
      this.#followers[this.#last] = number;
      this.#last = number;
      return this.#codes[number] as number;
    }
    const code = classifyKey(this.#keys.strings[number] as string);
    if (number === this.#known && number < this.#codes.length) {
      this.#codes[number] = code;
      this.#known += 1;
    }
    return code;
  }
}

const mostKeys = 1024;
