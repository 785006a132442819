import { AttributeDecoder } from './attribute-decoder.ts';
import { ByteInterner } from './byte-interner.ts';
import type { Decoded } from './decode-otlp-protobuf.ts';
import { Malformed, ProtobufWire } from './protobuf-wire.ts';
import { type EventKind, eventKindOf, type SpanBatch } from './span-batch.ts';

/**
 * `ExportTraceServiceRequest` (OTLP 1.11) from protobuf bytes into columns, in TypeScript: for what the compiled decoder (`span-core.ts`)
 * leaves, and where there is none. In one pass and without an object a span: attributes that nobody wants are skipped as bytes, strings are
 * interned by bytes.
 */
export class PlainSpanDecoder {
  readonly #wire = new ProtobufWire();
  readonly #strings: ByteInterner;
  readonly #attributes: AttributeDecoder;
  readonly #eventNames = new ByteInterner(256, 16 * 1024);

  constructor(distinctStrings: number, arenaBytes: number) {
    this.#strings = new ByteInterner(distinctStrings, arenaBytes);
    this.#attributes = new AttributeDecoder(this.#wire, this.#strings);
  }

  /** Fills `batch`. Malformed bytes leave it with what came before the fault: the caller drops it whole. */
  decode(bytes: Uint8Array, batch: SpanBatch): Decoded {
    this.#strings.renew();
    this.#attributes.renew();
    this.#eventNames.renew();
    batch.reset(this.#strings.strings);
    this.#wire.open(bytes);
    try {
      this.#request(bytes.byteLength, batch);
      return { is: 'decoded' };
    } catch (error) {
      // A fixed number at the very end reads past the view before its bound is checked.
      if (error instanceof Malformed) return { is: 'malformed', what: error.message };
      if (error instanceof RangeError) return { is: 'malformed', what: 'the message ends inside a field' };
      throw error;
    } finally {
      this.#wire.close();
    }
  }

  #request(end: number, batch: SpanBatch): void {
    let at = 0;
    while (at < end) {
      const tag = this.#wire.varint(at);
      at = this.#wire.at;
      if (tag === 0x0a) {
        const stop = this.#wire.lengthPrefix(at, end);
        this.#resourceSpans(this.#wire.at, stop, batch);
        at = stop;
      } else at = this.#wire.skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('the message ends inside a field');
  }

  #resourceSpans(start: number, end: number, batch: SpanBatch): void {
    // The resource may come after its spans: its fields first, then the spans.
    batch.openResource();
    this.#wire.nested(start, end, 0x0a, batch, this.#resource);
    batch.closeResource();
    this.#wire.nested(start, end, 0x12, batch, this.#scopeSpans);
  }

  readonly #scopeSpans = (start: number, end: number, batch: SpanBatch): void => this.#wire.nested(start, end, 0x12, batch, this.#readSpan);
  readonly #readSpan = (start: number, end: number, batch: SpanBatch): void => this.#span(start, end, batch);
  readonly #resource = (start: number, end: number, batch: SpanBatch): void =>
    this.#wire.nested(start, end, 0x0a, batch, this.#resourceAttribute);
  readonly #resourceAttribute = (start: number, end: number, batch: SpanBatch): void =>
    this.#attributes.keyValue(start, end, batch.resourceAttributes);
  readonly #eventAttribute = (start: number, end: number, batch: SpanBatch): void =>
    this.#attributes.keyValue(start, end, batch.eventAttributes);

  #span(start: number, end: number, batch: SpanBatch): void {
    const bytes = this.#wire.bytes;
    const view = this.#wire.view;
    const row = batch.openRow();
    this.#attributes.openRow(batch.attributes);
    const ids = row * 32;
    let hasTraceId = false;
    let hasSpanId = false;
    let at = start;
    while (at < end) {
      const tag = this.#wire.varint(at);
      at = this.#wire.at;
      let stop: number;
      switch (tag) {
        case 0x4a: // attributes
          stop = this.#wire.lengthPrefix(at, end);
          this.#attributes.keyValue(this.#wire.at, stop, batch.attributes);
          at = stop;
          break;
        case 0x0a: // trace_id
          stop = this.#wire.lengthPrefix(at, end);
          hasTraceId = this.#copyId(stop, 16, batch.idView, ids);
          at = stop;
          break;
        case 0x12: // span_id
          stop = this.#wire.lengthPrefix(at, end);
          hasSpanId = this.#copyId(stop, 8, batch.idView, ids + 16);
          at = stop;
          break;
        case 0x22: // parent_span_id: empty or zero for a root; another length cannot name a span, so it is a root too.
          stop = this.#wire.lengthPrefix(at, end);
          if (!this.#copyId(stop, 8, batch.idView, ids + 24)) batch.ids.fill(0, ids + 24, ids + 32);
          at = stop;
          break;
        case 0x2a: // name
          stop = this.#wire.lengthPrefix(at, end);
          batch.name[row] = this.#strings.intern(bytes, view, this.#wire.at, stop);
          at = stop;
          break;
        case 0x30: // kind
          batch.kind[row] = Math.min(this.#wire.varint(at), 255);
          at = this.#wire.at;
          break;
        case 0x39: // start_time_unix_nano
          batch.startUs[row] = this.#wire.microseconds(at);
          at += 8;
          break;
        case 0x41: // end_time_unix_nano
          batch.endUs[row] = this.#wire.microseconds(at);
          at += 8;
          break;
        case 0x5a: // events
          stop = this.#wire.lengthPrefix(at, end);
          this.#event(this.#wire.at, stop, batch);
          at = stop;
          break;
        case 0x6a: // links
          stop = this.#wire.lengthPrefix(at, end);
          this.#link(this.#wire.at, stop, batch);
          at = stop;
          break;
        case 0x7a: // status
          stop = this.#wire.lengthPrefix(at, end);
          this.#status(this.#wire.at, stop, batch, row);
          at = stop;
          break;
        default:
          at = this.#wire.skip(tag, at, end, 0);
      }
    }
    if (at !== end) throw new Malformed('a span ends inside a field');
    this.#attributes.closeRow();
    if (!hasTraceId) batch.rejectRow('bad-trace-id');
    else if (!hasSpanId) batch.rejectRow('bad-span-id');
    else batch.keepRow();
  }

  /** Copies the bytes from `#at` to `stop`; false where they are not `length` bytes or all zero. */
  #copyId(stop: number, length: number, into: DataView, offset: number): boolean {
    const { at, view } = this.#wire;
    return stop - at === length && copyId(view, at, length, into, offset);
  }

  #event(start: number, end: number, batch: SpanBatch): void {
    const bytes = this.#wire.bytes;
    let at = start;
    let us = 0;
    let kind: EventKind | 0 = 0;
    let attributes = 0;
    while (at < end) {
      const tag = this.#wire.varint(at);
      at = this.#wire.at;
      if (tag === 0x09) {
        us = this.#wire.microseconds(at);
        at += 8;
      } else if (tag === 0x12) {
        const stop = this.#wire.lengthPrefix(at, end);
        kind = eventKindOf(this.#eventNames.strings[this.#eventNames.intern(bytes, this.#wire.view, this.#wire.at, stop)] as string);
        at = stop;
      } else {
        if (tag === 0x1a) attributes += 1;
        at = this.#wire.skip(tag, at, end, 0);
      }
    }
    if (at !== end) throw new Malformed('an event ends inside a field');
    if (kind === 0) return;
    batch.openEvent(kind, us);
    if (attributes > 0) this.#wire.nested(start, end, 0x1a, batch, this.#eventAttribute);
    batch.closeEvent();
  }

  #link(start: number, end: number, batch: SpanBatch): void {
    const offset = batch.openLink();
    let at = start;
    let isWhole = 0;
    while (at < end) {
      const tag = this.#wire.varint(at);
      at = this.#wire.at;
      if (tag === 0x0a || tag === 0x12) {
        const stop = this.#wire.lengthPrefix(at, end);
        const isTrace = tag === 0x0a;
        const bit = isTrace ? 1 : 2;
        if (this.#copyId(stop, isTrace ? 16 : 8, batch.linkView, isTrace ? offset : offset + 16)) isWhole |= bit;
        else isWhole &= ~bit;
        at = stop;
      } else at = this.#wire.skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('a link ends inside a field');
    // A link that names no span says nothing.
    if (isWhole !== 3) batch.linkCount -= 1;
  }

  #status(start: number, end: number, batch: SpanBatch, row: number): void {
    const bytes = this.#wire.bytes;
    let at = start;
    while (at < end) {
      const tag = this.#wire.varint(at);
      at = this.#wire.at;
      if (tag === 0x12) {
        const stop = this.#wire.lengthPrefix(at, end);
        batch.statusMessage[row] = this.#strings.intern(bytes, this.#wire.view, this.#wire.at, stop);
        at = stop;
      } else if (tag === 0x18) {
        batch.status[row] = Math.min(this.#wire.varint(at), 255);
        at = this.#wire.at;
      } else at = this.#wire.skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('a status ends inside a field');
  }
}

/** Copies `length` bytes; false where they are all zero. */
function copyId(from: DataView, at: number, length: number, into: DataView, offset: number): boolean {
  let any = 0;
  for (let i = 0; i < length; i += 4) {
    const word = from.getInt32(at + i, true);
    into.setInt32(offset + i, word, true);
    any |= word;
  }
  return any !== 0;
}
