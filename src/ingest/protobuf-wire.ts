/**
 * The wire format of protobuf (protobuf.dev/programming-guides/encoding) over one message held in memory: varints, lengths, unknown
 * fields. A reader has one position, `at`, where the last thing that it read ended; callers keep their own in a local and take it from
 * there, which is what makes this fast. Throws `Malformed`, or `RangeError` where a fixed number crosses the end.
 */
export class ProtobufWire {
  bytes: Buffer = empty;
  view: DataView = new DataView(empty.buffer, empty.byteOffset, 0);
  /** Where the last varint, value or skipped field ended. */
  at = 0;
  /** High 32 bits of the last varint. */
  high = 0;

  open(bytes: Uint8Array): void {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Lets go of the message. */
  close(): void {
    this.bytes = empty;
    this.view = emptyView;
  }

  /** Calls `each` for every field of the given tag in a message; skips the others. */
  nested<T>(start: number, end: number, wanted: number, into: T, each: (start: number, end: number, into: T) => void): void {
    const bytes = this.bytes;
    let at = start;
    while (at < end) {
      let tag = bytes[at++] as number;
      if (tag > 127) {
        tag = this.varint(at - 1);
        at = this.at;
      }
      if (tag === wanted) {
        const stop = this.lengthPrefix(at, end);
        each(this.at, stop, into);
        at = stop;
      } else at = this.skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('a nested message ends inside a field');
  }

  /** Low 32 bits of the varint at `at`, unsigned; high bits in `#high`, end in `#at`. */
  varint(at: number): number {
    const bytes = this.bytes;
    let byte = bytes[at] as number;
    this.high = 0;
    if (byte < 128) {
      this.at = at + 1;
      return byte;
    }
    let low = byte & 127;
    for (let i = 1; i < 5; i += 1) {
      byte = bytes[at + i] as number;
      if (byte === undefined) throw new Malformed('the message ends inside a number');
      if (i < 4) low |= (byte & 127) << (7 * i);
      else {
        low |= (byte & 15) << 28;
        this.high = (byte >> 4) & 7;
      }
      if (byte < 128) {
        this.at = at + i + 1;
        return low >>> 0;
      }
    }
    let high = this.high;
    for (let i = 5; i < 10; i += 1) {
      byte = bytes[at + i] as number;
      if (byte === undefined) throw new Malformed('the message ends inside a number');
      high |= (byte & 127) << (7 * (i - 5) + 3);
      if (byte < 128) {
        this.high = high >>> 0;
        this.at = at + i + 1;
        return low >>> 0;
      }
    }
    throw new Malformed('a number is longer than ten bytes');
  }

  /** End of the length-delimited field whose length is at `at`; its start in `#at`. */
  lengthPrefix(at: number, end: number): number {
    const length = this.varint(at);
    const stop = this.at + length;
    if (this.high !== 0 || stop > end) throw new Malformed('a field is longer than the message that holds it');
    return stop;
  }

  /** Nanoseconds at `at` as whole microseconds: split so that no step leaves the exact integers of a double. */
  microseconds(at: number): number {
    const low = this.view.getUint32(at, true);
    const high = this.view.getUint32(at + 4, true);
    return high * 4_294_967 + Math.floor((high * 296 + low) / 1000);
  }

  /** End of an unknown field. */
  skip(tag: number, at: number, end: number, depth: number): number {
    if (tag >>> 3 === 0) throw new Malformed('field number 0');
    let stop: number;
    switch (tag & 7) {
      case 0:
        this.varint(at);
        stop = this.at;
        break;
      case 1:
        stop = at + 8;
        break;
      case 2:
        return this.lengthPrefix(at, end);
      case 3: {
        if (depth > deepestGroup) throw new Malformed(`groups are nested deeper than ${deepestGroup} levels`);
        stop = at;
        for (;;) {
          if (stop >= end) throw new Malformed('a group is not closed');
          const inner = this.varint(stop);
          stop = this.at;
          if ((inner & 7) === 4) {
            if (inner >>> 3 !== tag >>> 3) throw new Malformed('a group is closed by another');
            break;
          }
          stop = this.skip(inner, stop, end, depth + 1);
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

export class Malformed extends Error {}

const empty: Buffer = Buffer.alloc(0);
const emptyView: DataView = new DataView(new ArrayBuffer(0));
/** Bound of recursion: the stack must not depend on what somebody sends. */
const deepestGroup = 32;
