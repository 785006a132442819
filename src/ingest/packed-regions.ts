import type { PackedBatch } from './packed-batch.ts';

type Numbers = Uint16Array | Int32Array;

/** Those of 8 and 4 bytes, with which the columns begin. */
export interface WidestRegions {
  /** 8 bytes each where times are long: start and end. */
  readonly startUs: Float64Array;
  readonly endUs: Float64Array;
  readonly wide: Float64Array;
  readonly eventUs: Float64Array;
  /** From the base, and from the start. */
  readonly offsetUs: Uint32Array;
  readonly durationUs: Uint32Array;
  readonly attributeStart: Int32Array;
  readonly eventStart: Int32Array;
  readonly linkStart: Int32Array;
  readonly resourceRows: Int32Array;
  readonly resourceAttributeStart: Int32Array;
  readonly eventAttributeStart: Int32Array;
}

export interface Regions extends WidestRegions {
  readonly name: Numbers;
  readonly statusMessage: Numbers;
  readonly values: Numbers;
  readonly ids: Uint8Array;
  readonly attributeCount: Uint8Array;
  readonly kind: Uint8Array;
  readonly status: Uint8Array;
  readonly codes: Uint8Array;
  readonly kinds: Uint8Array;
  readonly eventKind: Uint8Array;
  readonly linkIds: Uint8Array;
}

/** How many there are of what, and how large: it says where everything lies. */
export type Counts = Omit<PackedBatch, 'buffer' | 'offset' | 'bytes' | 'isLog' | 'form'>;

/** A piece of memory, at a multiple of eight bytes. */
export interface Place {
  readonly buffer: ArrayBufferLike;
  readonly offset: number;
}

export function widestRegionsOf(counts: Counts, { buffer, offset }: Place): WidestRegions {
  const { rows } = counts;
  let at = offset;
  const doubles = (length: number): Float64Array => {
    const region = new Float64Array(buffer, at, length);
    at += length * 8;
    return region;
  };
  const words = (length: number): Int32Array => {
    const region = new Int32Array(buffer, at, length);
    at += length * 4;
    return region;
  };
  const times = (length: number): Uint32Array => {
    const region = new Uint32Array(buffer, at, length);
    at += length * 4;
    return region;
  };
  return {
    startUs: doubles(counts.hasLongTimes ? rows : 0),
    endUs: doubles(counts.hasLongTimes ? rows : 0),
    wide: doubles(counts.wide),
    eventUs: doubles(counts.events),
    offsetUs: times(counts.hasLongTimes ? 0 : rows),
    durationUs: times(counts.hasLongTimes ? 0 : rows),
    attributeStart: words(counts.hasManyAttributes ? rows + 1 : 0),
    eventStart: words(counts.events === 0 ? 0 : rows + 1),
    linkStart: words(counts.links === 0 ? 0 : rows + 1),
    resourceRows: words(counts.resources),
    resourceAttributeStart: words(counts.resources + 1),
    eventAttributeStart: words(counts.events === 0 ? 0 : counts.events + 1),
  };
}

export function regionsOf(counts: Counts, { buffer, offset }: Place): Regions {
  const { rows } = counts;
  const values = valuesOf(counts);
  let at = offset + widestBytes(counts);
  const numbers = (length: number): Numbers => {
    const region = counts.hasLongNumbers ? new Int32Array(buffer, at, length) : new Uint16Array(buffer, at, length);
    at += length * region.BYTES_PER_ELEMENT;
    return region;
  };
  const bytes = (length: number): Uint8Array => {
    const region = new Uint8Array(buffer, at, length);
    at += length;
    return region;
  };
  return {
    ...widestRegionsOf(counts, { buffer, offset }),
    name: numbers(rows),
    statusMessage: numbers(counts.hasStatusMessages ? rows : 0),
    values: numbers(values),
    ids: bytes(rows * 32),
    attributeCount: bytes(counts.hasManyAttributes ? 0 : rows),
    kind: bytes(rows),
    status: bytes(rows),
    codes: bytes(values),
    kinds: bytes(values),
    eventKind: bytes(counts.events),
    linkIds: bytes(counts.links * 24),
  };
}

/** How many bytes the regions take: the same sum as in {@link regionsOf}, without making them. */
export function bytesOf(counts: Counts): number {
  const { rows } = counts;
  const values = valuesOf(counts);
  const numbers = rows + (counts.hasStatusMessages ? rows : 0) + values;
  const ones = rows * (counts.hasManyAttributes ? 34 : 35) + values * 2 + counts.events + counts.links * 24;
  return widestBytes(counts) + numbers * (counts.hasLongNumbers ? 4 : 2) + ones;
}

/** How many bytes the regions before the names take: those of 8 and of 4 bytes. */
export function widestBytes(counts: Counts): number {
  const { rows } = counts;
  const eights = (counts.hasLongTimes ? 2 * rows : 0) + counts.wide + counts.events;
  const fours =
    (counts.hasLongTimes ? 0 : 2 * rows) +
    (counts.hasManyAttributes ? rows + 1 : 0) +
    (counts.events === 0 ? 0 : rows + 1 + counts.events + 1) +
    (counts.links === 0 ? 0 : rows + 1) +
    counts.resources +
    (counts.resources + 1);
  return eights * 8 + fours * 4;
}

/** Values of attributes of spans, resources and events. */
export const valuesOf = (counts: Counts): number => counts.attributes + counts.resourceAttributes + counts.eventAttributes;

/** When each row ends, microseconds since 1970, from the first regions alone. */
export function endsOf(counts: Counts, { buffer, offset }: Place): (row: number) => number {
  const { rows, baseUs } = counts;
  if (counts.hasLongTimes) {
    const endUs = new Float64Array(buffer, offset + rows * 8, rows);
    return (row) => endUs[row] as number;
  }
  const at = offset + (counts.wide + counts.events) * 8;
  const offsetUs = new Uint32Array(buffer, at, rows);
  const durationUs = new Uint32Array(buffer, at + rows * 4, rows);
  return (row) => baseUs + (offsetUs[row] as number) + (durationUs[row] as number);
}
