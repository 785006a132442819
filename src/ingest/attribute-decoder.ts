import type { ByteInterner } from './byte-interner.ts';
import { KeyCodes } from './key-codes.ts';
import { jsonOfValue } from './nested-value.ts';
import { Malformed, type ProtobufWire } from './protobuf-wire.ts';
import { dropRoutedPaths, isPathCode } from './routed-paths.ts';
import type { AttributeColumns, ValueKind } from './span-batch.ts';

/** `KeyValue` and `AnyValue` of OTLP into columns: wanted keys only, texts as numbers of `strings`. */
export class AttributeDecoder {
  readonly #wire: ProtobufWire;
  readonly #strings: ByteInterner;
  readonly #keys = new KeyCodes();
  /** Of the open row: its columns, and where its paths stand among them and in the message, three numbers each. */
  #row: AttributeColumns | undefined;
  #rowFrom = 0;
  readonly #paths: number[] = [];

  constructor(wire: ProtobufWire, strings: ByteInterner) {
    this.#wire = wire;
    this.#strings = strings;
  }

  /** Before a message: starts a new table of keys if somebody has spent this one. */
  renew(): void {
    this.#keys.renew();
  }

  /** Attributes that come into `columns` are a span's until {@link closeRow}. */
  openRow(columns: AttributeColumns): void {
    this.#row = columns;
    this.#rowFrom = columns.count;
    if (this.#paths.length > 0) this.#paths.length = 0;
  }

  /** Drops the paths of a span that has a route, and makes texts of the others: of most, nobody has made one then. */
  closeRow(): void {
    const columns = this.#row as AttributeColumns;
    this.#row = undefined;
    const paths = this.#paths;
    if (paths.length === 0 || dropRoutedPaths(columns, this.#rowFrom)) return;
    const { bytes, view } = this.#wire;
    // In order, so that of a value that came twice the last text stands.
    for (let i = 0; i < paths.length; i += 3)
      if (columns.kind[paths[i] as number] === 1)
        columns.value[paths[i] as number] = this.#strings.intern(bytes, view, paths[i + 1] as number, paths[i + 2] as number);
  }

  /** One `KeyValue` message into `columns`, if its key is wanted. */
  keyValue(start: number, end: number, columns: AttributeColumns): void {
    const bytes = this.#wire.bytes;
    // The usual form: a short key, then a value to the end. Anything else goes the general way.
    if (bytes[start] === 0x0a) {
      const keyLength = bytes[start + 1] as number;
      const keyEnd = start + 2 + keyLength;
      if (keyLength < 128 && keyEnd + 2 <= end && bytes[keyEnd] === 0x12) {
        const valueLength = bytes[keyEnd + 1] as number;
        if (valueLength < 128) {
          if (keyEnd + 2 + valueLength === end) {
            const code = this.#keyCode(start + 2, keyEnd);
            if (code !== 0) this.#anyValue(keyEnd + 2, end, columns, code);
            return;
          }
        } else if (this.#wire.lengthPrefix(keyEnd + 1, end) === end) {
          const code = this.#keyCode(start + 2, keyEnd);
          if (code !== 0) this.#anyValue(this.#wire.at, end, columns, code);
          return;
        }
      }
    }
    let at = start;
    let code = 0;
    let valueStart = -1;
    let valueEnd = -1;
    while (at < end) {
      let tag = bytes[at++] as number;
      if (tag > 127) {
        tag = this.#wire.varint(at - 1);
        at = this.#wire.at;
      }
      if (tag === 0x0a) {
        const stop = this.#wire.lengthPrefix(at, end);
        code = this.#keyCode(this.#wire.at, stop);
        at = stop;
      } else if (tag === 0x12) {
        // A value that comes twice is merged by protobuf; for a oneof that is: the last one wins.
        const stop = this.#wire.lengthPrefix(at, end);
        valueStart = this.#wire.at;
        valueEnd = stop;
        at = stop;
      } else at = this.#wire.skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('an attribute ends inside a field');
    if (code !== 0 && valueStart >= 0) this.#anyValue(valueStart, valueEnd, columns, code);
  }

  #keyCode(start: number, end: number): number {
    return this.#keys.of(this.#wire.bytes, this.#wire.view, start, end);
  }

  #anyValue(start: number, end: number, columns: AttributeColumns, code: number): void {
    const bytes = this.#wire.bytes;
    if (bytes[start] === 0x0a) {
      const length = bytes[start + 1] as number;
      if (length < 128 && start + 2 + length === end) {
        columns.add(code, 1, this.#text(start + 2, end, columns, code));
        return;
      }
    }
    let kind: ValueKind | 0 = 0;
    let value = 0;
    let at = start;
    while (at < end) {
      let tag = bytes[at++] as number;
      if (tag > 127) {
        tag = this.#wire.varint(at - 1);
        at = this.#wire.at;
      }
      switch (tag) {
        case 0x0a: {
          const stop = this.#wire.lengthPrefix(at, end);
          kind = 1;
          value = this.#text(this.#wire.at, stop, columns, code);
          at = stop;
          break;
        }
        case 0x10:
          value = this.#wire.varint(at) !== 0 || this.#wire.high !== 0 ? 1 : 0;
          kind = 4;
          at = this.#wire.at;
          break;
        case 0x18: {
          const low = this.#wire.varint(at);
          const high = this.#wire.high | 0;
          at = this.#wire.at;
          value = high * 0x1_0000_0000 + low;
          kind = 2;
          if (!Number.isSafeInteger(value)) {
            kind = 5;
            value = this.#number(((BigInt(high) << 32n) | BigInt(low)).toString());
          }
          break;
        }
        case 0x21:
          value = this.#wire.view.getFloat64(at, true);
          kind = 3;
          at += 8;
          break;
        case 0x2a:
        case 0x32:
        case 0x3a: {
          const stop = this.#wire.lengthPrefix(at, end);
          kind = 6;
          value = this.#number(jsonOfValue(this.#wire, tag, this.#wire.at, stop));
          at = stop;
          break;
        }
        default:
          at = this.#wire.skip(tag, at, end, 0);
      }
    }
    if (at !== end) throw new Malformed('an attribute value ends inside a field');
    if (kind === 0) return;
    if (kind !== 1 && columns === this.#row && isPathCode(code)) this.#paths.push(columns.count, 0, 0);
    columns.add(code, kind, value);
  }

  /** The number of the text that is about to be added to the columns; of a span's path, one that {@link closeRow} puts right. */
  #text(start: number, end: number, columns: AttributeColumns, code: number): number {
    if (columns !== this.#row || !isPathCode(code)) return this.#strings.intern(this.#wire.bytes, this.#wire.view, start, end);
    this.#paths.push(columns.count, start, end);
    return 0;
  }

  /** A made text as a string's number. */
  #number(text: string): number {
    return this.#strings.strings.push(text) - 1;
  }
}
