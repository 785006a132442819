import type { Version } from '../domain/operation.ts';
import type { AttributeColumns, SpanBatch, ValueKind } from './span-batch.ts';
import { attributeCodes } from './wanted-attributes.ts';

/**
 * Looks at the attributes of one row at a time by code, without copying them: `select` notes where each attribute stands, `text` and
 * `number` read it. One view is reused for all rows; attributes of the resource are found where the row itself has none.
 */
export class SpanView {
  readonly #slots: Int32Array = new Int32Array(attributeCodes);
  readonly #resourceSlots: Int32Array = new Int32Array(attributeCodes);
  #touchedFrom = 0;
  #touchedTo = 0;
  #columns: AttributeColumns | undefined;
  #resourceColumns: AttributeColumns | undefined;
  #strings: readonly string[] = [];
  #resource = -1;

  open(batch: SpanBatch): void {
    // The columns of the batch before may have been written over: clearing by their codes would leave marks behind.
    this.#slots.fill(0);
    this.#columns = undefined;
    this.#resource = -1;
    this.#resourceSlots.fill(0);
    this.#strings = batch.strings;
    this.#resourceColumns = batch.resourceAttributes;
  }

  /** Attributes `[from, to)` of `columns`; of a repeated key the last one counts. */
  select(columns: AttributeColumns, from: number, to: number): void {
    this.#clear();
    this.#columns = columns;
    this.#touchedFrom = from;
    this.#touchedTo = to;
    const slots = this.#slots;
    const codes = columns.code;
    for (let at = from; at < to; at += 1) slots[codes[at] as number] = at + 1;
  }

  /** As {@link select}, for who walks over the attributes: none is found by its code. */
  point(columns: AttributeColumns, from: number, to: number): void {
    this.#clear();
    this.#columns = columns;
    this.#touchedFrom = from;
    this.#touchedTo = to;
  }

  selectResource(batch: SpanBatch, resource: number): void {
    if (resource === this.#resource) return;
    this.#resource = resource;
    const slots = this.#resourceSlots;
    slots.fill(0);
    const columns = batch.resourceAttributes;
    const to = batch.resourceAttributeStart[resource + 1] as number;
    for (let at = batch.resourceAttributeStart[resource] as number; at < to; at += 1) slots[columns.code[at] as number] = at + 1;
  }

  has(code: number): boolean {
    return this.#slots[code] !== 0;
  }

  /** Where the value of a code stands in its columns, or -1. */
  placeOf(code: number): number {
    return (this.#slots[code] as number) - 1;
  }

  /** Lets go of the row: its columns may be written over now, and another batch's row be selected without `open`. */
  leave(): void {
    this.#clear();
  }

  /** Turns to another batch after `leave`; the resource is not selected. */
  turn(batch: SpanBatch): void {
    this.#resource = -1;
    this.#strings = batch.strings;
    this.#resourceColumns = batch.resourceAttributes;
  }

  /** True where any code in `[first, last]` is there. */
  hasAny(first: number, last: number): boolean {
    const codes = this.#columns?.code;
    if (codes === undefined) return false;
    for (let at = this.#touchedFrom; at < this.#touchedTo; at += 1) {
      const code = codes[at] as number;
      if (code >= first && code <= last) return true;
    }
    return false;
  }

  /** The value as text; '' where absent. */
  text(code: number): string {
    const slot = this.#slots[code] as number;
    return slot === 0 || this.#columns === undefined ? '' : textAt(this.#columns, slot - 1, this.#strings);
  }

  resourceText(code: number): string {
    const slot = this.#resourceSlots[code] as number;
    return slot === 0 || this.#resourceColumns === undefined ? '' : textAt(this.#resourceColumns, slot - 1, this.#strings);
  }

  /** The first of two names that is there: the current convention, then the former. */
  either(current: number, former: number): string {
    return this.text(current) || this.text(former);
  }

  /** The value as a number, also where it came as text; `absent` where it is not there or no number. */
  number(code: number, absent: number): number {
    const slot = this.#slots[code] as number;
    if (slot === 0 || this.#columns === undefined) return absent;
    const kind = this.#columns.kind[slot - 1] as number;
    if (kind >= 2 && kind <= 4) return this.#columns.value[slot - 1] as number;
    const text = textAt(this.#columns, slot - 1, this.#strings);
    const value = text === '' ? Number.NaN : Number(text);
    return Number.isFinite(value) ? value : absent;
  }

  /** An integer attribute as bigint, a text one as text; undefined where absent. */
  version(code: number): Version | undefined {
    const slot = this.#slots[code] as number;
    return slot === 0 || this.#columns === undefined ? undefined : versionAt(this.#columns, slot - 1, this.#strings);
  }

  /** Columns of what is selected; undefined where nothing is. */
  get columns(): AttributeColumns | undefined {
    return this.#columns;
  }
  get strings(): readonly string[] {
    return this.#strings;
  }
  /** The selected attributes are `[from, to)`. */
  get from(): number {
    return this.#touchedFrom;
  }
  get to(): number {
    return this.#touchedTo;
  }

  #clear(): void {
    const codes = this.#columns?.code;
    if (codes !== undefined) {
      const slots = this.#slots;
      for (let at = this.#touchedFrom; at < this.#touchedTo; at += 1) slots[codes[at] as number] = 0;
    }
    this.#touchedFrom = 0;
    this.#touchedTo = 0;
    this.#columns = undefined;
  }
}

/** A version: an integer as bigint, what is no integer as text. */
export function versionAt(columns: AttributeColumns, at: number, strings: readonly string[]): Version {
  const kind = columns.kind[at] as number;
  if (kind === 2) return integerOf(columns.value[at] as number);
  const text = textAt(columns, at, strings);
  return kind === 5 ? BigInt(text) : text;
}

/** Versions mostly are small, and making a bigint is a call out of compiled code. */
const smallIntegers: (bigint | undefined)[] = Array.from({ length: 4096 }, () => undefined);

function integerOf(value: number): bigint {
  if (value < 0 || value >= smallIntegers.length) return BigInt(value);
  return (smallIntegers[value] ??= BigInt(value));
}

export function textAt(columns: AttributeColumns, at: number, strings: readonly string[]): string {
  const value = columns.value[at] as number;
  switch (columns.kind[at] as ValueKind) {
    case 1:
    case 5:
    case 6:
      return strings[value] as string;
    case 4:
      return value === 1 ? 'true' : 'false';
    case 2:
    case 3:
      return String(value);
  }
}
