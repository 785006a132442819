import { type CompactForm, compactBytes, Parts } from './compact-batch.ts';
import { classBytes, classNumbers, CompactClasses } from './compact-classes.ts';
import { CompactIds, idWords, mostRows } from './compact-ids.ts';
import { countsOf, isNarrow, isWide, ownBuffer, packBatch, type PackedBatch, writeWidest } from './packed-batch.ts';
import { bytesOf, type Counts, type Place, valuesOf, widestBytes, widestRegionsOf } from './packed-regions.ts';
import { attributeCodes } from './wanted-attributes.ts';
import type { AttributeColumns, SpanBatch } from './span-batch.ts';

export const isText = (kind: number): boolean => kind === 1 || kind === 5 || kind === 6;

/** What fewer rows would save is not worth the way there and back. */
const fewestRows = 32;

/**
 * Packs batches where they were decoded, compact (see `CompactForm`) where that is less, and finds out which strings and attributes they
 * have. Straight from the batch, in one walk over its values: what was decoded lies in the caches still, and would not a hundred
 * milliseconds later.
 */
export class BatchPacker {
  /** Of the batch that was packed last: the numbers of its strings, each once, and by code whether it has such an attribute. */
  texts: ArrayLike<number> = [];
  codes: ArrayLike<number> = [];
  #texts: number[] = [];
  readonly #codes = new Uint8Array(attributeCodes);
  readonly #ids = new CompactIds();
  readonly #classes = new CompactClasses();
  /** By number of a string: the last batch that had it. */
  #seenIn = new Int32Array(1024);
  #batch = 0;
  /** Values as they are packed, of rows, resources and events; and those that are wide. */
  #values = new Uint16Array(0);
  #kinds = new Uint8Array(0);
  #wide = new Float64Array(64);
  #wideCount = 0;

  /** A copy of the batch in memory from `placeOf`, or in a buffer of its own; undefined where it has no row. The batch may be used again. */
  pack(batch: SpanBatch, placeOf: (bytes: number) => Place = ownBuffer): PackedBatch | undefined {
    const compact = batch.columnsIn?.pack(placeOf);
    if (compact !== undefined) {
      this.texts = compact.texts;
      this.codes = compact.codes;
      return compact.packed;
    }
    batch.columnsIn?.fill(batch);
    this.#look(batch);
    if (batch.count === 0) return undefined;
    const counts = countsOf(batch, this.#wideCount);
    const { rows, attributes } = counts;
    if (rows < fewestRows || rows > mostRows || counts.hasLongNumbers || counts.hasManyAttributes) return packBatch(batch, placeOf, counts);
    const ids = new Int32Array(batch.ids.buffer, batch.ids.byteOffset, rows * 8);
    const columns = { batch, codes: batch.attributes.code, kinds: this.#kinds, values: this.#values };
    const form = { ...this.#ids.look(ids, rows), ...this.#classes.look(columns, rows, attributes) };
    const bytes = compactBytes(counts, form);
    if (bytes >= bytesOf(counts)) return packBatch(batch, placeOf, counts);
    const { buffer, offset } = placeOf(bytes);
    this.#write(batch, counts, form, { buffer, offset });
    return { ...counts, buffer, offset, bytes, isLog: batch.isLog, form };
  }

  /** In the order that `CompactForm` says. */
  #write(batch: SpanBatch, counts: Counts, form: CompactForm, place: Place): void {
    const { rows, attributes, resourceAttributes, eventAttributes, events, links } = counts;
    const widest = widestRegionsOf(counts, place);
    writeWidest(batch, counts, widest);
    widest.wide.set(this.#wide.subarray(0, counts.wide));
    const at = new Parts(place);
    at.bytes(widestBytes(counts));
    this.#ids.write(at.words(idWords(rows, form)), rows, form);
    if (counts.hasStatusMessages) at.numbers(rows).set(batch.statusMessage.subarray(0, rows));
    at.numbers(rows).set(this.#ids.traceOf.subarray(0, rows));
    at.numbers(rows).set(this.#classes.classOf.subarray(0, rows));
    at.numbers(rows).set(this.#ids.parentOf.subarray(0, rows));
    at.numbers(form.changed).set(this.#classes.changed.subarray(0, form.changed));
    const values = valuesOf(counts);
    at.numbers(values - attributes).set(this.#values.subarray(attributes, values));
    const numbers = at.numbers(classNumbers(form));
    at.bytes(resourceAttributes).set(batch.resourceAttributes.code.subarray(0, resourceAttributes));
    at.bytes(eventAttributes).set(batch.eventAttributes.code.subarray(0, eventAttributes));
    at.bytes(values - attributes).set(this.#kinds.subarray(attributes, values));
    at.bytes(events).set(batch.eventKind.subarray(0, events));
    at.bytes(links * 24).set(batch.linkIds.subarray(0, links * 24));
    at.bytes(form.maskBytes).set(this.#classes.masks.subarray(0, form.maskBytes));
    this.#classes.write(numbers, at.bytes(classBytes(form)));
  }

  #look(batch: SpanBatch): void {
    if (this.#seenIn.length < batch.strings.length) this.#seenIn = new Int32Array(batch.strings.length * 2);
    this.#batch = this.#batch === 0x7fff_ffff ? 1 : this.#batch + 1;
    if (this.#batch === 1) this.#seenIn.fill(0);
    this.#texts = [];
    this.texts = this.#texts;
    this.#codes.fill(0);
    this.codes = this.#codes;
    const { name, statusMessage, count, attributes, resourceAttributes, eventAttributes } = batch;
    for (let row = 0; row < count; row += 1) {
      this.#note(name[row] as number);
      this.#note(statusMessage[row] as number);
    }
    const values = attributes.count + resourceAttributes.count + eventAttributes.count;
    if (this.#values.length < values || this.#values.length > Math.max(values, mostValuesKept)) {
      this.#values = new Uint16Array(values * 2);
      this.#kinds = new Uint8Array(values * 2);
    }
    this.#wideCount = 0;
    this.#lookAt(attributes, 0);
    this.#lookAt(resourceAttributes, attributes.count);
    this.#lookAt(eventAttributes, attributes.count + resourceAttributes.count);
  }

  #lookAt({ code, kind, value, count }: AttributeColumns, offset: number): void {
    const codes = this.#codes;
    const [values, kinds] = [this.#values, this.#kinds];
    for (let at = 0; at < count; at += 1) {
      const one = value[at] as number;
      const kindOf = kind[at] as number;
      codes[code[at] as number] = 1;
      if (isText(kindOf)) this.#note(one);
      if (isNarrow(one)) {
        values[offset + at] = one;
        kinds[offset + at] = kindOf;
      } else {
        values[offset + at] = this.#wideCount;
        kinds[offset + at] = kindOf | isWide;
        this.#keepWide(one);
      }
    }
  }

  #note(number: number): void {
    if (this.#seenIn[number] === this.#batch) return;
    this.#seenIn[number] = this.#batch;
    this.#texts.push(number);
  }

  #keepWide(value: number): void {
    if (this.#wideCount === this.#wide.length) {
      const longer = new Float64Array(this.#wide.length * 2);
      longer.set(this.#wide);
      this.#wide = longer;
    }
    this.#wide[this.#wideCount] = value;
    this.#wideCount += 1;
  }
}

/** What one large request took is not kept. */
const mostValuesKept = 1 << 20;
