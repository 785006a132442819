import type { Measurement } from '../domain/measurement.ts';
import type { PackedBatch } from './packed-batch.ts';
import type { Place } from './packed-regions.ts';

/**
 * Spans as columns: what one export request holds, without an object a span. Rows are numbered in the order in which they came.
 * Attributes, events and links of row `i` are at `[start[i], start[i + 1])` of their columns. Strings are numbers into `strings`.
 * A batch is reused: `reset` keeps the arrays.
 */
export class SpanBatch {
  count = 0;
  /** 32 bytes a row: trace id (16), span id (8), parent span id (8, zero for a root). */
  ids: Uint8Array = new Uint8Array(initialRows * 32);
  /** The same bytes. */
  idView: DataView = new DataView(this.ids.buffer);
  startUs: Float64Array = new Float64Array(initialRows);
  endUs: Float64Array = new Float64Array(initialRows);
  /** OTLP span kind, 0 to 5. */
  kind: Uint8Array = new Uint8Array(initialRows);
  /** OTLP status code: 0 unset, 1 ok, 2 error. */
  status: Uint8Array = new Uint8Array(initialRows);
  name: Int32Array = new Int32Array(initialRows);
  statusMessage: Int32Array = new Int32Array(initialRows);
  resource: Int32Array = new Int32Array(initialRows);
  attributeStart: Int32Array = new Int32Array(initialRows + 1);
  eventStart: Int32Array = new Int32Array(initialRows + 1);
  linkStart: Int32Array = new Int32Array(initialRows + 1);

  readonly attributes: AttributeColumns = new AttributeColumns(initialRows * 8);

  /** Only events that mean something: `exception` and `consistency.operation`. */
  eventCount = 0;
  eventKind: Uint8Array = new Uint8Array(initialRows);
  eventUs: Float64Array = new Float64Array(initialRows);
  eventAttributeStart: Int32Array = new Int32Array(initialRows + 1);
  readonly eventAttributes: AttributeColumns = new AttributeColumns(initialRows);

  linkCount = 0;
  /** 24 bytes a link: trace id, span id. */
  linkIds: Uint8Array = new Uint8Array(initialRows * 24);
  linkView: DataView = new DataView(this.linkIds.buffer);

  resourceCount = 0;
  resourceAttributeStart: Int32Array = new Int32Array(17);
  readonly resourceAttributes: AttributeColumns = new AttributeColumns(64);

  /** Numbers of the resources among those of all batches, the first for rows without one; whoever gives them marks them with a generation. */
  resourceNumber: Int32Array = new Int32Array(16);
  describedGeneration = 0;

  /**
   * Classes of rows, 0 where nobody has found any: rows of one class have the same name, kind, status and resource, the same attributes in
   * the same order, and the same values of those that describe a span (`attribute-roles.ts`). Of each: what its description is, in the
   * generation above.
   */
  classes = 0;
  classOf: Uint16Array = new Uint16Array(0);
  classTemplate: Int32Array = new Int32Array(0);

  /** Who has the columns while they have not been filled in here: then only the counts of rows and rejected spans, and the strings, are. */
  columnsIn: ColumnSource | undefined;

  strings: readonly string[] = [''];
  /** Rows are log records that carry `consistency.*` attributes: their ids are those of the span that wrote them. */
  isLog = false;
  /** What a request of metrics says; it has no rows. */
  measurements: readonly Measurement[] = [];
  /** Spans that were refused, by reason; the rest of the request is taken. */
  readonly rejected: Map<RejectReason, number> = new Map();

  reset(strings: readonly string[]): void {
    this.count = 0;
    this.eventCount = 0;
    this.linkCount = 0;
    this.resourceCount = 0;
    this.attributes.count = 0;
    this.eventAttributes.count = 0;
    this.resourceAttributes.count = 0;
    this.describedGeneration = 0;
    this.classes = 0;
    this.columnsIn = undefined;
    this.strings = strings;
    this.isLog = false;
    this.measurements = [];
    if (this.rejected.size > 0) this.rejected.clear();
  }

  /** Opens the next row, zeroed; it counts once `keepRow` is called. */
  openRow(): number {
    const row = this.count;
    if (row === this.kind.length) this.#growRows();
    // By hand: a call out of JavaScript for each row would take longer.
    for (let at = row * 32; at < row * 32 + 32; at += 4) this.idView.setInt32(at, 0);
    this.startUs[row] = 0;
    this.endUs[row] = 0;
    this.kind[row] = 0;
    this.status[row] = 0;
    this.name[row] = 0;
    this.statusMessage[row] = 0;
    this.resource[row] = this.resourceCount - 1;
    this.attributeStart[row] = this.attributes.count;
    this.eventStart[row] = this.eventCount;
    this.linkStart[row] = this.linkCount;
    return row;
  }

  /** Takes the classes of its rows. */
  classify(classes: number, classOf: Uint16Array): void {
    this.classes = classes;
    if (this.classOf.length < classOf.length) this.classOf = new Uint16Array(classOf.length);
    this.classOf.set(classOf);
  }

  /** What was noted of descriptions is not so any more: another generation begins. */
  forgetDescriptions(generation: number): void {
    this.describedGeneration = generation;
    if (this.resourceNumber.length <= this.resourceCount) this.resourceNumber = new Int32Array((this.resourceCount + 1) * 2);
    this.resourceNumber.fill(-1);
    if (this.classTemplate.length < this.classes) this.classTemplate = new Int32Array(this.classes * 2);
    this.classTemplate.fill(0, 0, this.classes);
  }

  /** Becomes the batch of `count` rows of another, in their order. */
  copyRows(from: SpanBatch, rows: Int32Array, count: number): void {
    this.reset(from.strings);
    this.isLog = from.isLog;
    if (from.classes > 0)
      this.classify(
        from.classes,
        Uint16Array.from({ length: count }, (_, i) => from.classOf[rows[i] as number] as number),
      );
    let last = -1;
    for (let i = 0; i < count; i += 1) {
      const source = rows[i] as number;
      const resource = from.resource[source] as number;
      if (resource >= 0 && resource !== last) {
        this.openResource();
        const end = from.resourceAttributeStart[resource + 1] as number;
        this.resourceAttributes.copy(from.resourceAttributes, from.resourceAttributeStart[resource] as number, end);
        this.closeResource();
        last = resource;
      }
      const row = this.openRow();
      this.ids.set(from.ids.subarray(source * 32, source * 32 + 32), row * 32);
      this.startUs[row] = from.startUs[source] as number;
      this.endUs[row] = from.endUs[source] as number;
      this.kind[row] = from.kind[source] as number;
      this.status[row] = from.status[source] as number;
      this.name[row] = from.name[source] as number;
      this.statusMessage[row] = from.statusMessage[source] as number;
      this.attributes.copy(from.attributes, from.attributeStart[source] as number, from.attributeStart[source + 1] as number);
      const lastEvent = from.eventStart[source + 1] as number;
      for (let event = from.eventStart[source] as number; event < lastEvent; event += 1) {
        this.openEvent(from.eventKind[event] as EventKind, from.eventUs[event] as number);
        const end = from.eventAttributeStart[event + 1] as number;
        this.eventAttributes.copy(from.eventAttributes, from.eventAttributeStart[event] as number, end);
        this.closeEvent();
      }
      const lastLink = from.linkStart[source + 1] as number;
      for (let link = from.linkStart[source] as number; link < lastLink; link += 1) {
        const at = this.openLink();
        this.linkIds.set(from.linkIds.subarray(link * 24, link * 24 + 24), at);
      }
      this.keepRow();
    }
  }

  /** Room for `rows` rows, whose columns are written over as a whole. */
  holdRows(rows: number): void {
    while (this.kind.length < rows) this.#growRows();
  }

  keepRow(): void {
    this.count += 1;
    this.attributeStart[this.count] = this.attributes.count;
    this.eventStart[this.count] = this.eventCount;
    this.linkStart[this.count] = this.linkCount;
  }

  /** Forgets the open row and what was added to it. */
  dropRow(): void {
    const row = this.count;
    this.attributes.count = this.attributeStart[row] as number;
    this.eventCount = this.eventStart[row] as number;
    this.eventAttributes.count = this.eventCount === 0 ? 0 : (this.eventAttributeStart[this.eventCount] as number);
    this.linkCount = this.linkStart[row] as number;
  }

  /** Forgets the open row and counts it. */
  rejectRow(reason: RejectReason): void {
    this.dropRow();
    this.rejected.set(reason, (this.rejected.get(reason) ?? 0) + 1);
  }

  openResource(): void {
    this.resourceCount += 1;
    if (this.resourceCount === this.resourceAttributeStart.length) this.resourceAttributeStart = grown(this.resourceAttributeStart);
    this.resourceAttributeStart[this.resourceCount - 1] = this.resourceAttributes.count;
    this.resourceAttributeStart[this.resourceCount] = this.resourceAttributes.count;
  }

  closeResource(): void {
    this.resourceAttributeStart[this.resourceCount] = this.resourceAttributes.count;
  }

  /** Adds an event to the open row; its attributes follow, then `closeEvent`. */
  openEvent(kind: EventKind, us: number): void {
    const event = this.eventCount;
    if (event === this.eventKind.length) {
      this.eventKind = grown(this.eventKind);
      this.eventUs = grown(this.eventUs);
      this.eventAttributeStart = grown(this.eventAttributeStart);
    }
    this.eventKind[event] = kind;
    this.eventUs[event] = us;
    this.eventAttributeStart[event] = this.eventAttributes.count;
    this.eventAttributeStart[event + 1] = this.eventAttributes.count;
    this.eventCount = event + 1;
  }

  closeEvent(): void {
    this.eventAttributeStart[this.eventCount] = this.eventAttributes.count;
  }

  /** Byte offset in `linkIds` of a new link of the open row. */
  openLink(): number {
    const at = this.linkCount * 24;
    if (at + 24 > this.linkIds.length) {
      this.linkIds = grown(this.linkIds);
      this.linkView = new DataView(this.linkIds.buffer);
    }
    this.linkIds.fill(0, at, at + 24);
    this.linkCount += 1;
    return at;
  }

  /** Bytes held by the arrays, for the memory bound of whoever pools batches. */
  get heldBytes(): number {
    return (
      this.kind.length * 73 + this.attributes.heldBytes + this.eventAttributes.heldBytes + this.eventUs.length * 13 + this.linkIds.length
    );
  }

  #growRows(): void {
    this.ids = grown(this.ids);
    this.idView = new DataView(this.ids.buffer);
    this.startUs = grown(this.startUs);
    this.endUs = grown(this.endUs);
    this.kind = grown(this.kind);
    this.status = grown(this.status);
    this.name = grown(this.name);
    this.statusMessage = grown(this.statusMessage);
    this.resource = grown(this.resource);
    this.attributeStart = grown(this.attributeStart);
    this.eventStart = grown(this.eventStart);
    this.linkStart = grown(this.linkStart);
  }
}

/** Has columns of its own, for a batch that need not have them. */
export interface ColumnSource {
  fill(batch: SpanBatch): void;
  /** Undefined where they are not compact: then they have to be filled in. */
  pack(placeOf: (bytes: number) => Place): CompactColumns | undefined;
}

export interface CompactColumns {
  readonly packed: PackedBatch;
  /** The numbers of its strings, each once, and by code whether it has such an attribute; both are used again. */
  readonly texts: ArrayLike<number>;
  readonly codes: ArrayLike<number>;
}

/** Attributes as columns: code of the key, kind of the value, value. */
export class AttributeColumns {
  count = 0;
  code: Uint8Array;
  kind: Uint8Array;
  /** A string's number, or the number itself; booleans are 0 and 1. */
  value: Float64Array;

  constructor(capacity: number) {
    this.code = new Uint8Array(capacity);
    this.kind = new Uint8Array(capacity);
    this.value = new Float64Array(capacity);
  }

  add(code: number, kind: ValueKind, value: number): void {
    const at = this.count;
    if (at === this.code.length) this.#grow();
    this.code[at] = code;
    this.kind[at] = kind;
    this.value[at] = value;
    this.count = at + 1;
  }

  /** Adds `[from, to)` of others. */
  copy(others: AttributeColumns, from: number, to: number): void {
    for (let at = from; at < to; at += 1) this.add(others.code[at] as number, others.kind[at] as ValueKind, others.value[at] as number);
  }

  /** Room for `count` attributes, whose columns are written over as a whole; no more than they need, because many batches are held. */
  hold(count: number): void {
    if (this.code.length >= count) return;
    const room = count + (count >> 3);
    this.code = new Uint8Array(room);
    this.kind = new Uint8Array(room);
    this.value = new Float64Array(room);
  }

  #grow(): void {
    this.code = grown(this.code);
    this.kind = grown(this.kind);
    this.value = grown(this.value);
  }

  get heldBytes(): number {
    return this.code.length * 10;
  }
}

/** 1 text; 2 integer; 3 double; 4 boolean; 5 integer beyond 2^53, as its decimal text; 6 array, map or bytes, as JSON text. */
export type ValueKind = 1 | 2 | 3 | 4 | 5 | 6;
/** 1 `exception`, 2 `consistency.operation`. */
export type EventKind = 1 | 2;
export type RejectReason = 'bad-trace-id' | 'bad-span-id';

export const eventKindOf = (name: string): EventKind | 0 => (name === 'exception' ? 1 : name === 'consistency.operation' ? 2 : 0);

const initialRows = 256;

function grown<T extends Uint8Array | Int32Array | Float64Array>(array: T): T {
  const larger = new (array.constructor as new (length: number) => T)(array.length * 2);
  larger.set(array);
  return larger;
}
