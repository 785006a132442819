import { AttributeDecoder } from './attribute-decoder.ts';
import { ByteInterner } from './byte-interner.ts';
import type { Decoded } from './decode-otlp-protobuf.ts';
import { LogKeys, longestLogText } from './log-keys.ts';
import { Malformed, ProtobufWire } from './protobuf-wire.ts';
import type { SpanBatch } from './span-batch.ts';
import { isConsistencyCode } from './wanted-attributes.ts';

/**
 * `ExportLogsServiceRequest` from protobuf into the columns of spans. A log record is kept where it names a trace and carries a
 * `consistency.*` attribute, or where its text matches a declared pattern: it then is one operation of the span that wrote it. All other
 * records say nothing about state.
 */
export class LogsDecoder {
  readonly #wire = new ProtobufWire();
  readonly #strings = new ByteInterner(8192, 1024 * 1024);
  readonly #attributes = new AttributeDecoder(this.#wire, this.#strings);
  readonly #keys: LogKeys;

  constructor(keys: LogKeys = new LogKeys()) {
    this.#keys = keys;
  }

  decode(bytes: Uint8Array, batch: SpanBatch): Decoded {
    this.#strings.renew();
    this.#attributes.renew();
    batch.reset(this.#strings.strings);
    batch.isLog = true;
    this.#wire.open(bytes);
    try {
      this.#wire.nested(0, bytes.byteLength, 0x0a, batch, this.#resourceLogs);
      return { is: 'decoded' };
    } catch (error) {
      if (error instanceof Malformed) return { is: 'malformed', what: error.message };
      if (error instanceof RangeError) return { is: 'malformed', what: 'the message ends inside a field' };
      throw error;
    } finally {
      this.#wire.close();
    }
  }

  readonly #resourceLogs = (start: number, end: number, batch: SpanBatch): void => {
    batch.openResource();
    this.#wire.nested(start, end, 0x0a, batch, this.#resource);
    batch.closeResource();
    this.#wire.nested(start, end, 0x12, batch, this.#scopeLogs);
  };

  readonly #resource = (start: number, end: number, batch: SpanBatch): void =>
    this.#wire.nested(start, end, 0x0a, batch, this.#resourceAttribute);
  readonly #resourceAttribute = (start: number, end: number, batch: SpanBatch): void =>
    this.#attributes.keyValue(start, end, batch.resourceAttributes);
  readonly #scopeLogs = (start: number, end: number, batch: SpanBatch): void => this.#wire.nested(start, end, 0x12, batch, this.#logRecord);

  readonly #logRecord = (start: number, end: number, batch: SpanBatch): void => {
    const wire = this.#wire;
    const row = batch.openRow();
    let hasTraceId = false;
    let observedUs = 0;
    let bodyStart = 0;
    let bodyEnd = 0;
    let at = start;
    while (at < end) {
      let tag = wire.bytes[at++] as number;
      if (tag > 127) {
        tag = wire.varint(at - 1);
        at = wire.at;
      }
      if (tag === 0x09 || tag === 0x59) {
        // time_unix_nano; observed_time_unix_nano where the record does not know its own.
        if (tag === 0x09) batch.startUs[row] = wire.microseconds(at);
        else observedUs = wire.microseconds(at);
        at += 8;
      } else if (tag === 0x2a || tag === 0x32 || tag === 0x4a || tag === 0x52 || tag === 0x62) {
        const stop = wire.lengthPrefix(at, end);
        if (tag === 0x32) this.#attributes.keyValue(wire.at, stop, batch.attributes);
        else if (tag === 0x2a) {
          bodyStart = wire.at;
          bodyEnd = stop;
        } else if (tag === 0x4a) hasTraceId = this.#copyId(stop, 16, batch.ids, row * 32);
        else if (tag === 0x52) this.#copyId(stop, 8, batch.ids, row * 32 + 16);
        else batch.name[row] = this.#strings.intern(wire.bytes, wire.view, wire.at, stop);
        at = stop;
      } else at = wire.skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('a log record ends inside a field');
    if (batch.startUs[row] === 0) batch.startUs[row] = observedUs;
    batch.endUs[row] = batch.startUs[row] as number;
    if (hasTraceId && (saysState(batch, row) || this.#matchesText(bodyStart, bodyEnd, batch))) batch.keepRow();
    else batch.dropRow();
  };

  /** Whether the body, or a member of a structured one, is a text that a declared pattern reads; its attributes are then in the open row. */
  #matchesText(start: number, end: number, batch: SpanBatch): boolean {
    if (this.#keys.isEmpty) return false;
    const wire = this.#wire;
    let matches = false;
    const string = (from: number, to: number): void => {
      // Up to four bytes a character.
      matches ||= this.#keys.describe(wire.bytes.toString('utf8', from, Math.min(to, from + longestLogText * 4)), batch, this.#intern);
    };
    wire.nested(start, end, 0x0a, batch, string);
    // AnyValue.kvlist_value, its values, their value, its string_value.
    const member = (from: number, to: number): void =>
      wire.nested(from, to, 0x12, batch, (at, stop) => wire.nested(at, stop, 0x0a, batch, string));
    if (!matches) wire.nested(start, end, 0x32, batch, (from, to) => wire.nested(from, to, 0x0a, batch, member));
    return matches;
  }

  readonly #intern = (text: string): number => this.#strings.strings.push(text) - 1;

  #copyId(stop: number, length: number, into: Uint8Array, offset: number): boolean {
    const start = this.#wire.at;
    if (stop - start !== length) return false;
    into.set(this.#wire.bytes.subarray(start, stop), offset);
    return into.subarray(offset, offset + length).some((byte) => byte !== 0);
  }
}

/** Whether the open row has a `consistency.*` attribute. */
export function saysState(batch: SpanBatch, row: number): boolean {
  const { code, count } = batch.attributes;
  for (let at = batch.attributeStart[row] as number; at < count; at += 1) {
    if (isConsistencyCode(code[at] as number)) return true;
  }
  return false;
}
