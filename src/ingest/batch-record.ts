import { BatchPacker, isText } from './batch-packer.ts';
import { BatchExpander, compactBytes } from './compact-batch.ts';
import { mostAttributes, type PackedBatch, unpackBatch } from './packed-batch.ts';
import { bytesOf, type Place } from './packed-regions.ts';
import { Malformed } from './protobuf-wire.ts';
import type { SpanBatch } from './span-batch.ts';
import { attributeCodes, classifyKey, keyOfCode } from './wanted-attributes.ts';

/*
 * A batch as it lies on disk: its packed columns, compact where they are, the strings that they name, and the names of the attributes that
 * they have. It reads alone, without the table of strings that wrote it, and after an upgrade that counts attributes differently.
 *
 *   header (96 bytes)   columns   numbers and lengths of the strings (4 bytes each)   their characters   code, length, name of attributes
 *
 * A thirteenth of what came in protobuf: every byte of a journal is copied, written and synced, which took the kernel as much CPU as decoding
 * did. Characters are Latin-1 where all of a batch are, else UTF-16: the strings come back as they were.
 */

/** 1: a header of 64 bytes, and columns that are never compact. */
const formatVersion = 2;
const headerBytes = 96;
const headerBytesOf: Readonly<Record<number, number>> = { 1: 64, [formatVersion]: headerBytes };
const baseUsAt = 56;
/** Of the header of version 2: where the counts of the compact form begin. */
const formWord = 16;

const isLog = 1;
const hasLongTimes = 2;
const hasLongNumbers = 4;
const hasManyAttributes = 8;
const hasStatusMessages = 16;
const isUtf16 = 32;
const isCompact = 64;

/** Packs batches as they travel, and makes records of them for the journal. */
export class BatchRecordWriter {
  readonly #packer = new BatchPacker();
  readonly #names: (Buffer | undefined)[] = [];

  /** A copy of the batch, packed and compact, in memory from `placeOf`; undefined where it has no row. */
  pack(batch: SpanBatch, placeOf: (bytes: number) => Place): PackedBatch | undefined {
    return this.#packer.pack(batch, placeOf);
  }

  /** The batch that was packed last as a record, in memory from `take`; undefined where that is not smaller than `largest`. */
  write(packed: PackedBatch, strings: readonly string[], largest: number, take: (bytes: number) => Buffer): Buffer | undefined {
    if (headerBytes + packed.bytes >= largest) return undefined;
    const { texts: numbers, codes } = this.#packer;
    const texts: string[] = [];
    for (let i = 0; i < numbers.length; i += 1) texts.push(strings[numbers[i] as number] as string);
    const text = texts.join('');
    const isWide = !isLatin1(text);
    const textBytes = isWide ? text.length * 2 : text.length;
    let keyBytes = 0;
    for (let code = 0; code < attributeCodes; code += 1) if (codes[code] === 1) keyBytes += this.#nameOf(code).length;
    const numbersAt = headerBytes + roundedUp(packed.bytes);
    const textAt = numbersAt + numbers.length * 8;
    const total = textAt + textBytes + keyBytes;
    if (total >= largest) return undefined;
    const bytes = take(total);
    bytes.set(new Uint8Array(packed.buffer, packed.offset, packed.bytes), headerBytes);
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, headerBytes / 4);
    words[0] = formatVersion;
    words[1] =
      (packed.isLog ? isLog : 0) |
      (packed.hasLongTimes ? hasLongTimes : 0) |
      (packed.hasLongNumbers ? hasLongNumbers : 0) |
      (packed.hasManyAttributes ? hasManyAttributes : 0) |
      (packed.hasStatusMessages ? hasStatusMessages : 0) |
      (isWide ? isUtf16 : 0) |
      (packed.form === undefined ? 0 : isCompact);
    words[2] = packed.rows;
    words[3] = packed.attributes;
    words[4] = packed.resources;
    words[5] = packed.resourceAttributes;
    words[6] = packed.events;
    words[7] = packed.eventAttributes;
    words[8] = packed.links;
    words[9] = packed.wide;
    words[10] = packed.bytes;
    words[11] = numbers.length;
    words[12] = textBytes;
    words[13] = keyBytes;
    bytes.writeDoubleLE(packed.baseUs, baseUsAt);
    const { traces = 0, parents = 0, classes = 0, changed = 0, maskBytes = 0, attributes = 0 } = packed.form ?? {};
    words.set([traces, parents, classes, changed, maskBytes, attributes], formWord);
    const table = new Int32Array(bytes.buffer, bytes.byteOffset + numbersAt, numbers.length * 2);
    for (let i = 0; i < numbers.length; i += 1) {
      table[i * 2] = numbers[i] as number;
      table[i * 2 + 1] = (texts[i] as string).length;
    }
    bytes.write(text, textAt, isWide ? 'utf16le' : 'latin1');
    let at = textAt + textBytes;
    for (let code = 0; code < attributeCodes; code += 1) if (codes[code] === 1) at += this.#nameOf(code).copy(bytes, at);
    return bytes;
  }

  #nameOf(code: number): Buffer {
    const known = this.#names[code];
    if (known !== undefined) return known;
    const name = Buffer.from(keyOfCode(code), 'latin1');
    return (this.#names[code] = Buffer.concat([Buffer.from([code, name.length]), name]));
  }
}

/** Reads records back, with a table of strings of its own. */
export class BatchRecordReader {
  readonly #expander = new BatchExpander();
  #strings: string[] = [''];
  readonly #numberOf = new Map<string, number>([['', 0]]);

  /** Fills `batch`; throws {@link Malformed} where the bytes are no record. */
  read(record: Buffer, batch: SpanBatch): void {
    const bytes = aligned(record);
    const columnsAt = bytes.length < 4 ? undefined : headerBytesOf[bytes.readInt32LE(0)];
    if (columnsAt === undefined || bytes.length < columnsAt) throw new Malformed('a record of another form');
    const header = new Int32Array(bytes.buffer, bytes.byteOffset, columnsAt / 4);
    if (this.#strings.length > stringsMax) {
      this.#strings = [''];
      this.#numberOf.clear();
      this.#numberOf.set('', 0);
    }
    const word = (at: number): number => header[at] as number;
    const flags = word(1);
    const counts = {
      rows: word(2),
      attributes: word(3),
      resources: word(4),
      resourceAttributes: word(5),
      events: word(6),
      eventAttributes: word(7),
      links: word(8),
      wide: word(9),
      baseUs: bytes.readDoubleLE(baseUsAt),
      hasLongTimes: (flags & hasLongTimes) !== 0,
      hasLongNumbers: (flags & hasLongNumbers) !== 0,
      hasManyAttributes: (flags & hasManyAttributes) !== 0,
      hasStatusMessages: (flags & hasStatusMessages) !== 0,
    };
    const form =
      (flags & isCompact) === 0
        ? undefined
        : {
            traces: word(formWord),
            parents: word(formWord + 1),
            classes: word(formWord + 2),
            changed: word(formWord + 3),
            maskBytes: word(formWord + 4),
            attributes: word(formWord + 5),
          };
    const columns = word(10);
    const numbersAt = columnsAt + roundedUp(columns);
    const textAt = numbersAt + word(11) * 8;
    const keysAt = textAt + word(12);
    const isWhole =
      header.subarray(2, 14).every((count) => count >= 0) &&
      Object.values(form ?? {}).every((count) => count >= 0) &&
      (form === undefined || counts.attributes <= counts.rows * mostAttributes) &&
      (form === undefined ? bytesOf(counts) : compactBytes(counts, form)) === columns &&
      keysAt + word(13) === bytes.length;
    if (!isWhole) throw new Malformed('a record whose parts do not fit');
    const packed = { ...counts, buffer: bytes.buffer, offset: bytes.byteOffset + columnsAt, bytes: columns, isLog: (flags & isLog) !== 0 };
    unpackBatch(form === undefined ? packed : this.#expander.expand({ ...packed, form }), this.#strings, batch);
    if (batch.attributeStart[batch.count] !== batch.attributes.count) throw new Malformed('a record whose rows have other attributes');
    const numbers = this.#readStrings(bytes, numbersAt, textAt, keysAt, (flags & isUtf16) !== 0);
    const numberOf = (number: number): number => {
      const own = numbers.get(number);
      if (own === undefined) throw new Malformed('a record names a string that it does not have');
      return own;
    };
    for (let row = 0; row < batch.count; row += 1) {
      batch.name[row] = numberOf(batch.name[row] as number);
      batch.statusMessage[row] = numberOf(batch.statusMessage[row] as number);
    }
    const codes = readCodes(bytes, keysAt);
    for (const each of [batch.attributes, batch.resourceAttributes, batch.eventAttributes]) {
      for (let at = 0; at < each.count; at += 1) {
        each.code[at] = codes[each.code[at] as number] as number;
        if (isText(each.kind[at] as number)) each.value[at] = numberOf(each.value[at] as number);
      }
    }
  }

  #readStrings(bytes: Buffer, numbersAt: number, textAt: number, end: number, isWide: boolean): ReadonlyMap<number, number> {
    const text = bytes.toString(isWide ? 'utf16le' : 'latin1', textAt, end);
    const numbers = new Map<number, number>();
    let from = 0;
    for (let at = numbersAt; at < textAt; at += 8) {
      const to = from + bytes.readInt32LE(at + 4);
      numbers.set(bytes.readInt32LE(at), this.#intern(text.slice(from, to)));
      from = to;
    }
    return numbers;
  }

  #intern(text: string): number {
    const known = this.#numberOf.get(text);
    if (known !== undefined) return known;
    const number = this.#strings.push(text) - 1;
    this.#numberOf.set(text, number);
    return number;
  }
}

/** Strings of a reader's table; then it begins a new one. */
const stringsMax = 65_536;

/** What the codes of a record are called today: 0 where nobody wants the attribute any more. */
function readCodes(bytes: Buffer, keysAt: number): Uint8Array {
  const codes = new Uint8Array(256);
  for (let at = keysAt; at < bytes.length; ) {
    const code = bytes[at] as number;
    const end = at + 2 + (bytes[at + 1] ?? 0);
    if (end > bytes.length) throw new Malformed('a record ends inside a name');
    codes[code] = classifyKey(bytes.toString('latin1', at + 2, end));
    at = end;
  }
  return codes;
}

/** Columns lie at multiples of eight bytes, which a value from a store need not. */
function aligned(record: Buffer): Buffer {
  if (record.byteOffset % 8 === 0) return record;
  const bytes = Buffer.from(new ArrayBuffer(record.length));
  record.copy(bytes);
  return bytes;
}

function isLatin1(text: string): boolean {
  for (let i = 0; i < text.length; i += 1) if (text.charCodeAt(i) > 255) return false;
  return true;
}

const roundedUp = (bytes: number): number => (bytes + 7) & ~7;
