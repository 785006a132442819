/** OTLP/JSON, value by value. Every reader takes anything; what has the wrong type is noted once, by its path. */
export type JsonObject = { readonly [field: string]: unknown };

export const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

const none: readonly JsonObject[] = [];

export class JsonReading {
  /** What had the wrong type, or ''. */
  wrongType = '';

  wrong(path: string, expected: string): void {
    if (this.wrongType === '') this.wrongType = `${path} is not ${expected}`;
  }

  /** The list at `field`; absent is empty, items that are no objects are a wrong type. */
  list(holder: JsonObject, field: string, path: string): readonly JsonObject[] {
    const list = holder[field];
    if (list === undefined || list === null) return none;
    if (Array.isArray(list)) {
      if (list.every(isObject)) return list;
      this.wrong(path + field, 'a list of objects');
      return list.filter(isObject);
    }
    this.wrong(path + field, 'a list');
    return none;
  }

  /** The object at `field`; undefined where it is absent or none. */
  object(holder: JsonObject, field: string, path: string): JsonObject | undefined {
    const value = holder[field];
    if (isObject(value)) return value;
    if (value !== undefined && value !== null) this.wrong(path + field, 'an object');
    return undefined;
  }

  text(value: unknown, path: string): string {
    if (typeof value === 'string') return value;
    if (value !== undefined && value !== null) this.wrong(path, 'text');
    return '';
  }

  /** Nanoseconds as text or number; whole microseconds. Text is cut, so that no digit passes through a double. */
  microseconds(value: unknown, path: string): number {
    if (typeof value === 'string' && /^\d{1,20}$/.test(value)) return value.length <= 3 ? 0 : Number(value.slice(0, -3));
    const number = typeof value === 'string' ? wholeNumber(value) : value;
    if (typeof number === 'number' && number >= 0) return Math.floor(number / 1000);
    if (value !== undefined && value !== null) this.wrong(path, 'a time in nanoseconds since 1970');
    return 0;
  }

  enum(value: unknown, names: readonly string[], path: string): number {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return Math.min(value, 255);
    if (value === undefined || value === null) return 0;
    // Not allowed by OTLP, but generic protobuf JSON printers write names; understanding them costs nothing.
    const index = typeof value === 'string' ? names.indexOf(value) : -1;
    if (index >= 0) return index;
    if (typeof value === 'string' && /^\d{1,3}$/.test(value)) return Math.min(Number(value), 255);
    this.wrong(path, 'an integer');
    return 0;
  }
}

/** Protobuf's JSON allows 64-bit integers as `1e3` and `1.0`, in quotes or not; undefined for what is none. */
export function wholeNumber(text: string): number | undefined {
  if (!/^-?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,3})?$/.test(text)) return undefined;
  const number = Number(text);
  return Number.isInteger(number) && Math.abs(number) < 2 ** 64 ? number : undefined;
}

/** Array, map, bytes or a scalar of an `AnyValue`, as a plain value. */
export function plainValue(value: unknown, depth: number): unknown {
  if (!isObject(value) || depth > deepestValue) return null;
  const { arrayValue, kvlistValue, intValue } = value;
  if (isObject(arrayValue))
    return Array.isArray(arrayValue['values']) ? arrayValue['values'].map((item) => plainValue(item, depth + 1)) : [];
  if (isObject(kvlistValue)) {
    const members = Array.isArray(kvlistValue['values']) ? kvlistValue['values'].filter(isObject) : [];
    return Object.fromEntries(
      members.map((member) => [typeof member['key'] === 'string' ? member['key'] : '', plainValue(member['value'], depth + 1)]),
    );
  }
  if (typeof intValue === 'string' || typeof intValue === 'number')
    return Number.isSafeInteger(Number(intValue)) ? Number(intValue) : String(intValue);
  return value['stringValue'] ?? value['boolValue'] ?? value['doubleValue'] ?? value['bytesValue'] ?? null;
}

const deepestValue = 32;

const hexDigit: Int8Array = new Int8Array(128).fill(-1);
for (let i = 0; i < 16; i += 1) {
  hexDigit['0123456789abcdef'.charCodeAt(i)] = i;
  hexDigit['0123456789ABCDEF'.charCodeAt(i)] = i;
}

/** `length` bytes of hexadecimal text; false where it is anything else, or all zero. */
export function readHex(text: unknown, length: number, into: Uint8Array, offset: number): boolean {
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
