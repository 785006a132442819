/** What the reader of bytes leaves to the general one: damaged JSON, and what is allowed but unusual. */
export class Unusual extends Error {}

/** One for all: it is thrown for control flow and says nothing. */
export const unusual: Unusual = new Unusual('left to the general JSON reader');

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
export const openBrace = 0x7b;
export const closeBrace = 0x7d;
export const openBracket = 0x5b;
export const closeBracket = 0x5d;

/** 1 for bytes that end a run of plain text: the quote, the backslash, control characters (which JSON does not allow in strings). */
const endsRun: Uint8Array = new Uint8Array(256);
endsRun.fill(1, 0, 0x20);
endsRun[quote] = 1;
endsRun[backslash] = 1;

/** What `\x` stands for; 0: no escape. */
const escapes: Uint8Array = new Uint8Array(256);
for (const [letter, byte] of [
  ['"', quote],
  ['\\', backslash],
  ['/', 0x2f],
  ['b', 8],
  ['f', 12],
  ['n', 10],
  ['r', 13],
  ['t', 9],
] as const)
  escapes[letter.charCodeAt(0)] = byte;

const hexValue: Int8Array = new Int8Array(256).fill(-1);
for (let i = 0; i < 16; i += 1) {
  hexValue['0123456789abcdef'.charCodeAt(i)] = i;
  hexValue['0123456789ABCDEF'.charCodeAt(i)] = i;
}

const number = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
/** Deeper nesting is left to the general reader. */
const deepest = 64;

/** A cursor over the bytes of one JSON document. Each reader throws {@link unusual} where it does not find what it is for. */
export class JsonWire {
  bytes: Buffer = Buffer.alloc(0);
  view: DataView = new DataView(this.bytes.buffer);
  at = 0;
  /** Of the last string: its bytes without the quotes, escapes and all. */
  start = 0;
  end = 0;
  isEscaped = false;
  /** The last string with its escapes resolved, as UTF-8, by {@link unescape}. */
  readonly plain: Buffer = Buffer.alloc(longestUnescaped);
  readonly plainView: DataView = new DataView(this.plain.buffer, this.plain.byteOffset, this.plain.byteLength);

  open(bytes: Uint8Array): void {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  /** The next byte that is no white space; -1 at the end. */
  next(): number {
    for (;;) {
      const byte = this.bytes[this.at];
      if (byte === undefined) return -1;
      if (byte > 0x20) return byte;
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) throw unusual;
      this.at += 1;
    }
  }

  expect(byte: number): void {
    if (this.bytes[this.at] === byte) this.at += 1;
    else this.#expect(byte);
  }

  #expect(byte: number): void {
    if (this.next() !== byte) throw unusual;
    this.at += 1;
  }

  /** Steps into a list or an object; false where it is empty, and over. */
  enter(open: number, close: number): boolean {
    this.expect(open);
    if (this.next() !== close) return true;
    this.at += 1;
    return false;
  }

  /** Steps over the comma to the next item; false at the end of the list or object, which is stepped over. */
  more(close: number): boolean {
    const byte = this.next();
    this.at += 1;
    if (byte === comma) return true;
    if (byte === close) return false;
    throw unusual;
  }

  string(): void {
    if (this.next() !== quote) throw unusual;
    const { bytes } = this;
    let at = this.at + 1;
    this.start = at;
    this.isEscaped = false;
    for (;;) {
      while (endsRun[bytes[at] as number] === 0) at += 1;
      const byte = bytes[at];
      if (byte === quote) break;
      if (byte !== backslash) throw unusual;
      this.isEscaped = true;
      const escaped = bytes[at + 1];
      if (escaped === undefined) throw unusual;
      if (escaped === 0x75) {
        for (let i = 2; i < 6; i += 1) if (!((hexValue[bytes[at + i] ?? 0] as number) >= 0)) throw unusual;
        at += 6;
      } else if (escapes[escaped] === 0) throw unusual;
      else at += 2;
    }
    this.end = at;
    this.at = at + 1;
  }

  /** Resolves the escapes of the last string into {@link plain}; says how many bytes it has. */
  unescape(): number {
    const { bytes, plain, end } = this;
    if (end - this.start > longestUnescaped) throw unusual;
    let length = 0;
    for (let at = this.start; at < end; ) {
      const byte = bytes[at] as number;
      if (byte !== backslash) {
        plain[length++] = byte;
        at += 1;
        continue;
      }
      const escaped = bytes[at + 1] as number;
      if (escaped !== 0x75) {
        plain[length++] = escapes[escaped] as number;
        at += 2;
        continue;
      }
      let point = this.#unit(at + 2);
      at += 6;
      if (point >= 0xd800 && point < 0xe000) {
        // A half of a pair by itself is no Unicode, which a JavaScript string holds and UTF-8 does not.
        if (point >= 0xdc00 || at + 6 > end || bytes[at] !== backslash || bytes[at + 1] !== 0x75) throw unusual;
        const low = this.#unit(at + 2);
        if (low < 0xdc00 || low >= 0xe000) throw unusual;
        point = 0x1_0000 + ((point - 0xd800) << 10) + (low - 0xdc00);
        at += 6;
      }
      // An escape is never shorter than what it stands for.
      if (point < 0x80) plain[length++] = point;
      else if (point < 0x800) {
        plain[length++] = 0xc0 | (point >> 6);
        plain[length++] = 0x80 | (point & 63);
      } else if (point < 0x1_0000) {
        plain[length++] = 0xe0 | (point >> 12);
        plain[length++] = 0x80 | ((point >> 6) & 63);
        plain[length++] = 0x80 | (point & 63);
      } else {
        plain[length++] = 0xf0 | (point >> 18);
        plain[length++] = 0x80 | ((point >> 12) & 63);
        plain[length++] = 0x80 | ((point >> 6) & 63);
        plain[length++] = 0x80 | (point & 63);
      }
    }
    return length;
  }

  #unit(at: number): number {
    let unit = 0;
    for (let i = at; i < at + 4; i += 1) unit = unit * 16 + (hexValue[this.bytes[i] as number] as number);
    return unit;
  }

  /** `length` bytes from the last string's hexadecimal digits; false where it is anything else, or all zero. */
  hex(length: number, into: Uint8Array, offset: number): boolean {
    const { bytes, start } = this;
    if (this.isEscaped) throw unusual;
    if (this.end - start !== length * 2) return false;
    let any = 0;
    for (let i = 0; i < length; i += 1) {
      const high = hexValue[bytes[start + i * 2] as number] as number;
      const low = hexValue[bytes[start + i * 2 + 1] as number] as number;
      if ((high | low) < 0) return false;
      const byte = high * 16 + low;
      into[offset + i] = byte;
      any |= byte;
    }
    return any !== 0;
  }

  /** The decimal digits of the bytes in between, as a number; -1 where they are anything else. Large ones by way of text, which rounds right. */
  digits(start: number, end: number): number {
    if (end <= start) return -1;
    let value = 0;
    for (let at = start; at < end; at += 1) {
      const digit = (this.bytes[at] as number) - 0x30;
      if (digit < 0 || digit > 9) return -1;
      value = value * 10 + digit;
    }
    // Every step was exact where the end is.
    return value <= Number.MAX_SAFE_INTEGER ? value : Number(this.bytes.toString('latin1', start, end));
  }

  number(): number {
    this.next();
    const { bytes } = this;
    const start = this.at;
    let at = start;
    for (;;) {
      const byte = bytes[at] ?? 0;
      if (!((byte >= 0x30 && byte <= 0x39) || byte === 0x2b || byte === 0x2d || byte === 0x2e || byte === 0x65 || byte === 0x45)) break;
      at += 1;
    }
    this.at = at;
    const first = bytes[start];
    if (at - start <= 15 && first !== 0x30 && first !== 0x2d) {
      const value = this.digits(start, at);
      if (value >= 0) return value;
    }
    const text = bytes.toString('latin1', start, at);
    if (!number.test(text)) throw unusual;
    return Number(text);
  }

  /** Steps over `words`, four bytes each, where they stand here without white space. */
  isAt(words: Int32Array): boolean {
    const { view } = this;
    let at = this.at;
    if (at + words.length * 4 > view.byteLength) return false;
    for (let i = 0; i < words.length; i += 1, at += 4) if (view.getInt32(at, true) !== words[i]) return false;
    this.at = at;
    return true;
  }

  /** `true` or `false`. */
  boolean(): boolean {
    const isTrue = this.next() === 0x74;
    this.#word(isTrue ? 'true' : 'false');
    return isTrue;
  }

  #word(word: string): void {
    for (let i = 0; i < word.length; i += 1) if (this.bytes[this.at + i] !== word.charCodeAt(i)) throw unusual;
    this.at += word.length;
  }

  /** Any value. */
  skip(depth = 0): void {
    if (depth > deepest) throw unusual;
    const first = this.next();
    if (first === quote) this.string();
    else if (first === openBrace) {
      if (!this.enter(openBrace, closeBrace)) return;
      do {
        this.string();
        this.expect(0x3a);
        this.skip(depth + 1);
      } while (this.more(closeBrace));
    } else if (first === openBracket) {
      if (!this.enter(openBracket, closeBracket)) return;
      do this.skip(depth + 1);
      while (this.more(closeBracket));
    } else if (first === 0x74 || first === 0x66) this.boolean();
    else if (first === 0x6e) this.#word('null');
    else this.number();
  }
}

/** Longer strings with escapes are left to the general reader. */
const longestUnescaped = 64 * 1024;

/** A text of four, eight ... ASCII characters for {@link JsonWire.isAt}. */
export function wordsOf(text: string): Int32Array {
  const bytes = Buffer.from(text, 'latin1');
  return Int32Array.from({ length: bytes.length / 4 }, (_, nth) => bytes.readInt32LE(nth * 4));
}
