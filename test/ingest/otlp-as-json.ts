/** A decoded request as OTLP/JSON: ids in hexadecimal, 64-bit numbers as text. */
export function asJson(value: unknown, name = ''): unknown {
  if (value instanceof Uint8Array)
    return name === 'bytesValue' ? Buffer.from(value).toString('base64') : Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map((item) => asJson(item));
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([member, content]) => [member, asJson(content, member)]));
  return value;
}
