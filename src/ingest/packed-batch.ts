import type { CompactForm } from './compact-batch.ts';
import { bytesOf, type Counts, type Place, type Regions, regionsOf, type WidestRegions } from './packed-regions.ts';
import type { AttributeColumns, EventKind, SpanBatch } from './span-batch.ts';

/**
 * The columns of a batch in one buffer, as they travel and lie in the journal: some 80 bytes a span of ordinary instrumentation, where an
 * operation object takes 600 to 1,000, and one buffer changes threads without a copy. While spans wait for late ones they take less still,
 * see `CompactBatch`.
 *
 * Regions in order of their alignment: wide values and event times (8 bytes), times (4), numbers of strings and values (2), the rest (1).
 * What a batch does not have (status messages, events, links) takes nothing. An attribute's value takes 2 bytes, or stands in the wide
 * values where it does not fit. Batches that are unlike others take more: times of 8 bytes where they span an hour, numbers of 4 bytes
 * where there are more than 65,536 of something, starts of the attributes where a span has more than 255.
 *
 * Strings do not travel with it: their numbers mean a table that both sides hold, see `StringTables`.
 */
export interface PackedBatch {
  /** Its columns are the `bytes` from `offset` on. */
  readonly buffer: ArrayBufferLike;
  readonly offset: number;
  readonly bytes: number;
  readonly rows: number;
  readonly isLog: boolean;
  readonly attributes: number;
  readonly resources: number;
  readonly resourceAttributes: number;
  readonly events: number;
  readonly eventAttributes: number;
  readonly links: number;
  readonly wide: number;
  /** What start times count from; 0 where they take 8 bytes. */
  readonly baseUs: number;
  readonly hasLongTimes: boolean;
  readonly hasLongNumbers: boolean;
  readonly hasManyAttributes: boolean;
  readonly hasStatusMessages: boolean;
  /** Its columns are compact, and stand as they are said to here once `BatchCompactor` has expanded them. Absent: they stand so now. */
  readonly form?: CompactForm;
}

export const isWide = 0x80;
const longestTimeUs = 0xffff_ffff;
const largestNumber = 0xffff;
/** Of a row whose attributes a byte counts. */
export const mostAttributes = 255;

export const ownBuffer = (bytes: number): Place => ({ buffer: new ArrayBuffer(bytes), offset: 0 });

/** What a batch takes when it is packed: {@link bytesOf} says how many bytes. `wide`: how many of its values are not narrow, where it is known. */
export function countsOf(batch: SpanBatch, wide: number = wideOf(batch)): Counts {
  const rows = batch.count;
  let longest = 0;
  let messages = 0;
  let largest = 0;
  let most = 0;
  let baseUs = Number.POSITIVE_INFINITY;
  let lastUs = Number.NEGATIVE_INFINITY;
  for (let row = 0; row < rows; row += 1) {
    const startUs = batch.startUs[row] as number;
    const durationUs = (batch.endUs[row] as number) - startUs;
    const message = batch.statusMessage[row] as number;
    const attributes = (batch.attributeStart[row + 1] as number) - (batch.attributeStart[row] as number);
    if (durationUs > longest) longest = durationUs;
    if (startUs < baseUs) baseUs = startUs;
    if (startUs > lastUs) lastUs = startUs;
    if (attributes > most) most = attributes;
    largest |= message | (batch.name[row] as number);
    messages |= message;
  }
  // Past the whole numbers of a double a time is not its base and an offset.
  const hasLongTimes = longest > longestTimeUs || lastUs - baseUs > longestTimeUs || lastUs > Number.MAX_SAFE_INTEGER;
  return {
    rows,
    attributes: batch.attributes.count,
    resources: batch.resourceCount,
    resourceAttributes: batch.resourceAttributes.count,
    events: batch.eventCount,
    eventAttributes: batch.eventAttributes.count,
    links: batch.linkCount,
    wide,
    baseUs: hasLongTimes ? 0 : baseUs,
    hasLongTimes,
    hasLongNumbers: wide > largestNumber || largest > largestNumber,
    hasManyAttributes: most > mostAttributes,
    hasStatusMessages: messages !== 0,
  };
}

/**
 * A copy of the batch, packed, in memory from `placeOf`; undefined where it has no row. The batch may be used again. `counts`: its own, where
 * they are known.
 */
export function packBatch(
  batch: SpanBatch,
  placeOf: (bytes: number) => Place = ownBuffer,
  counts: Counts = countsOf(batch),
): PackedBatch | undefined {
  const { rows } = counts;
  if (rows === 0) return undefined;
  const bytes = bytesOf(counts);
  const place = placeOf(bytes);
  const to = regionsOf(counts, place);
  writeWidest(batch, counts, to);
  if (!counts.hasManyAttributes)
    for (let row = 0; row < rows; row += 1)
      to.attributeCount[row] = (batch.attributeStart[row + 1] as number) - (batch.attributeStart[row] as number);
  to.name.set(batch.name.subarray(0, rows));
  if (counts.hasStatusMessages) to.statusMessage.set(batch.statusMessage.subarray(0, rows));
  to.ids.set(batch.ids.subarray(0, rows * 32));
  to.kind.set(batch.kind.subarray(0, rows));
  to.status.set(batch.status.subarray(0, rows));
  to.eventKind.set(batch.eventKind.subarray(0, counts.events));
  to.linkIds.set(batch.linkIds.subarray(0, counts.links * 24));
  let wideAt = packValues(batch.attributes, to, 0, 0);
  wideAt = packValues(batch.resourceAttributes, to, counts.attributes, wideAt);
  packValues(batch.eventAttributes, to, counts.attributes + counts.resourceAttributes, wideAt);
  return { ...counts, buffer: place.buffer, offset: place.offset, bytes, isLog: batch.isLog };
}

/** The regions of 8 and 4 bytes, but for the wide values. */
export function writeWidest(batch: SpanBatch, counts: Counts, to: WidestRegions): void {
  const { rows, baseUs } = counts;
  for (let row = 0; row < rows; row += 1) {
    const startUs = batch.startUs[row] as number;
    const endUs = Math.max(batch.endUs[row] as number, startUs);
    if (counts.hasLongTimes) {
      to.startUs[row] = startUs;
      to.endUs[row] = endUs;
    } else {
      to.offsetUs[row] = startUs - baseUs;
      to.durationUs[row] = endUs - startUs;
    }
  }
  if (counts.hasManyAttributes) to.attributeStart.set(batch.attributeStart.subarray(0, rows + 1));
  if (counts.events > 0) {
    to.eventStart.set(batch.eventStart.subarray(0, rows + 1));
    to.eventAttributeStart.set(batch.eventAttributeStart.subarray(0, counts.events + 1));
    to.eventUs.set(batch.eventUs.subarray(0, counts.events));
  }
  if (counts.links > 0) to.linkStart.set(batch.linkStart.subarray(0, rows + 1));
  // Rows come resource by resource: how many rows each has says it all.
  to.resourceRows.fill(0);
  for (let row = 0; row < rows; row += 1) {
    const resource = batch.resource[row] as number;
    if (resource >= 0) to.resourceRows[resource] = (to.resourceRows[resource] as number) + 1;
  }
  to.resourceAttributeStart.set(batch.resourceAttributeStart.subarray(0, counts.resources + 1));
}

/** Whether a value fits its two bytes; -0 is no whole number. */
export const isNarrow = (value: number): boolean => (value & largestNumber) === value && (value !== 0 || 1 / value > 0);

function wideOf(batch: SpanBatch): number {
  let wide = 0;
  for (const { value, count } of [batch.attributes, batch.resourceAttributes, batch.eventAttributes])
    for (let at = 0; at < count; at += 1) if (!isNarrow(value[at] as number)) wide += 1;
  return wide;
}

function packValues(columns: AttributeColumns, to: Regions, offset: number, wideFrom: number): number {
  const { code, kind, value, count } = columns;
  const { codes, kinds, values } = to;
  let wide = wideFrom;
  codes.set(code.subarray(0, count), offset);
  kinds.set(kind.subarray(0, count), offset);
  for (let at = 0; at < count; at += 1) {
    const one = value[at] as number;
    if (isNarrow(one)) values[offset + at] = one;
    else {
      kinds[offset + at] = (kind[at] as number) | isWide;
      values[offset + at] = wide;
      to.wide[wide] = one;
      wide += 1;
    }
  }
  return wide;
}

/** The same batch in other memory, of at least its size. */
export function movePacked(packed: PackedBatch, { buffer, offset }: Place): PackedBatch {
  new Uint8Array(buffer, offset, packed.bytes).set(new Uint8Array(packed.buffer, packed.offset, packed.bytes));
  return { ...packed, buffer, offset };
}

/** The batch again, into `batch`; not one that is compact. `strings`: the table that it was decoded with. */
export function unpackBatch(packed: PackedBatch, strings: readonly string[], batch: SpanBatch): void {
  const { rows } = packed;
  const from = regionsOf(packed, packed);
  batch.reset(strings);
  batch.isLog = packed.isLog;
  batch.holdRows(rows);
  if (packed.hasLongTimes) {
    batch.startUs.set(from.startUs);
    batch.endUs.set(from.endUs);
  } else {
    for (let row = 0; row < rows; row += 1) {
      const startUs = packed.baseUs + (from.offsetUs[row] as number);
      batch.startUs[row] = startUs;
      batch.endUs[row] = startUs + (from.durationUs[row] as number);
    }
  }
  batch.name.set(from.name);
  if (packed.hasStatusMessages) batch.statusMessage.set(from.statusMessage);
  else batch.statusMessage.fill(0, 0, rows);
  if (packed.hasManyAttributes) batch.attributeStart.set(from.attributeStart);
  else {
    let start = 0;
    batch.attributeStart[0] = 0;
    for (let row = 0; row < rows; row += 1) {
      start += from.attributeCount[row] as number;
      batch.attributeStart[row + 1] = start;
    }
  }
  batch.kind.set(from.kind);
  batch.status.set(from.status);
  batch.ids.set(from.ids);
  if (packed.events === 0) batch.eventStart.fill(0, 0, rows + 1);
  else {
    batch.eventStart.set(from.eventStart);
    for (let event = 0; event < packed.events; event += 1)
      batch.openEvent(from.eventKind[event] as EventKind, from.eventUs[event] as number);
    batch.eventAttributeStart.set(from.eventAttributeStart);
  }
  if (packed.links === 0) batch.linkStart.fill(0, 0, rows + 1);
  else {
    batch.linkStart.set(from.linkStart);
    for (let link = 0; link < packed.links; link += 1) batch.openLink();
    batch.linkIds.set(from.linkIds);
  }
  let row = 0;
  for (let resource = 0; resource < packed.resources; resource += 1) {
    batch.openResource();
    const end = row + (from.resourceRows[resource] as number);
    batch.resource.fill(resource, row, end);
    row = end;
  }
  batch.resource.fill(-1, row, rows);
  batch.resourceAttributeStart.set(from.resourceAttributeStart);
  unpackValues(from, 0, packed.attributes, batch.attributes);
  unpackValues(from, packed.attributes, packed.resourceAttributes, batch.resourceAttributes);
  unpackValues(from, packed.attributes + packed.resourceAttributes, packed.eventAttributes, batch.eventAttributes);
  batch.count = rows;
}

function unpackValues(from: Regions, offset: number, count: number, columns: AttributeColumns): void {
  columns.hold(count);
  columns.code.set(from.codes.subarray(offset, offset + count));
  for (let at = 0; at < count; at += 1) {
    const kind = from.kinds[offset + at] as number;
    const value = from.values[offset + at] as number;
    columns.kind[at] = kind & ~isWide;
    columns.value[at] = kind >= isWide ? (from.wide[value] as number) : value;
  }
  columns.count = count;
}
