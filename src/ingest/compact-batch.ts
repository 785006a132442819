import { type ClassCounts, classBytes, classNumbers, CompactClasses } from './compact-classes.ts';
import { CompactIds, type IdCounts, idWords, mostRows } from './compact-ids.ts';
import type { PackedBatch } from './packed-batch.ts';
import { type Place, type Regions, regionsOf } from './packed-regions.ts';

/**
 * A packed batch in less than half of its bytes, for as long as it waits, without loss: {@link BatchCompactor.expand} gives every byte back.
 * Two things that spans of a batch have in common are said once:
 *
 * - ids: a trace's once a batch; a parent that is in the batch too by the number of its row. 12 to 16 bytes a span instead of 32.
 * - what a span is, its class: name, kind, status, resource, which attributes it has, and the values of those that are the same wherever
 *   the span comes from the same place in the code. Of the others only those values that differ from the last row of the class, with a bit
 *   for each. Whoever reads the rows needs to find out once a class what they are, see `SpanTemplates`.
 *
 * In order: words (traces, span ids, parents elsewhere), the regions before and behind the names as they are, 16-bit numbers (class, trace
 * and parent of each row, changed values, values of resources and events, names and values of the classes), bytes (the rest as it is, changed
 * bits, classes). Batches with numbers of four bytes, or with rows of many attributes, stay as they are.
 */
export interface CompactBatch<P extends Place = Place> {
  /** What the batch is when expanded, but for its buffer and offset: they are where it is compact. */
  readonly packed: PackedBatch;
  /** Where it is, and what it takes there. */
  readonly place: P;
  readonly bytes: number;
  /** What {@link BatchCompactor.expand} needs to find its way; undefined where the batch was copied as it is. */
  readonly form: (IdCounts & ClassCounts) | undefined;
}

/** What fewer rows would save is not worth the way there and back. */
const fewestRows = 32;

export class BatchCompactor {
  readonly #ids = new CompactIds();
  readonly #classes = new CompactClasses();
  #scratch = new ArrayBuffer(0);
  /** Of the batch that was expanded last; none where nobody looked. */
  classes = 0;
  classOf: Uint16Array = new Uint16Array(0);

  /** A copy of the batch, in memory from `placeOf`. */
  compact<P extends Place>(packed: PackedBatch, placeOf: (bytes: number) => P): CompactBatch<P> {
    const { rows, attributes } = packed;
    if (rows < fewestRows || rows > mostRows || packed.hasLongNumbers || packed.hasManyAttributes) return copied(packed, placeOf);
    const from = regionsOf(packed, packed);
    const form = { ...this.#ids.look(from.ids, rows), ...this.#classes.look(from, rows, attributes) };
    const parts = partsOf(packed, from, form);
    if (parts.bytes >= packed.bytes) return copied(packed, placeOf);
    const place = placeOf(parts.bytes);
    const { buffer, offset } = place;
    const at = new Parts(buffer, offset);
    this.#ids.write(at.words(parts.words), rows, form);
    for (const region of parts.asIs) at.bytes(region.length).set(region);
    at.numbers(rows).set(this.#classes.classOf.subarray(0, rows));
    at.numbers(rows).set(this.#ids.traceOf.subarray(0, rows));
    at.numbers(rows).set(this.#ids.parentOf.subarray(0, rows));
    at.numbers(form.changed).set(this.#classes.changed.subarray(0, form.changed));
    at.numbers(from.values.length - attributes).set(from.values.subarray(attributes));
    const numbers = at.numbers(classNumbers(form));
    for (const region of parts.rest) at.bytes(region.length).set(region);
    at.bytes(form.maskBytes).set(this.#classes.masks.subarray(0, form.maskBytes));
    this.#classes.write(from, numbers, at.bytes(classBytes(form)));
    return { packed: { ...packed, buffer, offset }, place, bytes: parts.bytes, form };
  }

  /** The batch as it was, in memory that the next call writes over. */
  expand({ packed, form }: CompactBatch): PackedBatch {
    this.classes = form?.classes ?? 0;
    if (form === undefined) return packed;
    if (this.#scratch.byteLength < packed.bytes) this.#scratch = new ArrayBuffer(packed.bytes * 2);
    const whole: PackedBatch = { ...packed, buffer: this.#scratch, offset: 0 };
    const { rows, attributes } = packed;
    const to = regionsOf(whole, whole);
    const parts = partsOf(whole, to, form);
    const at = new Parts(packed.buffer, packed.offset);
    const words = at.words(parts.words);
    for (const region of parts.asIs) region.set(at.bytes(region.length));
    this.classOf = at.numbers(rows);
    const traceOf = at.numbers(rows);
    this.#ids.read(words, traceOf, at.numbers(rows), form, to.ids);
    const changed = at.numbers(form.changed);
    to.values.set(at.numbers(to.values.length - attributes), attributes);
    const numbers = at.numbers(classNumbers(form));
    for (const region of parts.rest) region.set(at.bytes(region.length));
    const masks = at.bytes(form.maskBytes);
    this.#classes.read(this.classOf, { changed, masks, numbers, bytes: at.bytes(classBytes(form)) }, to);
    return whole;
  }
}

/** Pieces of memory one behind the other. */
class Parts {
  readonly #buffer: ArrayBufferLike;
  #at: number;

  constructor(buffer: ArrayBufferLike, at: number) {
    this.#buffer = buffer;
    this.#at = at;
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

/** What is kept as it is: before the 16-bit numbers, of an even length, and behind them. */
function partsOf(
  packed: PackedBatch,
  regions: Regions,
  form: IdCounts & ClassCounts,
): { readonly words: number; readonly asIs: readonly Uint8Array[]; readonly rest: readonly Uint8Array[]; readonly bytes: number } {
  const { rows, attributes, buffer } = packed;
  const { name, statusMessage, values, codes, kinds, eventKind } = regions;
  const between = (from: number, to: number): Uint8Array => new Uint8Array(buffer, from, to - from);
  const end = packed.offset + packed.bytes;
  const asIs = [between(packed.offset, name.byteOffset), between(statusMessage.byteOffset, values.byteOffset)];
  const rest = [codes.subarray(attributes), kinds.subarray(attributes), between(eventKind.byteOffset, end)];
  const words = idWords(rows, form);
  const numbers = rows * 3 + form.changed + (values.length - attributes) + classNumbers(form);
  const kept = [...asIs, ...rest].reduce((sum, { length }) => sum + length, 0);
  return { words, asIs, rest, bytes: words * 4 + numbers * 2 + kept + form.maskBytes + classBytes(form) };
}

function copied<P extends Place>(packed: PackedBatch, placeOf: (bytes: number) => P): CompactBatch<P> {
  const place = placeOf(packed.bytes);
  const { buffer, offset } = place;
  new Uint8Array(buffer, offset, packed.bytes).set(new Uint8Array(packed.buffer, packed.offset, packed.bytes));
  return { packed: { ...packed, buffer, offset }, place, bytes: packed.bytes, form: undefined };
}
