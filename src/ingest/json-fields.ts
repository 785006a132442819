import { ByteInterner } from './byte-interner.ts';
import { closeBrace, closeBracket, type JsonWire, openBrace, openBracket, unusual } from './json-wire.ts';
import type { Shape } from './otlp-json-shape.ts';

/** Names of OTLP/JSON's fields that are read here, by their place. */
const names = [
  '',
  'resourceSpans',
  'resource',
  'scopeSpans',
  'attributes',
  'scope',
  'spans',
  'traceId',
  'spanId',
  'parentSpanId',
  'name',
  'kind',
  'startTimeUnixNano',
  'endTimeUnixNano',
  'status',
  'events',
  'links',
  'code',
  'message',
  'timeUnixNano',
  'key',
  'value',
  'stringValue',
  'intValue',
  'boolValue',
  'doubleValue',
  'arrayValue',
  'kvlistValue',
  'bytesValue',
  'schemaUrl',
  'traceState',
  'flags',
  'droppedAttributesCount',
  'droppedEventsCount',
  'droppedLinksCount',
  'entityRefs',
  'version',
] as const;
type Name = (typeof names)[number];
type NumberOf = { readonly [K in Name]: number };
export const fieldNumbers = Object.fromEntries(names.map((name, nth) => [name, nth])) as NumberOf;

const nameLengths = Uint8Array.from(names, (name) => name.length);

const deepestWalk = 16;

/** The names of fields, as numbers, and what is only looked at for its names. */
export class JsonFields {
  readonly #wire: JsonWire;
  readonly #names = new ByteInterner(256, 16 * 1024);
  /** The field that last came after each: spans of one exporter are alike. */
  readonly #followers: Int32Array = new Int32Array(names.length);
  #last = 0;

  constructor(wire: JsonWire) {
    this.#wire = wire;
    this.#learn();
  }

  /** Between documents: names that the protocol does not have take places, too. */
  renew(): void {
    if (this.#names.renew()) this.#learn();
  }

  #learn(): void {
    for (const name of names) {
      const bytes = Buffer.from(name);
      this.#names.intern(bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.length);
    }
  }

  /** The number of the next field's name, and past its colon. */
  next(): number {
    const wire = this.#wire;
    const guess = this.#followers[this.#last] as number;
    const start = wire.at + 1;
    const end = start + (nameLengths[guess] as number);
    if (
      wire.bytes[end] === 0x22 &&
      wire.bytes[start - 1] === 0x22 &&
      this.#names.isSameAs(guess, wire.bytes, wire.view, start, end) &&
      guess !== 0
    ) {
      this.#last = guess;
      wire.at = end + 1;
      wire.expect(0x3a);
      return guess;
    }
    wire.string();
    const number = this.#names.intern(wire.bytes, wire.view, wire.start, wire.end);
    if (number === 0 || number >= names.length) throw unusual;
    this.#followers[this.#last] = number;
    this.#last = number;
    wire.expect(0x3a);
    return number;
  }

  /** Notes a field of the object at hand; one that comes twice would be read twice. */
  once(seen: number, field: number): number {
    const bit = field < 31 ? 1 << field : 0;
    if ((seen & bit) !== 0) throw unusual;
    return seen | bit;
  }

  /** A field that means nothing here, if the protocol has it. */
  other(shape: Shape, field: number): void {
    const inner = shape.get(names[field] ?? '');
    if (inner === undefined) throw unusual;
    if (inner === null) this.#wire.skip();
    else this.walk(inner);
  }

  /** Any value whose fields must be known, as `firstUnknownField` has it. */
  walk(shape: Shape, depth = 0): void {
    const wire = this.#wire;
    const first = wire.next();
    if (first === openBracket) {
      if (!wire.enter(openBracket, closeBracket)) return;
      do {
        if (wire.next() === openBracket) throw unusual;
        this.walk(shape, depth);
      } while (wire.more(closeBracket));
    } else if (first === openBrace) {
      if (depth > deepestWalk) throw unusual;
      if (!wire.enter(openBrace, closeBrace)) return;
      do {
        const field = this.#knownField();
        const inner = shape.get(field);
        if (inner === undefined) throw unusual;
        if (inner === null) wire.skip();
        else this.walk(inner, depth + 1);
      } while (wire.more(closeBrace));
    } else wire.skip();
  }

  #knownField(): string {
    const wire = this.#wire;
    wire.string();
    if (wire.isEscaped) throw unusual;
    const { start, end } = wire;
    const number = this.#names.intern(wire.bytes, wire.view, start, end);
    wire.expect(0x3a);
    return names[number] ?? wire.bytes.toString('latin1', start, end);
  }
}
