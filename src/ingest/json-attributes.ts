import type { ByteInterner } from './byte-interner.ts';
import { fieldNumbers as f, type JsonFields } from './json-fields.ts';
import { plainValue } from './json-reading.ts';
import { closeBrace, closeBracket, type JsonWire, openBrace, openBracket, unusual, wordsOf } from './json-wire.ts';
import { KeyCodes } from './key-codes.ts';
import { type Shape, shapeAt } from './otlp-json-shape.ts';
import type { AttributeColumns } from './span-batch.ts';
import { classifyKey } from './wanted-attributes.ts';

/** How almost every attribute is written, in words of four bytes. */
const keyWords = wordsOf('{"key":"');
const textWords = wordsOf(',"value":{"stringValue":');

/** Attributes in OTLP/JSON into columns, wanted keys only; and texts, as numbers of `strings`. */
export class JsonAttributes {
  readonly #wire: JsonWire;
  readonly #fields: JsonFields;
  readonly #strings: ByteInterner;
  readonly #keys = new KeyCodes();

  constructor(wire: JsonWire, fields: JsonFields, strings: ByteInterner) {
    this.#wire = wire;
    this.#fields = fields;
    this.#strings = strings;
  }

  /** Between documents: starts a new table of keys if this one is spent. */
  renew(): void {
    this.#keys.renew();
  }

  list(columns: AttributeColumns): void {
    const wire = this.#wire;
    if (!wire.enter(openBracket, closeBracket)) return;
    do {
      if (!this.#usualAttribute(columns) && wire.enter(openBrace, closeBrace)) this.#attribute(columns);
    } while (wire.more(closeBracket));
  }

  /** An attribute with a text, written without white space: most are. Otherwise nothing has happened. */
  #usualAttribute(columns: AttributeColumns): boolean {
    const wire = this.#wire;
    const from = wire.at;
    if (!wire.isAt(keyWords)) return false;
    wire.at -= 1;
    wire.string();
    if (!wire.isEscaped) {
      if (wire.isAt(textWords)) {
        const code = this.#keyCode();
        if (code !== 0) columns.add(code, 1, this.text());
        else wire.string();
        wire.expect(closeBrace);
        wire.expect(closeBrace);
        return true;
      }
    }
    wire.at = from;
    return false;
  }

  #attribute(columns: AttributeColumns): void {
    const wire = this.#wire;
    let field = this.#fields.next();
    let valueAt = -1;
    if (field === f.value) {
      // What its value is to become, the key will say: the value is read again then.
      if (wire.next() !== openBrace) throw unusual;
      valueAt = wire.at;
      this.#fields.walk(valueShape);
      if (!wire.more(closeBrace)) return;
      field = this.#fields.next();
    }
    if (field !== f.key) throw unusual;
    wire.string();
    const code = this.#keyCode();
    if (valueAt >= 0) {
      const end = wire.at;
      wire.at = valueAt;
      this.#value(columns, code);
      wire.at = end;
    } else {
      if (!wire.more(closeBrace)) return;
      if (this.#fields.next() !== f.value || wire.next() !== openBrace) throw unusual;
      this.#value(columns, code);
    }
    wire.expect(closeBrace);
  }

  #value(columns: AttributeColumns, code: number): void {
    const wire = this.#wire;
    const start = wire.at;
    if (!wire.enter(openBrace, closeBrace)) return;
    const field = this.#fields.next();
    switch (field) {
      case f.stringValue:
        if (code !== 0) columns.add(code, 1, this.text());
        else wire.skip();
        break;
      case f.intValue:
        if (code !== 0) this.#whole(columns, code);
        else wire.skip();
        break;
      case f.boolValue:
        if (code !== 0) columns.add(code, 4, wire.boolean() ? 1 : 0);
        else wire.skip();
        break;
      case f.doubleValue:
        if (code !== 0) columns.add(code, 3, wire.number());
        else wire.skip();
        break;
      case f.arrayValue:
      case f.kvlistValue:
      case f.bytesValue:
        if (wire.next() !== (field === f.bytesValue ? 0x22 : openBrace)) throw unusual;
        this.#fields.other(valueShape, field);
        break;
      default:
        throw unusual;
    }
    // Of two values in one the general reader knows which counts.
    wire.expect(closeBrace);
    if (code === 0 || !(field === f.arrayValue || field === f.kvlistValue || field === f.bytesValue)) return;
    const value: unknown = JSON.parse(wire.bytes.toString('utf8', start, wire.at));
    columns.add(code, 6, this.#strings.strings.push(JSON.stringify(plainValue(value, 0))) - 1);
  }

  #whole(columns: AttributeColumns, code: number): void {
    const wire = this.#wire;
    let value: number;
    if (wire.next() === 0x22) {
      wire.string();
      const isNegative = wire.bytes[wire.start] === 0x2d;
      const digits = wire.end - wire.start - (isNegative ? 1 : 0);
      if (digits > 19) throw unusual;
      value = wire.digits(wire.end - digits, wire.end);
      if (value < 0) throw unusual;
      if (isNegative) value = -value;
    } else value = wire.number();
    // What a double does not hold is kept as text, by the general reader.
    if (!Number.isSafeInteger(value)) throw unusual;
    columns.add(code, 2, value);
  }

  #keyCode(): number {
    const wire = this.#wire;
    const { bytes, view, start, end } = wire;
    if (wire.isEscaped) return classifyKey(wire.plain.toString('utf8', 0, wire.unescape()));
    return this.#keys.of(bytes, view, start, end);
  }

  /** The number of a text. */
  text(): number {
    const wire = this.#wire;
    wire.string();
    if (!wire.isEscaped) return this.#strings.intern(wire.bytes, wire.view, wire.start, wire.end);
    return this.#strings.intern(wire.plain, wire.plainView, 0, wire.unescape());
  }
}

const valueShape: Shape = shapeAt('resourceSpans', 'scopeSpans', 'spans', 'attributes', 'value');
