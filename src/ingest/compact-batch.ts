import { type ClassCounts, classBytes, classNumbers, CompactClasses } from './compact-classes.ts';
import { CompactIds, type IdCounts, idWords } from './compact-ids.ts';
import { blockSize, idWordsARow } from './dedupe.ts';
import type { PackedBatch } from './packed-batch.ts';
import { bytesOf, type Counts, endsOf, type Place, regionsOf, valuesOf, widestBytes } from './packed-regions.ts';

/**
 * A packed batch in less than half of its bytes, without loss: `BatchPacker` makes it, {@link BatchExpander} gives every byte back. So it travels, lies in
 * the journal and waits. Two things that spans of a batch have in common are said once:
 *
 * - ids: a trace's once a batch; a parent that is in the batch too by the number of its row. 12 to 16 bytes a span instead of 32.
 * - what a span is, its class: name, kind, status, resource, which attributes it has, and the values of those that are the same wherever
 *   the span comes from the same place in the code. Of the others only those values that differ from the last row of the class, with a bit
 *   for each. Whoever reads the rows needs to find out once a class what they are, see `SpanTemplates`.
 *
 * In order: the regions before the names as they are, words (traces, span ids, parents elsewhere), status messages, 16-bit numbers (trace,
 * class and parent of each row, changed values, values of resources and events, names and values of the classes), bytes (the rest as it is,
 * changed bits, classes). So when rows end and what their ids are can be read where it lies, see `sift`. Batches with numbers of four bytes,
 * or with rows of many attributes, stay as they are.
 */
export interface CompactForm extends IdCounts, ClassCounts {}

/** Expands what a `BatchPacker` has packed. */
export class BatchExpander {
  readonly #ids = new CompactIds();
  readonly #classes = new CompactClasses();
  #scratch = new ArrayBuffer(0);
  /** Of the batch that was expanded last; none where nobody looked. */
  classes = 0;
  classOf: Uint16Array = new Uint16Array(0);

  /** The batch as it was, in memory that the next call writes over; one that is not compact is returned as it is. */
  expand(packed: PackedBatch): PackedBatch {
    const { form, ...plain } = packed;
    this.classes = form?.classes ?? 0;
    if (form === undefined) return packed;
    const bytes = bytesOf(packed);
    if (this.#scratch.byteLength < bytes) this.#scratch = new ArrayBuffer(bytes * 2);
    const whole: PackedBatch = { ...plain, buffer: this.#scratch, offset: 0, bytes };
    const { rows, attributes } = packed;
    const to = regionsOf(whole, whole);
    const at = new Parts(packed);
    new Uint8Array(this.#scratch).set(at.bytes(widestBytes(packed)));
    const words = at.words(idWords(rows, form));
    to.statusMessage.set(at.numbers(to.statusMessage.length));
    const traceOf = at.numbers(rows);
    this.classOf = at.numbers(rows);
    this.#ids.read(words, traceOf, at.numbers(rows), form, to.ids);
    const changed = at.numbers(form.changed);
    to.values.set(at.numbers(to.values.length - attributes), attributes);
    const numbers = at.numbers(classNumbers(form));
    for (const region of [to.codes.subarray(attributes), to.kinds.subarray(attributes), to.eventKind, to.linkIds])
      region.set(at.bytes(region.length));
    const masks = at.bytes(form.maskBytes);
    this.#classes.read(this.classOf, { changed, masks, numbers, bytes: at.bytes(classBytes(form)) }, to);
    return whole;
  }
}

/** How many bytes the batch of these counts takes in this form. */
export function compactBytes(counts: Counts, form: CompactForm): number {
  const { rows, attributes, events, links } = counts;
  const others = valuesOf(counts) - attributes;
  const numbers = rows * (counts.hasStatusMessages ? 4 : 3) + form.changed + others + classNumbers(form);
  return widestBytes(counts) + idWords(rows, form) * 4 + numbers * 2 + others * 2 + events + links * 24 + form.maskBytes + classBytes(form);
}

export interface Sifted {
  /** How many rows are kept. */
  readonly rows: number;
  /** Of the rows that are kept. */
  readonly minEndUs: number;
  readonly maxEndUs: number;
  /** By row: 1 where it is not kept. Absent where all are. */
  readonly dropped?: Uint8Array;
}

/**
 * Asks of every row whether it is wanted: a duplicate is not, nor a span from the future. `ids`: trace and span id of a block of at most
 * {@link idsAtOnce} rows, six words each, used again for the next; `nth` of `count`: the row in its block, asked in order.
 */
export function sift(packed: PackedBatch, isWanted: (ids: Int32Array, nth: number, count: number, endUs: number) => boolean): Sifted {
  const endUsOf = endsOf(packed, packed);
  const copyIds = packed.form === undefined ? idsOfColumns(packed) : idsOfCompact(packed, packed.form);
  const ids = new Int32Array(idsAtOnce * idWordsARow);
  let dropped: Uint8Array | undefined;
  let rows = 0;
  let minEndUs = Number.POSITIVE_INFINITY;
  let maxEndUs = Number.NEGATIVE_INFINITY;
  for (let from = 0; from < packed.rows; from += idsAtOnce) {
    const count = Math.min(idsAtOnce, packed.rows - from);
    copyIds(ids, from, count);
    for (let nth = 0; nth < count; nth += 1) {
      const endUs = endUsOf(from + nth);
      if (!isWanted(ids, nth, count, endUs)) {
        dropped ??= new Uint8Array(packed.rows);
        dropped[from + nth] = 1;
        continue;
      }
      rows += 1;
      if (endUs < minEndUs) minEndUs = endUs;
      if (endUs > maxEndUs) maxEndUs = endUs;
    }
  }
  return { rows, minEndUs, maxEndUs, ...(dropped === undefined ? {} : { dropped }) };
}

export const isDropped = (sifted: Pick<Sifted, 'dropped'>, row: number): boolean => sifted.dropped?.[row] === 1;

/** As many rows as a deduplication looks up at once. */
export const idsAtOnce = blockSize;

type CopyIds = (to: Int32Array, from: number, count: number) => void;

function idsOfCompact(packed: PackedBatch, form: CompactForm): CopyIds {
  const at = new Parts(packed);
  at.bytes(widestBytes(packed));
  const words = at.words(idWords(packed.rows, form));
  at.numbers(packed.hasStatusMessages ? packed.rows : 0);
  const traceOf = at.numbers(packed.rows);
  const spansAt = form.traces * 4;
  return (to, from, count) => {
    for (let nth = 0; nth < count; nth += 1) {
      const trace = (traceOf[from + nth] as number) * 4;
      const span = spansAt + (from + nth) * 2;
      const own = nth * idWordsARow;
      to[own] = words[trace] as number;
      to[own + 1] = words[trace + 1] as number;
      to[own + 2] = words[trace + 2] as number;
      to[own + 3] = words[trace + 3] as number;
      to[own + 4] = words[span] as number;
      to[own + 5] = words[span + 1] as number;
    }
  };
}

function idsOfColumns(packed: PackedBatch): CopyIds {
  const { ids } = regionsOf(packed, packed);
  // They need not be aligned.
  const view = new DataView(ids.buffer, ids.byteOffset, ids.byteLength);
  return (to, from, count) => {
    for (let nth = 0; nth < count; nth += 1)
      for (let word = 0; word < idWordsARow; word += 1) to[nth * idWordsARow + word] = view.getInt32((from + nth) * 32 + word * 4, true);
  };
}

/** Pieces of memory one behind the other. */
export class Parts {
  readonly #buffer: ArrayBufferLike;
  #at: number;

  constructor({ buffer, offset }: Place) {
    this.#buffer = buffer;
    this.#at = offset;
  }

  words(length: number): Int32Array {
    this.#at += length * 4;
    return new Int32Array(this.#buffer, this.#at - length * 4, length);
  }
  numbers(length: number): Uint16Array {
    this.#at += length * 2;
    return new Uint16Array(this.#buffer, this.#at - length * 2, length);
  }
  bytes(length: number): Uint8Array {
    this.#at += length;
    return new Uint8Array(this.#buffer, this.#at - length, length);
  }
}
