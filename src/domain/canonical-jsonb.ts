/**
 * JSON in the text form that PostgreSQL's jsonb prints, with numbers without superfluous zeros: the canonical text of JSON values
 * (row encoding v1). Numbers are kept as digits, never as doubles. O(n log n).
 */
import { plainDecimal } from './plain-decimal.ts';

const MAX_DEPTH = 1_000; // Past it a document is refused rather than the stack risked.

/** Throws SyntaxError where `text` is not JSON. */
export function canonicalJsonb(text: string): string {
  const reader = { text, at: 0 };
  const result = readValue(reader, 0);
  skipSpace(reader);
  if (reader.at !== text.length) throw broken(reader);
  return result;
}

/** The members of a JSON object with each value in canonical form (a string stays a JSON string), or undefined where it is no object. */
export function jsonMembers(text: string): ReadonlyMap<string, string> | undefined {
  const reader = { text, at: 0 };
  skipSpace(reader);
  if (text[reader.at] !== '{') return undefined;
  const members = readMembers(reader, 0);
  skipSpace(reader);
  if (reader.at !== text.length) throw broken(reader);
  return members;
}

interface Reader {
  readonly text: string;
  at: number;
}

const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
/** Takes a string whole, control characters included: JSON.parse refuses those. Unrolled, so that long strings need no backtracking. */
const stringPattern = /"[^"\\]*(?:\\.[^"\\]*)*"/y;

function readValue(reader: Reader, depth: number): string {
  if (depth > MAX_DEPTH) throw new RangeError('JSON is nested too deeply');
  skipSpace(reader);
  const next = reader.text[reader.at];
  if (next === '{') return readObject(reader, depth);
  if (next === '[') return readArray(reader, depth);
  if (next === '"') return JSON.stringify(readString(reader));
  for (const word of ['true', 'false', 'null']) {
    if (reader.text.startsWith(word, reader.at)) {
      reader.at += word.length;
      return word;
    }
  }
  numberPattern.lastIndex = reader.at;
  const match = numberPattern.exec(reader.text);
  if (match === null) throw broken(reader);
  reader.at += match[0].length;
  const plain = plainDecimal(match[0]);
  if (plain === undefined) throw broken(reader);
  return plain;
}

function readArray(reader: Reader, depth: number): string {
  const items: string[] = [];
  reader.at += 1;
  skipSpace(reader);
  if (reader.text[reader.at] === ']') {
    reader.at += 1;
    return '[]';
  }
  for (;;) {
    items.push(readValue(reader, depth + 1));
    if (readEnd(reader, ']')) return `[${items.join(', ')}]`;
  }
}

function readMembers(reader: Reader, depth: number): ReadonlyMap<string, string> {
  const members = new Map<string, string>();
  reader.at += 1;
  skipSpace(reader);
  if (reader.text[reader.at] === '}') {
    reader.at += 1;
    return members;
  }
  for (;;) {
    skipSpace(reader);
    const name = readString(reader);
    skipSpace(reader);
    if (reader.text[reader.at] !== ':') throw broken(reader);
    reader.at += 1;
    members.set(name, readValue(reader, depth + 1));
    if (readEnd(reader, '}')) return members;
  }
}

function readObject(reader: Reader, depth: number): string {
  const members = readMembers(reader, depth);
  const ordered = [...members].map(([name, value]) => ({ name, value, bytes: Buffer.from(name, 'utf8') }));
  ordered.sort((a, b) => a.bytes.length - b.bytes.length || Buffer.compare(a.bytes, b.bytes));
  return `{${ordered.map((member) => `${JSON.stringify(member.name)}: ${member.value}`).join(', ')}}`;
}

/** True at the closing bracket, false at a comma. */
function readEnd(reader: Reader, close: string): boolean {
  skipSpace(reader);
  const next = reader.text[reader.at];
  if (next !== close && next !== ',') throw broken(reader);
  reader.at += 1;
  return next === close;
}

function readString(reader: Reader): string {
  stringPattern.lastIndex = reader.at;
  const match = stringPattern.exec(reader.text);
  if (match === null) throw broken(reader);
  reader.at += match[0].length;
  return JSON.parse(match[0]) as string;
}

function skipSpace(reader: Reader): void {
  while (reader.at < reader.text.length && ' \t\n\r'.includes(reader.text.charAt(reader.at))) reader.at += 1;
}

function broken(reader: Reader): SyntaxError {
  return new SyntaxError(`not JSON at character ${reader.at}`);
}
