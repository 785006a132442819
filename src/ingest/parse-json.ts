/** Members of OTLP/JSON that are 64-bit integers: exporters should write them as text, and may write numbers. Times are cut to microseconds. */
const longWhole = /"(?:intValue|asInt)"\s*:\s*-?\d{16}/;
const isWhole = (key: string): boolean => key === 'intValue' || key === 'asInt';

interface Source {
  readonly source?: string;
}

/**
 * `JSON.parse` for OTLP: 64-bit integers that are written as numbers come back as their digits where a double would change them. Two versions
 * that differ in the last digit must not become one.
 */
export function parseOtlpJson(text: string): unknown {
  if (!longWhole.test(text)) return JSON.parse(text);
  // The third argument is in V8 since Node 21 and not yet in the types.
  const reviver = (key: string, value: unknown, context?: Source): unknown =>
    typeof value === 'number' && !Number.isSafeInteger(value) && isWhole(key) && /^-?\d+$/.test(context?.source ?? '')
      ? context?.source
      : value;
  return JSON.parse(text, reviver);
}
