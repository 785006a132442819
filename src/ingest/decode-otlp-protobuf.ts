import { ByteInterner } from './byte-interner.ts';
import { type EventKind, eventKindOf, type SpanBatch, type ValueKind } from './span-batch.ts';
import { classifyKey } from './wanted-attributes.ts';

/**
 * `ExportTraceServiceRequest` (OTLP 1.11) from protobuf bytes into columns, in one pass and without an object a span. Attributes that
 * nobody wants are skipped as bytes; strings are interned by bytes. Written by hand because this is the hot path: generated decoders
 * make an object for each span, attribute and value and reach a fifth of its speed or less (`npm run bench -- decode`); protobufjs is
 * the oracle in the tests.
 *
 * As the protobuf specification asks: fields in any order, unknown fields skipped, a field with another wire type is unknown, the last
 * of a repeated scalar wins, overlong varints are accepted. Groups are skipped. UTF-8 is not checked: broken text becomes U+FFFD.
 */
export type Decoded = { readonly is: 'decoded' } | { readonly is: 'malformed'; readonly what: string };

export class ProtobufDecoder {
  readonly #strings: ByteInterner;
  readonly #keys = new ByteInterner(1024, 64 * 1024);
  #keyCodes: Uint8Array = new Uint8Array(1025);
  #keysKnown = 1;
  /** The key that last came after each key, and the last key. */
  readonly #followers: Int32Array = new Int32Array(1025);
  #lastKey = 0;
  readonly #eventNames = new ByteInterner(256, 16 * 1024);
  #bytes: Buffer = empty;
  #view: DataView = new DataView(empty.buffer, empty.byteOffset, 0);
  /** Where the last varint, value or skipped field ended. */
  #at = 0;
  /** High 32 bits of the last varint. */
  #high = 0;

  constructor(options: { readonly distinctStrings?: number; readonly arenaBytes?: number } = {}) {
    this.#strings = new ByteInterner(options.distinctStrings ?? 32_768, options.arenaBytes ?? 4 * 1024 * 1024);
  }

  /** Fills `batch`. Malformed bytes leave it with what came before the fault: the caller drops it whole. */
  decode(bytes: Uint8Array, batch: SpanBatch): Decoded {
    this.#strings.renew();
    if (this.#keys.renew()) {
      this.#keysKnown = 1;
      this.#followers.fill(0);
      this.#lastKey = 0;
    }
    this.#eventNames.renew();
    batch.reset(this.#strings.strings);
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    try {
      this.#request(bytes.byteLength, batch);
      return { is: 'decoded' };
    } catch (error) {
      // A varint at the very end reads past the view before its bound is checked.
      if (error instanceof Malformed) return { is: 'malformed', what: error.message };
      if (error instanceof RangeError) return { is: 'malformed', what: 'the message ends inside a field' };
      throw error;
    } finally {
      this.#bytes = empty;
    }
  }

  #request(end: number, batch: SpanBatch): void {
    const bytes = this.#bytes;
    let at = 0;
    while (at < end) {
      let tag = bytes[at++] as number;
      if (tag > 127) {
        tag = this.#varint(at - 1);
        at = this.#at;
      }
      if (tag === 0x0a) {
        const stop = this.#lengthPrefix(at, end);
        this.#resourceSpans(this.#at, stop, batch);
        at = stop;
      } else at = this.#skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('the message ends inside a field');
  }

  #resourceSpans(start: number, end: number, batch: SpanBatch): void {
    // The resource may come after its spans: its fields first, then the spans.
    batch.openResource();
    this.#nested(start, end, 0x0a, batch, this.#resource);
    batch.closeResource();
    this.#nested(start, end, 0x12, batch, this.#scopeSpans);
  }

  readonly #scopeSpans = (start: number, end: number, batch: SpanBatch): void => this.#nested(start, end, 0x12, batch, this.#span);

  /** Calls `each` for every field of the given tag in a message; skips the others. */
  #nested(
    start: number,
    end: number,
    wanted: number,
    batch: SpanBatch,
    each: (start: number, end: number, batch: SpanBatch) => void,
  ): void {
    const bytes = this.#bytes;
    let at = start;
    while (at < end) {
      let tag = bytes[at++] as number;
      if (tag > 127) {
        tag = this.#varint(at - 1);
        at = this.#at;
      }
      if (tag === wanted) {
        const stop = this.#lengthPrefix(at, end);
        each(this.#at, stop, batch);
        at = stop;
      } else at = this.#skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('a nested message ends inside a field');
  }

  readonly #resource = (start: number, end: number, batch: SpanBatch): void =>
    this.#nested(start, end, 0x0a, batch, this.#resourceAttribute);
  readonly #resourceAttribute = (start: number, end: number, batch: SpanBatch): void =>
    this.#keyValue(start, end, batch.resourceAttributes);
  readonly #eventAttribute = (start: number, end: number, batch: SpanBatch): void => this.#keyValue(start, end, batch.eventAttributes);

  readonly #span = (start: number, end: number, batch: SpanBatch): void => {
    const bytes = this.#bytes;
    const view = this.#view;
    const row = batch.openRow();
    const ids = row * 32;
    let hasTraceId = false;
    let hasSpanId = false;
    let at = start;
    while (at < end) {
      let tag = bytes[at++] as number;
      if (tag > 127) {
        tag = this.#varint(at - 1);
        at = this.#at;
      }
      let stop: number;
      switch (tag) {
        case 0x4a: {
          // attributes: most of the bytes, so the usual one-byte length is read in place.
          const length = bytes[at] as number;
          if (length < 128) {
            at += 1;
            stop = at + length;
            if (stop > end) throw new Malformed('an attribute is longer than its span');
          } else {
            stop = this.#lengthPrefix(at, end);
            at = this.#at;
          }
          this.#keyValue(at, stop, batch.attributes);
          at = stop;
          break;
        }
        case 0x0a: // trace_id
          stop = this.#lengthPrefix(at, end);
          hasTraceId = this.#copyId(stop, 16, batch.ids, ids);
          at = stop;
          break;
        case 0x12: // span_id
          stop = this.#lengthPrefix(at, end);
          hasSpanId = this.#copyId(stop, 8, batch.ids, ids + 16);
          at = stop;
          break;
        case 0x22: // parent_span_id: empty or zero for a root; another length cannot name a span, so it is a root too.
          stop = this.#lengthPrefix(at, end);
          if (!this.#copyId(stop, 8, batch.ids, ids + 24)) batch.ids.fill(0, ids + 24, ids + 32);
          at = stop;
          break;
        case 0x2a: // name
          stop = this.#lengthPrefix(at, end);
          batch.name[row] = this.#strings.intern(bytes, view, this.#at, stop);
          at = stop;
          break;
        case 0x30: // kind
          batch.kind[row] = Math.min(this.#varint(at), 255);
          at = this.#at;
          break;
        case 0x39: // start_time_unix_nano
          batch.startUs[row] = this.#microseconds(at);
          at += 8;
          break;
        case 0x41: // end_time_unix_nano
          batch.endUs[row] = this.#microseconds(at);
          at += 8;
          break;
        case 0x5a: // events
          stop = this.#lengthPrefix(at, end);
          this.#event(this.#at, stop, batch);
          at = stop;
          break;
        case 0x6a: // links
          stop = this.#lengthPrefix(at, end);
          this.#link(this.#at, stop, batch);
          at = stop;
          break;
        case 0x7a: // status
          stop = this.#lengthPrefix(at, end);
          this.#status(this.#at, stop, batch, row);
          at = stop;
          break;
        default:
          at = this.#skip(tag, at, end, 0);
      }
    }
    if (at !== end) throw new Malformed('a span ends inside a field');
    if (!hasTraceId) batch.rejectRow('bad-trace-id');
    else if (!hasSpanId) batch.rejectRow('bad-span-id');
    else batch.keepRow();
  };

  /** Copies the bytes from `#at` to `stop`; false where they are not `length` bytes or all zero. */
  #copyId(stop: number, length: number, into: Uint8Array, offset: number): boolean {
    const start = this.#at;
    if (stop - start !== length) return false;
    const bytes = this.#bytes;
    let any = 0;
    for (let i = 0; i < length; i += 1) {
      const byte = bytes[start + i] as number;
      into[offset + i] = byte;
      any |= byte;
    }
    return any !== 0;
  }

  #event(start: number, end: number, batch: SpanBatch): void {
    const bytes = this.#bytes;
    let at = start;
    let us = 0;
    let kind: EventKind | 0 = 0;
    let attributes = 0;
    while (at < end) {
      let tag = bytes[at++] as number;
      if (tag > 127) {
        tag = this.#varint(at - 1);
        at = this.#at;
      }
      if (tag === 0x09) {
        us = this.#microseconds(at);
        at += 8;
      } else if (tag === 0x12) {
        const stop = this.#lengthPrefix(at, end);
        kind = eventKindOf(this.#eventNames.strings[this.#eventNames.intern(bytes, this.#view, this.#at, stop)] as string);
        at = stop;
      } else {
        if (tag === 0x1a) attributes += 1;
        at = this.#skip(tag, at, end, 0);
      }
    }
    if (at !== end) throw new Malformed('an event ends inside a field');
    if (kind === 0) return;
    batch.openEvent(kind, us);
    if (attributes > 0) this.#nested(start, end, 0x1a, batch, this.#eventAttribute);
    batch.closeEvent();
  }

  #link(start: number, end: number, batch: SpanBatch): void {
    const bytes = this.#bytes;
    const offset = batch.openLink();
    let at = start;
    let isWhole = 0;
    while (at < end) {
      let tag = bytes[at++] as number;
      if (tag > 127) {
        tag = this.#varint(at - 1);
        at = this.#at;
      }
      if (tag === 0x0a || tag === 0x12) {
        const stop = this.#lengthPrefix(at, end);
        const isTrace = tag === 0x0a;
        const bit = isTrace ? 1 : 2;
        if (this.#copyId(stop, isTrace ? 16 : 8, batch.linkIds, isTrace ? offset : offset + 16)) isWhole |= bit;
        else isWhole &= ~bit;
        at = stop;
      } else at = this.#skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('a link ends inside a field');
    // A link that names no span says nothing.
    if (isWhole !== 3) batch.linkCount -= 1;
  }

  #status(start: number, end: number, batch: SpanBatch, row: number): void {
    const bytes = this.#bytes;
    let at = start;
    while (at < end) {
      let tag = bytes[at++] as number;
      if (tag > 127) {
        tag = this.#varint(at - 1);
        at = this.#at;
      }
      if (tag === 0x12) {
        const stop = this.#lengthPrefix(at, end);
        batch.statusMessage[row] = this.#strings.intern(bytes, this.#view, this.#at, stop);
        at = stop;
      } else if (tag === 0x18) {
        batch.status[row] = Math.min(this.#varint(at), 255);
        at = this.#at;
      } else at = this.#skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('a status ends inside a field');
  }

  #keyValue(start: number, end: number, columns: SpanBatch['attributes']): void {
    const bytes = this.#bytes;
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
        } else if (this.#lengthPrefix(keyEnd + 1, end) === end) {
          const code = this.#keyCode(start + 2, keyEnd);
          if (code !== 0) this.#anyValue(this.#at, end, columns, code);
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
        tag = this.#varint(at - 1);
        at = this.#at;
      }
      if (tag === 0x0a) {
        const stop = this.#lengthPrefix(at, end);
        code = this.#keyCode(this.#at, stop);
        at = stop;
      } else if (tag === 0x12) {
        // A value that comes twice is merged by protobuf; for a oneof that is: the last one wins.
        const stop = this.#lengthPrefix(at, end);
        valueStart = this.#at;
        valueEnd = stop;
        at = stop;
      } else at = this.#skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('an attribute ends inside a field');
    if (code !== 0 && valueStart >= 0) this.#anyValue(valueStart, valueEnd, columns, code);
  }

  #keyCode(start: number, end: number): number {
    // Spans of one instrumentation have the same keys in the same order: the key that followed the last one is tried first.
    const guess = this.#followers[this.#lastKey] as number;
    if (guess !== 0 && this.#keys.isSameAs(guess, this.#bytes, this.#view, start, end)) {
      this.#lastKey = guess;
      return this.#keyCodes[guess] as number;
    }
    const number = this.#keys.intern(this.#bytes, this.#view, start, end);
    if (number < this.#keysKnown) {
      this.#followers[this.#lastKey] = number;
      this.#lastKey = number;
      return this.#keyCodes[number] as number;
    }
    const code = classifyKey(this.#keys.strings[number] as string);
    if (number === this.#keysKnown && number < this.#keyCodes.length) {
      this.#keyCodes[number] = code;
      this.#keysKnown += 1;
    }
    return code;
  }

  #anyValue(start: number, end: number, columns: SpanBatch['attributes'], code: number): void {
    const bytes = this.#bytes;
    if (bytes[start] === 0x0a) {
      const length = bytes[start + 1] as number;
      if (length < 128 && start + 2 + length === end) {
        columns.add(code, 1, this.#strings.intern(bytes, this.#view, start + 2, end));
        return;
      }
    }
    let kind: ValueKind | 0 = 0;
    let value = 0;
    let at = start;
    while (at < end) {
      let tag = bytes[at++] as number;
      if (tag > 127) {
        tag = this.#varint(at - 1);
        at = this.#at;
      }
      switch (tag) {
        case 0x0a: {
          const stop = this.#lengthPrefix(at, end);
          kind = 1;
          value = this.#strings.intern(bytes, this.#view, this.#at, stop);
          at = stop;
          break;
        }
        case 0x10:
          value = this.#varint(at) !== 0 || this.#high !== 0 ? 1 : 0;
          kind = 4;
          at = this.#at;
          break;
        case 0x18: {
          const low = this.#varint(at);
          const high = this.#high | 0;
          at = this.#at;
          value = high * 0x1_0000_0000 + low;
          kind = 2;
          if (!Number.isSafeInteger(value)) {
            kind = 5;
            value = this.#number(((BigInt(high) << 32n) | BigInt(low)).toString());
          }
          break;
        }
        case 0x21:
          value = this.#view.getFloat64(at, true);
          kind = 3;
          at += 8;
          break;
        case 0x2a:
        case 0x32:
        case 0x3a: {
          const stop = this.#lengthPrefix(at, end);
          kind = 6;
          value = this.#number(JSON.stringify(this.#structured(tag, this.#at, stop, 0)));
          at = stop;
          break;
        }
        default:
          at = this.#skip(tag, at, end, 0);
      }
    }
    if (at !== end) throw new Malformed('an attribute value ends inside a field');
    if (kind !== 0) columns.add(code, kind, value);
  }

  /** A made text as a string's number. */
  #number(text: string): number {
    return this.#strings.strings.push(text) - 1;
  }

  /** Array, map or bytes as a plain value; rare, so it may make objects. */
  #structured(tag: number, start: number, end: number, depth: number): unknown {
    if (depth > deepestValue) throw new Malformed(`an attribute value is nested deeper than ${deepestValue} levels`);
    if (tag === 0x3a) return this.#bytes.toString('base64', start, end);
    const items: unknown[] = [];
    const members: [string, unknown][] = [];
    let at = start;
    while (at < end) {
      const field = this.#varint(at);
      at = this.#at;
      if (field === 0x0a) {
        const stop = this.#lengthPrefix(at, end);
        if (tag === 0x2a) items.push(this.#plainValue(this.#at, stop, depth + 1));
        else members.push(this.#plainMember(this.#at, stop, depth + 1));
        at = stop;
      } else at = this.#skip(field, at, end, 0);
    }
    if (at !== end) throw new Malformed('an attribute value ends inside a field');
    return tag === 0x2a ? items : Object.fromEntries(members);
  }

  #plainMember(start: number, end: number, depth: number): [string, unknown] {
    let key = '';
    let value: unknown = null;
    let at = start;
    while (at < end) {
      const field = this.#varint(at);
      at = this.#at;
      if (field === 0x0a || field === 0x12) {
        const stop = this.#lengthPrefix(at, end);
        if (field === 0x0a) key = this.#bytes.toString('utf8', this.#at, stop);
        else value = this.#plainValue(this.#at, stop, depth);
        at = stop;
      } else at = this.#skip(field, at, end, 0);
    }
    if (at !== end) throw new Malformed('an attribute ends inside a field');
    return [key, value];
  }

  #plainValue(start: number, end: number, depth: number): unknown {
    let value: unknown = null;
    let at = start;
    while (at < end) {
      const field = this.#varint(at);
      at = this.#at;
      if (field === 0x0a || field === 0x2a || field === 0x32 || field === 0x3a) {
        const stop = this.#lengthPrefix(at, end);
        value = field === 0x0a ? this.#bytes.toString('utf8', this.#at, stop) : this.#structured(field, this.#at, stop, depth);
        at = stop;
      } else if (field === 0x10) {
        value = this.#varint(at) !== 0 || this.#high !== 0;
        at = this.#at;
      } else if (field === 0x18) {
        const low = this.#varint(at);
        const whole = (BigInt(this.#high | 0) << 32n) | BigInt(low);
        // Integers travel as decimal text in JSON where a double cannot hold them, as OTLP's own JSON does.
        value = Number.isSafeInteger(Number(whole)) ? Number(whole) : whole.toString();
        at = this.#at;
      } else if (field === 0x21) {
        value = this.#view.getFloat64(at, true);
        at += 8;
      } else at = this.#skip(field, at, end, 0);
    }
    if (at !== end) throw new Malformed('an attribute value ends inside a field');
    return value;
  }

  /** Low 32 bits of the varint at `at`, unsigned; high bits in `#high`, end in `#at`. */
  #varint(at: number): number {
    const bytes = this.#bytes;
    let byte = bytes[at] as number;
    this.#high = 0;
    if (byte < 128) {
      this.#at = at + 1;
      return byte;
    }
    let low = byte & 127;
    for (let i = 1; i < 5; i += 1) {
      byte = bytes[at + i] as number;
      if (byte === undefined) throw new Malformed('the message ends inside a number');
      if (i < 4) low |= (byte & 127) << (7 * i);
      else {
        low |= (byte & 15) << 28;
        this.#high = (byte >> 4) & 7;
      }
      if (byte < 128) {
        this.#at = at + i + 1;
        return low >>> 0;
      }
    }
    let high = this.#high;
    for (let i = 5; i < 10; i += 1) {
      byte = bytes[at + i] as number;
      if (byte === undefined) throw new Malformed('the message ends inside a number');
      high |= (byte & 127) << (7 * (i - 5) + 3);
      if (byte < 128) {
        this.#high = high >>> 0;
        this.#at = at + i + 1;
        return low >>> 0;
      }
    }
    throw new Malformed('a number is longer than ten bytes');
  }

  /** End of the length-delimited field whose length is at `at`; its start in `#at`. */
  #lengthPrefix(at: number, end: number): number {
    const length = this.#varint(at);
    const stop = this.#at + length;
    if (this.#high !== 0 || stop > end) throw new Malformed('a field is longer than the message that holds it');
    return stop;
  }

  /** Nanoseconds at `at` as whole microseconds: split so that no step leaves the exact integers of a double. */
  #microseconds(at: number): number {
    const low = this.#view.getUint32(at, true);
    const high = this.#view.getUint32(at + 4, true);
    return high * 4_294_967 + Math.floor((high * 296 + low) / 1000);
  }

  /** End of an unknown field. */
  #skip(tag: number, at: number, end: number, depth: number): number {
    if (tag >>> 3 === 0) throw new Malformed('field number 0');
    let stop: number;
    switch (tag & 7) {
      case 0:
        this.#varint(at);
        stop = this.#at;
        break;
      case 1:
        stop = at + 8;
        break;
      case 2:
        return this.#lengthPrefix(at, end);
      case 3: {
        if (depth > deepestGroup) throw new Malformed(`groups are nested deeper than ${deepestGroup} levels`);
        stop = at;
        for (;;) {
          if (stop >= end) throw new Malformed('a group is not closed');
          const inner = this.#varint(stop);
          stop = this.#at;
          if ((inner & 7) === 4) {
            if (inner >>> 3 !== tag >>> 3) throw new Malformed('a group is closed by another');
            break;
          }
          stop = this.#skip(inner, stop, end, depth + 1);
        }
        break;
      }
      case 5:
        stop = at + 4;
        break;
      default:
        throw new Malformed(`wire type ${tag & 7}`);
    }
    if (stop > end) throw new Malformed('a field is longer than the message that holds it');
    return stop;
  }
}

const empty: Buffer = Buffer.alloc(0);
/** Bounds of recursion: the stack must not depend on what somebody sends. */
const deepestValue = 32;
const deepestGroup = 32;

class Malformed extends Error {}
