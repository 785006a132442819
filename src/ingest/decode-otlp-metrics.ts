import type { Measurement } from '../domain/measurement.ts';
import { ByteInterner } from './byte-interner.ts';
import type { Decoded } from './decode-otlp-protobuf.ts';
import { type KnownMetric, knownMetric, measurementsOf } from './known-metrics.ts';
import { Malformed, ProtobufWire } from './protobuf-wire.ts';
import type { SpanBatch } from './span-batch.ts';

/**
 * `ExportMetricsServiceRequest` from protobuf. Nearly all metrics say nothing of consistency: of those only the name is looked at, and their
 * points are passed over as bytes. Points of known metrics become measurements; they are few.
 */
export class MetricsDecoder {
  readonly #wire = new ProtobufWire();
  readonly #names = new ByteInterner(4096, 256 * 1024);
  /** How to read the metric of a name's number; null where it is not wanted. */
  readonly #readings = new Map<number, readonly KnownMetric[] | null>();

  decode(bytes: Uint8Array, batch: SpanBatch): Decoded {
    if (this.#names.renew()) this.#readings.clear();
    const measurements: Measurement[] = [];
    batch.reset(['']);
    this.#wire.open(bytes);
    try {
      this.#wire.nested(0, bytes.byteLength, 0x0a, measurements, this.#resourceMetrics);
      batch.measurements = measurements;
      return { is: 'decoded' };
    } catch (error) {
      if (error instanceof Malformed) return { is: 'malformed', what: error.message };
      if (error instanceof RangeError) return { is: 'malformed', what: 'the message ends inside a field' };
      throw error;
    } finally {
      this.#wire.close();
    }
  }

  readonly #resourceMetrics = (start: number, end: number, into: Measurement[]): void => {
    // Read only where a metric wants it, and once.
    let attributes: ReadonlyMap<string, string> | undefined;
    const resource = (key: string): string => {
      attributes ??= this.#resourceAttributes(start, end);
      return attributes.get(key) ?? '';
    };
    const scopeMetrics = (from: number, to: number): void =>
      this.#wire.nested(from, to, 0x12, into, (metricStart, metricEnd) => this.#metric(metricStart, metricEnd, resource, into));
    this.#wire.nested(start, end, 0x12, into, scopeMetrics);
  };

  #resourceAttributes(start: number, end: number): ReadonlyMap<string, string> {
    const found = new Map<string, string>();
    this.#wire.nested(start, end, 0x0a, found, (from, to) => this.#wire.nested(from, to, 0x0a, found, this.#keyValue));
    return found;
  }

  #metric(start: number, end: number, resource: (key: string) => string, into: Measurement[]): void {
    const wire = this.#wire;
    let readings: readonly KnownMetric[] | null = null;
    let name = '';
    let unit = '';
    const data: { readonly start: number; readonly end: number; readonly isSum: boolean }[] = [];
    let at = start;
    while (at < end) {
      const tag = wire.varint(at);
      at = wire.at;
      if (tag === 0x0a || tag === 0x1a || tag === 0x2a || tag === 0x3a) {
        const stop = wire.lengthPrefix(at, end);
        if (tag === 0x0a) {
          const number = this.#names.intern(wire.bytes, wire.view, wire.at, stop);
          readings = this.#readingsOf(number);
          name = readings === null ? '' : (this.#names.strings[number] ?? '');
        } else if (tag === 0x1a) unit = wire.bytes.toString('utf8', wire.at, stop);
        else data.push({ start: wire.at, end: stop, isSum: tag === 0x3a });
        at = stop;
      } else at = wire.skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('a metric ends inside a field');
    if (readings === null) return;
    for (const one of data) this.#points(one, name, unit, readings, resource, into);
  }

  #readingsOf(number: number): readonly KnownMetric[] | null {
    const found = this.#readings.get(number);
    if (found !== undefined) return found;
    const readings = knownMetric(this.#names.strings[number] ?? '') ?? null;
    this.#readings.set(number, readings);
    return readings;
  }

  #points(
    data: { readonly start: number; readonly end: number; readonly isSum: boolean },
    name: string,
    unit: string,
    readings: readonly KnownMetric[],
    resource: (key: string) => string,
    into: Measurement[],
  ): void {
    const wire = this.#wire;
    const points: [number, number][] = [];
    let temporality = 0;
    let at = data.start;
    while (at < data.end) {
      const tag = wire.varint(at);
      at = wire.at;
      if (tag === 0x0a) {
        const stop = wire.lengthPrefix(at, data.end);
        points.push([wire.at, stop]);
        at = stop;
      } else if (tag === 0x10 && data.isSum) {
        temporality = wire.varint(at);
        at = wire.at;
      } else at = wire.skip(tag, at, data.end, 0);
    }
    if (at !== data.end) throw new Malformed('data points end inside a field');
    for (const [start, end] of points) this.#point(start, end, name, unit, temporality, readings, resource, into);
  }

  #point(
    start: number,
    end: number,
    name: string,
    unit: string,
    temporality: number,
    readings: readonly KnownMetric[],
    resource: (key: string) => string,
    into: Measurement[],
  ): void {
    const wire = this.#wire;
    const attributes = new Map<string, string>();
    let value = Number.NaN;
    let atUs = 0;
    let flags = 0;
    let at = start;
    while (at < end) {
      const tag = wire.varint(at);
      at = wire.at;
      if (tag === 0x19) {
        atUs = wire.microseconds(at);
        at += 8;
      } else if (tag === 0x21) {
        value = wire.view.getFloat64(at, true);
        at += 8;
      } else if (tag === 0x31) {
        value = Number(wire.view.getBigInt64(at, true));
        at += 8;
      } else if (tag === 0x3a) {
        const stop = wire.lengthPrefix(at, end);
        this.#keyValue(wire.at, stop, attributes);
        at = stop;
      } else if (tag === 0x40) {
        flags = wire.varint(at);
        at = wire.at;
      } else at = wire.skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('a data point ends inside a field');
    // NO_RECORDED_VALUE
    if ((flags & 1) === 1) return;
    const attribute = (key: string): string => attributes.get(key) ?? '';
    measurementsOf(name, unit, readings, { value, atUs, temporality, attribute, resource }, into);
  }

  /** Text, whole numbers and booleans as text; what is nested names nothing. */
  readonly #keyValue = (start: number, end: number, into: Map<string, string>): void => {
    const wire = this.#wire;
    let key = '';
    let text = '';
    let at = start;
    while (at < end) {
      const tag = wire.varint(at);
      at = wire.at;
      if (tag !== 0x0a && tag !== 0x12) {
        at = wire.skip(tag, at, end, 0);
        continue;
      }
      const stop = wire.lengthPrefix(at, end);
      if (tag === 0x0a) key = wire.bytes.toString('utf8', wire.at, stop);
      else text = this.#text(wire.at, stop);
      at = stop;
    }
    if (at !== end) throw new Malformed('an attribute ends inside a field');
    if (into.size < mostAttributes) into.set(key, text);
  };

  #text(start: number, end: number): string {
    const wire = this.#wire;
    let text = '';
    let at = start;
    while (at < end) {
      const tag = wire.varint(at);
      at = wire.at;
      if (tag === 0x0a) {
        const stop = wire.lengthPrefix(at, end);
        text = wire.bytes.toString('utf8', wire.at, stop);
        at = stop;
      } else if (tag === 0x10) {
        text = wire.varint(at) !== 0 || wire.high !== 0 ? 'true' : 'false';
        at = wire.at;
      } else if (tag === 0x18) {
        const low = wire.varint(at);
        text = ((BigInt(wire.high | 0) << 32n) | BigInt(low)).toString();
        at = wire.at;
      } else at = wire.skip(tag, at, end, 0);
    }
    if (at !== end) throw new Malformed('an attribute value ends inside a field');
    return text;
  }
}

/** Points and resources have a handful; more are not looked at. */
const mostAttributes = 128;
