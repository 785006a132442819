import type { Measurement } from '../domain/measurement.ts';
import { saysState } from './decode-otlp-logs.ts';
import { JsonBytesDecoder } from './decode-otlp-json-bytes.ts';
import type { Decoded } from './decode-otlp-protobuf.ts';
import { isObject, JsonReading, type JsonObject, plainValue, readHex, wholeNumber } from './json-reading.ts';
import { parseOtlpJson } from './parse-json.ts';
import { knownMetric, measurementsOf } from './known-metrics.ts';
import { LogKeys } from './log-keys.ts';
import { firstUnknownField } from './otlp-json-shape.ts';
import { dropRoutedPaths } from './routed-paths.ts';
import { type EventKind, eventKindOf, type SpanBatch, type ValueKind } from './span-batch.ts';
import { classifyKey } from './wanted-attributes.ts';

type JsonSignal = 'traces' | 'logs' | 'metrics';

/**
 * OTLP/JSON into the same columns as protobuf. As the specification asks: ids in hexadecimal, lowerCamelCase names only, enums as
 * numbers, 64-bit numbers as text or as numbers, unknown fields ignored. What was unknown is kept apart, so that a well-formed
 * request of the wrong shape can be answered with a warning instead of a silent 200.
 */
export class JsonDecoder {
  #strings: string[] = [''];
  #numbers = new Map<string, number>();
  #read = new JsonReading();
  readonly #fromBytes = new JsonBytesDecoder();
  readonly #codes = new Map<string, number>();
  readonly #keys: LogKeys;
  /** Path of the first unknown field of the last request, or ''. */
  unknownField = '';

  constructor(keys: LogKeys = new LogKeys()) {
    this.#keys = keys;
  }

  /** `bytes` is one JSON document in UTF-8. */
  decodeBytes(bytes: Buffer, batch: SpanBatch, signal: JsonSignal = 'traces'): Decoded {
    if (signal === 'traces' && this.takeBytes(bytes, batch)) return { is: 'decoded' };
    return this.decodeText(bytes.toString('utf8'), batch, signal);
  }

  /** Whether `bytes` are a request for traces as exporters write it, which then is in `batch`. No: nothing is said of it. */
  takeBytes(bytes: Buffer, batch: SpanBatch): boolean {
    this.unknownField = '';
    return this.#fromBytes.decode(bytes, batch);
  }

  /** `text` is one JSON document. */
  decodeText(text: string, batch: SpanBatch, signal: JsonSignal = 'traces'): Decoded {
    let document: unknown;
    try {
      // A mark of the byte order may be ignored (RFC 8259, 8.1).
      document = parseOtlpJson(text.startsWith('\ufeff') ? text.slice(1) : text);
    } catch (error) {
      return { is: 'malformed', what: `not JSON: ${error instanceof Error ? error.message : 'unreadable'}` };
    }
    return this.decode(document, batch, signal);
  }

  decode(document: unknown, batch: SpanBatch, signal: JsonSignal = 'traces'): Decoded {
    if (this.#strings.length > distinctStrings) {
      this.#strings = [''];
      this.#numbers = new Map();
    }
    this.#read = new JsonReading();
    this.unknownField = '';
    batch.reset(this.#strings);
    if (!isObject(document)) return { is: 'malformed', what: 'the request is not a JSON object' };
    switch (signal) {
      case 'traces':
        this.#traces(document, batch);
        break;
      case 'logs':
        batch.isLog = true;
        this.#logs(document, batch);
        break;
      case 'metrics':
        batch.measurements = this.#metrics(document);
        break;
    }
    if (this.#read.wrongType !== '') return { is: 'malformed', what: this.#read.wrongType };
    this.unknownField = firstUnknownField(document, signal);
    return { is: 'decoded' };
  }

  #traces(document: JsonObject, batch: SpanBatch): void {
    for (const resourceSpans of this.#read.list(document, 'resourceSpans', '')) {
      this.#resource(resourceSpans, 'resourceSpans.', batch);
      for (const scopeSpans of this.#read.list(resourceSpans, 'scopeSpans', 'resourceSpans.')) {
        for (const span of this.#read.list(scopeSpans, 'spans', 'resourceSpans.scopeSpans.')) this.#span(span, batch);
      }
    }
  }

  /** Records that name a trace and carry a `consistency.*` attribute, or whose text a declared pattern reads. */
  #logs(document: JsonObject, batch: SpanBatch): void {
    for (const resourceLogs of this.#read.list(document, 'resourceLogs', '')) {
      this.#resource(resourceLogs, 'resourceLogs.', batch);
      for (const scopeLogs of this.#read.list(resourceLogs, 'scopeLogs', 'resourceLogs.')) {
        for (const record of this.#read.list(scopeLogs, 'logRecords', 'resourceLogs.scopeLogs.')) this.#logRecord(record, batch);
      }
    }
  }

  #resource(holder: JsonObject, path: string, batch: SpanBatch): void {
    batch.openResource();
    const resource = this.#read.object(holder, 'resource', path);
    if (resource !== undefined) this.#attributes(resource, `${path}resource`, batch.resourceAttributes);
    batch.closeResource();
  }

  #logRecord(record: JsonObject, batch: SpanBatch): void {
    const row = batch.openRow();
    const hasTraceId = readHex(record['traceId'], 16, batch.ids, row * 32);
    readHex(record['spanId'], 8, batch.ids, row * 32 + 16);
    batch.name[row] = this.#number(this.#read.text(record['eventName'], 'logRecords.eventName'));
    const us =
      this.#read.microseconds(record['timeUnixNano'], 'logRecords.timeUnixNano') ||
      this.#read.microseconds(record['observedTimeUnixNano'], 'logRecords.observedTimeUnixNano');
    batch.startUs[row] = us;
    batch.endUs[row] = us;
    this.#attributes(record, 'logRecords', batch.attributes);
    const matches = (): boolean =>
      !this.#keys.isEmpty &&
      textsOf(this.#read.object(record, 'body', 'logRecords.')).some((text) =>
        this.#keys.describe(text, batch, (one) => this.#number(one)),
      );
    if (hasTraceId && (saysState(batch, row) || matches())) batch.keepRow();
    else batch.dropRow();
  }

  #span(span: JsonObject, batch: SpanBatch): void {
    const read = this.#read;
    const row = batch.openRow();
    const hasTraceId = readHex(span['traceId'], 16, batch.ids, row * 32);
    const hasSpanId = readHex(span['spanId'], 8, batch.ids, row * 32 + 16);
    if (!readHex(span['parentSpanId'], 8, batch.ids, row * 32 + 24)) batch.ids.fill(0, row * 32 + 24, row * 32 + 32);
    batch.name[row] = this.#number(read.text(span['name'], 'spans.name'));
    batch.kind[row] = read.enum(span['kind'], spanKinds, 'spans.kind');
    batch.startUs[row] = read.microseconds(span['startTimeUnixNano'], 'spans.startTimeUnixNano');
    batch.endUs[row] = read.microseconds(span['endTimeUnixNano'], 'spans.endTimeUnixNano');
    const status = read.object(span, 'status', 'spans.');
    if (status !== undefined) {
      batch.status[row] = read.enum(status['code'], statusCodes, 'spans.status.code');
      batch.statusMessage[row] = this.#number(read.text(status['message'], 'spans.status.message'));
    }
    this.#attributes(span, 'spans', batch.attributes);
    dropRoutedPaths(batch.attributes, batch.attributeStart[row] as number);
    for (const event of read.list(span, 'events', 'spans.')) this.#event(event, batch);
    for (const link of read.list(span, 'links', 'spans.')) {
      const at = batch.openLink();
      if (!readHex(link['traceId'], 16, batch.linkIds, at) || !readHex(link['spanId'], 8, batch.linkIds, at + 16)) batch.linkCount -= 1;
    }
    if (!hasTraceId) batch.rejectRow('bad-trace-id');
    else if (!hasSpanId) batch.rejectRow('bad-span-id');
    else batch.keepRow();
  }

  #event(event: JsonObject, batch: SpanBatch): void {
    const name = this.#read.text(event['name'], 'spans.events.name');
    const kind: EventKind | 0 = eventKindOf(name);
    const us = this.#read.microseconds(event['timeUnixNano'], 'spans.events.timeUnixNano');
    if (kind === 0) return;
    batch.openEvent(kind, us);
    this.#attributes(event, 'spans.events', batch.eventAttributes);
    batch.closeEvent();
  }

  #metrics(document: JsonObject): readonly Measurement[] {
    const found: Measurement[] = [];
    for (const resourceMetrics of this.#read.list(document, 'resourceMetrics', '')) {
      const resource = this.#read.object(resourceMetrics, 'resource', 'resourceMetrics.');
      const ofResource = resource === undefined ? () => '' : this.#textReader(resource);
      for (const scopeMetrics of this.#read.list(resourceMetrics, 'scopeMetrics', 'resourceMetrics.')) {
        for (const metric of this.#read.list(scopeMetrics, 'metrics', 'resourceMetrics.scopeMetrics.'))
          this.#metric(metric, ofResource, found);
      }
    }
    return found;
  }

  #metric(metric: JsonObject, resource: (key: string) => string, into: Measurement[]): void {
    const read = this.#read;
    const name = read.text(metric['name'], 'metrics.name');
    const unit = read.text(metric['unit'], 'metrics.unit');
    for (const kind of ['gauge', 'sum']) {
      const data = read.object(metric, kind, 'metrics.');
      const points = data === undefined ? [] : read.list(data, 'dataPoints', `metrics.${kind}.`);
      const readings = knownMetric(name);
      if (readings === undefined || data === undefined) continue;
      const temporality =
        kind === 'sum' ? read.enum(data['aggregationTemporality'], temporalities, 'metrics.sum.aggregationTemporality') : 0;
      for (const point of points) {
        const flags = Number(point['flags'] ?? 0);
        // NO_RECORDED_VALUE
        if ((flags & 1) === 1) continue;
        const value = Number(point['asDouble'] ?? point['asInt'] ?? Number.NaN);
        const atUs = read.microseconds(point['timeUnixNano'], 'metrics.dataPoints.timeUnixNano');
        measurementsOf(name, unit, readings, { value, atUs, temporality, attribute: this.#textReader(point), resource }, into);
      }
    }
  }

  /** Text, whole numbers and booleans of the attributes, as text. */
  #textReader(holder: JsonObject): (key: string) => string {
    const found = new Map<string, string>();
    for (const { key, value } of this.#read.list(holder, 'attributes', 'attributes.')) {
      if (typeof key !== 'string' || !isObject(value)) continue;
      const whole = value['stringValue'] ?? value['intValue'] ?? value['boolValue'] ?? '';
      found.set(key, typeof whole === 'string' || typeof whole === 'number' || typeof whole === 'boolean' ? String(whole) : '');
    }
    return (key) => found.get(key) ?? '';
  }

  #attributes(holder: JsonObject, path: string, columns: SpanBatch['attributes']): void {
    for (const attribute of this.#read.list(holder, 'attributes', `${path}.`)) {
      const key = attribute['key'];
      if (typeof key !== 'string') {
        if (key !== undefined && key !== null) this.#read.wrong(`${path}.attributes.key`, 'text');
        continue;
      }
      const code = this.#code(key);
      const value = attribute['value'];
      if (value !== undefined && value !== null && !isObject(value))
        this.#read.wrong(`${path}.attributes.value`, 'an object such as {"stringValue": "..."}');
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
      const given = value['intValue'];
      const whole = typeof given === 'string' && !/^-?\d{1,19}$/.test(given) ? wholeNumber(given) : given;
      const asNumber = Number(whole);
      if (typeof whole === 'string' ? !/^-?\d{1,19}$/.test(whole) : typeof whole !== 'number' || !Number.isInteger(asNumber)) {
        this.#read.wrong(`${path}.attributes.value.intValue`, 'a 64-bit integer');
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
      stored = this.#number(JSON.stringify(plainValue(value, 0)));
    } else {
      for (const field of Object.keys(value)) {
        if (valueFields.has(field) && value[field] !== null)
          this.#read.wrong(`${path}.attributes.value.${field}`, 'of the type that its name says');
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
}

/** Past this many strings the next batch starts a new table; the old one lives as long as its batches. */
const distinctStrings = 65_536;
const distinctKeys = 4096;

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
const temporalities = ['AGGREGATION_TEMPORALITY_UNSPECIFIED', 'AGGREGATION_TEMPORALITY_DELTA', 'AGGREGATION_TEMPORALITY_CUMULATIVE'];

/** The text of a log record's body, or the texts of a structured one. */
function textsOf(body: JsonObject | undefined): readonly string[] {
  const texts = [body];
  const list = body?.['kvlistValue'];
  const members: unknown = isObject(list) ? list['values'] : undefined;
  if (Array.isArray(members)) {
    for (const member of members as unknown[]) {
      const value = isObject(member) ? member['value'] : undefined;
      if (isObject(value)) texts.push(value);
    }
  }
  return texts.flatMap((value) => (typeof value?.['stringValue'] === 'string' ? [value['stringValue']] : []));
}
