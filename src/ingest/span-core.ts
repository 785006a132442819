import { isOwn } from './attribute-roles.ts';
import { compiledSpanDecoder } from './compiled-span-decoder.ts';
import { jsonOfValue } from './nested-value.ts';
import type { PackedBatch } from './packed-batch.ts';
import { bytesOf, type Place } from './packed-regions.ts';
import { Malformed, ProtobufWire } from './protobuf-wire.ts';
import { isPathCode, isRouteCode } from './routed-paths.ts';
import type { ColumnSource, CompactColumns, EventKind, SpanBatch, ValueKind } from './span-batch.ts';
import { attributeCodes, classifyKey, keyOfCode } from './wanted-attributes.ts';

/**
 * The span decoder that is compiled to WebAssembly (`wasm/span-decoder.ts`) as JavaScript sees it: the body is copied into its memory, it
 * fills columns there, and those are copied into the batch, or packed at once. The memory is 53 MiB and never grows; the system
 * gives as much of it as has been touched, which for requests of half a megabyte is two, and at most five for remembered texts. It never
 * takes anything back: whoever has decoded large requests opens another core later.
 */
export class SpanCore implements ColumnSource {
  /** String of each number of this generation, as of a `ByteInterner`. Number 0 is ''. */
  strings: string[] = [''];
  readonly #core: Exports;
  readonly #memory: Buffer;
  readonly #columns: Columns;
  readonly #body: number;
  readonly #newTexts: Int32Array;
  readonly #counts: Int32Array;
  readonly #baseUs: Float64Array;
  readonly #listedTexts: Int32Array;
  readonly #hasCode: Uint8Array;
  readonly #wire = new ProtobufWire();
  /** Of the last request: false where one of its nested values is malformed. */
  #isSound = true;

  /** Throws where this machine or this JavaScript cannot run it. `distinctStrings`: a power of two. */
  constructor(distinctStrings: number, arenaBytes: number) {
    compiled ??= new WebAssembly.Module(Buffer.from(compiledSpanDecoder, 'base64'));
    const core = new WebAssembly.Instance(compiled).exports as unknown as Exports;
    this.#core = core;
    this.#memory = Buffer.from(core.memory.buffer);
    this.#columns = columnsOf(core);
    this.#body = core.body.value;
    this.#newTexts = new Int32Array(core.memory.buffer, core.newTexts.value, core.mostNewTexts.value * 3);
    this.#counts = new Int32Array(core.memory.buffer, core.counts.value, countNames);
    this.#baseUs = new Float64Array(core.memory.buffer, core.baseUs.value, 1);
    this.#listedTexts = new Int32Array(core.memory.buffer, core.listedTexts.value);
    this.#hasCode = new Uint8Array(core.memory.buffer, core.hasCode.value, attributeCodes);
    core.openTexts(Math.min(distinctStrings, core.mostTexts.value), Math.min(arenaBytes, core.mostArenaBytes.value));
    let offset = 0;
    for (let code = 1; code < attributeCodes; code += 1) {
      for (const key of namesOf(code)) {
        core.wantKey(offset, this.#memory.write(key, core.keyBytes.value + offset), code);
        offset += key.length;
      }
      this.#memory[core.roles.value + code] = (isPathCode(code) ? 1 : 0) | (isRouteCode(code) ? 2 : 0) | (isOwn[code] === 0 ? 0 : 4);
    }
    this.#memory.write('exception', core.eventNames.value);
    this.#memory.write('consistency.operation', core.eventNames.value + 32);
  }

  /** Bytes of the largest request that it takes. */
  get mostBytes(): number {
    return this.#core.mostBodyBytes.value;
  }

  /**
   * Decodes for `batch`, which it fills only when it is asked to ({@link fill}), with the next request at the latest; false where this one has
   * to be decoded by somebody else, because it is malformed, or hardly comes like this.
   */
  read(bytes: Uint8Array, batch: SpanBatch): boolean {
    const core = this.#core;
    if (bytes.byteLength > this.mostBytes) return false;
    if (core.renewTexts() !== 0) this.strings = [''];
    this.#memory.set(bytes, this.#body);
    let isWhole = true;
    try {
      core.decode(bytes.byteLength);
    } catch (error) {
      if (!(error instanceof WebAssembly.RuntimeError)) throw error;
      isWhole = false;
    }
    // Also of one that is decoded elsewhere: the texts that came before the fault are remembered.
    this.#isSound = isWhole;
    this.#makeTexts(bytes, core.newTextCount());
    if (!this.#isSound) return false;
    const [rows = 0, , , , , badTraceIds = 0, badSpanIds = 0] = this.#counts;
    batch.reset(this.strings);
    batch.count = rows;
    batch.columnsIn = this;
    if (badTraceIds > 0) batch.rejected.set('bad-trace-id', badTraceIds);
    if (badSpanIds > 0) batch.rejected.set('bad-span-id', badSpanIds);
    return true;
  }

  /** The request that was read last as a compact batch in memory from `placeOf`; undefined where it is not compact. */
  pack(placeOf: (bytes: number) => Place): CompactColumns | undefined {
    const bytes = this.#core.compact();
    const packed = bytes === 0 ? undefined : this.#packedAs(bytes);
    if (packed === undefined) return undefined;
    const place = placeOf(bytes);
    const at = this.#core.compactAt.value;
    new Uint8Array(place.buffer, place.offset, bytes).set(this.#memory.subarray(at, at + bytes));
    return {
      packed: { ...packed, buffer: place.buffer, offset: place.offset },
      texts: this.#listedTexts.subarray(0, this.#counts[textsAt]),
      codes: this.#hasCode,
    };
  }

  /** What the compact batch is, but for where it will be. */
  #packedAs(bytes: number): PackedBatch | undefined {
    const [rows = 0, attributes = 0, events = 0, links = 0, resources = 0, , , wide = 0, ...more] = this.#counts;
    const [traces = 0, parents = 0, classes = 0, changed = 0, maskBytes = 0, ofClasses = 0, , messages = 0] = more;
    const columns = this.#columns;
    const packed: PackedBatch = {
      rows,
      attributes,
      resources,
      resourceAttributes: resources === 0 ? 0 : (columns.resourceAttributeEnd[resources - 1] as number),
      events,
      eventAttributes: events === 0 ? 0 : (columns.eventAttributeEnd[events - 1] as number),
      links,
      wide,
      baseUs: this.#baseUs[0] as number,
      hasLongTimes: false,
      hasLongNumbers: false,
      hasManyAttributes: false,
      hasStatusMessages: messages === 1,
      isLog: false,
      buffer: this.#memory.buffer,
      offset: this.#core.compactAt.value,
      bytes,
      form: { traces, parents, classes, changed, maskBytes, attributes: ofClasses },
    };
    return bytes < bytesOf(packed) ? packed : undefined;
  }

  #makeTexts(bytes: Uint8Array, count: number): void {
    const { strings } = this;
    const memory = this.#memory;
    const texts = this.#newTexts;
    for (let i = 0; i < count * 3; i += 3) {
      const start = texts[i] as number;
      const end = texts[i + 1] as number;
      const what = texts[i + 2] as number;
      if (what === latin) strings.push(memory.toString('latin1', start, end));
      else if (what === utf8) strings.push(memory.toString('utf8', start, end));
      else if (what === bigInteger) strings.push(((BigInt(end) << 32n) | BigInt(start >>> 0)).toString());
      else strings.push(this.#json(bytes, what, start - this.#body, end - this.#body));
    }
  }

  #json(bytes: Uint8Array, tag: number, start: number, end: number): string {
    if (!this.#isSound) return '';
    this.#wire.open(bytes);
    try {
      return jsonOfValue(this.#wire, tag, start, end);
    } catch (error) {
      if (!(error instanceof Malformed || error instanceof RangeError)) throw error;
      this.#isSound = false;
      return '';
    } finally {
      this.#wire.close();
    }
  }

  /** The columns of the request that was read last for it. */
  fill(batch: SpanBatch): void {
    const columns = this.#columns;
    const [rows = 0, attributes = 0, events = 0, links = 0, resources = 0] = this.#counts;
    batch.columnsIn = undefined;
    batch.holdRows(rows);
    batch.attributes.hold(attributes);
    batch.count = rows;
    batch.attributes.count = attributes;
    batch.ids.set(columns.ids.subarray(0, rows * 32));
    batch.startUs.set(columns.startUs.subarray(0, rows));
    batch.endUs.set(columns.endUs.subarray(0, rows));
    batch.name.set(columns.name.subarray(0, rows));
    batch.statusMessage.set(columns.statusMessage.subarray(0, rows));
    batch.resource.set(columns.resource.subarray(0, rows));
    batch.kind.set(columns.kind.subarray(0, rows));
    batch.status.set(columns.status.subarray(0, rows));
    batch.attributeStart.set(columns.attributeStart.subarray(0, rows + 1));
    batch.eventStart.set(columns.eventStart.subarray(0, rows + 1));
    batch.linkStart.set(columns.linkStart.subarray(0, rows + 1));
    batch.attributes.code.set(columns.code.subarray(0, attributes));
    batch.attributes.kind.set(columns.valueKind.subarray(0, attributes));
    batch.attributes.value.set(columns.value.subarray(0, attributes));
    this.#fillResources(batch, resources);
    this.#fillEvents(batch, events);
    for (let link = 0; link < links; link += 1) {
      const at = batch.openLink();
      batch.linkIds.set(columns.linkIds.subarray(at, at + 24), at);
    }
  }

  #fillResources(batch: SpanBatch, count: number): void {
    const columns = this.#columns;
    let at = 0;
    for (let resource = 0; resource < count; resource += 1) {
      batch.openResource();
      for (const end = columns.resourceAttributeEnd[resource] as number; at < end; at += 1)
        batch.resourceAttributes.add(
          columns.resourceCode[at] as number,
          columns.resourceValueKind[at] as ValueKind,
          columns.resourceValue[at] as number,
        );
      batch.closeResource();
    }
  }

  #fillEvents(batch: SpanBatch, count: number): void {
    const columns = this.#columns;
    let at = 0;
    for (let event = 0; event < count; event += 1) {
      batch.openEvent(columns.eventKind[event] as EventKind, columns.eventUs[event] as number);
      for (const end = columns.eventAttributeEnd[event] as number; at < end; at += 1)
        batch.eventAttributes.add(
          columns.eventCode[at] as number,
          columns.eventValueKind[at] as ValueKind,
          columns.eventValue[at] as number,
        );
      batch.closeEvent();
    }
  }
}

let compiled: WebAssembly.Module | undefined;

/** Whatever is classified as the code: of numbered keys there are several ways to write a number. */
function namesOf(code: number): readonly string[] {
  const key = keyOfCode(code);
  const zero = key.replace(/\.(\d)$/, '.0$1');
  return zero !== key && classifyKey(zero) === code ? [key, zero] : [key];
}

// What a new text is, as the core says.
const latin = 0;
const utf8 = 1;
const bigInteger = 5;
/**
 * Rows, attributes, events, links, resources, spans without an id of a trace, without one of their own; and of what is compact: wide values,
 * traces, parents elsewhere, classes, changed values, bytes of bits, attributes of classes, texts, whether there are messages.
 */
const countNames = 16;
const textsAt = 14;

/** A place in memory, or a number that a request has come to. */
type Figure = { readonly value: number };

/** `wasm/span-decoder.ts` says what they are. */
interface Exports extends Readonly<Record<Column | FigureName, Figure>> {
  readonly memory: WebAssembly.Memory;
  openTexts(distinctTexts: number, arenaBytes: number): void;
  wantKey(offset: number, length: number, code: number): void;
  renewTexts(): number;
  newTextCount(): number;
  decode(length: number): void;
  compact(): number;
}

type FigureName =
  | 'baseUs'
  | 'compactAt'
  | 'hasCode'
  | 'listedTexts'
  | 'keyBytes'
  | 'roles'
  | 'eventNames'
  | 'newTexts'
  | 'body'
  | 'mostBodyBytes'
  | 'mostTexts'
  | 'mostArenaBytes'
  | 'mostNewTexts'
  | 'counts';

const bytes = [
  'ids',
  'linkIds',
  'kind',
  'status',
  'code',
  'valueKind',
  'eventKind',
  'eventCode',
  'eventValueKind',
  'resourceCode',
  'resourceValueKind',
] as const;
const integers = [
  'name',
  'statusMessage',
  'resource',
  'attributeStart',
  'eventStart',
  'linkStart',
  'eventAttributeEnd',
  'resourceAttributeEnd',
] as const;
const doubles = ['startUs', 'endUs', 'value', 'eventUs', 'eventValue', 'resourceValue'] as const;

type Column = (typeof bytes)[number] | (typeof integers)[number] | (typeof doubles)[number];

/** The columns in the core's memory, each from where it begins to the end of all. */
type Columns = Readonly<Record<(typeof bytes)[number], Uint8Array>> &
  Readonly<Record<(typeof integers)[number], Int32Array>> &
  Readonly<Record<(typeof doubles)[number], Float64Array>>;

function columnsOf(core: Exports): Columns {
  const { buffer } = core.memory;
  return Object.fromEntries([
    ...bytes.map((name) => [name, new Uint8Array(buffer, core[name].value)]),
    ...integers.map((name) => [name, new Int32Array(buffer, core[name].value)]),
    ...doubles.map((name) => [name, new Float64Array(buffer, core[name].value)]),
  ]) as unknown as Columns;
}
