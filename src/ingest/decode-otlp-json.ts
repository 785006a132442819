import { type EventKind, eventKindOf, type SpanBatch, type ValueKind } from './span-batch.ts';
import { saysState } from './decode-otlp-logs.ts';
import type { Decoded } from './decode-otlp-protobuf.ts';
import { classifyKey } from './wanted-attributes.ts';

/**
 * OTLP/JSON into the same columns as protobuf. As the specification asks: ids in hexadecimal, lowerCamelCase names only, enums as
 * numbers, 64-bit numbers as text or as numbers, unknown fields ignored. What was unknown is counted apart, so that a well-formed
 * request of the wrong shape can be answered with a warning instead of a silent 200.
 */
export class JsonDecoder {
  #strings: string[] = [''];
  #numbers = new Map<string, number>();
  readonly #codes = new Map<string, number>();
  /** Path of the first unknown field of the last request, or ''. */
  unknownField = '';
  /** What had the wrong type in the last request, or ''. */
  wrongType = '';

  /** `text` is one JSON document. */
  decodeText(text: string, batch: SpanBatch): Decoded {
    let document: unknown;
    try {
      document = JSON.parse(text);
    } catch (error) {
      return { is: 'malformed', what: `not JSON: ${error instanceof Error ? error.message : 'unreadable'}` };
    }
    return this.decode(document, batch);
  }

  decode(document: unknown, batch: SpanBatch): Decoded {
    this.#begin(batch);
    if (!isObject(document)) return { is: 'malformed', what: 'the request is not a JSON object' };
    this.#note(document, requestFields, '');
    for (const resourceSpans of this.#list(document, 'resourceSpans', '')) {
      this.#note(resourceSpans, resourceSpansFields, 'resourceSpans.');
      batch.openResource();
      const resource = resourceSpans['resource'];
      if (isObject(resource)) {
        this.#note(resource, resourceFields, 'resourceSpans.resource.');
        this.#attributes(resource, 'resourceSpans.resource', batch.resourceAttributes);
      } else if (resource !== undefined && resource !== null) this.#wrong('resourceSpans.resource', 'an object');
      batch.closeResource();
      for (const scopeSpans of this.#list(resourceSpans, 'scopeSpans', 'resourceSpans.')) {
        this.#note(scopeSpans, scopeSpansFields, 'resourceSpans.scopeSpans.');
        for (const span of this.#list(scopeSpans, 'spans', 'resourceSpans.scopeSpans.')) this.#span(span, batch);
      }
    }
    if (this.wrongType !== '') return { is: 'malformed', what: this.wrongType };
    return { is: 'decoded' };
  }

  /** `ExportLogsServiceRequest`: records that name a trace and carry a `consistency.*` attribute. */
  decodeLogsText(text: string, batch: SpanBatch): Decoded {
    let document: unknown;
    try {
      document = JSON.parse(text);
    } catch (error) {
      return { is: 'malformed', what: `not JSON: ${error instanceof Error ? error.message : 'unreadable'}` };
    }
    this.#begin(batch);
    batch.isLog = true;
    if (!isObject(document)) return { is: 'malformed', what: 'the request is not a JSON object' };
    for (const resourceLogs of this.#list(document, 'resourceLogs', '')) {
      batch.openResource();
      if (isObject(resourceLogs['resource'])) this.#attributes(resourceLogs['resource'], 'resourceLogs.resource', batch.resourceAttributes);
      batch.closeResource();
      for (const scopeLogs of this.#list(resourceLogs, 'scopeLogs', 'resourceLogs.')) {
        for (const record of this.#list(scopeLogs, 'logRecords', 'resourceLogs.scopeLogs.')) this.#logRecord(record, batch);
      }
    }
    return this.wrongType === '' ? { is: 'decoded' } : { is: 'malformed', what: this.wrongType };
  }

  #logRecord(record: JsonObject, batch: SpanBatch): void {
    const row = batch.openRow();
    const hasTraceId = readHex(record['traceId'], 16, batch.ids, row * 32);
    readHex(record['spanId'], 8, batch.ids, row * 32 + 16);
    batch.name[row] = this.#text(record['eventName'], 'logRecords.eventName');
    const us =
      this.#microseconds(record['timeUnixNano'], 'logRecords.timeUnixNano') ||
      this.#microseconds(record['observedTimeUnixNano'], 'logRecords.observedTimeUnixNano');
    batch.startUs[row] = us;
    batch.endUs[row] = us;
    this.#attributes(record, 'logRecords', batch.attributes);
    if (hasTraceId && saysState(batch, row)) batch.keepRow();
    else batch.dropRow();
  }

  #begin(batch: SpanBatch): void {
    if (this.#strings.length > distinctStrings) {
      this.#strings = [''];
      this.#numbers = new Map();
    }
    this.unknownField = '';
    this.wrongType = '';
    batch.reset(this.#strings);
  }

  #span(span: JsonObject, batch: SpanBatch): void {
    this.#note(span, spanFields, 'spans.');
    const row = batch.openRow();
    const hasTraceId = readHex(span['traceId'], 16, batch.ids, row * 32);
    const hasSpanId = readHex(span['spanId'], 8, batch.ids, row * 32 + 16);
    if (!readHex(span['parentSpanId'], 8, batch.ids, row * 32 + 24)) batch.ids.fill(0, row * 32 + 24, row * 32 + 32);
    batch.name[row] = this.#text(span['name'], 'spans.name');
    batch.kind[row] = this.#enum(span['kind'], spanKinds, 'spans.kind');
    batch.startUs[row] = this.#microseconds(span['startTimeUnixNano'], 'spans.startTimeUnixNano');
    batch.endUs[row] = this.#microseconds(span['endTimeUnixNano'], 'spans.endTimeUnixNano');
    const status = span['status'];
    if (isObject(status)) {
      this.#note(status, statusFields, 'spans.status.');
      batch.status[row] = this.#enum(status['code'], statusCodes, 'spans.status.code');
      batch.statusMessage[row] = this.#text(status['message'], 'spans.status.message');
    } else if (status !== undefined && status !== null) this.#wrong('spans.status', 'an object');
    this.#attributes(span, 'spans', batch.attributes);
    for (const event of this.#list(span, 'events', 'spans.')) this.#event(event, batch);
    for (const link of this.#list(span, 'links', 'spans.')) {
      this.#note(link, linkFields, 'spans.links.');
      const at = batch.openLink();
      if (!readHex(link['traceId'], 16, batch.linkIds, at) || !readHex(link['spanId'], 8, batch.linkIds, at + 16)) batch.linkCount -= 1;
    }
    if (!hasTraceId) batch.rejectRow('bad-trace-id');
    else if (!hasSpanId) batch.rejectRow('bad-span-id');
    else batch.keepRow();
  }

  #event(event: JsonObject, batch: SpanBatch): void {
    this.#note(event, eventFields, 'spans.events.');
    const name = event['name'];
    if (name !== undefined && name !== null && typeof name !== 'string') this.#wrong('spans.events.name', 'text');
    const kind: EventKind | 0 = typeof name === 'string' ? eventKindOf(name) : 0;
    const us = this.#microseconds(event['timeUnixNano'], 'spans.events.timeUnixNano');
    if (kind === 0) return;
    batch.openEvent(kind, us);
    this.#attributes(event, 'spans.events', batch.eventAttributes);
    batch.closeEvent();
  }

  #attributes(holder: JsonObject, path: string, columns: SpanBatch['attributes']): void {
    for (const attribute of this.#list(holder, 'attributes', `${path}.`)) {
      const key = attribute['key'];
      if (typeof key !== 'string') {
        if (key !== undefined && key !== null) this.#wrong(`${path}.attributes.key`, 'text');
        continue;
      }
      const code = this.#code(key);
      const value = attribute['value'];
      if (value !== undefined && value !== null && !isObject(value))
        this.#wrong(`${path}.attributes.value`, 'an object such as {"stringValue": "..."}');
      if (code === 0 || !isObject(value)) continue;
      this.#value(value, columns, code, path);
    }
  }

  #value(value: JsonObject, columns: SpanBatch['attributes'], code: number, path: string): void {
    let kind: ValueKind;
    let stored: number;
    if (typeof value['stringValue'] === 'string') {
      kind = 1;
      stored = this.#number(value['stringValue']);
    } else if (value['intValue'] !== undefined && value['intValue'] !== null) {
      const whole = value['intValue'];
      const asNumber = Number(whole);
      if (typeof whole === 'string' ? !/^-?\d{1,19}$/.test(whole) : typeof whole !== 'number' || !Number.isInteger(asNumber)) {
        this.#wrong(`${path}.attributes.value.intValue`, 'a 64-bit integer');
        return;
      }
      kind = 2;
      stored = asNumber;
      if (!Number.isSafeInteger(asNumber)) {
        kind = 5;
        stored = this.#number(typeof whole === 'string' ? BigInt(whole).toString() : BigInt(asNumber).toString());
      }
    } else if (value['boolValue'] !== undefined && value['boolValue'] !== null) {
      kind = 4;
      stored = value['boolValue'] === true || value['boolValue'] === 'true' ? 1 : 0;
    } else if (value['doubleValue'] !== undefined && value['doubleValue'] !== null) {
      kind = 3;
      stored = Number(value['doubleValue']);
    } else if (isObject(value['arrayValue']) || isObject(value['kvlistValue']) || typeof value['bytesValue'] === 'string') {
      kind = 6;
      stored = this.#number(JSON.stringify(plain(value, 0)));
    } else {
      for (const field of Object.keys(value)) {
        if (!valueFields.has(field)) this.#unknown(`${path}.attributes.value.${field}`);
        else if (value[field] !== null) this.#wrong(`${path}.attributes.value.${field}`, 'of the type that its name says');
      }
      return;
    }
    columns.add(code, kind, stored);
  }

  #code(key: string): number {
    let code = this.#codes.get(key);
    if (code === undefined) {
      if (this.#codes.size >= distinctKeys) this.#codes.clear();
      code = classifyKey(key);
      this.#codes.set(key, code);
    }
    return code;
  }

  #number(text: string): number {
    if (text === '') return 0;
    let number = this.#numbers.get(text);
    if (number === undefined) {
      number = this.#strings.push(text) - 1;
      this.#numbers.set(text, number);
    }
    return number;
  }

  #text(value: unknown, path: string): number {
    if (typeof value === 'string') return this.#number(value);
    if (value !== undefined && value !== null) this.#wrong(path, 'text');
    return 0;
  }

  /** The list at `field`; absent is empty, items that are no objects are a wrong type. */
  #list(holder: JsonObject, field: string, path: string): readonly JsonObject[] {
    const list = holder[field];
    if (list === undefined || list === null) return none;
    if (Array.isArray(list)) {
      if (list.every(isObject)) return list;
      this.#wrong(path + field, 'a list of objects');
      return list.filter(isObject);
    }
    this.#wrong(path + field, 'a list');
    return none;
  }

  /** Nanoseconds as text or number; whole microseconds. Text is cut, so that no digit passes through a double. */
  #microseconds(value: unknown, path: string): number {
    if (typeof value === 'string' && /^\d{1,20}$/.test(value)) return value.length <= 3 ? 0 : Number(value.slice(0, -3));
    if (typeof value === 'number' && value >= 0) return Math.floor(value / 1000);
    if (value !== undefined && value !== null) this.#wrong(path, 'a time in nanoseconds since 1970');
    return 0;
  }

  #enum(value: unknown, names: readonly string[], path: string): number {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return Math.min(value, 255);
    if (value === undefined || value === null) return 0;
    // Not allowed by OTLP, but generic protobuf JSON printers write names; understanding them costs nothing.
    const index = typeof value === 'string' ? names.indexOf(value) : -1;
    if (index >= 0) return index;
    if (typeof value === 'string' && /^\d{1,3}$/.test(value)) return Math.min(Number(value), 255);
    this.#wrong(path, 'an integer');
    return 0;
  }

  #note(holder: JsonObject, known: ReadonlySet<string>, path: string): void {
    if (this.unknownField !== '') return;
    for (const field in holder) {
      if (!known.has(field)) {
        this.#unknown(path + field);
        return;
      }
    }
  }

  #unknown(path: string): void {
    if (this.unknownField === '') this.unknownField = path.slice(0, 200);
  }

  #wrong(path: string, expected: string): void {
    if (this.wrongType === '') this.wrongType = `${path} is not ${expected}`;
  }
}

type JsonObject = { readonly [field: string]: unknown };

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);
const none: readonly JsonObject[] = [];

/** Past this many strings the next batch starts a new table; the old one lives as long as its batches. */
const distinctStrings = 65_536;
const distinctKeys = 4096;

const requestFields = new Set(['resourceSpans']);
const resourceSpansFields = new Set(['resource', 'scopeSpans', 'schemaUrl']);
const resourceFields = new Set(['attributes', 'droppedAttributesCount', 'entityRefs']);
const scopeSpansFields = new Set(['scope', 'spans', 'schemaUrl']);
const spanFields = new Set([
  'traceId',
  'spanId',
  'traceState',
  'parentSpanId',
  'flags',
  'name',
  'kind',
  'startTimeUnixNano',
  'endTimeUnixNano',
  'attributes',
  'droppedAttributesCount',
  'events',
  'droppedEventsCount',
  'links',
  'droppedLinksCount',
  'status',
]);
const statusFields = new Set(['code', 'message']);
const eventFields = new Set(['timeUnixNano', 'name', 'attributes', 'droppedAttributesCount']);
const linkFields = new Set(['traceId', 'spanId', 'traceState', 'attributes', 'droppedAttributesCount', 'flags']);
const valueFields = new Set(['stringValue', 'boolValue', 'intValue', 'doubleValue', 'arrayValue', 'kvlistValue', 'bytesValue']);
const spanKinds = [
  'SPAN_KIND_UNSPECIFIED',
  'SPAN_KIND_INTERNAL',
  'SPAN_KIND_SERVER',
  'SPAN_KIND_CLIENT',
  'SPAN_KIND_PRODUCER',
  'SPAN_KIND_CONSUMER',
];
const statusCodes = ['STATUS_CODE_UNSET', 'STATUS_CODE_OK', 'STATUS_CODE_ERROR'];

function plain(value: unknown, depth: number): unknown {
  if (!isObject(value) || depth > 32) return null;
  const { arrayValue, kvlistValue, intValue } = value;
  if (isObject(arrayValue)) return Array.isArray(arrayValue['values']) ? arrayValue['values'].map((item) => plain(item, depth + 1)) : [];
  if (isObject(kvlistValue)) {
    const members = Array.isArray(kvlistValue['values']) ? kvlistValue['values'].filter(isObject) : [];
    return Object.fromEntries(
      members.map((member) => [typeof member['key'] === 'string' ? member['key'] : '', plain(member['value'], depth + 1)]),
    );
  }
  if (typeof intValue === 'string' || typeof intValue === 'number')
    return Number.isSafeInteger(Number(intValue)) ? Number(intValue) : String(intValue);
  return value['stringValue'] ?? value['boolValue'] ?? value['doubleValue'] ?? value['bytesValue'] ?? null;
}

const hexDigit: Int8Array = new Int8Array(128).fill(-1);
for (let i = 0; i < 16; i += 1) {
  hexDigit['0123456789abcdef'.charCodeAt(i)] = i;
  hexDigit['0123456789ABCDEF'.charCodeAt(i)] = i;
}

/** `length` bytes of hexadecimal text; false where it is anything else, or all zero. */
function readHex(text: unknown, length: number, into: Uint8Array, offset: number): boolean {
  if (typeof text !== 'string' || text.length !== length * 2) return false;
  let any = 0;
  for (let i = 0; i < length; i += 1) {
    const high = hexDigit[text.charCodeAt(i * 2)] ?? -1;
    const low = hexDigit[text.charCodeAt(i * 2 + 1)] ?? -1;
    if (high < 0 || low < 0) return false;
    const byte = high * 16 + low;
    into[offset + i] = byte;
    any |= byte;
  }
  return any !== 0;
}
